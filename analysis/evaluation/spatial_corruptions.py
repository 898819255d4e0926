"""Corruptions that move or mix pixels: blurs, shear, scale, rotation, flips and coarse pixels.

Each takes images uint8 [N, 28, 28], a strength whose unit its docstring gives, and a generator; it returns [N, 28, 28]
on the scale 0 to 255, neither rounded nor clipped. At most one array is drawn, its first axis being the images: so an
image's draw depends on its place in the batch alone, not on how many follow or on the strength.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.sparse import csr_array

Images = npt.NDArray[np.uint8]
Values = npt.NDArray[np.number[Any]]
Floats = npt.NDArray[np.float64]

SIDE = 28
CENTRE = np.full(2, (SIDE - 1) / 2)
DIRECTIONS = 8
"""Of motion, over half a turn."""


def gaussian_blur(images: Images, strength: float, rng: np.random.Generator) -> Values:
    """Blurs by a Gaussian whose standard deviation is the strength in pixels: a camera out of focus.

    Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", 2019,
    blur by a disc.
    """
    return ndimage.gaussian_filter(images.astype(np.float32), (0, strength, strength), mode="nearest")


def motion_blur(images: Images, strength: float, rng: np.random.Generator) -> Values:
    """Smears along a line, as long as the strength in pixels, in one of eight directions drawn for each image.

    Hendrycks and Dietterich, 2019.
    """
    return _apply_drawn(images, partial(_smear, strength), rng.integers(0, DIRECTIONS, len(images)))


def shear(images: Images, strength: float, rng: np.random.Generator) -> Values:
    """Moves rows sideways, by the strength in pixels a row away from the middle, to a side drawn for each image.

    Mu and Gilmer, "MNIST-C: A Robustness Benchmark for Computer Vision", 2019.
    """
    return _apply_drawn(images, partial(_slant, strength), rng.integers(0, 2, len(images)))


def scale(images: Images, strength: float, rng: np.random.Generator) -> Values:
    """Shrinks towards the middle; the strength is the share of the side that is lost.

    Mu and Gilmer, 2019, who shrink as well.
    """
    return _apply(images, _shrink(strength))


def rotation(images: Images, strength: float, rng: np.random.Generator) -> Values:
    """Turns about the middle by the strength in degrees, to a side drawn for each image.

    Mu and Gilmer, 2019.
    """
    return _apply_drawn(images, partial(_turn, strength), rng.integers(0, 2, len(images)))


def horizontal_flip(images: Images, strength: float, rng: np.random.Generator) -> Values:
    """Mirrors a share of the images, the strength, left to right: half a flip does not exist."""
    return np.where(_chosen(images, strength, rng), images[:, :, ::-1], images)


def vertical_flip(images: Images, strength: float, rng: np.random.Generator) -> Values:
    """Turns a share of the images, the strength, upside down: half a flip does not exist."""
    return np.where(_chosen(images, strength, rng), images[:, ::-1], images)


def pixelation(images: Images, strength: float, rng: np.random.Generator) -> Values:
    """Replaces square blocks, as wide as the strength in pixels, by their means.

    Hendrycks and Dietterich, 2019.
    """
    # Blocks need no whole number of pixels: a block takes its share of the pixels that it cuts.
    edges = np.arange(np.ceil(SIDE / strength) + 1) * strength
    edges = np.minimum(edges + (SIDE - edges[-1]) / 2, SIDE).clip(0)
    pixels = np.arange(SIDE)
    overlap = np.minimum(pixels + 1, edges[1:, None]) - np.maximum(pixels, edges[:-1, None])
    means = overlap.clip(0) / np.diff(edges)[:, None]
    coarse = means[np.searchsorted(edges, pixels + 0.5) - 1].astype(np.float32)
    return coarse @ images.astype(np.float32) @ coarse.T


def _chosen(images: Images, share: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    return rng.random((len(images), 1, 1)) < share


@cache
def _smear(length: float, direction: int) -> csr_array:
    kernel = _line(length, np.pi * direction / DIRECTIONS)
    return _matrix(ndimage.correlate(_single_pixels(), kernel[None], mode="constant"))


@cache
def _slant(strength: float, side: int) -> csr_array:
    return _affine(np.array([[1, 0], [strength * (2 * side - 1), 1]]))


@cache
def _shrink(strength: float) -> csr_array:
    return _affine(np.eye(2) / (1 - strength))


@cache
def _turn(degrees: float, side: int) -> csr_array:
    angle = np.radians(degrees) * (2 * side - 1)
    return _affine(np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]))


def _single_pixels() -> Floats:
    """Returns every image with one pixel of 1: what a linear map does to them is its matrix."""
    return np.eye(SIDE**2).reshape(-1, SIDE, SIDE)


def _affine(matrix: Floats) -> csr_array:
    """Returns the map [pixels, pixels] that shows at `CENTRE + x` what was at `CENTRE + matrix @ x` (row, column)."""
    offset = CENTRE - matrix @ CENTRE
    moved = [
        ndimage.affine_transform(pixel, matrix, offset, order=1, mode="grid-constant") for pixel in _single_pixels()
    ]
    return _matrix(np.stack(moved))


def _matrix(images_of_pixels: Floats) -> csr_array:
    return csr_array(images_of_pixels.reshape(SIDE**2, SIDE**2).astype(np.float32))


def _line(length: float, angle: float) -> Floats:
    """Returns the kernel of a line through its middle, odd a side, that sums to 1."""
    reach = int(np.ceil(length / 2)) + 1
    along = np.linspace(-length / 2, length / 2, 8 * reach + 1)
    points = np.stack([np.sin(angle) * along, np.cos(angle) * along]) + reach
    corner = np.floor(points).astype(int)
    down, right = points - corner
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    for row, height in ((0, 1 - down), (1, down)):
        for column, width in ((0, 1 - right), (1, right)):
            np.add.at(kernel, (corner[0] + row, corner[1] + column), height * width)
    return kernel / kernel.sum()


def _apply_drawn(images: Images, variant: Callable[[int], csr_array], drawn: npt.NDArray[np.int64]) -> Values:
    """Applies to each image the variant of a map that was drawn for it."""
    moved = np.empty(images.shape, np.float32)
    for number in np.unique(drawn):
        moved[drawn == number] = _apply(images[drawn == number], variant(int(number)))
    return moved


def _apply(images: Images, linear: csr_array) -> Values:
    # One sparse matrix for all: 10,000 rotations take 0.13 s, and 0.48 s where SciPy turns image by image.
    flat = images.reshape(len(images), SIDE**2).astype(np.float32)
    return (flat @ linear).reshape(images.shape)

"""Images that are no clothes, or no longer: what a classifier of garments should not be sure about.

From far to near: noise and textures, drawn shapes and letters, then garments inverted, cut, shuffled and blended. The
far ones are the usual sets of the literature (Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and
Out-of-Distribution Examples in Neural Networks", 2017, section 3.1); the near ones share the garments' own pixels, so
that their brightness alone betrays nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from analysis.evaluation.corruptions import check_images
from analysis.experiments.measures import ood_drawings as drawings

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

SIDE = 28
PATCH = 7
CANDIDATES = 8


@dataclass(frozen=True)
class Stranger:
    """One kind of images that are no clothes.

    Attributes:
        make: Draws one image of numbers [28, 28] from 0 to 255, from a generator and the garments it may use.
        needs_garments: Whether it is made of them.
    """

    make: Callable[[np.random.Generator, Images], npt.NDArray[np.number[Any]]]
    needs_garments: bool = False


def strangers(name: str, count: int, seed: int, garments_images: Images | None = None) -> Images:
    """Returns images of one kind of stranger.

    They are drawn one after the other: of the same name, seed and garments, the first images are the same however many
    are asked for.

    Args:
        name: One of `STRANGERS`.
        count: How many.
        seed: Not negative.
        garments_images: uint8 [N, 28, 28] with N at least 2, which the kinds with `needs_garments` are made of.
            Defaults to none.

    Returns:
        uint8 [count, 28, 28].

    Raises:
        ValueError: no such name, a negative count or seed, or garments that are needed and missing, too
            few, or of another shape or type.
    """
    if name not in STRANGERS:
        raise ValueError(f"No such stranger. Expected: one of {', '.join(STRANGERS)}. Received: {name!r}")
    if count < 0 or seed < 0:
        raise ValueError(f"A count or a seed is negative. Expected: 0 or more. Received: {count} and {seed}")
    garments = np.zeros((0, SIDE, SIDE), np.uint8) if garments_images is None else garments_images
    check_images(garments)
    kind = STRANGERS[name]
    if kind.needs_garments and len(garments) < 2:
        raise ValueError(f"{name} are made of garments. Expected: 2 images or more. Received: {len(garments)}")
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    made = np.zeros((count, SIDE, SIDE), np.uint8)
    for image in made:
        image[:] = np.rint(kind.make(rng, garments)).clip(0, 255)
    return made


def _blank(rng: np.random.Generator, _: Images) -> Images:
    return np.full((SIDE, SIDE), rng.integers(0, 256), np.uint8)


def _uniform_noise(rng: np.random.Generator, _: Images) -> Images:
    return rng.integers(0, 256, (SIDE, SIDE), np.uint8)


def _smooth_noise(rng: np.random.Generator, _: Images) -> Floats:
    """Filters noise at one to three octaves, each half as fine and half as strong, as Perlin's noise is built."""
    width = rng.uniform(1, 5)
    noise = rng.standard_normal((3, SIDE, SIDE))
    octaves = range(rng.integers(1, 4))
    layers = [ndimage.gaussian_filter(noise[k], width / 2**k, mode="wrap") for k in octaves]
    return _full_range(sum(layer / layer.std() / 2**k for k, layer in enumerate(layers)))


def _stripes(rng: np.random.Generator, _: Images) -> Floats:
    wave = np.sin(_along(rng.uniform(0, np.pi)) * 2 * np.pi / rng.uniform(3, 14) + rng.uniform(0, 2 * np.pi))
    return _two_tones(rng, wave * rng.choice([1, 1000]))


def _checkerboard(rng: np.random.Generator, _: Images) -> Floats:
    angle, width = rng.choice([0, rng.uniform(0, np.pi / 2)]), rng.uniform(2, 9)
    first, second = (
        np.sin((_along(turn) + rng.uniform(0, width)) * np.pi / width) for turn in (angle, angle + np.pi / 2)
    )
    return _two_tones(rng, first * second * 1000)


def _along(angle: float) -> Floats:
    """Returns how far each pixel lies in a direction, [28, 28], in pixels."""
    row, column = np.mgrid[:SIDE, :SIDE]
    return row * np.sin(angle) + column * np.cos(angle)


def _two_tones(rng: np.random.Generator, wave: Floats) -> Floats:
    """Paints a wave between -1 and 1 (what is beyond is cut) from one grey to another at least 80 away."""
    dark = rng.uniform(0, 175)
    return dark + (wave.clip(-1, 1) + 1) / 2 * (rng.uniform(dark + 80, 255) - dark)


def _full_range(values: Floats) -> Floats:
    return (values - values.min()) / np.ptp(values) * 255


def _one(rng: np.random.Generator, garments: Images) -> Images:
    return garments[rng.integers(len(garments))]


def _inverted(rng: np.random.Generator, garments: Images) -> Images:
    return 255 - _one(rng, garments)


def _half(rng: np.random.Generator, garments: Images) -> Images:
    """Keeps what is on one side of a cut through the garment's centre of mass, across or down."""
    turns = int(rng.integers(4))
    garment = np.rot90(_one(rng, garments), turns)
    weight = garment.sum(axis=1, dtype=np.int64)
    middle = round(float(weight @ np.arange(SIDE)) / max(1, int(weight.sum())))
    return np.rot90(np.where(np.arange(SIDE)[:, None] < middle, garment, 0), -turns)


def _shuffled(rng: np.random.Generator, garments: Images) -> Images:
    """Puts sixteen patches in another order."""
    grid = SIDE // PATCH
    patches = _one(rng, garments).reshape(grid, PATCH, grid, PATCH).swapaxes(1, 2).reshape(-1, PATCH, PATCH)
    mixed = patches[rng.permutation(grid * grid)]
    return mixed.reshape(grid, grid, PATCH, PATCH).swapaxes(1, 2).reshape(SIDE, SIDE)


def _blended(rng: np.random.Generator, garments: Images) -> Floats:
    """Averages a garment with the least like it of eight others: the mean of two shirts would be a shirt."""
    first = _one(rng, garments).astype(np.float64)
    others = garments[rng.integers(0, len(garments), CANDIDATES)]
    return (first + others[((others - first) ** 2).sum(axis=(1, 2)).argmax()]) / 2


STRANGERS: dict[str, Stranger] = {
    "blank": Stranger(_blank),
    "uniform_noise": Stranger(_uniform_noise),
    "smooth_noise": Stranger(_smooth_noise),
    "stripes": Stranger(_stripes),
    "checkerboards": Stranger(_checkerboard),
    "shapes": Stranger(lambda rng, _: drawings.shape(rng)),
    "figures": Stranger(lambda rng, _: drawings.figure(rng)),
    "letters": Stranger(lambda rng, _: drawings.letter(rng)),
    "inverted_garments": Stranger(_inverted, needs_garments=True),
    "half_garments": Stranger(_half, needs_garments=True),
    "shuffled_garments": Stranger(_shuffled, needs_garments=True),
    "blended_garments": Stranger(_blended, needs_garments=True),
}

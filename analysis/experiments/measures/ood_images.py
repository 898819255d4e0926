"""Out-of-distribution images: noise, textures, drawings, and garments that were inverted, cut, shuffled or blended.

The first ones are the usual far sets of the literature (Hendrycks and Gimpel, "A Baseline for Detecting Misclassified
and Out-of-Distribution Examples in Neural Networks", 2017, section 3.1). The changed garments are near ones: they share
the garments' pixels, so that brightness alone does not give them away. Drawings are four times as large and then
shrunk, so that their edges are as soft as those of the garments.
"""

from __future__ import annotations

import string
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from analysis.evaluation.corruptions import check_images

Pixels = npt.NDArray[np.uint8]
Point = tuple[float, float]

SIDE = 28
OVERSAMPLING = 4
CANVAS = SIDE * OVERSAMPLING
CHARACTERS = string.ascii_letters + string.digits
DARKEST_STROKE = 90


def shape(rng: np.random.Generator) -> Pixels:
    """Returns an ellipse, a regular polygon or a star, filled or in outline: uint8 [28, 28]."""
    kind = rng.choice(["ellipse", "polygon", "star"])
    ink, filled, line = _grey(rng), rng.random() < 0.5, int(rng.integers(4, 13))
    centre, radius = rng.uniform(0.4, 0.6, 2) * CANVAS, rng.uniform(0.22, 0.4) * CANVAS
    fill = ink if filled else None

    def paint(draw: ImageDraw.ImageDraw) -> None:
        if kind == "ellipse":
            reach = radius * np.array([1, rng.uniform(0.5, 1)])
            draw.ellipse([*(centre - reach), *(centre + reach)], fill, ink, line)
        else:
            draw.polygon(_corners(rng, kind == "star", centre, radius), fill, ink, line)

    return _drawn(paint)


def figure(rng: np.random.Generator) -> Pixels:
    """Returns a person of five lines and a circle: uint8 [28, 28]."""
    ink, line = _grey(rng), int(rng.integers(4, 13))
    neck, hip = (
        np.array([rng.uniform(48, 64), rng.uniform(36, 44)]),
        np.array([rng.uniform(48, 64), rng.uniform(62, 74)]),
    )
    head = rng.uniform(9, 14)
    shoulder = neck + (hip - neck) * 0.2
    arms, legs = rng.uniform(0, np.pi, 2), rng.uniform(0.1, 0.8, 2)

    def paint(draw: ImageDraw.ImageDraw) -> None:
        draw.ellipse(
            [neck[0] - head, neck[1] - 2 * head, neck[0] + head, neck[1]], ink if line > 8 else None, ink, line
        )
        draw.line([*neck, *hip], ink, line)
        for side in (0, 1):
            outwards = 2 * side - 1
            arm = 30 * np.array([outwards * np.sin(arms[side]), np.cos(arms[side])])
            leg = 36 * np.array([outwards * np.sin(legs[side]), np.cos(legs[side])])
            draw.line([*shoulder, *(shoulder + arm)], ink, line)
            draw.line([*hip, *(hip + leg)], ink, line)

    return _drawn(paint)


def letter(rng: np.random.Generator) -> Pixels:
    """Returns a letter of the Latin alphabet or a digit, turned by up to 15 degrees: uint8 [28, 28].

    In the font that Pillow carries along, so that every machine draws the same ones.
    """
    character = CHARACTERS[rng.integers(len(CHARACTERS))]
    font, ink, bold = _font(int(rng.integers(80, 121))), _grey(rng), int(rng.integers(0, 5))
    position = tuple(CANVAS / 2 + rng.uniform(-8, 8, 2))

    def paint(draw: ImageDraw.ImageDraw) -> None:
        draw.text(position, character, ink, font, anchor="mm", stroke_width=bold)

    return _drawn(paint, rng.uniform(-15, 15))


def _corners(rng: np.random.Generator, star: bool, centre: npt.NDArray[np.float64], radius: float) -> list[Point]:
    tips = int(rng.integers(4 if star else 3, 8))
    count = 2 * tips if star else tips
    angles = rng.uniform(0, 2 * np.pi) + np.arange(count) * 2 * np.pi / count
    reach = np.where(star & (np.arange(count) % 2 == 1), 0.45 * radius, radius)
    return [
        (float(x), float(y))
        for x, y in zip(centre[0] + reach * np.cos(angles), centre[1] + reach * np.sin(angles), strict=True)
    ]


def _drawn(paint: Callable[[ImageDraw.ImageDraw], None], degrees: float = 0) -> Pixels:
    picture = Image.new("L", (CANVAS, CANVAS))
    paint(ImageDraw.Draw(picture))
    return np.asarray(picture.rotate(degrees, Image.Resampling.BILINEAR).reduce(OVERSAMPLING))


def _grey(rng: np.random.Generator) -> int:
    return int(rng.integers(DARKEST_STROKE, 256))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

SIDE = 28
PATCH = 7
CANDIDATES = 8


@dataclass(frozen=True)
class Kind:
    """One kind of out-of-distribution images.

    Attributes:
        draw: Draws one image of numbers [28, 28] from 0 to 255 with a generator and the garments' images.
        needs_garments: Whether it uses the garments' images.
    """

    draw: Callable[[np.random.Generator, Images], npt.NDArray[np.number[Any]]]
    needs_garments: bool = False


def draw_ood_images(name: str, count: int, seed: int, garments_images: Images | None = None) -> Images:
    """Returns out-of-distribution images of one kind.

    They are drawn one after the other: with the same name, seed and garments, the first images do not depend on the
    count.

    Args:
        name: One of `KINDS`.
        count: Number of images.
        seed: Seed of the generator, not negative.
        garments_images: uint8 [N, 28, 28] with N at least 2, for the kinds with `needs_garments`.
            Defaults to none.

    Returns:
        uint8 [count, 28, 28].

    Raises:
        ValueError: The name is unknown, the count or the seed is negative, or needed garments are missing, too few, or
            of another shape or type.
    """
    if name not in KINDS:
        raise ValueError(
            f"No such kind of out-of-distribution images. Expected: one of {', '.join(KINDS)}. Received: {name!r}"
        )
    if count < 0 or seed < 0:
        raise ValueError(f"A count or a seed is negative. Expected: 0 or more. Received: {count} and {seed}")
    garments = np.zeros((0, SIDE, SIDE), np.uint8) if garments_images is None else garments_images
    check_images(garments)
    kind = KINDS[name]
    if kind.needs_garments and len(garments) < 2:
        raise ValueError(f"{name} need images of garments. Expected: 2 images or more. Received: {len(garments)}")
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    images = np.zeros((count, SIDE, SIDE), np.uint8)
    for image in images:
        image[:] = np.rint(kind.draw(rng, garments)).clip(0, 255)
    return images


def _blank(rng: np.random.Generator, _: Images) -> Images:
    return np.full((SIDE, SIDE), rng.integers(0, 256), np.uint8)


def _uniform_noise(rng: np.random.Generator, _: Images) -> Images:
    return rng.integers(0, 256, (SIDE, SIDE), np.uint8)


def _smooth_noise(rng: np.random.Generator, _: Images) -> Floats:
    """Sums filtered noise of one to three octaves, as in Perlin noise."""
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
    """Returns each pixel's coordinate along a direction, [28, 28], in pixels."""
    row, column = np.mgrid[:SIDE, :SIDE]
    return row * np.sin(angle) + column * np.cos(angle)


def _two_tones(rng: np.random.Generator, wave: Floats) -> Floats:
    """Maps a wave, clipped to [-1, 1], to the range between two grey levels that are at least 80 apart."""
    dark = rng.uniform(0, 175)
    return dark + (wave.clip(-1, 1) + 1) / 2 * (rng.uniform(dark + 80, 255) - dark)


def _full_range(values: Floats) -> Floats:
    return (values - values.min()) / np.ptp(values) * 255


def _random_garment(rng: np.random.Generator, garments: Images) -> Images:
    return garments[rng.integers(len(garments))]


def _inverted(rng: np.random.Generator, garments: Images) -> Images:
    return 255 - _random_garment(rng, garments)


def _half(rng: np.random.Generator, garments: Images) -> Images:
    """Keeps one side of a horizontal or vertical cut through the garment's centre of mass."""
    turns = int(rng.integers(4))
    garment = np.rot90(_random_garment(rng, garments), turns)
    weight = garment.sum(axis=1, dtype=np.int64)
    middle = round(float(weight @ np.arange(SIDE)) / max(1, int(weight.sum())))
    return np.rot90(np.where(np.arange(SIDE)[:, None] < middle, garment, 0), -turns)


def _shuffled(rng: np.random.Generator, garments: Images) -> Images:
    """Permutes sixteen patches."""
    grid = SIDE // PATCH
    patches = _random_garment(rng, garments).reshape(grid, PATCH, grid, PATCH).swapaxes(1, 2).reshape(-1, PATCH, PATCH)
    mixed = patches[rng.permutation(grid * grid)]
    return mixed.reshape(grid, grid, PATCH, PATCH).swapaxes(1, 2).reshape(SIDE, SIDE)


def _blended(rng: np.random.Generator, garments: Images) -> Floats:
    """Averages a garment with the least similar of eight others: the mean of two shirts would be a shirt."""
    first = _random_garment(rng, garments).astype(np.float64)
    others = garments[rng.integers(0, len(garments), CANDIDATES)]
    return (first + others[((others - first) ** 2).sum(axis=(1, 2)).argmax()]) / 2


KINDS: dict[str, Kind] = {
    "blank": Kind(_blank),
    "uniform_noise": Kind(_uniform_noise),
    "smooth_noise": Kind(_smooth_noise),
    "stripes": Kind(_stripes),
    "checkerboards": Kind(_checkerboard),
    "shapes": Kind(lambda rng, _: shape(rng)),
    "figures": Kind(lambda rng, _: figure(rng)),
    "letters": Kind(lambda rng, _: letter(rng)),
    "inverted_garments": Kind(_inverted, needs_garments=True),
    "half_garments": Kind(_half, needs_garments=True),
    "shuffled_garments": Kind(_shuffled, needs_garments=True),
    "blended_garments": Kind(_blended, needs_garments=True),
}

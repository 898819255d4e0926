"""Drawings of the size of a garment's image, light on dark: shapes, stick figures and letters.

Drawn four times as large and shrunk, so that their edges are as soft as those of the garments.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Pixels = npt.NDArray[np.uint8]
Point = tuple[float, float]

SIDE = 28
LARGER = 4
CANVAS = SIDE * LARGER
CHARACTERS = string.ascii_letters + string.digits
DARKEST_INK = 90


def shape(rng: np.random.Generator) -> Pixels:
    """Returns an ellipse, a regular polygon or a star, filled or in outline: uint8 [28, 28]."""
    kind = rng.choice(["ellipse", "polygon", "star"])
    ink, filled, line = _ink(rng), rng.random() < 0.5, int(rng.integers(4, 13))
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
    ink, line = _ink(rng), int(rng.integers(4, 13))
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
    font, ink, bold = _font(int(rng.integers(80, 121))), _ink(rng), int(rng.integers(0, 5))
    place = tuple(CANVAS / 2 + rng.uniform(-8, 8, 2))

    def paint(draw: ImageDraw.ImageDraw) -> None:
        draw.text(place, character, ink, font, anchor="mm", stroke_width=bold)

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
    return np.asarray(picture.rotate(degrees, Image.Resampling.BILINEAR).reduce(LARGER))


def _ink(rng: np.random.Generator) -> int:
    return int(rng.integers(DARKEST_INK, 256))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)

"""The pictures of the demonstration catalogue: those of a data set, as a shop's files, some of them broken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

BREAKAGES = ("missing", "page", "truncated")
"""What a broken file is: not there, a page of a shop called .jpg, cut off."""
PAGE = b"<!DOCTYPE html><title>Sold out</title>"


@dataclass
class Pictures:
    """What `write_pictures` wrote.

    Attributes:
        folder: Where.
        names: Of the files, by image id.
        numbers: Which picture of the data set a file shows, by image id; a broken one has none.
        broken: What is wrong with a file, by image id: one of BREAKAGES.
    """

    folder: Path
    names: dict[int, str] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)
    broken: dict[int, str] = field(default_factory=dict)

    def url(self, image: int, base: str = "") -> str:
        """Returns an image's URL below a base, by default the folder's `file:` URL."""
        return f"{base or self.folder.resolve().as_uri()}/{self.names[image]}"


def write_pictures(
    folder: Path, wanted: Mapping[int, str], images: np.ndarray, garments: Sequence[str], *, every: int = 50
) -> Pictures:
    """Writes a file for every image of a catalogue, as JPEG and PNG by turns; one in so many is broken.

    Args:
        folder: Made when missing.
        wanted: The garment that an image is to show, by image id: the `images` of `sql.demonstration`.
        images: The data set's, uint8 [N, 28, 28]; those of a garment are taken by turns.
        garments: The names of what they show, N of them.
        every: One in how many files is broken, in each of the ways by turns.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = Pictures(folder)
    of_garment = {name: cycle([n for n, its in enumerate(garments) if its == name]) for name in set(wanted.values())}
    for count, (image, garment) in enumerate(wanted.items(), start=1):
        number = next(of_garment[garment])
        breakage = BREAKAGES[count // every % len(BREAKAGES)] if count % every == 0 else ""
        written.names[image] = f"{image}.{'jpg' if image % 2 or breakage == 'page' else 'png'}"
        _write(folder / written.names[image], images[number], breakage)
        if breakage:
            written.broken[image] = breakage
        else:
            written.numbers[image] = number
    return written


def _write(path: Path, image: np.ndarray, breakage: str) -> None:
    from PIL import Image

    if breakage == "page":
        path.write_bytes(PAGE)
    elif breakage != "missing":
        Image.fromarray(image).save(path, quality=95)
    if breakage == "truncated":
        path.write_bytes(path.read_bytes()[:200])

"""The demonstration of the catalogue: image files for its products, its printed table, and the commands to try."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.contract.errors import suggest
from pipeline.contract.printable import printable

if TYPE_CHECKING:
    import numpy as np

    from sql.demonstration import Demonstration
    from sql.extract import Product

BREAKAGES = ("missing", "page", "truncated")
"""How a broken file is broken: absent, an HTML page named .jpg, or cut off."""
PAGE = b"<!DOCTYPE html><title>Sold out</title>"


@dataclass
class Pictures:
    """The files that `write_pictures` wrote.

    Attributes:
        folder: The folder with the files.
        names: The file names by image id.
        numbers: The index in the data set of the picture in a file, by image id; a broken file has none.
        broken: One of BREAKAGES by image id, for the broken files.
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
    """Writes a file for every image of a catalogue, alternately as JPEG and PNG, and breaks some of them.

    Args:
        folder: The folder; created when missing.
        wanted: The garment that an image shows, by image id: the `images` of `sql.demonstration`.
        images: The data set's images, uint8 [N, 28, 28]; those of a garment are used in turn.
        garments: The names of their garments, N of them.
        every: One in so many files is broken, in each of the ways in turn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = Pictures(folder)
    of_garment = {name: cycle([n for n, its in enumerate(garments) if its == name]) for name in set(wanted.values())}
    for count, (image, garment) in enumerate(wanted.items(), start=1):
        number = next(of_garment[garment])
        breakage = BREAKAGES[count // every % len(BREAKAGES)] if count % every == 0 else ""
        written.names[image] = f"{image}.{'jpg' if image % 2 or breakage == 'page' else 'png'}"
        _write_picture(folder / written.names[image], images[number], breakage)
        if breakage:
            written.broken[image] = breakage
        else:
            written.numbers[image] = number
    return written


def _write_picture(path: Path, image: np.ndarray, breakage: str) -> None:
    from PIL import Image

    if breakage == "page":
        path.write_bytes(PAGE)
    elif breakage != "missing":
        Image.fromarray(image).save(path, quality=95)
    if breakage == "truncated":
        path.write_bytes(path.read_bytes()[:200])


def write_fashion_mnist_pictures(folder: Path, catalogue: Demonstration) -> Callable[[int], str]:
    """Writes pictures of Fashion-MNIST for a synthetic catalogue; returns a function from image id to `file:` URL.

    Raises:
        UserError: Fashion-MNIST cannot be read.
    """
    from analysis.data import fashion_mnist
    from models.taxonomy import Taxonomy

    names = Taxonomy.load().garments
    with suggest("sh scripts/get_data.sh"):
        train = fashion_mnist.load(fashion_mnist.locate())["train"]
    return write_pictures(folder, catalogue.images, train.images, [names[garment] for garment in train.garments]).url


def next_commands(dsn: str, pictures: Path | None) -> list[str]:
    """Returns the commands that query a synthetic catalogue and, with pictures, train on it and score it."""
    commands = [["catalogue", "query", "--dsn", dsn]]
    if pictures is not None:
        below = str(pictures.resolve())
        settings = [f"example_gen.dsn={dsn}", f"example_gen.files_below={below}"]
        commands.append(["run", "--profile", "catalogue", *(word for each in settings for word in ("--set", each))])
        commands.append(["catalogue", "classify", "--dsn", dsn, "--files-below", below])
    return [shlex.join(["fashion", *words]) for words in commands]


def print_products(rows: list[Product], catalogue: Demonstration) -> None:
    """Prints the first products, one of each special case, and a summary of all."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from sql.demonstration import CASES

    table = Table("id", "title", "url", "description", "special case")
    null = Text("NULL", style="dim")
    for row in rows[: len(CASES)]:
        # Text: square brackets in a title are not markup.
        cells = [null if value is None else Text(printable(value)) for value in row]
        table.add_row(*cells, Text(catalogue.cases[row.id]))
    Console(highlight=False).print(table)
    pictured, described = (sum(value is not None for value in column) for column in list(zip(*rows, strict=True))[2:])
    print(
        f"{len(rows):,} products, {pictured:,} with an image at index 0, {described:,} with a text for the US; of "
        f"{len(catalogue.images):,} images and {len(catalogue.descriptions):,} descriptions"
    )

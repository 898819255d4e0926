"""What `fashion catalogue demo` shows: a made-up catalogue's products, and pictures for them."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.contract.errors import suggest

if TYPE_CHECKING:
    from sql.demonstration import Demonstration
    from sql.extract import Product


def pictured(folder: Path, made: Demonstration) -> Callable[[int], str]:
    """Writes pictures of Fashion-MNIST for a made-up catalogue, and returns what gives an image's `file:` URL.

    Raises:
        UserError: Fashion-MNIST is not there.
    """
    from analysis.data import fashion_mnist
    from catalogue.pictures import write_pictures
    from models.taxonomy import Taxonomy

    names = Taxonomy.load().garments
    with suggest("sh scripts/get_data.sh"):
        held = fashion_mnist.load(fashion_mnist.locate())["train"]
    return write_pictures(folder, made.images, held.images, [names[garment] for garment in held.garments]).url


def what_to_type(dsn: str, pictures: Path | None) -> list[str]:
    """Returns the commands that ask a made-up catalogue; with pictures also those that learn from it and score it."""
    commands = [["catalogue", "query", "--dsn", dsn]]
    if pictures is not None:
        below = str(pictures.resolve())
        sets = [f"example_gen.dsn={dsn}", f"example_gen.files_below={below}"]
        commands.append(["run", "--profile", "catalogue", *(word for each in sets for word in ("--set", each))])
        commands.append(["catalogue", "classify", "--dsn", dsn, "--files-below", below])
    return [shlex.join(["fashion", *words]) for words in commands]


def show(rows: list[Product], made: Demonstration) -> None:
    """Prints the first products, one of each kind, with what is special about them."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from sql.demonstration import CASES

    table = Table("id", "title", "url", "description", "what is special")
    null = Text("NULL", style="dim")
    for row in rows[: len(CASES)]:
        # Text: square brackets in a title are no markup.
        cells = [null if value is None else Text(str(value)) for value in row]
        table.add_row(*cells, Text(made.cases[row.id]))
    Console(highlight=False).print(table)
    pictured, described = (sum(value is not None for value in column) for column in list(zip(*rows, strict=True))[2:])
    print(
        f"{len(rows):,} products, {pictured:,} with an image at index 0, {described:,} with a text for us; of "
        f"{len(made.images):,} images and {len(made.descriptions):,} descriptions"
    )

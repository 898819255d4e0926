"""The commands `fashion catalogue ...`: reads the product catalogue in PostgreSQL, or shows a made-up one."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pipeline.errors import UserError

if TYPE_CHECKING:
    from sql.demonstration import Demonstration
    from sql.extract import LostConnectionError, Product

SUFFIXES = (".parquet", ".csv")

catalogue = typer.Typer(
    help="The product catalogue in PostgreSQL: queried, and demonstrated.", no_args_is_help=True, rich_markup_mode=None
)

DsnOption = Annotated[
    Optional[str],
    typer.Option(
        envvar="FASHION_CATALOGUE_DSN",
        help='The database, as psql takes it: postgresql://user@host/database or "host=... dbname=...". Passwords are '
        "better left to PGPASSWORD or ~/.pgpass: what stands on a command line, others can see.",
    ),
]
CountryOption = Annotated[str, typer.Option(help="Whose text is wanted; compared exactly.")]
ImageIndexOption = Annotated[int, typer.Option(help="Which of a product's images; 0 is the first.")]
TimeoutOption = Annotated[float, typer.Option(min=0.001, help="Seconds that the database may take for an answer.")]


@catalogue.command()
def query(
    dsn: DsnOption = None,
    country: CountryOption = "us",
    image_index: ImageIndexOption = 0,
    out: Annotated[
        str, typer.Option(help="A file, .parquet or .csv, which appears when it is whole; - is CSV to standard output.")
    ] = "-",
    timeout: TimeoutOption = 60.0,
) -> None:
    """Writes id, title, image URL and description of every product, in the order of id.

    All rows are of one snapshot. Where the connection is lost it goes on behind the last row, with a new one, and says
    so in the end.
    """
    if out != "-" and Path(out).suffix.lower() not in SUFFIXES:
        raise UserError(
            f"It is not clear how to write {out}.",
            expected=f"a name that ends in {' or '.join(SUFFIXES)}, or - for CSV to standard output",
            received=Path(out).suffix or "no suffix",
            next_step=f"fashion catalogue query --out {Path(out).stem or 'products'}.parquet",
        )
    place = given(dsn)
    with mistakes_told():
        from sql.extract import estimate, read_products
        from sql.product_files import write_csv, write_file

        lost: list[int] = []

        def reconnecting(after: int, error: LostConnectionError) -> None:
            lost.append(after)
            print(f"{error.headline} Going on after product {after}.", file=sys.stderr)

        with _bar(estimate(place, timeout=timeout), out) as counted:
            batches = counted(
                read_products(
                    place, country=country, image_index=image_index, timeout=timeout, on_reconnect=reconnecting
                )
            )
            rows = write_csv(batches, sys.stdout.buffer) if out == "-" else write_file(batches, Path(out))
            sys.stdout.flush()
    again = f", of {len(lost) + 1} snapshots: the connection was lost {len(lost)} times" if lost else ""
    print(f"{rows:,} products{again}" + (f": {out}" if out != "-" else ""), file=sys.stderr)


@catalogue.command()
def demo(
    products: Annotated[int, typer.Option(min=1, help="How many.")] = 300,
    keep: Annotated[bool, typer.Option("--keep", help="Goes on until Ctrl-C, so that others can ask it too.")] = False,
) -> None:
    """Starts a PostgreSQL with a made-up catalogue, asks it, shows what comes of each kind of product, and stops it."""
    with mistakes_told():
        from sql.demonstration import demonstration, fill
        from sql.extract import read_products
        from sql.server import find_programs, running_server

        made = demonstration(products)
        with running_server(find_programs()) as dsn:
            fill(dsn, made, lambda image: f"https://example.com/{image}.jpg")
            _show([row for rows in read_products(dsn) for row in rows], made)
            ask = f"fashion catalogue query --dsn {shlex.quote(dsn)}"
            if keep:
                print(f"\nUntil Ctrl-C, in another terminal:\n{ask}", flush=True)
                _until_interrupted()
            else:
                print("\nNext: fashion catalogue demo --keep, and in another terminal fashion catalogue query")


def given(dsn: str | None) -> str:
    """Returns the DSN, or says where one can come from."""
    if dsn is None:
        raise UserError(
            "There is no catalogue to ask.",
            expected="--dsn, or FASHION_CATALOGUE_DSN in the environment",
            received="neither",
            next_step="fashion catalogue demo --keep, which makes one up",
        )
    return dsn


@contextmanager
def mistakes_told() -> Iterator[None]:
    """Raises what is wrong with a catalogue, or what is not installed for it, as a user's error."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise UserError(
            "What reads PostgreSQL is not installed.",
            expected="psycopg 3",
            received="no module of that name",
            next_step="pip install '.[catalogue]'",
        ) from None
    from sql.catalogue_error import CatalogueError
    from sql.server import ServerError

    try:
        yield
    except CatalogueError as error:
        raise UserError(
            error.headline, expected=error.expected, received=error.received, next_step=error.next_step
        ) from None
    except ServerError as error:
        raise UserError(str(error)) from None


@contextmanager
def _bar(expected: int, out: str) -> Iterator[Callable[[Iterator[list[Product]]], Iterator[list[Product]]]]:
    """Yields what counts batches as they pass, with a bar on standard error where that is a terminal of its own."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    shown = console.is_terminal and not (out == "-" and sys.stdout.isatty())
    columns = (BarColumn(), MofNCompleteColumn(), "products", TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not shown, transient=True) as progress:
        task = progress.add_task("", total=expected)

        def counted(batches: Iterator[list[Product]]) -> Iterator[list[Product]]:
            for batch in batches:
                yield batch
                progress.advance(task, len(batch))

        yield counted


def _show(rows: list[Product], made: Demonstration) -> None:
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


def _until_interrupted() -> None:
    try:
        while True:
            signal.pause()
    except KeyboardInterrupt:
        pass

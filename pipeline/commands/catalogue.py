"""The commands `fashion catalogue ...`: reads the product catalogue in PostgreSQL, or shows a made-up one."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from catalogue.demonstration import pictured, show, what_to_type
from pipeline.commands.options import DEFAULT_WORKSPACE, WorkspaceOption
from pipeline.commands.predict import newest_version
from pipeline.contract.errors import UserError
from pipeline.runner.workspace import Workspace

if TYPE_CHECKING:
    from sql.extract import LostConnectionError, Product

SUFFIXES = (".parquet", ".csv")

catalogue = typer.Typer(
    help="The product catalogue in PostgreSQL: queried, scored, and demonstrated.",
    no_args_is_help=True,
    rich_markup_mode=None,
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
TimeoutOption = Annotated[
    float, typer.Option(min=0.001, max=86_400, help="Seconds that the database may take for an answer.")
]


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
    if out == "-" and sys.stdout is None:
        raise UserError(
            "There is nowhere to write.",
            expected="a standard output, or a file",
            received="a standard output that is closed",
            next_step="fashion catalogue query --out products.parquet",
        )
    place = given(dsn)
    with mistakes_told():
        from sql.extract import ahead, estimate, read_products
        from sql.product_files import write_csv, write_file

        lost: list[int] = []

        def reconnecting(after: int, error: LostConnectionError) -> None:
            lost.append(after)
            print(f"{error.headline} Going on after product {after}.", file=sys.stderr)

        with _bar(estimate(place, timeout=timeout), beside=out != "-" or not sys.stdout.isatty()) as advance:
            read = read_products(
                place, country=country, image_index=image_index, timeout=timeout, on_reconnect=reconnecting
            )
            batches = _counted(ahead(read), advance)
            with _unwritable_told(out):
                rows = write_csv(batches, sys.stdout.buffer) if out == "-" else write_file(batches, Path(out))
                sys.stdout.flush()
    again = f", of {len(lost) + 1} snapshots: the connection was lost {len(lost)} times" if lost else ""
    print(f"{rows:,} products{again}" + (f": {out}" if out != "-" else ""), file=sys.stderr)


@catalogue.command()
def classify(
    dsn: DsnOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    country: CountryOption = "us",
    image_index: ImageIndexOption = 0,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Also fetches URLs that lead into this machine's own network.")
    ] = False,
    files_below: Annotated[
        Optional[Path], typer.Option(help="The folder whose files the catalogue may name by file: URLs.")
    ] = None,
    per_host: Annotated[int, typer.Option(min=1, max=32, help="The most images fetched from one host at a time.")] = 16,
    fetch_seconds: Annotated[float, typer.Option(min=0.001, help="The most for one attempt to fetch an image.")] = 10.0,
    trusted_days: Annotated[
        float, typer.Option(min=0, help="The age from which servers are asked whether an image has changed.")
    ] = 30.0,
    most_failed: Annotated[
        float, typer.Option(min=0, max=1, help="Of how many of all products the image may fail before it is an error.")
    ] = 0.1,
    timeout: TimeoutOption = 60.0,
) -> None:
    """Scores new and changed products with the newest pushed model, and writes the answers beside the catalogue.

    Group, confidence and model version go into the table product_classification, a transaction a batch; the view
    product_to_review lists what needs a human. Started again after whatever ended it, it goes on with what is left.
    """
    place, version = given(dsn), newest_version(workspace)
    with mistakes_told():
        from catalogue.images import Fetch
        from catalogue.scoring import CatalogueScorer

        fetch = Fetch(allow_private, files_below, per_host, fetch_seconds, trusted_days)
        scorer = CatalogueScorer(version, Workspace(workspace).cache, fetch)
        with _bar(None) as advance:
            summary = scorer.score(place, country, image_index, timeout, advance)
    failed = ", ".join(f"{count:,} {reason}" for reason, count in summary.failed.most_common())
    print(
        f"{summary.scored:,} products scored by version {scorer.name}, {summary.abstained:,} of them for a human; "
        f"{summary.failed.total():,} failed{f' ({failed})' if failed else ''}; {summary.removed:,} were gone"
    )
    if summary.failed_share > most_failed:
        raise UserError(
            "Too many images cannot be had. Groups from before stay as they are.",
            expected=f"at most {most_failed:.0%} of the products with an answer",
            received=f"{summary.failed_share:.0%}",
            next_step="psql, SELECT reason, count(*) FROM product_to_review GROUP BY reason; mend it, and run again",
        )
    print("Next: psql, SELECT * FROM product_to_review")


@catalogue.command()
def demo(
    products: Annotated[int, typer.Option(min=1, help="How many.")] = 300,
    keep: Annotated[bool, typer.Option("--keep", help="Goes on until Ctrl-C, so that others can ask it too.")] = False,
    pictures: Annotated[
        Optional[Path], typer.Option(help="A folder for pictures of Fashion-MNIST, one in 50 broken, to learn from.")
    ] = None,
) -> None:
    """Starts a PostgreSQL with a made-up catalogue, asks it, shows what comes of each kind of product, and stops it."""
    with mistakes_told():
        from sql.demonstration import demonstration, fill
        from sql.extract import read_products
        from sql.server import find_programs, running_server

        made = demonstration(products)
        with running_server(find_programs()) as dsn:
            fill(dsn, made, pictured(pictures, made) if pictures else lambda image: f"https://example.com/{image}.jpg")
            show([row for rows in read_products(dsn) for row in rows], made)
            if keep:
                print("\nUntil Ctrl-C, in another terminal:", *what_to_type(dsn, pictures), sep="\n", flush=True)
                _until_interrupted()
            else:
                print("\nNext: fashion catalogue demo --keep, which prints what to type in another terminal")


@contextmanager
def _unwritable_told(out: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(
            f"{'Standard output' if out == '-' else out} cannot be written.",
            expected="a folder that is there and may be written to, with room for all of it",
            received=error.strerror or str(error),
            next_step="fashion catalogue query --out products.parquet",
        ) from None


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
    from catalogue.dsn import as_user_error
    from sql.server import ServerError

    try:
        with as_user_error():
            yield
    except ServerError as error:
        raise UserError(str(error)) from None


@contextmanager
def _bar(expected: int | None, beside: bool = True) -> Iterator[Callable[[int], None]]:
    """Yields what is told how many products more are done: a bar on standard error where that is a terminal.

    Args:
        expected: How many there will be, where it is known.
        beside: Whether the terminal is free for it. Defaults to yes.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), "products", TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not (beside and console.is_terminal), transient=True) as progress:
        task = progress.add_task("", total=expected)

        yield lambda more: progress.advance(task, more)


def _counted(batches: Iterator[list[Product]], advance: Callable[[int], None]) -> Iterator[list[Product]]:
    for batch in batches:
        yield batch
        advance(len(batch))


def _until_interrupted() -> None:
    # Shells let what they start in the background ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        while True:
            signal.pause()
    except KeyboardInterrupt:
        pass

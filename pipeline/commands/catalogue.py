"""The commands `fashion catalogue ...`: query, classify and demonstrate the product catalogue in PostgreSQL."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from catalogue.demonstration import next_commands, print_products, write_fashion_mnist_pictures
from pipeline.commands.options import DEFAULT_WORKSPACE, AllowPrivateOption, WorkspaceOption, newest_version
from pipeline.contract.errors import UserError
from pipeline.contract.printable import printable, printable_lines
from pipeline.runner.workspace import Workspace
from serving.fetching.fetch_policy import FetchPolicy

if TYPE_CHECKING:
    from sql.connection import LostConnectionError
    from sql.extract import Key, Product

SUFFIXES = (".parquet", ".csv")

catalogue = typer.Typer(
    help="Query, classify and demonstrate the product catalogue in PostgreSQL.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

DsnOption = Annotated[
    Optional[str],
    typer.Option(
        envvar="FASHION_CATALOGUE_DSN",
        help='The database, as psql takes it: postgresql://user@host/database or "host=... dbname=...". Put passwords '
        "into PGPASSWORD or ~/.pgpass: other users can read a command line. Defaults to PGHOST, PGDATABASE and so on.",
    ),
]
CountryOption = Annotated[str, typer.Option(help="The country code of the description; compared exactly.")]
ImageIndexOption = Annotated[int, typer.Option(help="The index of the product's image; 0 is the first.")]
TimeoutOption = Annotated[float, typer.Option(min=0.001, max=86_400, help="Time-out of a database query in seconds.")]


@catalogue.command()
def query(
    dsn: DsnOption = None,
    country: CountryOption = "us",
    image_index: ImageIndexOption = 0,
    out: Annotated[
        str, typer.Option(help="A .parquet or .csv file, written atomically; - is CSV to standard output.")
    ] = "-",
    timeout: TimeoutOption = 60.0,
) -> None:
    """Write the id, title, image URL and description of every product, ordered by id.

    All rows come from one snapshot. If the connection is lost, the command reconnects, continues after the last row
    and reports the number of snapshots.
    """
    if out != "-" and Path(out).suffix.lower() not in SUFFIXES:
        raise UserError(
            f"The format of {out} is not known.",
            expected=f"a name that ends in {' or '.join(SUFFIXES)}, or - for CSV to standard output",
            received=Path(out).suffix or "no suffix",
            next_step=f"fashion catalogue query --out {Path(out).stem or 'products'}.parquet",
        )
    if out == "-" and sys.__stdout__ is None:  # the command line has opened the null device instead
        raise UserError(
            "There is no output to write to.",
            expected="a standard output, or a file",
            received="a standard output that is closed",
            next_step="fashion catalogue query --out products.parquet",
        )
    dsn = _require_dsn(dsn)
    _print_warnings(dsn, country, image_index, timeout)
    from sql.extract import Product, estimate, read_ahead, read_products
    from sql.product_files import write_csv, write_file

    lost: list[Key] = []

    def report_reconnect(after: Key, error: LostConnectionError) -> None:
        lost.append(after)
        print(printable(f"{error.headline} Continuing after product {after}."), file=sys.stderr)

    with _bar(estimate(dsn, timeout=timeout), visible=out != "-" or not sys.stdout.isatty()) as advance:
        read = read_products(
            dsn, country=country, image_index=image_index, timeout=timeout, on_reconnect=report_reconnect
        )
        counts: Counter[str] = Counter()
        batches = _counted(read_ahead(read), counts, advance)
        if out == "-" and sys.stdout.isatty():
            batches = ([Product(*map(_shown, product)) for product in batch] for batch in batches)
        with _write_errors(out):
            if out == "-":
                write_csv(batches, sys.stdout.buffer)
                sys.stdout.flush()
            else:
                write_file(batches, Path(out))
    snapshots = f", from {len(lost) + 1} snapshots: the connection was lost {len(lost)} times" if lost else ""
    print(f"{_describe(counts)}{snapshots}" + (f": {out}" if out != "-" else ""), file=sys.stderr)


@catalogue.command()
def classify(
    dsn: DsnOption = None,
    directory: WorkspaceOption = DEFAULT_WORKSPACE,
    country: CountryOption = "us",
    image_index: ImageIndexOption = 0,
    allow_private: AllowPrivateOption = False,
    files_below: Annotated[
        Optional[Path], typer.Option(help="The folder whose files the catalogue may refer to by file: URLs.")
    ] = None,
    max_per_host: Annotated[
        int, typer.Option(min=1, max=32, help="The most images to fetch from one host at a time.")
    ] = FetchPolicy.max_per_host,
    attempt_seconds: Annotated[
        float, typer.Option(min=0.001, help="Time limit for one attempt to fetch an image, in seconds.")
    ] = FetchPolicy.attempt_seconds,
    max_age_days: Annotated[
        float, typer.Option(min=0, help="The age in days from which cached images are revalidated with their server.")
    ] = 30.0,
    max_failed_share: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="The share of products whose image may fail, and the share of results that may be removed because the "
            "product or its image is gone, before the command fails.",
        ),
    ] = 0.1,
    timeout: TimeoutOption = 60.0,
) -> None:
    """Classify new and changed products with the newest pushed model, and write the results into the database.

    Group, confidence and model version go into the table product_classification, one transaction per batch; the view
    product_to_review lists the products that need a human. After an interruption the same command continues.
    """
    workspace = Workspace(directory)
    dsn, version = _require_dsn(dsn), newest_version(workspace)
    from catalogue.scoring import CatalogueScorer

    _print_warnings(dsn, country, image_index, timeout)
    policy = FetchPolicy(
        allow_private=allow_private,
        files_below=files_below,
        max_age_seconds=max_age_days * 86_400,
        max_per_host=max_per_host,
        attempt_seconds=attempt_seconds,
    )
    scorer = CatalogueScorer(version, workspace.cache, policy)
    with _bar(None) as advance:
        summary = scorer.score(dsn, country, image_index, timeout, advance, max_failed_share)
    failed = ", ".join(f"{count:,} {reason}" for reason, count in summary.failed.most_common())
    print(_describe(summary.read))
    print(
        f"{summary.scored:,} products scored by version {scorer.name}, {summary.abstained:,} of them for a human; "
        f"{summary.failed.total():,} failed{f' ({failed})' if failed else ''}; {summary.removed:,} removed"
    )
    if summary.failed_share > max_failed_share:
        raise UserError(
            "Too many images could not be fetched. Earlier results stay as they are.",
            expected=f"at most {max_failed_share:.0%} of the answered products",
            received=f"{summary.failed_share:.0%}",
            next_step="psql, SELECT reason, count(*) FROM product_to_review GROUP BY reason; fix the cause, run again",
        )
    if summary.read["products"] and not summary.read["images"]:
        raise UserError(
            f"No product has an image at index {image_index}.",
            expected="products with an image at the index in ProductImages, and its URL in Image",
            received=f"{summary.read['products']:,} products without",
            next_step="SELECT ImageIndex, count(*) FROM ProductImages GROUP BY 1; then --image-index with one of them",
        )
    print("Next: psql, SELECT * FROM product_to_review")


@catalogue.command()
def demo(
    products: Annotated[int, typer.Option(min=1, help="The number of products.")] = 300,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the server until Ctrl-C, for other clients.")] = False,
    pictures: Annotated[
        Optional[Path], typer.Option(help="A folder to write the products' images to: Fashion-MNIST, one in 50 broken.")
    ] = None,
) -> None:
    """Start a PostgreSQL with a synthetic catalogue, query it, show one product of each kind, and stop it."""
    from catalogue.products import require_psycopg

    require_psycopg()
    from sql.demonstration import fill, make_demonstration
    from sql.extract import read_products
    from sql.server import find_programs, running_server

    demonstration = make_demonstration(products)
    with running_server(find_programs()) as dsn:
        url_of = (
            write_fashion_mnist_pictures(pictures, demonstration) if pictures else "https://example.com/{}.jpg".format
        )
        fill(dsn, demonstration, url_of)
        print_products([row for rows in read_products(dsn) for row in rows], demonstration)
        if keep:
            print("\nUntil Ctrl-C, in another terminal:", *next_commands(dsn, pictures), sep="\n", flush=True)
            _until_interrupted()
        else:
            print("\nNext: fashion catalogue demo --keep, which prints what to type in another terminal")


@contextmanager
def _write_errors(out: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(
            f"{'Standard output' if out == '-' else out} cannot be written.",
            expected="an existing folder that this user may write to, with enough free space",
            received=error.strerror or str(error),
            next_step="fashion catalogue query --out products.parquet",
        ) from None


def _require_dsn(dsn: str | None) -> str:
    """Returns the DSN, and checks that psycopg is installed."""
    from catalogue.products import require_dsn, require_psycopg

    require_psycopg()
    return require_dsn(dsn, "--dsn", "fashion catalogue demo --keep, which starts a synthetic one")


@contextmanager
def _bar(expected: int | None, visible: bool = True) -> Iterator[Callable[[int], None]]:
    """Yields a function that adds finished products to a progress bar on standard error, if that is a terminal.

    Args:
        expected: The number of products, if it is known.
        visible: Whether to draw the bar; not when standard output goes to the same terminal. Defaults to True.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), "products", TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not (visible and console.is_terminal), transient=True) as progress:
        task = progress.add_task("", total=expected)

        yield lambda count: progress.advance(task, count)


def _counted(
    batches: Iterator[list[Product]], counts: Counter[str], advance: Callable[[int], None]
) -> Iterator[list[Product]]:
    from catalogue.products import count_content

    for batch in batches:
        yield batch
        counts.update(count_content(batch))
        advance(len(batch))


def _shown(value: Any) -> Any:
    """Returns a value of a product for a terminal; a file or a pipe gets it unchanged."""
    return printable(value) if isinstance(value, str) else value


def _describe(counts: Counter[str]) -> str:
    return f"{counts['products']:,} products, {counts['images']:,} with an image and {counts['texts']:,} with a text"


def _print_warnings(dsn: str, country: str, image_index: int, timeout: float) -> None:
    from sql.inspection import inspect

    for warning in inspect(dsn, country=country, image_index=image_index, timeout=timeout):
        print(printable_lines(f"Warning: {warning}"), file=sys.stderr)


def _until_interrupted() -> None:
    # Shells start background jobs with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        while True:
            signal.pause()
    except KeyboardInterrupt:
        pass

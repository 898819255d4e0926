"""The command `fashion predict`: classifies images with a running server, or scores many without one."""

from __future__ import annotations

import csv
import json
import sys
from bisect import insort
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from pipeline.commands.options import (
    DEFAULT_WORKSPACE,
    AllowPrivateOption,
    JsonOption,
    WorkspaceOption,
    newest_version,
)
from pipeline.contract.errors import UserError, suggest
from pipeline.contract.printable import printable
from pipeline.runner.workspace import Workspace

if TYPE_CHECKING:
    from serving.client import Client
    from serving.client.predictions import Failure, Prediction

DEFAULT_URL = "http://127.0.0.1:8501"
BATCH = 64
MAX_ALIKE = 3
"""Names of images with the same error that are printed with it."""


def predict(
    sources: Annotated[
        Optional[list[str]], typer.Argument(metavar="SOURCE...", help="Image files, folders of them, or URLs.")
    ] = None,
    url: Annotated[str, typer.Option(help="The server: http, https, grpc or grpcs.")] = DEFAULT_URL,
    model: Annotated[str, typer.Option(help="The model's name on the server.")] = "fashion",
    version: Annotated[Optional[int], typer.Option(help="The version of the model; the newest by default.")] = None,
    label: Annotated[Optional[str], typer.Option(help="The version's label instead, such as canary.")] = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    allow_private: AllowPrivateOption = False,
    timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds to fetch a URL, and seconds for each request to the server.")
    ] = 10.0,
    examples: Annotated[
        Optional[str],
        typer.Option(metavar="PATTERN", help="Score TFRecords, Parquet or folders into --output, without a server."),
    ] = None,
    output: Annotated[Optional[Path], typer.Option(help="The directory for the scores of --examples.")] = None,
    start_over: Annotated[bool, typer.Option("--start-over", help="Replace the content of --output.")] = False,
    directory: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Classify images with a running server: print the group, the confidence, and whether the model abstains.

    Exits with 1 if an image fails; the others are classified all the same. With --examples no server is needed.
    """
    if examples is not None or output is not None:
        _score(sources, examples, output, Workspace(directory), start_over)
        return
    if not sources or (as_json and as_csv) or (version is not None and label):
        raise _misuse(sources, as_json and as_csv)
    from serving.client import Client

    with suggest(f"fashion predict --url {DEFAULT_URL} IMAGE"):
        client = Client(url, model, version, label, timeout, allow_private=allow_private, download_seconds=timeout)
    with client:
        answers, obstacle = _answers(client, sources, timeout)
    from serving.client.predictions import Failure, Prediction

    _print([a for a in answers if isinstance(a, Prediction)], as_json, as_csv)
    failures = [a for a in answers if isinstance(a, Failure)]
    for line in _describe_failures(failures):
        print(printable(line), file=sys.stderr)
    if obstacle:
        raise obstacle
    if failures:
        raise typer.Exit(1)


def _answers(client: Client, sources: list[str], timeout: float) -> tuple[list[Prediction | Failure], UserError | None]:
    """Returns the answers, and the error that prevented the rest: a server that stops halfway loses no answer."""
    from serving.client.errors import ClientError
    from serving.client.predictions import Failure

    answers: list[Prediction | Failure] = []
    obstacle: UserError | None = None
    for batch in _batches(sources):
        answered: list[tuple[int, Prediction | Failure]] = []
        answers += [source for source in batch if isinstance(source, Failure)]
        try:
            for position, answer in client.predict_as_answered([s for s in batch if isinstance(s, str)]):
                insort(answered, (position, answer), key=lambda item: item[0])
        except ClientError as error:
            error.next_step = error.next_step or _next_step(error, timeout)
            obstacle = error
        answers += [answer for _, answer in answered]
        if obstacle:
            break
    return answers, obstacle


def _describe_failures(failures: list[Failure]) -> list[str]:
    """Returns a line for each failure; of several that differ in the image alone, the first, a count and some names."""
    alike: dict[str, list[Failure]] = {}
    for failure in failures:
        alike.setdefault(failure.reason.replace(failure.source, "\0"), []).append(failure)
    lines = []
    for first, *others in alike.values():
        lines.append(first.reason)
        if len(others) < MAX_ALIKE:
            lines += [failure.reason for failure in others]
        else:
            names = ", ".join(failure.source for failure in others[:MAX_ALIKE])
            more = f" and {len(others) - MAX_ALIKE:,} more" if len(others) > MAX_ALIKE else ""
            lines.append(f"The same error for {len(others):,} further images: {names}{more}")
    return lines


def _batches(sources: list[str]) -> Iterator[list[str | Failure]]:
    """Yields the images of one request at a time, in the order of the sources, with folders expanded."""
    from serving.client.image_sources import expand_folders
    from serving.client.predictions import Failure
    from serving.images.encoding import ImageError

    batch: list[str | Failure] = []
    for source in sources:
        try:
            found: list[str | Failure] = [*expand_folders([source])]
        except ImageError as error:
            found = [Failure(source, error.one_line)]
        for image in found:
            batch.append(image)
            if len(batch) == BATCH:
                yield batch
                batch = []
    if batch:
        yield batch


def _next_step(error: Exception, timeout: float) -> str:
    from serving.client.errors import DeadlineExceeded, NotFound, Overloaded, Unreachable

    match error:
        case Unreachable():
            return "fashion serve"
        case Overloaded():
            return "the same command, later"
        case DeadlineExceeded():
            return f"the same command with --timeout {max(60, 6 * timeout):g}"
        case NotFound():
            return "fashion serve, or --model, --version, --label"
    return "look at the server's log"


def _print(predictions: list[Prediction], as_json: bool, as_csv: bool) -> None:
    if as_json:
        print(json.dumps([_as_json(p) for p in predictions], indent=2))
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["file", "group", "confidence", "abstain"])
        # A file gets the names as they are.
        shown = printable if sys.stdout.isatty() else str
        writer.writerows(
            [shown(p.source), shown(p.group), f"{p.confidence:.6f}", str(p.abstain).lower()] for p in predictions
        )
    elif predictions:
        _print_table(predictions)


def _as_json(prediction: Prediction) -> dict[str, Any]:
    from dataclasses import asdict

    content = asdict(prediction)
    return {"file": content.pop("source")} | content


def _print_table(predictions: list[Prediction]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("file", overflow="fold")
    table.add_column("group")
    table.add_column("confidence", justify="right")
    table.add_column("abstain")
    for p in predictions:
        # Text, because square brackets in a name are not markup.
        table.add_row(
            Text(printable(p.source)), Text(printable(p.group)), f"{p.confidence:.1%}", "yes" if p.abstain else "no"
        )
    Console(highlight=False).print(table)


def _misuse(sources: list[str] | None, two_formats: bool) -> UserError:
    if not sources:
        expected, received = "files, folders or URLs", "none"
    elif two_formats:
        expected, received = "--json or --csv", "both"
    else:
        expected, received = "--version or --label", "both"
    return UserError(
        "It is not clear what to predict.", expected=expected, received=received, next_step="fashion predict --help"
    )


def _score(
    sources: list[str] | None, examples: str | None, output: Path | None, workspace: Workspace, start_over: bool
) -> None:
    if sources or examples is None or output is None:
        raise UserError(
            "Bulk scoring needs a pattern and a directory, and no other images.",
            expected="--examples PATTERN --output DIR",
            received=" ".join(["fashion predict", *(sources or [])]) + (f" --output {output}" if output else ""),
            next_step="fashion predict --examples 'data/*.tfrecord' --output scores",
        )
    version = newest_version(workspace)
    from serving.bulk.inference import score

    with suggest("fashion predict --help"):
        summary = score(examples, version.path, output, start_over=start_over)
    print(f"{summary.images:,} images scored by version {version.number} into {output}, {summary.failed:,} failed")
    if summary.failed:
        raise typer.Exit(1)

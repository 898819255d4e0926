"""The commands `fashion experiment ...`: runs the declared experiments, compares arms, and writes the report."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pipeline.errors import UserError
from pipeline.options import DEFAULT_WORKSPACE, ProfileOption, SetOption, WorkspaceOption
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    from analysis.experiments.laboratory import Laboratory
    from analysis.experiments.results import Results
    from pipeline.display import Display
    from pipeline.progress import Progress

PAGE = "experiments.html"
SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
STUDIES = Path(__file__).parent.parent / "analysis" / "experiments" / "studies"

experiment = typer.Typer(
    help="Experiments: declared, run, compared, reported.", no_args_is_help=True, rich_markup_mode=None
)

StudiesOption = Annotated[
    Path,
    typer.Option(
        "--studies",
        help="Where the declarations and their results are.",
        show_default="analysis/experiments/studies",
    ),
]
NameArgument = Annotated[Optional[str], typer.Argument(help="The experiment; fashion experiment list names them.")]


@experiment.command("list")
def list_experiments(studies: StudiesOption = STUDIES) -> None:
    """Lists the experiments: how many of their runs are made, and what was decided."""
    from analysis.experiments.story import table_text

    with _mistakes_told():
        print(table_text(studies))


@experiment.command()
def run(
    name: NameArgument = None,
    everything: Annotated[bool, typer.Option("--all", help="Runs all experiments, one after another.")] = False,
    budget: Annotated[
        Optional[str], typer.Option(help="Begins no run after this time: 90m, 3h.", show_default="as declared")
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    profile: ProfileOption = "default",
    set_: SetOption = None,
    studies: StudiesOption = STUDIES,
) -> None:
    """Makes the missing runs of an experiment, and writes each into its CSV.

    The images are those of the pipeline in the workspace. Interrupted at any time, the same command goes on: at most
    the running epoch is lost.
    """
    from analysis.experiments.declaration import names
    from analysis.experiments.measures import check
    from pipeline.display import display_for, terminal_console

    if (name is None) == (not everything):
        raise UserError(
            "It is not said which experiment is to be run.",
            expected="a name, or --all",
            received=f"{name} and --all" if name else "neither",
            next_step="fashion experiment list",
        )
    if studies == STUDIES and (set_ or profile != "default"):
        raise UserError(
            "The results of the project's own experiments are of its default data.",
            expected="--studies and a directory of your own beside --profile or --set",
            received=" ".join([profile, *(set_ or [])]),
            next_step="mkdir mine; cp analysis/experiments/studies/*.toml mine; fashion experiment run ... --studies mine",
        )
    seconds, place = parse_seconds(budget), Workspace(workspace)
    with _mistakes_told():
        chosen = [_results(found, studies) for found in (names(studies) if name is None else [name])]
        check(results.experiment for results in chosen)
        display = display_for(terminal_console())
        laboratory = open_laboratory(place, profile, set_, display)
        with place.lock(), display.watch([results.experiment.name for results in chosen]):
            _run_all(chosen, laboratory, seconds, display)
    missing = sum(len(results.missing()) for results in chosen)
    print(f"\n{missing} runs are missing. Next: the same command" if missing else "\nNext: fashion experiment report")


@experiment.command()
def compare(
    arm: Annotated[str, typer.Argument(metavar="A", help="An arm.")],
    other: Annotated[str, typer.Argument(metavar="B", help="The arm that it is compared with.")],
    of: Annotated[Optional[str], typer.Option("--of", help="The experiment, where several have both arms.")] = None,
    studies: StudiesOption = STUDIES,
) -> None:
    """Compares two arms of an experiment: every metric's difference with its interval, and the test of the errors."""
    from analysis.experiments.declaration import names
    from analysis.experiments.story import compare_text

    with _mistakes_told():
        asked = [_results(name, studies) for name in (names(studies) if of is None else [of])]
        results = _with_arms(asked, arm, other)
        print(compare_text(results.experiment, results, arm, other))


@experiment.command()
def report(workspace: WorkspaceOption = DEFAULT_WORKSPACE, studies: StudiesOption = STUDIES) -> None:
    """Writes reports/experiments.html in the workspace: question, expectation, outcome and decision of each."""
    from analysis.experiments.story import write_page

    target = Workspace(workspace).reports / PAGE
    target.parent.mkdir(parents=True, exist_ok=True)
    with _mistakes_told():
        write_page(target, studies)
    print(f"Page     {target}")


def open_laboratory(workspace: Workspace, profile: str, overrides: list[str] | None, display: Display) -> Laboratory:
    """Runs the pipeline up to the grouped examples, or reuses what it left, and reads them."""
    from analysis.experiments.laboratory import Laboratory
    from components.examples import read_arrays
    from pipeline.artifacts import Examples
    from pipeline.assembly import assemble, resume_command
    from pipeline.local_runner import LocalRunner

    pipeline, _ = assemble("fashion", workspace, profile, overrides)
    selected = pipeline.select(None, "label_grouping", None)
    ran = LocalRunner(pipeline, workspace, display, resume_command()).run(selected)
    examples = Examples(workspace.root / ran.artifacts["label_grouping"]["grouped"].uri)
    splits = {name: read_arrays(examples.split(name), ("image", "garment")) for name in ("train", "validation", "test")}
    return Laboratory(
        {name: arrays["image"] for name, arrays in splits.items()},
        {name: arrays["garment"] for name, arrays in splits.items()},
        pipeline.node("label_grouping").parameters["taxonomy"],
        workspace.root / "experiments",
    )


def parse_seconds(text: str | None) -> float | None:
    """Returns the seconds that "45m", "3h" or "90" (minutes) mean; None for None.

    Raises:
        UserError: It is no time.
    """
    if text is None:
        return None
    matched = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|m|h)?\s*", text)
    if matched is None:
        raise UserError(
            "The budget is no time.",
            expected="a number with s, m or h, such as 90m or 3h",
            received=text,
            next_step="fashion experiment run --all --budget 3h",
        )
    return float(matched[1]) * SECONDS[matched[2] or "m"]


def _run_all(chosen: list[Results], laboratory: Laboratory, seconds: float | None, display: Display) -> None:
    from analysis.experiments.runner import run as run_missing

    begun = time.monotonic()
    for results in chosen:
        name, missing = results.experiment.name, len(results.missing())
        if not missing:
            display.reused(name, "reuse", "all runs are made")
            continue
        declared = 60 * results.experiment.budget_minutes
        left = declared if seconds is None else seconds - (time.monotonic() - begun)
        if left <= 0:
            display.reused(name, "keep", f"{missing} runs missing, and the budget is used up")
            continue
        display.started(name, [f"{missing} runs are missing"])
        progress, started = _Progress(display.progress(name)), time.monotonic()
        laboratory.report = progress.within
        try:
            failures = run_missing(results, laboratory, left, progress.run)
        except BaseException:
            display.failed(name)
            raise
        for failure in failures:
            display.message(failure)
        display.finished(name, time.monotonic() - started, f"{len(results.missing())} runs missing")


class _Progress:
    """Says which run is made, and how far it is."""

    def __init__(self, told: Progress) -> None:
        self._told, self._done, self._total, self._run = told, 0, 1, ""

    def run(self, arm: str, seed: int, done: int, total: int) -> None:
        """A run begins."""
        self._done, self._total, self._run = done, total, f"{arm}, seed {seed}"
        self._told(done, total, "runs", self._run)

    def within(self, done: int, total: int, unit: str) -> None:
        """The run is as far as that."""
        self._told(self._done, self._total, "runs", f"{self._run}, {done} of {total} {unit}")


def _results(name: str, studies: Path) -> Results:
    from analysis.experiments.declaration import load
    from analysis.experiments.results import Results

    return Results(load(name, studies), studies)


def _with_arms(asked: list[Results], arm: str, other: str) -> Results:
    """Returns the one of the experiments that has results of both arms."""
    made = {results.experiment.name: set(results.figures["arm"]) for results in asked}
    found = [results for results in asked if {arm, other} <= made[results.experiment.name]]
    if len(found) == 1:
        return found[0]
    names = ", ".join(results.experiment.name for results in found)
    known = (
        "; ".join(sorted(made[asked[0].experiment.name])) if len(asked) == 1 else "fashion experiment report shows all"
    )
    raise UserError(
        f"{'Several experiments have' if found else 'No experiment has'} results of both arms.",
        expected="--of and the name of one" if found else f"arms of one experiment ({known or 'none is run yet'})",
        received=names or f"{arm}; {other}",
        next_step=f"fashion experiment compare ... --of {found[0].experiment.name}"
        if found
        else "fashion experiment list",
    )


@contextmanager
def _mistakes_told() -> Iterator[None]:
    """Turns what is wrong with a declaration into what a user sees."""
    from analysis.experiments.declaration import DeclarationError

    try:
        yield
    except DeclarationError as error:
        headline, _, rest = str(error).partition(" Expected: ")
        expected, _, received = rest.partition(" Received: ")
        raise UserError(
            headline, expected=expected.rstrip("."), received=received, next_step="fashion experiment list"
        ) from None

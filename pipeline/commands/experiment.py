"""The commands `fashion experiment ...`: runs the declared experiments, compares arms, and writes the report."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pipeline.commands.options import DEFAULT_WORKSPACE, ProfileOption, SetOption, WorkspaceOption
from pipeline.contract.errors import UserError
from pipeline.runner.workspace import Workspace

if TYPE_CHECKING:
    from analysis.experiments.laboratory import Laboratory
    from analysis.experiments.results import Results
    from pipeline.contract.progress import Progress
    from pipeline.runner.display import Display

PAGE = "experiments.html"
SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
STUDIES = Path(__file__).resolve().parents[2] / "analysis" / "experiments" / "studies"

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
    from analysis.experiments.measures.registry import check
    from pipeline.runner.display import display_for, terminal_console

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
            # Without the CSVs: with them all runs would count as made.
            next_step=(
                "mkdir mine; cp analysis/experiments/studies/*.toml mine; fashion experiment run ... --studies mine"
            ),
        )
    seconds, place = parse_seconds(budget), Workspace(workspace)
    with _mistakes_told():
        chosen = [_results(found, studies) for found in (names(studies) if name is None else [name])]
        check(results.experiment for results in chosen)
        display = display_for(terminal_console())
        laboratory = open_laboratory(place, profile, set_, display)
        with place.lock(), display.watch([results.experiment.name for results in chosen]):
            failures = _run_all(chosen, laboratory, seconds, display)
    missing = sum(len(results.missing()) for results in chosen)
    print(f"\n{what_is_left(missing, failures)}")


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
    from analysis.data.examples import read_arrays
    from analysis.experiments.laboratory import Laboratory
    from pipeline.commands.assembly import assemble, resume_command
    from pipeline.contract.artifacts import Examples
    from pipeline.runner.local_runner import LocalRunner

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


def _run_all(chosen: list[Results], laboratory: Laboratory, seconds: float | None, display: Display) -> int:
    """Runs what is missing of experiments, and returns how many trainings diverged."""
    from analysis.experiments.runner import run as run_missing

    begun, failed = time.monotonic(), 0
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
        failed += len(failures)
        for failure in failures:
            display.message(failure)
        display.finished(name, time.monotonic() - started, f"{len(results.missing())} runs missing")
    return failed


def what_is_left(missing: int, failures: int) -> str:
    """Returns what to do after a run that left runs missing, some because their training diverged."""
    if not missing:
        return "Next: fashion experiment report"
    told = f"{missing} runs are missing"
    if failures:
        # Made again they would diverge again.
        told += f", {failures} of them because the training diverged"
    next_step = "the same command" if missing > failures else "declare a smaller peak_learning_rate for these arms"
    return f"{told}. Next: {next_step}"


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
    if arm == other:
        raise UserError(
            "An arm is compared with itself.",
            expected="two arms",
            received=f"{arm}, twice",
            next_step="fashion experiment report, which shows all arms",
        )
    known = list(dict.fromkeys(name for results in asked for name in results.experiment.arms))
    for name in (arm, other):
        if name not in known:
            raise UserError(
                f"There is no arm {name!r}.",
                expected=f"an arm such as {'; '.join(get_close_matches(name, known, 5, 0.0))}",
                received=name,
                next_step="fashion experiment report, which shows all arms",
            )
    declared = [results for results in asked if {arm, other} <= set(results.experiment.arms)]
    found = [results for results in declared if {arm, other} <= set(results.figures["arm"])]
    if len(found) == 1:
        return found[0]
    names = [results.experiment.name for results in found or declared]
    raise UserError(
        f"{'Several experiments have' if found else 'No experiment has'} results of both arms.",
        expected="--of and the name of one" if found else "two arms of one experiment, both run",
        received=", ".join(names) if found else f"{arm}; {other}",
        next_step=f"fashion experiment compare ... --of {names[0]}"
        if found
        else f"fashion experiment run {names[0]}"
        if names
        else "fashion experiment list",
    )


@contextmanager
def _mistakes_told() -> Iterator[None]:
    """Turns what is wrong with a declaration or with results into what a user sees."""
    from analysis.experiments.declaration import DeclarationError
    from analysis.experiments.results import ResultsError
    from analysis.experiments.wrong_answers import ComparisonError

    try:
        yield
    except (DeclarationError, ResultsError, ComparisonError) as error:
        headline, _, rest = str(error).partition(" Expected: ")
        expected, _, received = rest.partition(" Received: ")
        received, _, next_step = received.partition(" Next: ")
        if not isinstance(error, DeclarationError):
            next_step = "git checkout of the CSV, or remove the arm's rows and run it again"
        raise UserError(
            headline,
            expected=expected.rstrip("."),
            received=received.rstrip("."),
            next_step=next_step or "fashion experiment list",
        ) from None

"""The commands `fashion experiment ...`: run the declared experiments, compare arms, write the report."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pipeline.commands.options import (
    DEFAULT_WORKSPACE,
    ProfileOption,
    SetOption,
    WorkspaceOption,
    assemble,
    resume_command,
)
from pipeline.contract.errors import UserError, suggest
from pipeline.contract.suggestions import nearest
from pipeline.runner.workspace import Workspace

if TYPE_CHECKING:
    from analysis.experiments.laboratory import Laboratory
    from analysis.experiments.results import Results
    from pipeline.contract.progress import Progress
    from pipeline.runner.display import Display

PAGE = "experiments.html"
LIST_COMMAND = "fashion experiment list"
SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
STUDIES = Path(__file__).resolve().parents[2] / "analysis" / "experiments" / "studies"

experiment = typer.Typer(
    help="Run the declared experiments, compare arms, write the report.", no_args_is_help=True, rich_markup_mode=None
)

StudiesOption = Annotated[
    Path,
    typer.Option(
        "--studies",
        help="The directory of the declarations and their results.",
        show_default="analysis/experiments/studies",
    ),
]
NameArgument = Annotated[Optional[str], typer.Argument(help="The experiment; see fashion experiment list.")]


@experiment.command("list")
def list_experiments(studies: StudiesOption = STUDIES) -> None:
    """List the experiments with their finished runs and decisions."""
    from analysis.experiments.terminal_tables import table_text

    with suggest(LIST_COMMAND):
        print(table_text(studies))


@experiment.command()
def run(
    name: NameArgument = None,
    everything: Annotated[bool, typer.Option("--all", help="Run all experiments, one after another.")] = False,
    budget: Annotated[
        Optional[str], typer.Option(help="Start no run after this time: 90m, 3h.", show_default="as declared")
    ] = None,
    directory: WorkspaceOption = DEFAULT_WORKSPACE,
    profile: ProfileOption = "default",
    set_: SetOption = None,
    studies: StudiesOption = STUDIES,
) -> None:
    """Run what is missing of an experiment, and write every run into its CSV.

    The images are those of the pipeline in the workspace. After an interruption the same command continues; at most
    the running epoch is lost.
    """
    from analysis.experiments.declaration import names
    from analysis.experiments.runner import check
    from pipeline.runner.display import display_for, terminal_console

    if (name is None) == (not everything):
        raise UserError(
            "No single experiment is selected.",
            expected="a name, or --all",
            received=f"{name} and --all" if name else "neither",
            next_step=LIST_COMMAND,
        )
    if studies == STUDIES and (set_ or profile != "default"):
        raise UserError(
            "The project's own experiments run on its default data only.",
            expected="--studies with a directory of your own, next to --profile or --set",
            received=" ".join([profile, *(set_ or [])]),
            # Without the CSVs: with them all runs would count as finished.
            next_step=(
                "mkdir mine; cp analysis/experiments/studies/*.toml mine; fashion experiment run ... --studies mine"
            ),
        )
    seconds, workspace = parse_seconds(budget), Workspace(directory)
    with suggest(LIST_COMMAND):
        chosen = [_results(found, studies) for found in (names(studies) if name is None else [name])]
        check(results.experiment for results in chosen)
        display = display_for(terminal_console())
        laboratory = open_laboratory(workspace, profile, set_, display)
        with workspace.lock(), display.watch([results.experiment.name for results in chosen]):
            failures = _run_all(chosen, laboratory, seconds, display)
    missing = sum(len(results.missing()) for results in chosen)
    print(f"\n{next_step(missing, failures)}")


@experiment.command()
def compare(
    arm: Annotated[str, typer.Argument(metavar="A", help="An arm.")],
    other: Annotated[str, typer.Argument(metavar="B", help="The arm to compare it with.")],
    of: Annotated[Optional[str], typer.Option("--of", help="The experiment, if several have both arms.")] = None,
    studies: StudiesOption = STUDIES,
) -> None:
    """Compare two arms of an experiment: the difference of every metric with its interval, and a test of the errors."""
    from analysis.experiments.declaration import names
    from analysis.experiments.terminal_tables import compare_text

    with suggest(LIST_COMMAND):
        candidates = [_results(name, studies) for name in (names(studies) if of is None else [of])]
        results = _with_arms(candidates, arm, other)
        print(compare_text(results.experiment, results, arm, other))


@experiment.command()
def report(directory: WorkspaceOption = DEFAULT_WORKSPACE, studies: StudiesOption = STUDIES) -> None:
    """Write reports/experiments.html in the workspace: question, hypothesis, outcome and decision of each."""
    from analysis.experiments.report import reports, write_page

    target = Workspace(directory).reports / PAGE
    with suggest(LIST_COMMAND):
        write_page(target, reports(studies))
    print(f"Page     {target}")


def open_laboratory(workspace: Workspace, profile: str, overrides: list[str] | None, display: Display) -> Laboratory:
    """Runs the pipeline up to the grouped examples, or reuses its results, and reads them."""
    from analysis.data.examples import read_arrays
    from analysis.experiments.laboratory import Laboratory
    from components.label_grouping import label_grouping
    from pipeline.contract.artifacts import Examples
    from pipeline.runner.local_runner import LocalRunner

    pipeline, _ = assemble("fashion", workspace, profile, overrides)
    grouping = label_grouping.spec.name
    result = LocalRunner(pipeline, workspace, display, resume_command()).run(pipeline.select(None, grouping, None))
    examples = result.find(Examples)[grouping]
    splits = {name: read_arrays(examples.split(name), ("image", "garment")) for name in ("train", "validation", "test")}
    return Laboratory(
        {name: arrays["image"] for name, arrays in splits.items()},
        {name: arrays["garment"] for name, arrays in splits.items()},
        pipeline.node(grouping).parameters["taxonomy"],
        workspace.root / "experiments",
    )


def parse_seconds(text: str | None) -> float | None:
    """Returns the seconds of "45m", "3h" or "90" (minutes); None for None.

    Raises:
        UserError: The text is not a time.
    """
    if text is None:
        return None
    matched = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|m|h)?\s*", text)
    if matched is None:
        raise UserError(
            "The budget is not a time.",
            expected="a number with s, m or h, such as 90m or 3h",
            received=text,
            next_step="fashion experiment run --all --budget 3h",
        )
    return float(matched[1]) * SECONDS[matched[2] or "m"]


def _run_all(chosen: list[Results], laboratory: Laboratory, seconds: float | None, display: Display) -> int:
    """Runs what is missing of the experiments; returns the number of trainings that diverged."""
    from analysis.experiments.runner import run as run_missing

    start, failed = time.monotonic(), 0
    for results in chosen:
        name, missing = results.experiment.name, len(results.missing())
        if not missing:
            display.reused(name, "reuse", "all runs are finished")
            continue
        declared = 60 * results.experiment.budget_minutes
        left = declared if seconds is None else seconds - (time.monotonic() - start)
        if left <= 0:
            display.reused(name, "keep", f"{_missing_runs(missing)}, and the budget is used up")
            continue
        display.started(name, [_missing_runs(missing)])
        progress, started = _RunProgress(display.progress(name)), time.monotonic()
        laboratory.on_progress = progress.within_run
        try:
            failures = run_missing(results, laboratory, left, progress.start_run)
        except BaseException:
            display.failed(name)
            raise
        failed += len(failures)
        for failure in failures:
            display.message(failure)
        display.finished(name, time.monotonic() - started, _missing_runs(len(results.missing())))
    return failed


def next_step(missing: int, failures: int) -> str:
    """Returns what is missing after a run, and what to do next.

    Args:
        missing: The number of runs without a result.
        failures: How many of them because the training diverged; it would diverge again.
    """
    if not missing:
        return "Next: fashion experiment report"
    some = "" if failures == missing else f"{failures} of them "
    diverged = f", {some}because the training diverged" if failures else ""
    step = "the same command" if missing > failures else "declare a smaller peak_learning_rate for these arms"
    return f"{_missing_runs(missing)}{diverged}. Next: {step}"


def _missing_runs(count: int) -> str:
    return "1 run is missing" if count == 1 else f"{count} runs are missing"


class _RunProgress:
    """Reports the progress of an experiment: the finished runs, and the epochs of the current one."""

    def __init__(self, report: Progress) -> None:
        self._report, self._done, self._total, self._run = report, 0, 1, ""

    def start_run(self, arm: str, seed: int, done: int, total: int) -> None:
        """Reports that a run starts."""
        self._done, self._total, self._run = done, total, f"{arm}, seed {seed}"
        self._report(done, total, "runs", self._run)

    def within_run(self, done: int, total: int, unit: str) -> None:
        """Reports the progress of the current run."""
        self._report(self._done, self._total, "runs", f"{self._run}, {done} of {total} {unit}")


def _results(name: str, studies: Path) -> Results:
    from analysis.experiments.declaration import load
    from analysis.experiments.results import Results

    return Results(load(name, studies), studies)


def _with_arms(candidates: list[Results], arm: str, other: str) -> Results:
    """Returns the one experiment of the candidates that has results of both arms."""
    see_all = "fashion experiment report, which shows all arms"
    if arm == other:
        raise UserError("Both arms are the same.", expected="two arms", received=f"{arm}, twice", next_step=see_all)
    known = list(dict.fromkeys(name for results in candidates for name in results.experiment.arms))
    for name in (arm, other):
        if name not in known:
            raise UserError(
                f"There is no arm {name!r}.{nearest(name, known)}",
                expected=f"one of {'; '.join(known[:10])}{' ...' if len(known) > 10 else ''}",
                received=name,
                next_step=see_all,
            )
    declared = [results for results in candidates if {arm, other} <= set(results.experiment.arms)]
    found = [results for results in declared if {arm, other} <= set(results.figures["arm"])]
    if len(found) == 1:
        return found[0]
    names = [results.experiment.name for results in found or declared]
    if found:
        raise UserError(
            "Several experiments have results of both arms.",
            expected="--of and the name of one",
            received=", ".join(names),
            next_step=f"fashion experiment compare ... --of {names[0]}",
        )
    raise UserError(
        "No experiment has results of both arms.",
        expected="two arms of one experiment, both run",
        received=f"{arm}; {other}",
        next_step=f"fashion experiment run {names[0]}" if names else LIST_COMMAND,
    )

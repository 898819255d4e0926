"""`fashion experiment` on tiny data: two arms and two seeds, killed and resumed, compared and reported."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from analysis.experiments.declaration import load
from analysis.experiments.laboratory import Laboratory
from analysis.experiments.results import Results
from pipeline.commands.experiment import _run_all, _RunProgress, _with_arms, next_step, parse_seconds
from pipeline.contract.errors import UserError
from pipeline.runner.display import PlainDisplay
from tests.analysis.experiments import synthetic_experiment
from tests.conftest import ROOT, Fashion, TinyRun
from tests.waiting import wait_until

DECLARED = """
number = 1
title = "Tiny"
question = "Is wider better?"
hypothesis = "No."
measure = "training"
metric = "macro_f1"
seeds = [1, 2]
budget_minutes = 1
baseline = "narrow"
rule = { kind = "adopt", text = "What is ahead." }
settings = { family = "quick", epochs = 2, batch_size = 32 }
[arms.narrow]
width = 8
[arms.wide]
width = 16
"""
CLOCK = ["train_seconds", "images_per_second"]
"""The metrics that differ between two runs of the same training."""


@dataclass(frozen=True)
class DeclaredExperiment:
    """A directory with the declaration, and the options that run it."""

    directory: Path
    options: tuple[str, ...]

    @property
    def csv(self) -> Path:
        """The results."""
        return self.directory / "tiny.csv"

    def figures(self) -> pd.DataFrame:
        """The results without the timings."""
        frame = pd.read_csv(self.csv)
        return frame[~frame["metric"].isin(CLOCK)].reset_index(drop=True)


def declare(directory: Path, tiny_run: TinyRun) -> DeclaredExperiment:
    """Declares the experiment in a directory, with a workspace that has examples already."""
    shutil.copytree(tiny_run.workspace, directory / "workspace")
    (directory / "tiny.toml").write_text(DECLARED, encoding="utf-8")
    workspace_options = ("--workspace", str(directory / "workspace"), "--studies", str(directory))
    return DeclaredExperiment(directory, (*workspace_options, *tiny_run.options))


@pytest.fixture(scope="module")
def killed(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> DeclaredExperiment:
    """The experiment, killed when its first run was written."""
    study = declare(tmp_path_factory.mktemp("killed"), tiny_run)
    command = [sys.executable, "-m", "pipeline.commands.cli", "experiment", "run", "tiny", *study.options]
    process = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: study.csv.exists() or process.poll() is not None, "the first run is written", 900)
    finally:
        process.kill()
        process.wait()
    assert study.csv.exists()
    return study


def test_a_killed_experiment_continues_and_ends_like_an_undisturbed_one(
    killed: DeclaredExperiment, tiny_run: TinyRun, fashion: Fashion, tmp_path: Path
) -> None:
    """Finished runs are not repeated, and all figures and errors are the same."""
    first = pd.read_csv(killed.csv)
    assert len(first[["arm", "seed"]].drop_duplicates()) < 4
    done = fashion("experiment", "run", "tiny", *killed.options)
    assert done.returncode == 0 and "Next: fashion experiment report" in done.stdout, done.stdout + done.stderr
    unchanged = pd.read_csv(killed.csv).merge(first)
    assert len(unchanged) == len(first)

    undisturbed = declare(tmp_path, tiny_run)
    assert fashion("experiment", "run", "--all", *undisturbed.options).returncode == 0
    pd.testing.assert_frame_equal(killed.figures(), undisturbed.figures())
    errors = "tiny.errors.csv"
    assert (killed.directory / errors).read_bytes() == (undisturbed.directory / errors).read_bytes()


def test_a_finished_experiment_is_listed_compared_and_reported(killed: DeclaredExperiment, fashion: Fashion) -> None:
    """A finished experiment is not run again, and the other commands show its results."""
    studies = ("--studies", str(killed.directory))
    again = fashion("experiment", "run", "tiny", *killed.options)
    assert again.returncode == 0 and "all runs are finished" in again.stdout
    listed = fashion("experiment", "list", *studies)
    assert "tiny" in listed.stdout and "4/4" in listed.stdout
    compared = fashion("experiment", "compare", "wide", "narrow", *studies)
    assert compared.returncode == 0 and "macro F1" in compared.stdout and "Of 120 examples" in compared.stdout
    reported = fashion("experiment", "report", *studies, "--workspace", str(killed.directory / "workspace"))
    page = killed.directory / "workspace" / "reports" / "experiments.html"
    assert reported.returncode == 0 and str(page) in reported.stdout and "Is wider better?" in page.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run",), "a name, or --all"),
        (("run", "tiny", "--all"), "tiny and --all"),
        (("run", "tinny"), "Did you mean 'tiny'?"),
        (("run", "tiny", "--budget", "soon"), "The budget is not a time."),
        (("run", "broken"), "The declaration of the experiment broken is invalid"),
        (("compare", "wide", "narow"), "Did you mean 'narrow'?"),
        (("compare", "wide", "wide"), "Both arms are the same."),
        (("compare", "wide", "narrow"), "Next: fashion experiment run tiny"),
        (("list",), "A file of results is damaged"),
        (("compare", "wide", "narrow", "--of", "tinny"), "Did you mean 'tiny'?"),
    ],
)
def test_an_error_is_one_paragraph(arguments: tuple[str, ...], message: str, tmp_path: Path, fashion: Fashion) -> None:
    """The error states what was expected and the next command, without a stack trace."""
    (tmp_path / "tiny.toml").write_text(DECLARED, encoding="utf-8")
    if "list" in arguments:
        (tmp_path / "tiny.csv").touch()
    if "broken" in arguments:
        (tmp_path / "broken.toml").write_text("number = = 2", encoding="utf-8")
    done = fashion("experiment", *arguments, "--studies", str(tmp_path))
    assert (
        done.returncode == 1 and message in done.stderr and "Next: " in done.stderr and "Traceback" not in done.stderr
    )


@pytest.mark.slow
@pytest.mark.parametrize("command", ["list", "report", "run --all"])
def test_a_directory_without_declarations_is_an_error(command: str, tmp_path: Path, fashion: Fashion) -> None:
    """An empty table or page would look like a result."""
    done = fashion("experiment", *command.split(), "--studies", str(tmp_path / "nowhere"))
    assert done.returncode == 1 and "No experiment is declared" in done.stderr and not done.stdout


def test_the_project_s_own_experiments_run_on_its_default_data(fashion: Fashion) -> None:
    """Another profile needs a directory of its own, so that its figures do not mix with the committed ones."""
    done = fashion("experiment", "run", "taxonomy", "--profile", "quick")
    assert done.returncode == 1 and "run on its default data only" in done.stderr
    assert "studies/*.toml mine; fashion experiment run ... --studies mine" in done.stderr, "no results are copied"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 5400), ("90m", 5400), ("1.5h", 5400), (" 30 s", 30), ("2min", 120)]
)
def test_budgets(text: str, seconds: float) -> None:
    """A number without a unit is minutes; None is no limit."""
    assert parse_seconds(text) == seconds and parse_seconds(None) is None
    with pytest.raises(UserError, match="not a time"):
        parse_seconds("-1h")


def test_a_diverged_training_is_not_to_be_repeated_unchanged() -> None:
    """The next step is the same command only if runs are missing that did not diverge."""
    assert next_step(0, 0) == "Next: fashion experiment report"
    assert next_step(3, 0).endswith("Next: the same command")
    assert next_step(3, 2).endswith("2 of them because the training diverged. Next: the same command")
    assert "smaller peak_learning_rate" in next_step(2, 2) and "same command" not in next_step(2, 2)
    assert next_step(1, 0) == "1 run is missing. Next: the same command"
    assert next_step(1, 1).startswith("1 run is missing, because the training diverged. Next: declare a smaller")


def test_arms_are_compared_in_the_experiment_that_has_results_of_both(tmp_path: Path) -> None:
    """Without results the error names the experiment to run; with several the option that chooses one."""
    for number, name in enumerate(("colour", "shape", "size"), start=1):
        synthetic_experiment.declare(tmp_path, name, number=number)
    errors = {"plain": 0.05, "better": 0.02}

    def found(*names: str) -> Results:
        return _with_arms([Results(load(name, tmp_path), tmp_path) for name in names], "better", "plain")

    with pytest.raises(UserError, match="No experiment has results of both arms") as refused:
        found("colour", "shape", "size")
    assert refused.value.next_step == "fashion experiment run colour"
    synthetic_experiment.run(load("shape", tmp_path), tmp_path, errors)
    synthetic_experiment.run(load("colour", tmp_path), tmp_path, {"plain": 0.05})
    assert found("colour", "shape", "size").experiment.name == "shape"
    synthetic_experiment.run(load("size", tmp_path), tmp_path, errors)
    with pytest.raises(UserError, match="Several experiments") as refused:
        found("colour", "shape", "size")
    assert refused.value.received == "shape, size"
    assert refused.value.next_step == "fashion experiment compare ... --of shape"


def test_finished_experiments_and_those_beyond_the_budget_are_not_run(tmp_path: Path) -> None:
    """Each has its line with the reason, and nothing is trained for either."""
    written = io.StringIO()
    laboratory = Laboratory.__new__(Laboratory)
    done, waiting = (
        synthetic_experiment.declare(tmp_path, name, number=n) for n, name in enumerate(("done", "waiting"))
    )
    arms = dict.fromkeys(done.arms, 0.05)
    results = [
        synthetic_experiment.run(done, tmp_path, arms),
        synthetic_experiment.run(waiting, tmp_path, arms, seeds=2),
    ]
    assert _run_all(results, laboratory, 0.0, PlainDisplay(Console(file=written, width=200))) == 0
    assert written.getvalue().splitlines() == [
        "done: reused; all runs are finished",
        "waiting: kept; 4 runs are missing, and the budget is used up",
    ]


def test_progress_counts_finished_runs_and_names_the_current_one() -> None:
    """The epochs of a run stand in the note, so that the count of the runs stays that of the experiment."""
    reports: list[tuple[object, ...]] = []
    progress = _RunProgress(lambda *report: reports.append(report))
    progress.start_run("wide", 2, 3, 8)
    progress.within_run(4, 10, "epochs")
    assert reports == [(3, 8, "runs", "wide, seed 2"), (3, 8, "runs", "wide, seed 2, 4 of 10 epochs")]

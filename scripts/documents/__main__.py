"""Regenerates every generated document, in the order of their dependencies: `make documents`.

The run and the exploration come from a workspace, where unchanged results are reused. `--only` and `--from` skip the
steps whose results are committed. Each step is a command of its own; its time is printed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.documents.parsing import ROOT

WORKSPACE = "{workspace}"


@dataclass(frozen=True)
class Step:
    """A step of `make documents`.

    Attributes:
        name: The name for `--only` and `--from`.
        writes: What the step writes.
        module: The Python module that the step runs.
        arguments: Its arguments; `{workspace}` stands for the workspace.
        seconds: The expected time on 2 cores without bfloat16 arithmetic, in an empty workspace.
    """

    name: str
    writes: str
    module: str
    arguments: tuple[str, ...] = ()
    seconds: int = 10


STEPS = (
    Step("run", "a run of the default profile in the workspace", "pipeline.commands.cli", ("run",), 1200),
    Step("explore", "the measurements of `fashion explore`", "pipeline.commands.cli", ("explore",), 800),
    Step("evaluation", "docs/evaluation/", "scripts.documents.evaluation", ("--workspace", WORKSPACE), 60),
    Step("exploration", "docs/exploration/", "scripts.documents.exploration", ("--workspace", WORKSPACE), 120),
    Step("notebook", "analysis/exploration.ipynb", "scripts.documents.notebook", ("--workspace", WORKSPACE), 60),
    Step("label_review", "docs/label_review/ and its figures", "scripts.documents.label_review", (), 10),
    Step("experiments", "docs/experiments/", "scripts.documents.experiments", (), 120),
    Step("reference", "docs/cli.md, docs/parameters.md", "scripts.documents.reference", (), 60),
    Step("conformance", "docs/conformance.md", "tests.conformance.documentation", (), 5),
    Step("readme", "docs/readme/", "scripts.documents.readme", ("--workspace", WORKSPACE), 60),
    Step("templates", "README.md and the documents of docs/templates/", "scripts.documents.rendering", (), 20),
)
"""All steps. The templates come last, because they read what the other steps write."""


class StepFailedError(Exception):
    """A step ended with an error."""


def select(only: Sequence[str], first: str | None) -> list[Step]:
    """Returns the steps to run, in their order.

    Args:
        only: Names of steps; all steps if empty.
        first: The name of the first step; earlier steps are skipped.
    """
    names = [step.name for step in STEPS]
    return [step for step in STEPS[names.index(first) if first else 0 :] if not only or step.name in only]


def run(steps: Sequence[Step], workspace: Path) -> dict[str, float]:
    """Runs the steps, and returns their seconds by name.

    Raises:
        StepFailedError: A step ended with an error; the message has the command that continues.
    """
    seconds: dict[str, float] = {}
    for number, step in enumerate(steps, 1):
        print(f"[{number}/{len(steps)}] {step.name}: {step.writes}, about {_duration(step.seconds)}", flush=True)
        begin = time.monotonic()
        arguments = [argument.format(workspace=workspace) for argument in step.arguments]
        if step.module == "pipeline.commands.cli":
            arguments += ["--workspace", str(workspace)]
        done = subprocess.run([sys.executable, "-m", step.module, *arguments], cwd=ROOT, check=False)
        if done.returncode:
            raise StepFailedError(
                f'The step {step.name} ended with {done.returncode}. Next: make documents ARGS="--from {step.name}"'
            )
        seconds[step.name] = time.monotonic() - begin
    return seconds


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the selected steps and prints how long each of them took."""
    names = [step.name for step in STEPS]
    parser = argparse.ArgumentParser(prog="make documents", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--only", action="append", choices=names, default=[], metavar="STEP", help="only this step")
    parser.add_argument("--from", dest="first", choices=names, metavar="STEP", help="this step and those after it")
    parser.add_argument("--list", action="store_true", help="list the steps")
    parser.add_argument("--workspace", type=Path, default=Path("workspace"), help="the workspace (default: workspace)")
    options = parser.parse_args(arguments)
    steps = select(options.only, options.first)
    if options.list:
        for step in steps:
            print(f"{step.name:<14}{_duration(step.seconds):>7}  {step.writes}")
    print(f"Estimate: {_duration(sum(step.seconds for step in steps))}; unchanged results are reused.", flush=True)
    if options.list:
        return 0
    try:
        seconds = run(steps, options.workspace.resolve())
    except StepFailedError as failure:
        print(failure, file=sys.stderr)
        return 1
    for name, taken in seconds.items():
        print(f"{name:<14}{_duration(taken):>7}")
    print(f"{'total':<14}{_duration(sum(seconds.values())):>7}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The documents agree with the code: generated pages, commands and make targets. `make check` checks links."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.documents.reference import generate
from scripts.documents.rendering import render_documents
from tests.conftest import ROOT, Fashion, TinyRun

HOW_TO = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/guide.md"))


def commands(program: str) -> list[str]:
    """The lines of the shell blocks in README and guide that begin with a program's name, without their comments."""
    blocks = re.findall(r"```sh\n(.*?)```", HOW_TO, re.DOTALL)
    lines = [re.sub(r"\s+#.*", "", line) for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.split()[:1] == [program]]


@pytest.mark.parametrize(("name", "content"), generate().items())
def test_generated_documents_are_up_to_date(name: str, content: str) -> None:
    """What `make documents` would write is what is committed."""
    assert (ROOT / name).read_text(encoding="utf-8") == content, "run: make documents"


@pytest.mark.parametrize(("name", "content"), render_documents().items())
def test_documents_hold_the_figures_of_the_committed_results(name: str, content: str) -> None:
    """What the templates become with today's results is what is committed."""
    assert (ROOT / name).read_text(encoding="utf-8") == content, "run: make documents"


# Commands of the README that other tests run: test_whole_pipeline (TensorBoard, rollback), test_serve (serve, predict),
# test_experiment (the README's experiments take hours), test_explore, and test_catalogue (they need a catalogue).
RUN_ELSEWHERE = (
    "tensorboard",
    "serve",
    "predict",
    "experiment run",
    "explore",
    "rollback",
    "catalogue query",
    "catalogue classify",
    "run --profile catalogue",
)


def runs_elsewhere(line: str) -> bool:
    """Whether another test runs the command of a line."""
    return any(line.startswith(f"fashion {command}") for command in RUN_ELSEWHERE)


@pytest.mark.parametrize("line", [c for c in commands("fashion") if not runs_elsewhere(c)])
def test_fashion_commands_of_the_readme_work(line: str, tiny_run: TinyRun, fashion: Fashion, tmp_path: Path) -> None:
    """Every `fashion` line of the README runs, in a workspace with a finished run of synthetic data."""
    arguments = shlex.split(line)[1:]
    workspace = tmp_path / "workspace"
    shutil.copytree(tiny_run.workspace, workspace)
    if arguments[0] in ("run", "explain"):
        # The tiny profile in place of the one named: the README's point is the other options.
        arguments = [a for a in arguments if a not in ("--profile", "quick")] + list(tiny_run.options)
    done = fashion(*arguments, env={"FASHION_WORKSPACE": str(workspace)})
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("line", commands("make"))
def test_make_commands_of_the_readme_exist(line: str) -> None:
    """Every `make` line of the README names a target that make knows."""
    done = subprocess.run(["make", "--dry-run", *shlex.split(line)[1:]], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_make_help_lists_every_documented_target() -> None:
    """Targets with a hyphen are listed too, each with its description on the same line."""
    done = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    listed = [line.split()[0] for line in done.stdout.splitlines()]
    assert listed == re.findall(r"^([\w-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {"test", "test-fast", "test-long", "bench-serving"} <= set(listed)

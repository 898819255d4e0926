"""Tests of pipeline.commands.next_steps: the line `Next:` is something else than the command that has just failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.commands.cli import _takes_workspace
from pipeline.commands.next_steps import DEBUG, next_step_after
from tests.conftest import Fashion


@pytest.mark.parametrize(
    ("arguments", "suggested", "expected"),
    [
        ("run", "fashion run", DEBUG),
        ("run -w elsewhere", "fashion run", DEBUG),
        ("clean", "fashion clean, or free the disk", "free the disk"),
        ("clean", "free the disk, or fashion clean", "free the disk"),
        ("run --fresh --only example_gen", "fashion run --fresh --only example_gen", DEBUG),
        ("run --only trainer", "fashion run", "fashion run"),
        ("status -w elsewhere", "fashion run", "fashion run --workspace elsewhere"),
        ("status --workspace='a b'", "fashion run, or fashion repair", None),
        ("status -w elsewhere", "fashion run --workspace OTHER", "fashion run --workspace OTHER"),
        ("status -w elsewhere", "fashion experiment list", "fashion experiment list"),
        ("run -w elsewhere", "correct the file; then fashion run", "correct the file; then fashion run"),
        ("run -w elsewhere", "fashion run, then fashion explore", "fashion run, then fashion explore"),
        ("status", "don't", "don't"),
    ],
)
def test_next_step(arguments: str, suggested: str, expected: str | None) -> None:
    """A repetition gives way to the other alternatives, or to --debug; a command keeps to the workspace."""
    words = ["status", "--workspace=a b"] if expected is None else arguments.split()
    both = "fashion run --workspace 'a b', or fashion repair --workspace 'a b'"
    assert next_step_after(words, suggested, _takes_workspace) == (expected or both)


def test_the_printed_error_does_not_repeat_the_command(fashion: Fashion, tmp_path: Path) -> None:
    """`fashion show` with an unknown stage, and with a profile that does not exist, in a workspace of its own."""
    workspace = str(tmp_path / "my work")
    done = fashion("status", "-w", workspace)
    assert done.stderr.endswith(f"Next: fashion run --workspace '{workspace}'\n") and done.returncode == 1
    done = fashion("run", "--profile", "default", "-w", workspace, "--until", "tariner")
    assert "Did you mean 'trainer'?" in done.stderr and f"Next: fashion show --workspace '{workspace}'" in done.stderr
    profile = tmp_path / "profile.toml"
    profile.write_text("[trainer]\nepochs = true\n")
    done = fashion("show", "--parameters", "--profile", str(profile))
    assert "'trainer.epochs' cannot be used" in done.stderr and "Next: fashion show --parameters\n" in done.stderr


def test_a_failed_stage_asks_for_a_change_before_the_same_command(fashion: Fashion, tmp_path: Path) -> None:
    """The command that resumes comes after something to do, and names the whole command."""
    words = ["run", "-w", str(tmp_path / "w"), "--until", "example_gen", "--set", f"example_gen.idx_dir={tmp_path}"]
    done = fashion(*words)
    assert "example_gen: idx_dir does not hold Fashion-MNIST." in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Next: ")]
    assert line.startswith("Next: sh scripts/get_data.sh") and line.endswith(f"; then fashion {' '.join(words)}")

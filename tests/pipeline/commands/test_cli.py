"""The command line prints an error as a paragraph, and explains a run in an empty workspace."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Fashion


@pytest.mark.parametrize(
    ("arguments", "headline"),
    [
        (["run", "--set", "trainer.epoch=3"], "no key 'trainer.epoch'. Did you mean 'trainer.epochs'?"),
        (["run", "--profile", "quik"], "There is no profile 'quik'. Did you mean 'quick'?"),
        (["run", "--only", "trainr"], "There is no stage 'trainr'. Did you mean 'trainer'?"),
        (["run", "--set", "taxonomy=none.toml"], "The taxonomy none.toml cannot be read."),
        (["status"], "Nothing has run in the workspace"),
        (["tensorboard"], "There is nothing to show"),
        (["rollback"], "There is no pushed version."),
    ],
)
def test_user_error_is_one_paragraph(fashion: Fashion, tmp_path: Path, arguments: list[str], headline: str) -> None:
    """A user's error ends with exit code 1 and a headline, and without a stack trace."""
    done = fashion(*arguments, "-w", str(tmp_path / "workspace"))
    assert done.returncode == 1
    assert headline in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_the_stack_trace(fashion: Fashion, tmp_path: Path) -> None:
    """With --debug the stack trace of a user's error is printed."""
    assert "Traceback" in fashion("--debug", "status", "-w", str(tmp_path)).stderr


def test_explain_before_the_first_run_states_that_every_stage_would_run(fashion: Fashion, tmp_path: Path) -> None:
    """All stages would run, since none has finished; and no file is written."""
    done = fashion("explain", "-w", str(tmp_path / "workspace"))
    assert done.returncode == 0
    assert "it has never finished here" in done.stdout
    assert done.stdout.count(" run ") == 11
    assert not (tmp_path / "workspace").exists()


def test_repair_says_that_there_was_no_store(fashion: Fashion, tmp_path: Path) -> None:
    """A lost store is not called intact; the second time there is one."""
    outputs = [fashion("repair", "-w", str(tmp_path)).stdout for _ in range(2)]
    assert [text.splitlines()[0] for text in outputs] == [
        "There was no metadata store.",
        "The metadata store was intact.",
    ]

"""The command line prints an error as a paragraph, and explains a run in an empty workspace."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline.commands.cli import main
from pipeline.contract.files import write_text
from pipeline.runner.workspace import Workspace
from tests.conftest import Fashion
from tests.pipeline.conftest import Run


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


def printed(capsys: pytest.CaptureFixture[str], workspace: Workspace, *words: str) -> list[str]:
    """Returns the lines that a command prints on a workspace."""
    with pytest.raises(SystemExit) as ended:
        main([*words, "--workspace", str(workspace.root)])
    assert ended.value.code == 0
    return capsys.readouterr().out.splitlines()


def test_clean_names_what_it_removes_or_would_remove(
    run: Run, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """The dry run removes nothing and names the same number; --all removes the artifacts of the latest run too."""
    run()
    run("source.count=5")
    before = set(workspace.root.rglob("*"))
    (would,) = printed(capsys, workspace, "clean", "--dry-run")
    assert would.startswith("Would remove ") and would.endswith(f" MiB, in {workspace.root}")
    assert set(workspace.root.rglob("*")) == before
    (removed,) = printed(capsys, workspace, "clean")
    assert removed == would.replace("Would remove", "Removed") and set(workspace.root.rglob("*")) < before
    assert workspace.artifacts.exists() and workspace.store.exists()
    printed(capsys, workspace, "clean", "--all")
    assert not workspace.artifacts.exists() and not workspace.store.exists()


def test_rollback_names_the_version_that_serves_again(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """The version before, or the one that is named, gets the next number."""
    for number in (1, 2, 3):
        write_text(workspace.serving / str(number) / "saved_model.pb", f"model {number}")
    (line,) = printed(capsys, workspace, "rollback")
    assert line == f"Version 4 serves what version 2 served: {workspace.serving / '4'}"
    (line,) = printed(capsys, workspace, "rollback", "1")
    assert line == f"Version 5 serves what version 1 served: {workspace.serving / '5'}"


def test_tensorboard_shows_the_logs_of_the_workspace_on_loopback(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process becomes TensorBoard, with the port that is given."""
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, command: started.append(command[1:]))
    write_text(workspace.logs / "trainer" / "1" / "events.out.tfevents.1", "")
    for port in ([], ["--port", "7007"]):
        with pytest.raises(SystemExit):
            main(["tensorboard", "-w", str(workspace.root), *port])
    options = ["-m", "tensorboard.main", "--logdir", str(workspace.logs), "--host", "127.0.0.1", "--port"]
    assert started == [[*options, "6006"], [*options, "7007"]]


def test_json_and_text_of_a_command_have_the_same_content(
    run: Run, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """A program gets the stages of the latest run and the tree of an artifact as JSON."""
    run()
    status = json.loads("\n".join(printed(capsys, workspace, "status", "--json")))
    assert [stage["stage"] for stage in status["stages"]] == ["source", "learn", "judge"] and status["run"] == 1
    text = printed(capsys, workspace, "status")
    assert text[0].startswith("run 1 of toy, ") and text[1].startswith("source             COMPLETE ")
    tree = json.loads("\n".join(printed(capsys, workspace, "lineage", "learn", "--json")))
    assert (tree["type"], list(tree["inputs"])) == ("Model", ["examples"])
    assert printed(capsys, workspace, "lineage", "learn")[0].startswith(
        f"Model {tree['artifact']} ({tree['digest'][:12]})"
    )

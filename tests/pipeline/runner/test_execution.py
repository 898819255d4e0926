"""Tests of pipeline.runner.execution: where the output of a stage goes, and what the next one gets."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.contract.artifacts import Examples, Model
from pipeline.contract.component import Cache, Input, Logs, Output, Scratch, component
from pipeline.contract.errors import UserError
from pipeline.contract.progress import Progress
from pipeline.runner.display import PlainDisplay
from pipeline.runner.graph import Pipeline
from pipeline.runner.local_runner import LocalRunner
from pipeline.runner.metadata_store import MetadataStore
from pipeline.runner.workspace import Workspace

received: dict[str, Any] = {}


@component
def speak(examples: Output[Examples]) -> None:
    """Writes to every stream and logs at every level."""
    (examples.path / "a.txt").write_text("words")
    examples.properties["count"] = 1
    os.write(1, b"printed\n")
    os.write(2, b"complained\n")
    logging.getLogger("toy").info("a remark")
    logging.getLogger("toy").warning("a warning")
    logging.getLogger("toy").debug("a detail")


@component
def note(
    examples: Input[Examples], model: Output[Model], scratch: Scratch, logs: Logs, cache: Cache, progress: Progress
) -> None:
    """Notes what it was given."""
    received.update(examples=examples, model=model.path, empty=not list(model.path.iterdir()))
    received.update(scratch=scratch, logs=logs, cache=cache, directories=[scratch.is_dir(), logs.is_dir()])
    progress(1, 2, "things")


def test_a_stage_writes_into_its_log_and_reads_what_is_recorded(
    workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    """Streams, native output and logging go into the file of the stage, and afterwards where they went before."""
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    pipeline = Pipeline("toy")
    pipeline.add(note, examples=pipeline.add(speak)["examples"])
    started: list[str] = []
    runner = LocalRunner(pipeline, workspace, PlainDisplay(Console(quiet=True)), before_stage=started.append)
    result = runner.run(["speak", "note"], properties={"profile": "quick"})
    os.write(1, b"afterwards\n")
    assert (list(root.handlers), root.level) == before
    assert capfd.readouterr() == ("afterwards\n", "")
    (log,) = workspace.logs.glob("speak/*/stage.log")
    lines = [
        line.partition(" INFO ")[2] or line.partition(" WARNING ")[2] or line for line in log.read_text().split("\n")
    ]
    assert sorted(lines) == ["", "complained", "printed", "toy: a remark", "toy: a warning"]
    assert started == ["speak", "note"] and list(result.seconds) == started
    with MetadataStore(workspace.store) as store:
        key = store.run_executions(1)[1].cache_key[:16]
        latest = store.latest_run()
    assert latest is not None and latest[1]["profile"] == "quick"
    final = workspace.artifacts / "speak" / "1" / "examples"
    assert received["examples"] == Examples(final, {"count": 1}) and received["empty"]
    assert received["model"] == workspace.artifacts / "note" / ".unfinished-2" / "model"
    assert (received["scratch"], received["logs"]) == (workspace.scratch / "note" / key, workspace.logs / "note" / key)
    assert received["cache"] == workspace.cache and received["directories"] == [True, True]
    assert not received["scratch"].exists(), "a finished stage leaves nothing to resume from"
    assert result.artifact(pipeline.nodes["speak"]["examples"]) == Examples(final)
    assert result.find(Model) == {"note": Model(Path(workspace.artifacts / "note" / "2" / "model"))}
    assert LocalRunner(pipeline, workspace, PlainDisplay(Console(quiet=True)), before_stage=started.append).run(
        ["speak", "note"]
    ).seconds == {} and started == ["speak", "note"], "a reused stage does not start"


@component
def stumble(examples: Output[Examples], scratch: Scratch) -> None:
    """Fails at the first attempt, and writes what tells the attempts apart."""
    attempt = len(list(scratch.iterdir())) + 1
    (scratch / str(attempt)).touch()
    logging.getLogger("toy").info("logged at attempt %d", attempt)
    os.write(1, b"printed at attempt %d\n" % attempt)
    if attempt == 1:
        raise UserError("The first try fails.")
    (examples.path / "a.txt").write_text("words")


def test_the_log_of_an_earlier_attempt_stays(workspace: Workspace) -> None:
    """A stage that is resumed writes behind what it wrote before, by whichever way."""
    pipeline = Pipeline("toy")
    pipeline.add(stumble)
    runner = LocalRunner(pipeline, workspace, PlainDisplay(Console(quiet=True)))
    with pytest.raises(UserError, match="The first try fails"):
        runner.run(["stumble"])
    runner.run(["stumble"])
    (log,) = workspace.logs.glob("stumble/*/stage.log")
    lines = [line.rpartition("toy: ")[2] for line in log.read_text().splitlines() if "attempt " in line]
    assert lines == [f"{word} at attempt {number}" for number in (1, 2) for word in ("logged", "printed")]

"""`make documents` runs its steps in order, and says where to continue after a failure."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from scripts.documents import __main__ as command


def test_every_step_runs_a_module_that_exists() -> None:
    """Names are unique, every module is there, and the templates come last."""
    assert len({step.name for step in command.STEPS}) == len(command.STEPS)
    assert [step.module for step in command.STEPS if find_spec(step.module) is None] == []
    assert command.STEPS[-1].name == "templates"


def test_only_and_from_keep_the_order() -> None:
    """Steps are never reordered."""
    assert [step.name for step in command.select(["templates", "reference"], None)] == ["reference", "templates"]
    assert [step.name for step in command.select([], "conformance")] == ["conformance", "readme", "templates"]


def test_a_failed_step_names_the_command_that_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The steps before it are reported by their output; those after it do not run."""
    steps = (
        command.Step("one", "nothing", "platform", (), 1),
        command.Step("two", "nothing", "no_such_module", (), 1),
        command.Step("three", "nothing", "platform", (), 1),
    )
    monkeypatch.setattr(command, "STEPS", steps)
    assert command.main(["--workspace", str(tmp_path)]) == 1
    output = capfd.readouterr()
    assert 'make documents ARGS="--from two"' in output.err
    assert "[2/3] two: nothing, about 1 s" in output.out
    assert "three:" not in output.out


def test_the_time_of_every_step_is_printed(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: an estimate. After: each step and the total."""
    monkeypatch.setattr(command, "STEPS", (command.Step("one", "nothing", "platform", (), 300),))
    assert command.main([]) == 0
    output = capfd.readouterr().out
    assert "Estimate: 5 min" in output
    assert output.splitlines()[-1].split()[0] == "total"

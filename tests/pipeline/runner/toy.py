"""A pipeline of toy stages: the runner's promises are tested on it in milliseconds."""

from __future__ import annotations

import atexit
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from pipeline.contract.artifacts import Examples, Exploration, Model, ModelBlessing
from pipeline.contract.component import Cache, ExternalPath, Input, Output, Scratch, component
from pipeline.contract.errors import UserError
from pipeline.contract.progress import Progress
from pipeline.runner.configuration import Configuration, load_configuration
from pipeline.runner.graph import Latest, LatestBlessed, Pipeline, Previous
from pipeline.runner.workspace import Workspace


def _table_state(parameters: Mapping[str, Any]) -> Mapping[str, str]:
    return {"table": Path(parameters["table"]).read_text(encoding="utf-8")} if parameters["table"] else {}


@component(outside=_table_state)
def source(
    examples: Output[Examples],
    cache: Cache,
    *,
    seed: int,
    count: Annotated[int, Field(ge=1, le=100, description="How many numbers.")] = 3,
    extra: Annotated[ExternalPath | None, Field(description="A file to copy from.")] = None,
    table: Annotated[str, Field(description="A file that stands for a database.")] = "",
) -> None:
    """Writes numbers."""
    (examples.path / "numbers.txt").write_text(" ".join(str(seed + n) for n in range(count)), encoding="utf-8")
    if extra is not None:
        (examples.path / "extra.txt").write_bytes(extra.read_bytes())
    examples.properties["count"] = count
    examples.properties["downloads"] = len(list(cache.glob("download-*")))
    (cache / f"download-{seed}").touch()


def _check_steps(examples: Examples, steps: int) -> None:
    if steps > 10 * int(examples.properties["count"]):
        raise UserError("There are more steps than the numbers allow.", received=str(steps))


@component(checks=(_check_steps,))
def learn(
    examples: Input[Examples],
    model: Output[Model],
    scratch: Scratch,
    progress: Progress,
    *,
    steps: Annotated[int, Field(ge=1)] = 4,
    fail: Annotated[str, Field(description="How to go wrong; not by default.")] = "",
) -> None:
    """Adds the numbers up in steps that survive a kill, and prints to both streams."""
    os.write(1, b"native output\n")
    state = scratch / "step.txt"
    begin = int(state.read_text()) if state.exists() else 0
    for step in range(begin, steps):
        if step == 2 and (scratch.parent / "armed").exists():
            (scratch.parent / "armed").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        state.write_text(str(step + 1))
        progress(step + 1, steps, "steps")
    _go_wrong(fail, model.path)
    total = int(np.sum([int(number) for number in (examples.path / "numbers.txt").read_text().split()]))
    model.write_json("model.json", {"total": total, "steps": steps})
    model.properties["resumed_at"] = begin


def _go_wrong(how: str, directory: Path) -> None:
    if how == "error":
        raise UserError("The numbers are odd.", expected="even ones", received="3", next_step="choose others")
    if how == "bug":
        raise KeyError("nobody expected this")
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "interrupts":
        _press_ctrl_c()
    if how == "swallowed":
        with suppress(BaseException):
            os.kill(os.getpid(), signal.SIGINT)
    if how == "converted":
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("numpy failed to import") from None
    if how == "temporary":
        tempfile.mkdtemp(prefix="toy-")
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "extra":
        import a_library_of_an_extra

        a_library_of_an_extra.use()
    if how == "full":
        # Every write to this device fails as on a full disk.
        with Path("/dev/full").open("w", encoding="utf-8") as file:
            file.write("x")


def _check_bound(at_least: int) -> None:
    if at_least > 1000:
        raise UserError("No model can know so large a total.", received=str(at_least))


def _press_ctrl_c() -> None:
    """Sends SIGINT five times: now, while the runner clears up, and while the interpreter exits."""
    atexit.register(time.sleep, 0.6)

    def press() -> None:
        for _ in range(5):
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    time.sleep(60)


@component(checks=(_check_bound,))
def judge(
    model: Input[Model],
    baseline: Input[Model] | None,
    previous: Input[Model] | None,
    blessing: Output[ModelBlessing],
    *,
    destination: Path,
    at_least: Annotated[int, Field(ge=0)] = 0,
) -> None:
    """Blesses a model that knows a large total."""
    destination.mkdir(parents=True, exist_ok=True)
    total = json.loads((model.path / "model.json").read_text())["total"]
    totals = {
        name: None if model is None else json.loads((model.path / "model.json").read_text())["total"]
        for name, model in (("baseline", baseline), ("previous", previous))
    }
    blessing.write_json("verdict.json", {"blessed": total >= at_least, "total": total} | totals)
    blessing.properties["blessed"] = total >= at_least


@component
def describe(trained: Input[Model] | None, exploration: Output[Exploration]) -> None:
    """Describes the newest model of the workspace, if there is one."""
    exploration.write_json("findings.json", [] if trained is None else [trained.path.parts[-2]])


COMPONENTS = (source, learn, judge, describe)


def toy(c: Configuration, workspace: Workspace) -> Pipeline:
    """Chains the toy stages."""
    pipeline = Pipeline("toy")
    examples = pipeline.add(source, c.source, seed=c.seed)["examples"]
    model = pipeline.add(learn, c.learn, examples=examples)["model"]
    pipeline.add(
        judge,
        c.judge,
        model=model,
        baseline=LatestBlessed(model),
        previous=Previous(model, same=("at_least",)),
        destination=workspace.serving,
    )
    return pipeline


def describing() -> Pipeline:
    """Returns a pipeline whose one stage reads what another pipeline has written."""
    pipeline = Pipeline("describing")
    pipeline.add(describe, trained=Latest(Model))
    return pipeline


def configured(*overrides: str, workspace: Workspace | None = None) -> Pipeline:
    """Returns the toy pipeline for a workspace, with some parameters set."""
    configuration = load_configuration(COMPONENTS, str(Path(__file__).with_name("toy.toml")), overrides)
    return toy(configuration, workspace or Workspace(Path("workspace")))

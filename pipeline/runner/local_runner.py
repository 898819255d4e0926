"""The local runner: runs the stages of a pipeline on this machine in order, and reuses unchanged results."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pipeline.contract.artifacts import Artifact
from pipeline.contract.errors import UserError
from pipeline.contract.interrupts import EXIT_CODE, was_interrupted
from pipeline.runner.display import Display
from pipeline.runner.execution import Stage, StageError
from pipeline.runner.fingerprint import ROOT
from pipeline.runner.graph import Channel, Pipeline
from pipeline.runner.metadata_store import ArtifactRecord, MetadataStore
from pipeline.runner.plan import Available, Decision, Planner
from pipeline.runner.store_recovery import adopt_finished
from pipeline.runner.workspace import Workspace

T = TypeVar("T", bound=Artifact)


class InterruptedRunError(UserError):
    """The user pressed Ctrl-C; the results of finished stages stay."""

    exit_code = EXIT_CODE


@dataclass(frozen=True)
class RunResult:
    """The results of a run.

    Attributes:
        root: The workspace's directory.
        run: The run's id in the metadata store.
        artifacts: Stage name to its artifacts by output.
        seconds: The duration of every stage that ran, by name; a reused stage is absent.
        peak_mebibytes: The peak resident memory of the process.
    """

    root: Path
    run: int
    artifacts: Available
    seconds: Mapping[str, float]
    peak_mebibytes: float

    def artifact(self, channel: Channel) -> Artifact:
        """Returns the artifact of a stage's output."""
        return channel.type(self.root / self.artifacts[channel.node][channel.output].uri)

    def find(self, kind: type[T]) -> dict[str, T]:
        """Returns the artifacts of a type or a subtype of it, by the stage that wrote them, in the stages' order."""
        types = {found.__name__: found for found in (kind, *kind.__subclasses__())}
        return {
            stage: types[record.type](self.root / record.uri)
            for stage, outputs in self.artifacts.items()
            for record in outputs.values()
            if record.type in types
        }

    def last(self, kind: type[T]) -> T | None:
        """Returns the artifact of a type from the last stage that wrote one; None where no stage did."""
        return next(reversed(self.find(kind).values()), None)


class LocalRunner:
    """Runs the stages of one pipeline in one workspace.

    Args:
        pipeline: The pipeline.
        workspace: The workspace that holds all output.
        display: Shows the progress.
        resume: The command that resumes after a failure, for messages. Defaults to "fashion run".
        before_stage: Called with the name of every stage that runs, before it starts. Defaults to nothing.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        workspace: Workspace,
        display: Display,
        resume: str = "fashion run",
        before_stage: Callable[[str], None] = lambda stage: None,
    ) -> None:
        self._pipeline = pipeline
        self._workspace = workspace
        self._display = display
        self._resume = resume
        self._before_stage = before_stage
        self._seconds: dict[str, float] = {}

    def run(
        self, selected: Sequence[str], fresh: bool = False, properties: Mapping[str, Any] | None = None
    ) -> RunResult:
        """Runs the selected stages; the others keep their latest results.

        Args:
            selected: Names of stages.
            fresh: Whether to run them even where nothing has changed.
            properties: Facts to record with the run.

        Raises:
            UserError: The workspace is locked or damaged, a stage failed, or the user interrupted.
        """
        with (
            self._workspace.lock(),
            self._workspace.temporary_files(),
            MetadataStore(self._workspace.store) as store,
        ):
            self._clear_killed_runs(store)
            run, available = self._run_stages(store, selected, fresh, {**(properties or {}), **_environment()})
            return RunResult(self._workspace.root, run, available, self._seconds, _peak_mebibytes())

    def _run_stages(
        self, store: MetadataStore, selected: Sequence[str], fresh: bool, properties: Mapping[str, Any]
    ) -> tuple[int, Available]:
        """Returns the id of the run and its artifacts; a run whose first stage cannot start is not recorded."""
        planner = Planner(self._pipeline, self._workspace, store)
        run = 0
        available: Available = {}
        needed = self._pipeline.needed(selected)
        with self._display.watch([node.name for node in needed]):
            for node in needed:
                if was_interrupted():  # and the stage before has swallowed the KeyboardInterrupt
                    raise self._interrupted(f"before {node.name}")
                decision = planner.decide(node, available, selected, fresh)
                if decision.action == "run" and not self._seconds:
                    planner.check(node.name, selected, available)
                run = run or store.start_run(self._pipeline.name, properties)
                if decision.action == "run":
                    available[node.name] = self._execute(store, run, decision)
                else:
                    available[node.name] = decision.outputs
                    self._reuse(store, run, decision)
                if self._seconds:
                    planner.check(node.name, selected, available, finished=node.name)
        return run, available

    def _reuse(self, store: MetadataStore, run: int, decision: Decision) -> None:
        execution = store.start_execution(run, decision.node.name, decision.key, {"key_parts": decision.parts})
        store.finish_execution(
            execution,
            "CACHED",
            inputs=_input_ids(store, decision),
            reused={name: artifact.id for name, artifact in decision.outputs.items()},
        )
        self._display.reused(decision.node.name, decision.action, _properties_text(decision.outputs))

    def _execute(self, store: MetadataStore, run: int, decision: Decision) -> dict[str, ArtifactRecord]:
        node = decision.node
        properties = {"key_parts": decision.parts, "reasons": decision.reasons, **_environment()}
        execution = store.start_execution(run, node.name, decision.key, properties)
        stage = Stage(decision, self._workspace, execution, properties)
        self._before_stage(node.name)
        self._display.started(node.name, decision.reasons)
        begun = time.perf_counter()
        try:
            written = stage.run(self._display.progress(node.name))
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt) or was_interrupted()
            self._display.failed(node.name)
            with suppress(UserError):  # a full disk must not hide why the stage failed
                store.finish_execution(execution, "CANCELED" if interrupted else "FAILED")
            raise self._failure(error, stage, interrupted) from error
        self._seconds[node.name] = time.perf_counter() - begun
        inputs = _input_ids(store, decision)
        more = {"peak_mebibytes": _peak_mebibytes()}
        ids = store.finish_execution(execution, "COMPLETE", inputs, written, properties=more)
        stage.remove_scratch()
        outputs = {name: artifact for name, number in ids.items() if (artifact := store.artifact(number)) is not None}
        self._display.finished(node.name, self._seconds[node.name], _properties_text(outputs))
        return outputs

    def _failure(self, error: BaseException, stage: Stage, interrupted: bool) -> BaseException:
        if interrupted:
            return self._interrupted(f"in {stage.name}")
        return StageError(stage.name, error, stage.log, self._resume) if isinstance(error, UserError) else error

    def _interrupted(self, moment: str) -> InterruptedRunError:
        return InterruptedRunError(
            f"Interrupted {moment}. The results of finished stages stay.", next_step=self._resume
        )

    def _clear_killed_runs(self, store: MetadataStore) -> None:
        """Records the stages that a killed run finished, and removes the unfinished output that it left."""
        recovered = adopt_finished(store, self._workspace)
        for stage in recovered.stages:
            self._display.message(f"{stage}: finished in an earlier run, recorded now")
        for file in recovered.unreadable:
            self._display.message(f"not recovered: {file}")
        for execution in store.abandon_running():
            self._display.message(f"{execution.type}: killed in an earlier run")
        for leftover in self._workspace.artifacts.glob("*/.unfinished-*"):
            shutil.rmtree(leftover, ignore_errors=True)


def _input_ids(store: MetadataStore, decision: Decision) -> dict[str, int]:
    """Returns the ids of the inputs by name; records those that no stage wrote."""
    return {name: artifact.id or store.record_artifact(artifact) for name, artifact in decision.inputs.items()}


def _properties_text(outputs: Mapping[str, ArtifactRecord]) -> str:
    facts = [(n, v) for a in outputs.values() for n, v in a.properties.items() if n != "manifest"]
    return ", ".join(f"{name.replace('_', ' ')} {_format_value(value)}" for name, value in dict(facts).items())


def _format_value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if value >= 10_000 else str(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@cache
def _environment() -> dict[str, Any]:
    """Returns the commit of the source code and the version of Python; an installed wheel knows no commit."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    if not (ROOT / ".git").exists():  # git would describe the repository around an installed wheel
        return {"git_commit": "unknown", "python": sys.version.split()[0]}
    try:
        commit = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        commit = ""
    return {"git_commit": commit or "unknown", "python": sys.version.split()[0]}


def _peak_mebibytes() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)

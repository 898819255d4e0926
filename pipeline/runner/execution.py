"""Runs one stage, all or nothing: into a temporary directory, which is renamed into place only when it is finished."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.contract.artifacts import Artifact
from pipeline.contract.component import Argument, Role
from pipeline.contract.errors import UserError
from pipeline.contract.progress import Progress
from pipeline.runner.fingerprint import digest_json, manifest
from pipeline.runner.metadata_store import ArtifactRecord
from pipeline.runner.plan import Decision
from pipeline.runner.workspace import Workspace

RECORD = "execution.json"


class StageError(UserError):
    """A stage failed; `log` is the file that holds the whole story."""

    def __init__(self, stage: str, cause: UserError, log: Path, resume: str) -> None:
        super().__init__(
            f"{stage}: {cause.headline}",
            expected=cause.expected,
            received=cause.received,
            next_step=f"{cause.next_step}; then {resume}" if cause.next_step else resume,
        )
        self.log = log

    def details(self) -> list[tuple[str, str]]:
        """The labelled lines under the headline, the log among them."""
        *lines, next_step = super().details()
        return [*lines, ("Log", str(self.log)), next_step]


@dataclass(frozen=True)
class Stage:
    """One execution of a stage, and its directories.

    Attributes:
        decision: What the planner found: the node, its key and its inputs.
        workspace: Where the directories lie.
        execution: The id in the metadata store.
        properties: What is recorded with the execution.
        start_time: Seconds since the epoch.
    """

    decision: Decision
    workspace: Workspace
    execution: int
    properties: Mapping[str, Any]
    start_time: float = field(default_factory=time.time)

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.decision.node.name

    @property
    def final(self) -> Path:
        """Where the finished outputs stand."""
        return self.workspace.artifacts / self.name / str(self.execution)

    @property
    def temporary(self) -> Path:
        """Where they are written; on the same file system, so that the rename is atomic."""
        return self.workspace.artifacts / self.name / f".unfinished-{self.execution}"

    @property
    def scratch(self) -> Path:
        """What an interrupted execution with the same key left to resume from."""
        return self.workspace.scratch / self.name / self.decision.key[:16]

    @property
    def logs(self) -> Path:
        """Where the log file and TensorBoard's events go."""
        return self.workspace.logs / self.name / self.decision.key[:16]

    @property
    def log(self) -> Path:
        """The log file."""
        return self.logs / "stage.log"

    def run(self, progress: Progress) -> dict[str, dict[str, Any]]:
        """Runs the component, and returns its outputs as the metadata store takes them.

        Raises:
            KeyboardInterrupt: The user interrupted; the temporary directory is removed, scratch stays.
            UserError: Whatever else went wrong, in the words of the component where it has some.
        """
        try:
            outputs = self._prepare()
            with _captured(self.log):
                self.decision.node.component.run(**self._arguments(outputs, progress))
            recorded = {name: self._record(name, output) for name, output in outputs.items()}
            self._describe(recorded)
            _sync(self.temporary)
            self.temporary.rename(self.final)
            _sync(self.final.parent)
        except BaseException as error:
            shutil.rmtree(self.temporary, ignore_errors=True)
            if isinstance(error, KeyboardInterrupt):
                raise
            raise _explain(error, self.workspace) from error
        return recorded

    def _describe(self, outputs: Mapping[str, Any]) -> None:
        """Writes beside the outputs what the metadata store will hold of them, so that it can be made again."""
        content = {
            "execution": {
                "id": self.execution,
                "type": self.name,
                "cache_key": self.decision.key,
                "start_time": self.start_time,
            },
            "properties": dict(self.properties),
            "inputs": {name: artifact.uri for name, artifact in self.decision.inputs.items()},
            "outputs": outputs,
        }
        (self.temporary / RECORD).write_text(json.dumps(content), encoding="utf-8")

    def remove_scratch(self) -> None:
        """Removes what was kept for resuming, once the execution is recorded."""
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _prepare(self) -> dict[str, Artifact]:
        spec = self.decision.node.component.spec
        for directory in (self.temporary, self.logs):
            directory.mkdir(parents=True, exist_ok=True)
        outputs = {o.name: o.type(self.temporary / o.name) for o in spec.by_role(Role.OUTPUT).values()}
        for output in outputs.values():
            output.path.mkdir()
        return outputs

    def _arguments(self, outputs: Mapping[str, Artifact], progress: Progress) -> dict[str, Any]:
        arguments = self.decision.node.component.spec.arguments
        return {a.name: self._argument(a, outputs, progress) for a in arguments}

    def _argument(self, argument: Argument, outputs: Mapping[str, Artifact], progress: Progress) -> Any:
        match argument.role:
            case Role.INPUT:
                return self._input(argument, self.decision.inputs.get(argument.name))
            case Role.OUTPUT:
                return outputs[argument.name]
            case Role.SCRATCH:
                self.scratch.mkdir(parents=True, exist_ok=True)
                return self.scratch
            case Role.LOGS:
                return self.logs
            case Role.CACHE:
                self.workspace.cache.mkdir(parents=True, exist_ok=True)
                return self.workspace.cache
            case Role.PROGRESS:
                return progress
            case Role.PARAMETER:
                return self.decision.node.parameters[argument.name]

    def _input(self, argument: Argument, record: ArtifactRecord | None) -> Artifact | None:
        if record is None:
            return None
        properties = {name: value for name, value in record.properties.items() if name != "manifest"}
        artifact: Artifact = argument.type(self.workspace.root / record.uri, properties)
        return artifact

    def _record(self, name: str, output: Artifact) -> dict[str, Any]:
        files = manifest(output.path)
        return {
            "type": type(output).__name__,
            "uri": str((self.final / name).relative_to(self.workspace.root)),
            "digest": digest_json(files),
            "properties": {**output.properties, "manifest": files},
        }


def _explain(error: BaseException, workspace: Workspace) -> UserError:
    if isinstance(error, UserError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(workspace.root).free / 2**20
        return UserError(
            "The disk is full.",
            expected="room for the stage's output",
            received=f"{free:,.0f} MiB free at {workspace.root}; what was half written is removed",
            next_step="fashion clean, or free the disk",
        )
    return UserError(str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}")


@contextmanager
def _captured(log: Path) -> Iterator[None]:
    """Sends what Python and native libraries print, and logging, into the file while a stage runs."""
    handler = logging.FileHandler(log, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    level = root.level
    with log.open("ab") as file, _redirected(file.fileno()):
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        try:
            yield
        except BaseException:
            logging.getLogger(__name__).exception("The stage failed")
            raise
        finally:
            root.setLevel(level)
            root.removeHandler(handler)
            handler.close()


@contextmanager
def _redirected(target: int) -> Iterator[None]:
    # TensorFlow and Beam's native parts write to the descriptors themselves, past sys.stdout.
    sys.stdout.flush(), sys.stderr.flush()
    saved = [(descriptor, os.dup(descriptor)) for descriptor in (1, 2)]
    for descriptor, _ in saved:
        os.dup2(target, descriptor)
    try:
        yield
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        for descriptor, copy in saved:
            os.dup2(copy, descriptor)
            os.close(copy)


def _sync(directory: Path) -> None:
    """Makes the directory's files and entries durable before the record says that they are there."""
    for path in [*directory.rglob("*"), directory]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

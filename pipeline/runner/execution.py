"""The execution of one stage: it writes into a temporary directory, which is renamed once the stage has finished."""

from __future__ import annotations

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
from pipeline.contract.disk_space import full_disk_error
from pipeline.contract.errors import UserError, same_command
from pipeline.contract.files import sync, sync_tree
from pipeline.contract.progress import Progress
from pipeline.runner.fingerprint import digest_json, manifest
from pipeline.runner.metadata_store import ArtifactRecord
from pipeline.runner.plan import Decision, read_artifact
from pipeline.runner.workspace import RECORD, Workspace


class StageError(UserError):
    """A stage failed; `log` is the file with its output and the stack trace."""

    def __init__(self, stage: str, cause: UserError, log: Path, resume: str) -> None:
        own = "" if same_command(cause.next_step, resume) else cause.next_step
        super().__init__(
            f"{stage}: {cause.headline}",
            expected=cause.expected,
            received=cause.received,
            next_step=f"{own or 'remove the cause, which the log shows'}; then {resume}",
        )
        self.log = log

    def details(self) -> list[tuple[str, str]]:
        """Returns the labelled lines under the headline, the log among them."""
        *lines, next_step = super().details()
        return [*lines, ("Log", str(self.log)), next_step]


@dataclass(frozen=True)
class Stage:
    """One execution of a stage, and its directories.

    Attributes:
        decision: The planner's decision: the node, its key and its inputs.
        workspace: The workspace that holds the directories.
        execution: The id in the metadata store.
        properties: The facts to record with the execution.
        start_time: The Unix time in seconds.
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
        """The directory of the finished outputs."""
        return self.workspace.artifacts / self.name / str(self.execution)

    @property
    def temporary(self) -> Path:
        """The directory that they are written to; on the same file system, so that the rename is atomic."""
        return self.workspace.artifacts / self.name / f".unfinished-{self.execution}"

    @property
    def scratch(self) -> Path:
        """The directory from which an execution with the same key resumes after an interruption."""
        return self.workspace.scratch / self.name / self.decision.key[:16]

    @property
    def logs(self) -> Path:
        """The directory of the log file and of TensorBoard's events."""
        return self.workspace.logs / self.name / self.decision.key[:16]

    @property
    def log(self) -> Path:
        """The log file."""
        return self.logs / "stage.log"

    def run(self, progress: Progress) -> dict[str, dict[str, Any]]:
        """Runs the component, and returns its outputs as the metadata store records them.

        Raises:
            KeyboardInterrupt: The user interrupted. The temporary directory is removed, the scratch directory stays.
            UserError: The component failed: its own error if that is a UserError, or else one with its text.
        """
        try:
            outputs = self._prepare()
            with _captured(self.log):
                self.decision.node.component.run(**self._arguments(outputs, progress))
            recorded = {name: self._record(name, output) for name, output in outputs.items()}
            self._write_record(recorded)
            sync_tree(self.temporary)
            self.temporary.rename(self.final)
            sync(self.final.parent)
        except KeyboardInterrupt:
            shutil.rmtree(self.temporary, ignore_errors=True)
            raise
        except BaseException as error:
            # Before the unfinished output is removed: the free space is that of the failure.
            failure = _as_user_error(error, self.workspace)
            shutil.rmtree(self.temporary, ignore_errors=True)
            raise failure from error
        return recorded

    def _write_record(self, outputs: Mapping[str, Any]) -> None:
        """Writes the record of the execution beside its outputs, from which `fashion repair` rebuilds the store."""
        content = {
            "execution": {
                "id": self.execution,
                "type": self.name,
                "cache_key": self.decision.key,
                "start_time": self.start_time,
                "end_time": time.time(),
            },
            "properties": dict(self.properties),
            "inputs": {name: artifact.uri for name, artifact in self.decision.inputs.items()},
            "outputs": outputs,
        }
        (self.temporary / RECORD).write_text(json.dumps(content), encoding="utf-8")

    def remove_scratch(self) -> None:
        """Removes the scratch directory, once the execution is recorded."""
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
        return None if record is None else read_artifact(argument.type, record, self.workspace)

    def _record(self, name: str, output: Artifact) -> dict[str, Any]:
        files = manifest(output.path)
        return {
            "type": type(output).__name__,
            "uri": str((self.final / name).relative_to(self.workspace.root)),
            "digest": digest_json(files),
            "properties": {**output.properties, "manifest": files},
        }


def _as_user_error(error: BaseException, workspace: Workspace) -> UserError:
    if isinstance(error, UserError):
        return error
    return full_disk_error(error, workspace.root) or UserError(f"{type(error).__name__}: {error}")


@contextmanager
def _captured(log: Path) -> Iterator[None]:
    """Sends the output of Python and of native libraries, and logging, into the file while a stage runs."""
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
    _flush()
    saved = [(descriptor, os.dup(descriptor)) for descriptor in (1, 2)]
    for descriptor, _ in saved:
        os.dup2(target, descriptor)
    try:
        yield
    finally:
        _flush()
        for descriptor, copy in saved:
            os.dup2(copy, descriptor)
            os.close(copy)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()

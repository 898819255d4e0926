"""The workspace: the directory that holds everything a pipeline writes, and the lock that one run holds."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.contract.disk_space import full_disk_error
from pipeline.contract.errors import UserError
from pipeline.contract.files import exclusive_lock, is_locked

RECORD = "execution.json"
"""The file in which a finished execution is recorded beside its outputs."""
TMPDIR = "TMPDIR"
"""The variable by which programs and libraries find the directory for temporary files."""


@dataclass(frozen=True)
class Workspace:
    """The directories and files of a workspace.

    Attributes:
        root: The directory itself; `workspace/` unless `--workspace` or `FASHION_WORKSPACE` says otherwise.
    """

    root: Path

    @property
    def artifacts(self) -> Path:
        """`artifacts/<stage>/<execution>/<output>/`: what finished stages wrote."""
        return self.root / "artifacts"

    @property
    def scratch(self) -> Path:
        """`scratch/<stage>/<key>/`: what an interrupted stage resumes from."""
        return self.root / "scratch"

    @property
    def logs(self) -> Path:
        """`logs/<stage>/<key>/`: log files and TensorBoard events."""
        return self.root / "logs"

    @property
    def cache(self) -> Path:
        """`cache/`: downloads, and digests of source files; for every stage and run."""
        return self.root / "cache"

    @property
    def source_cache(self) -> Path | None:
        """`cache/modules.json`: digests of our source files. None before the first run, when no file may be written."""
        return self.cache / "modules.json" if self.store.exists() else None

    @property
    def temporary(self) -> Path:
        """`tmp/`: temporary files of the stages and of the libraries that they use; only while a run goes on."""
        return self.root / "tmp"

    @property
    def store(self) -> Path:
        """`metadata.sqlite`: the record of every execution."""
        return self.root / "metadata.sqlite"

    @property
    def reports(self) -> Path:
        """`reports/`: the newest HTML pages, under fixed names."""
        return self.root / "reports"

    @property
    def serving(self) -> Path:
        """`serving_models/fashion/<version>/`: what TensorFlow Serving loads."""
        return self.root / "serving_models" / "fashion"

    @property
    def lock_file(self) -> Path:
        """`lock`: the file that a run locks; it holds the number of the process."""
        return self.root / "lock"

    def is_in_use(self) -> bool:
        """Returns whether a run, or another command that writes, holds the lock now."""
        return is_locked(self.lock_file)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Locks the workspace for this process; the operating system releases the lock when the process ends.

        Raises:
            UserError: Another process holds the lock, or the directory cannot be written.
        """
        path = self.lock_file
        with ExitStack() as stack:
            try:
                self.root.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(exclusive_lock(path, wait=False))
            except BlockingIOError:
                raise UserError(
                    f"Another run uses the workspace {self.root}.",
                    expected="one run at a time",
                    received=f"a lock of process {path.read_text(encoding='utf-8').strip() or 'unknown'}",
                    next_step="wait for it, or fashion run --workspace OTHER",
                ) from None
            except OSError as error:
                raise full_disk_error(error, self.root) or UserError(
                    f"The workspace {self.root} cannot be written.",
                    expected="a directory that this user may write",
                    received=error.strerror or str(error),
                    next_step="fashion run --workspace DIRECTORY",
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    @contextmanager
    def temporary_files(self) -> Iterator[None]:
        """Directs the temporary files of this process and of its children to `tmp/` in the workspace, which is locked.

        The directory is removed at the end, and with what a killed run has left there at the beginning.
        """
        directory = self.temporary.absolute()
        before, variable = tempfile.tempdir, os.environ.get(TMPDIR)
        shutil.rmtree(directory, ignore_errors=True)
        # A file of another user or of a process that still writes may be left.
        directory.mkdir(exist_ok=True)
        tempfile.tempdir = os.environ[TMPDIR] = str(directory)
        try:
            yield
        finally:
            tempfile.tempdir = before
            os.environ.pop(TMPDIR)
            os.environ.update({TMPDIR: variable} if variable is not None else {})
            shutil.rmtree(directory, ignore_errors=True)

"""The one directory that holds everything a pipeline writes, and the lock that gives it to one run at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.contract.errors import UserError


@dataclass(frozen=True)
class Workspace:
    """The places under a workspace directory.

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
        """`cache/`: what was downloaded and need not be again; for every stage and run."""
        return self.root / "cache"

    @property
    def source_memory(self) -> Path | None:
        """`cache/modules.json`: digests of our source files; None before the first run, so that nothing is written."""
        return self.cache / "modules.json" if self.store.exists() else None

    @property
    def store(self) -> Path:
        """`metadata.sqlite`: the record of every execution."""
        return self.root / "metadata.sqlite"

    @property
    def reports(self) -> Path:
        """`reports/`: the newest pages for people, under names that stay."""
        return self.root / "reports"

    @property
    def serving(self) -> Path:
        """`serving_models/fashion/<version>/`: what TensorFlow Serving loads."""
        return self.root / "serving_models" / "fashion"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the workspace for this process; the operating system lets go when the process ends, however it ends.

        Raises:
            UserError: Another process holds it, or the directory cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            file = (self.root / "lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"The workspace {self.root} cannot be written.",
                expected="a directory that this user may write",
                received=error.strerror or str(error),
                next_step="fashion run --workspace DIRECTORY",
            ) from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise UserError(
                    f"Another run holds the workspace {self.root}.",
                    expected="one run at a time",
                    received=f"a lock held by process {file.read().strip() or 'unknown'}",
                    next_step="wait for it, or fashion run --workspace OTHER",
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

"""Which versions are in memory: loaded in the background, swapped without a gap, drained, and said in the status.

The order of steps is TensorFlow Serving's availability-preserving policy: a new version is loaded before an old goes
(tensorflow_serving/core/availability_preserving_policy.h).
"""

from __future__ import annotations

import ctypes
import gc
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from grpc import StatusCode

from serving.embedded.config_files import ModelSource, aspired_versions
from serving.embedded.errors import ServingError, invalid
from serving.embedded.servable import Servable, as_serving_error

log = logging.getLogger("serving")

WATCH_SECONDS = 0.02
"""How often a base directory's time of change is looked at, so that a push or a rollback need not wait for the poll."""
DRAIN_SECONDS = 60.0


class State(IntEnum):
    """What TensorFlow Serving's status says of a version."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass
class Version:
    """A version of a model, from the moment that it is wanted; it stays in the status when it has gone."""

    number: int
    path: Path
    state: State = State.START
    aspired: bool = True
    error: ServingError | None = None
    servable: Servable | None = None
    tries: int = 0
    retry_at: float = 0.0


@dataclass
class Model:
    """A model with all versions that were ever wanted, by number, and the labels."""

    source: ModelSource
    versions: dict[int, Version] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    aspired: bool = True

    def available(self) -> list[int]:
        """Returns the numbers of the versions that answer, the lowest first."""
        return sorted(number for number, version in self.versions.items() if version.state is State.AVAILABLE)


@dataclass(frozen=True)
class Options:
    """How versions are loaded; see the flags of the same names."""

    poll_seconds: float = 1.0
    retries: int = 5
    retry_seconds: float = 60.0
    labels_for_unavailable: bool = False


def next_action(versions: Iterable[Version], now: float = 0.0) -> tuple[str, Version] | None:
    """Returns the next step, ("load" or "unload", version), that keeps a model answering; None when all is done."""
    versions = sorted(versions, key=lambda version: version.number)
    ready = [version for version in versions if version.state is State.AVAILABLE]
    unwanted = [version for version in ready if not version.aspired]
    replaced = any(version.aspired for version in ready) or not any(version.aspired for version in versions)
    if unwanted and (replaced or len(ready) > 1):
        return "unload", unwanted[0]
    waiting = [version for version in versions if version.aspired and version.state in (State.START, State.LOADING)]
    due = [version for version in waiting if version.retry_at <= now]
    return ("load", due[-1]) if due else None


class Lifecycle:
    """Keeps the versions that are configured in memory, in a thread of its own."""

    def __init__(self, load: Callable[[str, int, Path], Servable], options: Options) -> None:
        """Starts nothing yet.

        Args:
            load: Loads and warms a version: the model's name, the number, the directory.
            options: How often to look and to try again.
        """
        self._load = load
        self._options = options
        self._models: dict[str, Model] = {}
        self._working = threading.RLock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lifecycle", daemon=True)
        self._seen: dict[str, int] = {}

    def start(self, sources: Iterable[ModelSource]) -> None:
        """Loads what the sources want, tells of what cannot be loaded, then goes on watching.

        Raises:
            ServingError: A model has no version that could be loaded, or a label names one that is not there.
        """
        self._configure(sources)
        self._pass()
        while (waiting := self._waiting()) and not self._stopping.is_set():
            self._warn_of(waiting[0])
            self._stopping.wait(max(self._options.poll_seconds, WATCH_SECONDS))
            self._pass()
        self._assign_labels()
        self._thread.start()

    def abandon(self) -> None:
        """Ends a `start` that waits for a version that does not come."""
        self._stopping.set()

    def reload(self, sources: Iterable[ModelSource]) -> None:
        """Takes another configuration; returns when every model of it answers.

        Raises:
            ServingError: A model cannot be loaded, or a label names a version that is not there.
        """
        with self._working:
            self._configure(sources)
            self._pass()
            if waiting := self._waiting():
                raise ServingError(StatusCode.UNKNOWN, f"1 servable(s) did not become available: {{{waiting[0].name}}}")
            self._assign_labels()

    def stop(self) -> None:
        """Drains and unloads everything."""
        self._stopping.set()
        if self._thread.ident:
            self._thread.join()
        with self._working:
            self._configure([])
            self._act()

    def find(self, model: str, version: int | None = None, label: str | None = None) -> Servable:
        """Returns the version that a request means, acquired: the caller releases it.

        Raises:
            ServingError: There is no such model, version or label, or it is not loaded.
        """
        while True:
            held = self._models.get(model)
            number = version if label is None else _labelled(held, label)
            servable = _available(held, number)
            if servable is None:
                wanted = f"Latest({model})" if number is None else f"Specific({model}, {number})"
                raise ServingError(StatusCode.NOT_FOUND, f"Servable not found for request: {wanted}")
            if servable.acquire():
                return servable

    def statuses(self, model: str, version: int | None = None, label: str | None = None) -> list[Version]:
        """Returns the versions of a model, the newest first, or the one that is meant.

        Raises:
            ServingError: There is none.
        """
        held = self._models.get(model)
        number = version if label is None else _labelled(held, label)
        versions = sorted(held.versions.values(), key=lambda each: -each.number) if held else []
        if number is None and not versions:
            raise ServingError(StatusCode.NOT_FOUND, f"Could not find any versions of model {model}")
        if number is None:
            return versions
        chosen = [each for each in versions if each.number == number]
        if not chosen:
            raise ServingError(StatusCode.NOT_FOUND, f"Could not find version {number} of model {model}")
        return chosen

    def names(self) -> list[str]:
        """Returns the models that are configured."""
        return [name for name, model in self._models.items() if model.aspired]

    def _run(self) -> None:
        poll = self._options.poll_seconds
        polled = time.monotonic()
        while not self._stopping.wait(WATCH_SECONDS):
            due = poll > 0 and (time.monotonic() - polled >= poll or self._touched())
            try:
                with self._working:
                    if due:
                        polled = time.monotonic()
                        self._aspire()
                    self._act()
            except Exception:  # the thread must outlive whatever a directory holds
                log.exception("The versions could not be brought up to date")

    def _touched(self) -> bool:
        before, self._seen = (
            self._seen,
            {name: _modified(model.source.base_path) for name, model in list(self._models.items())},
        )
        return before != self._seen

    def _configure(self, sources: Iterable[ModelSource]) -> None:
        wanted = {source.name: source for source in sources}
        # Requests look a model up without a lock, so the table is replaced and never changed.
        models = dict(self._models)
        for name, source in wanted.items():
            models.setdefault(name, Model(source)).source = source
        for name, model in models.items():
            model.aspired = name in wanted
        self._models = models

    def _pass(self) -> None:
        with self._working:
            self._aspire()
            self._act()

    def _aspire(self) -> None:
        """Looks at the disk."""
        for name, model in self._models.items():
            if not model.aspired or self._options.poll_seconds < 0:
                continue
            try:
                found = aspired_versions(model.source)
            except ServingError as error:
                log.error("%s", error.message)
                continue
            for number, version in model.versions.items():
                version.aspired = number in found
            for number, path in found.items():
                _want(model, name, number, path)

    def _act(self) -> None:
        for name, model in self._models.items():
            if not model.aspired:
                for version in model.versions.values():
                    version.aspired = False
            while step := next_action(model.versions.values(), time.monotonic()):
                action, version = step
                if action == "load":
                    self._bring(name, version)
                else:
                    _take_away(name, version)

    def _bring(self, name: str, version: Version) -> None:
        version.state = State.LOADING
        version.tries += 1
        try:
            version.servable = self._load(name, version.number, version.path)
        except Exception as error:  # whatever a damaged version makes TensorFlow raise
            version.error = as_serving_error(error)
            last = version.tries > self._options.retries
            version.state = State.END if last else State.LOADING
            version.retry_at = time.monotonic() + self._options.retry_seconds
            log.error("Version %d of %s cannot be loaded: %s", version.number, name, version.error.message)
            return
        version.error = None
        version.state = State.AVAILABLE
        log.info("Version %d of %s is served", version.number, name)

    def _waiting(self) -> list[ModelSource]:
        """The models without a version that answers.

        Raises:
            ServingError: One of them never will.
        """
        waiting = [model for model in self._models.values() if model.aspired and not model.available()]
        for model in waiting:
            failed = [v for v in model.versions.values() if v.aspired and v.state is State.END]
            if failed and all(v.state is State.END for v in model.versions.values() if v.aspired):
                reason = failed[-1].error.message if failed[-1].error else ""
                raise ServingError(
                    StatusCode.UNKNOWN,
                    "1 servable(s) did not become available: "
                    f"{{name: {model.source.name} version: {failed[-1].number} due to error: {reason}}}",
                )
        return [model.source for model in waiting]

    def _warn_of(self, source: ModelSource) -> None:
        if not self._models[source.name].versions:
            log.warning("No versions of servable %s found under base path %s", source.name, source.base_path)

    def _assign_labels(self) -> None:
        for name, model in self._models.items():
            wanted, available = dict(model.source.labels) if model.aspired else {}, model.available()
            for label, number in wanted.items():
                moved = model.labels.get(label, number) != number
                if number not in available and (moved or not self._options.labels_for_unavailable):
                    raise ServingError(
                        StatusCode.FAILED_PRECONDITION,
                        f"Request to assign label to version {number} of model {name}, "
                        "which is not currently available for inference",
                    )
            model.labels = wanted


def _want(model: Model, name: str, number: int, path: Path) -> None:
    held = model.versions.get(number)
    if held is None:
        log.info("Version %d of %s is found at %s", number, name, path)
        model.versions[number] = Version(number, path)
    elif held.state is State.END and held.error is None:
        # It was served before and is wanted again.
        model.versions[number] = Version(number, path)


def _take_away(name: str, version: Version) -> None:
    version.state = State.UNLOADING
    servable, version.servable = version.servable, None
    if servable and not servable.close(DRAIN_SECONDS):
        log.warning("Version %d of %s was unloaded with requests on it", version.number, name)
    del servable
    _free_memory()
    version.state = State.END
    log.info("Version %d of %s is unloaded", version.number, name)


def _free_memory() -> None:
    """Gives the memory of a version that has gone back to the system.

    A graph is a ring of Python objects, which stays until the collector happens to pass; and what is freed under load
    lies between what is in use, in an arena of malloc's for each thread, where the next version does not find it.
    """
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc has it, musl has not
        trim(0)


def _labelled(model: Model | None, label: str) -> int:
    number = model.labels.get(label) if model else None
    if number is None:
        raise invalid(f"Unrecognized servable version label: {label}")
    return number


def _available(model: Model | None, number: int | None) -> Servable | None:
    if model is None:
        return None
    versions: Mapping[int, Version] = model.versions.copy()
    if number is not None:
        version = versions.get(number)
        return version.servable if version and version.state is State.AVAILABLE else None
    held = [each for each in versions.values() if each.state is State.AVAILABLE and each.servable]
    return max(held, key=lambda each: each.number).servable if held else None


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0

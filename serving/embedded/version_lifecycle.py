"""Loads, swaps and unloads the versions of all models in a background thread, and reports their states.

The order of the steps is TensorFlow Serving's availability-preserving policy: a new version is loaded before an
old one is unloaded (tensorflow_serving/core/availability_preserving_policy.h).
"""

from __future__ import annotations

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
from serving.embedded.load_limits import return_free_memory
from serving.embedded.servable import Servable, as_serving_error

log = logging.getLogger("serving")

WATCH_SECONDS = 0.02
"""Interval at which the modification times of base directories are read: a push need not wait for the next poll."""
DRAIN_SECONDS = 60.0


class State(IntEnum):
    """The states of a version in TensorFlow Serving's status."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass
class Version:
    """A version of a model since it was first aspired; an unloaded version stays in the status."""

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
    """A model with all versions that were ever aspired, by number, and its labels."""

    source: ModelSource
    versions: dict[int, Version] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    aspired: bool = True

    def available(self) -> list[int]:
        """Returns the numbers of the available versions, the lowest first."""
        return sorted(number for number, version in self.versions.items() if version.state is State.AVAILABLE)


@dataclass(frozen=True)
class Options:
    """How often versions are polled and loads retried; the server's flags explain each field."""

    poll_seconds: float = 1.0
    retries: int = 5
    retry_seconds: float = 60.0
    labels_for_unavailable: bool = False


def next_action(versions: Iterable[Version], now: float = 0.0) -> tuple[str, Version] | None:
    """Returns the next step, ("load" or "unload", version), that keeps a model available; None when nothing is due."""
    versions = sorted(versions, key=lambda version: version.number)
    ready = [version for version in versions if version.state is State.AVAILABLE]
    retired = [version for version in ready if not version.aspired]
    replaced = any(version.aspired for version in ready) or not any(version.aspired for version in versions)
    if retired and (replaced or len(ready) > 1):
        return "unload", retired[0]
    waiting = [version for version in versions if version.aspired and version.state in (State.START, State.LOADING)]
    due = [version for version in waiting if version.retry_at <= now]
    return ("load", due[-1]) if due else None


class Lifecycle:
    """Keeps the configured versions in memory, in a thread of its own."""

    def __init__(self, load: Callable[[str, int, Path], Servable], options: Options) -> None:
        """Keeps its parameters; `start` loads the first versions.

        Args:
            load: Loads a version and warms it up, given the model's name, the version's number and its directory.
            options: How often to poll and to retry.
        """
        self._loader = load
        self._options = options
        self._models: dict[str, Model] = {}
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lifecycle", daemon=True)
        self._modified: dict[str, int] = {}

    def start(self, sources: Iterable[ModelSource]) -> None:
        """Loads the versions of all sources, waits until every model has one, then starts the polling thread.

        Raises:
            ServingError: All versions of a model failed to load, or a label names a version that is not loaded yet,
                which needs the option.
        """
        self._configure(sources)
        self._reconcile()
        while (waiting := self._unavailable_sources("servable")) and not self._stopping.is_set():
            self._warn_of(waiting[0])
            self._stopping.wait(max(self._options.poll_seconds, WATCH_SECONDS))
            self._reconcile()
        self._thread.start()

    def cancel_start(self) -> None:
        """Makes a `start` that waits for a first version return."""
        self._stopping.set()

    def reload(self, sources: Iterable[ModelSource]) -> None:
        """Replaces the configuration; returns when every model of it is available.

        Raises:
            ServingError: A model cannot be loaded, or a label names a version that is not loaded yet: then nothing
                changes.
        """
        with self._lock:
            self._configure(sources)
            self._reconcile()
            if waiting := self._unavailable_sources("model"):
                raise _unavailable("model", f"name: {waiting[0].name}")

    def stop(self) -> None:
        """Drains and unloads all versions."""
        self._stopping.set()
        if self._thread.ident:
            self._thread.join()
        with self._lock:
            self._configure([])
            self._load_and_unload()

    def find(self, model: str, version: int | None = None, label: str | None = None) -> Servable:
        """Returns the version that a request addresses, acquired: the caller releases it.

        Raises:
            ServingError: There is no such model, version or label, or it is not loaded.
        """
        if not model:
            raise invalid("ModelSpec has no name specified.")
        while True:
            entry = self._models.get(model)
            number = version if label is None else _labelled_version(entry, label)
            servable = _available_servable(entry, number)
            if servable is None:
                wanted = f"Latest({model})" if number is None else f"Specific({model}, {number})"
                raise ServingError(StatusCode.NOT_FOUND, f"Servable not found for request: {wanted}")
            if servable.acquire():
                return servable

    def statuses(self, model: str, number: int | None = None) -> list[Version]:
        """Returns the versions of a model, the newest first, or only the version that is given by its number.

        Raises:
            ServingError: There is no such model or version.
        """
        entry = self._models.get(model)
        versions = sorted(entry.versions.values(), key=lambda each: -each.number) if entry else []
        if number is None and not versions:
            raise ServingError(StatusCode.NOT_FOUND, f"Could not find any versions of model {model}")
        if number is None:
            return versions
        chosen = [each for each in versions if each.number == number]
        if not chosen:
            raise ServingError(StatusCode.NOT_FOUND, f"Could not find version {number} of model {model}")
        return chosen

    def names(self) -> list[str]:
        """Returns the names of the configured models."""
        return [name for name, model in self._models.items() if model.aspired]

    def _run(self) -> None:
        poll = self._options.poll_seconds
        polled = time.monotonic()
        while not self._stopping.wait(WATCH_SECONDS):
            due = poll > 0 and (time.monotonic() - polled >= poll or self._base_paths_changed())
            try:
                with self._lock:
                    if due:
                        polled = time.monotonic()
                        self._poll_base_paths()
                    self._load_and_unload()
            except Exception:  # no content of a directory may end the thread
                log.exception("Loading and unloading versions failed")

    def _base_paths_changed(self) -> bool:
        before = self._modified
        self._modified = {name: _modified_ns(model.source.base_path) for name, model in list(self._models.items())}
        return before != self._modified

    def _configure(self, sources: Iterable[ModelSource]) -> None:
        configured = {source.name: source for source in sources}
        # Like TensorFlow Serving: before any version is loaded, so a new version and its label need two steps.
        self._check_labels(configured.values())
        # Requests look up models without a lock, so the table is replaced and never changed.
        models = dict(self._models)
        for name, source in configured.items():
            models.setdefault(name, Model(source)).source = source
        for name, model in models.items():
            model.aspired = name in configured
            model.labels = dict(model.source.labels) if model.aspired else {}
        self._models = models

    def _reconcile(self) -> None:
        with self._lock:
            self._poll_base_paths()
            self._load_and_unload()

    def _poll_base_paths(self) -> None:
        """Updates which versions are aspired from the base directories."""
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
                _add_version(model, name, number, path)

    def _load_and_unload(self) -> None:
        for name, model in self._models.items():
            if not model.aspired:
                for version in model.versions.values():
                    version.aspired = False
            while step := next_action(model.versions.values(), time.monotonic()):
                action, version = step
                if action == "load":
                    self._load(name, version)
                else:
                    _unload(name, version)

    def _load(self, name: str, version: Version) -> None:
        version.state = State.LOADING
        version.tries += 1
        try:
            version.servable = self._loader(name, version.number, version.path)
        except Exception as error:  # TensorFlow raises errors of any kind for a damaged version
            version.error = as_serving_error(error)
            last = version.tries > self._options.retries
            version.state = State.END if last else State.LOADING
            version.retry_at = time.monotonic() + self._options.retry_seconds
            log.error("Version %d of %s failed to load: %s", version.number, name, version.error.message)
            return
        version.error = None
        version.state = State.AVAILABLE
        log.info("Version %d of %s is available", version.number, name)

    def _unavailable_sources(self, noun: str) -> list[ModelSource]:
        """Returns the sources of the models without an available version; the noun is for the error.

        Raises:
            ServingError: All versions of one of them failed to load.
        """
        waiting = [model for model in self._models.values() if model.aspired and not model.available()]
        for model in waiting:
            failed = [v for v in model.versions.values() if v.aspired and v.state is State.END]
            if failed and all(v.state is State.END for v in model.versions.values() if v.aspired):
                raise _unavailable(noun, f"name: {model.source.name} version: {failed[-1].number}", failed[-1].error)
        return [model.source for model in waiting]

    def _warn_of(self, source: ModelSource) -> None:
        if not self._models[source.name].versions:
            log.warning("No versions of servable %s found under base path %s", source.name, source.base_path)

    def _check_labels(self, sources: Iterable[ModelSource]) -> None:
        for source in sources:
            model = self._models.get(source.name) or Model(source)
            available = model.available()
            for label, number in source.labels:
                moved = model.labels.get(label, number) != number
                if number not in available and (moved or not self._options.labels_for_unavailable):
                    raise ServingError(
                        StatusCode.FAILED_PRECONDITION,
                        f"Request to assign label to version {number} of model {source.name}, "
                        "which is not currently available for inference",
                    )


def _unavailable(noun: str, identity: str, error: ServingError | None = None) -> ServingError:
    reason = f" due to error: {error.code.name}: {error.message}" if error else ""
    return ServingError(StatusCode.UNKNOWN, f"1 {noun}(s) did not become available: {{{{{{{identity}}}{reason}}}, }}")


def _add_version(model: Model, name: str, number: int, path: Path) -> None:
    known = model.versions.get(number)
    if known is None:
        log.info("Found version %d of %s at %s", number, name, path)
        model.versions[number] = Version(number, path)
    elif known.state is State.END and known.error is None:
        # It was unloaded and is aspired again.
        model.versions[number] = Version(number, path)


def _unload(name: str, version: Version) -> None:
    version.state = State.UNLOADING
    servable, version.servable = version.servable, None
    if servable and not servable.close(DRAIN_SECONDS):
        log.warning("Version %d of %s was unloaded while requests were running", version.number, name)
    del servable
    return_free_memory()
    version.state = State.END
    log.info("Version %d of %s is unloaded", version.number, name)


def _labelled_version(model: Model | None, label: str) -> int:
    number = model.labels.get(label) if model else None
    if number is None:
        raise invalid(f"Unrecognized servable version label: {label}")
    return number


def _available_servable(model: Model | None, number: int | None) -> Servable | None:
    if model is None:
        return None
    versions: Mapping[int, Version] = model.versions.copy()
    if number is not None:
        version = versions.get(number)
        return version.servable if version and version.state is State.AVAILABLE else None
    available = [each for each in versions.values() if each.state is State.AVAILABLE and each.servable]
    return max(available, key=lambda each: each.number).servable if available else None


def _modified_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0

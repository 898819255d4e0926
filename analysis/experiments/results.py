"""The results of an experiment: a CSV of figures and a CSV of misclassified examples beside its declaration."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.experiments.declaration import STUDIES, Experiment
from pipeline.contract.errors import UserError
from pipeline.contract.files import atomic_path, exclusive_lock

COLUMNS = ("arm", "seed", "subset", "metric", "value", "settings", "backend", "hardware")
ERROR_COLUMNS = ("arm", "seed", "example", "truth", "predicted")
VALIDATION = "validation"
TEST = "test"
REPAIR = "git checkout of the CSV, or remove the arm's rows and run it again"


class ResultsError(UserError):
    """The CSV files of an experiment are damaged or contradict each other."""


@dataclass(frozen=True)
class Machine:
    """What a run was computed on.

    Attributes:
        backend: Keras's backend and its version.
        hardware: The processor, the number of its cores, and the GPUs or other accelerators that the backend uses.
    """

    backend: str
    hardware: str


@dataclass(frozen=True)
class Outcome:
    """The outcome of one run, which is one arm with one seed.

    Attributes:
        figures: Rows of (subset, metric, value).
        truth: int64 [N], the true groups of the evaluated examples.
        predicted: int64 [N], their predicted groups.
        arrays: Arrays for pictures, by name; only those of the first seed are stored.
        machine: What the network was trained on; None for the machine of this process.
    """

    figures: list[tuple[str, str, float]] = field(default_factory=list)
    truth: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    predicted: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    machine: Machine | None = None


class Results:
    """The results of one experiment, on disk and in memory.

    Every run is written as soon as it is added, and a kill leaves the files as they were before or after it. Rows from
    settings other than the declared ones do not count.

    Args:
        experiment: The experiment.
        directory: The directory of the files. Defaults to that of the project's declarations.

    Raises:
        ResultsError: A file is damaged, or the two files contradict each other.
    """

    def __init__(self, experiment: Experiment, directory: Path = STUDIES) -> None:
        self.experiment = experiment
        self._file = directory / f"{experiment.name}.csv"
        self.array_file = directory / f"{experiment.name}.npz"
        self._lock_file = directory / f".{experiment.name}.lock"
        self._error_file = directory / f"{experiment.name}.errors.csv"
        self._digests = {arm: digest([experiment.measure, experiment.settings_of(arm)]) for arm in experiment.arms}
        self.reread()

    def reread(self) -> None:
        """Reads the files again, since another process may have added runs."""
        figures = _read(self._file, COLUMNS)
        current = [
            self._digests.get(arm) == settings
            for arm, settings in zip(figures["arm"], figures["settings"], strict=True)
        ]
        self.figures = figures[np.array(current, bool) & figures["seed"].isin(self.experiment.seeds)]
        runs = set(zip(self.figures["arm"], self.figures["seed"], strict=True))
        errors = _read(self._error_file, ERROR_COLUMNS)
        self.errors = errors[np.array([run in runs for run in zip(errors["arm"], errors["seed"], strict=True)], bool)]
        self._check()

    def _check(self) -> None:
        """Raises ResultsError for a repeated figure, or errors whose number contradicts the accuracy."""
        figures, runs = self.figures, ["arm", "seed"]
        for _, row in figures[figures.duplicated(list(COLUMNS[:4]))].head(1).iterrows():
            raise ResultsError(
                "A figure is repeated.",
                expected=f"one row for {', '.join(COLUMNS[:4])}",
                received=f"another for {', '.join(map(str, row[:4]))} ({self._file})",
                next_step=REPAIR,
            )
        whole = (figures["metric"] == "group_accuracy") & figures["subset"].isin([VALIDATION, TEST])
        sizes = figures[figures["metric"] == "support"].groupby(runs)["value"].sum()
        wrong = ((1 - figures[whole].set_index(runs)["value"]) * sizes).dropna().astype(float).round().astype(int)
        listed = self.errors.groupby(runs).size().reindex(wrong.index, fill_value=0)
        for run in wrong.index[wrong != listed][:1]:
            raise ResultsError(
                "The misclassified examples of a run contradict its accuracy.",
                expected=f"{wrong[run]} of {run[0]}, seed {run[1]}",
                received=f"{listed[run]} ({self._error_file})",
                next_step=REPAIR,
            )

    def missing(self) -> list[tuple[str, int]]:
        """Returns the runs that are still missing: one seed of all arms before the next seed."""
        finished = set(zip(self.figures["arm"], self.figures["seed"], strict=True))
        return [
            (arm, seed) for seed in self.experiment.seeds for arm in self.experiment.arms if (arm, seed) not in finished
        ]

    @property
    def complete(self) -> bool:
        """Whether no run is missing."""
        return not self.missing()

    def add(self, arm: str, seed: int, outcome: Outcome, machine: Machine) -> None:
        """Writes a run to the files, replacing an earlier one; runs that other processes added meanwhile stay."""
        rows = [
            (arm, seed, subset, metric, float(f"{value:.7g}"), self._digests[arm], machine.backend, machine.hardware)
            for subset, metric, value in outcome.figures
        ]
        wrong = np.flatnonzero(outcome.truth != outcome.predicted)
        errors = [(arm, seed, int(i), int(outcome.truth[i]), int(outcome.predicted[i])) for i in wrong]
        with exclusive_lock(self._lock_file):
            self.reread()
            self.figures, self.errors = (
                frame[(frame["arm"] != arm) | (frame["seed"] != seed)] for frame in (self.figures, self.errors)
            )
            self.figures = self._sorted(self.figures, rows, COLUMNS)
            self.errors = self._sorted(self.errors, errors, ERROR_COLUMNS)
            # The errors first: a run counts as finished when its figures are there.
            for frame, file in ((self.errors, self._error_file), (self.figures, self._file)):
                if len(frame):
                    with atomic_path(file) as path:
                        frame.to_csv(path, index=False, lineterminator="\n")
            if outcome.arrays and seed == self.experiment.seeds[0]:
                contents: dict[str, Any] = outcome.arrays
                with atomic_path(self.array_file) as path:
                    np.savez_compressed(path, **contents)

    def _sorted(self, before: pd.DataFrame, rows: Sequence[Any], columns: Sequence[str]) -> pd.DataFrame:
        added = pd.DataFrame(rows, columns=list(columns))
        frame = pd.concat([f for f in (before, added) if len(f)]) if len(before) or len(added) else before
        order = {arm: position for position, arm in enumerate(self.experiment.arms)}
        return frame.sort_values(["arm", "seed"], key=lambda c: c.map(order) if c.name == "arm" else c, kind="stable")

    def values(self, metric: str, subset: str = VALIDATION) -> pd.DataFrame:
        """Returns a metric's values: one row a seed, one column an arm, in the order of the declaration."""
        chosen = self.figures[(self.figures["metric"] == metric) & (self.figures["subset"] == subset)]
        table = chosen.pivot_table(index="seed", columns="arm", values="value")
        return table[[arm for arm in self.experiment.arms if arm in table.columns]]

    def supports(self, groups: Sequence[str]) -> npt.NDArray[np.int64]:
        """Returns the number of evaluated examples of each group, int64 [groups]."""
        supports = self.figures[self.figures["metric"] == "support"].drop_duplicates("subset").set_index("subset")
        return supports["value"].reindex(list(groups)).to_numpy(np.int64)


def digest(content: Any) -> str:
    """Returns the first eight hexadecimal digits of the SHA-256 of a content, as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def this_machine() -> Machine:
    """Returns the backend and the hardware that this process computes on."""
    import keras

    backend = keras.backend.backend()
    cores = len(os.sched_getaffinity(0))
    return Machine(f"{backend} {version(backend)}", describe_hardware(processor_name(), cores, _accelerators(backend)))


def describe_hardware(processor: str, cores: int, accelerators: Sequence[str]) -> str:
    """Returns a line such as "AMD EPYC, 2 cores, 2 x NVIDIA H100"."""
    counted = [f"{count} x {name}" for name, count in Counter(accelerators).items()]
    return ", ".join([processor, f"{cores} cores", *counted])


def _accelerators(backend: str) -> list[str]:
    # Only one of the backends need be installed.
    module = import_module(backend)
    if backend == "jax":
        return [str(device.device_kind) for device in module.devices() if device.platform != "cpu"]
    if backend == "torch":
        return [str(module.cuda.get_device_name(index)) for index in range(module.cuda.device_count())]
    details = module.config.experimental.get_device_details
    return [str(details(gpu).get("device_name", "GPU")) for gpu in module.config.list_physical_devices("GPU")]


def processor_name() -> str:
    """Returns the name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _read(file: Path, columns: Sequence[str]) -> pd.DataFrame:
    if not file.exists():
        return pd.DataFrame({name: pd.Series(dtype=object) for name in columns})
    try:
        frame = pd.read_csv(file, dtype={"arm": str, "subset": str, "settings": str})
    except ValueError as error:  # the base class of pandas's parsing errors
        raise _damaged(file, columns, str(error).strip()) from None
    required = [name for name in columns if name != "value"]
    if missing := [name for name in columns if name not in frame]:
        raise _damaged(file, columns, f"no {', '.join(missing)}")
    for row in np.flatnonzero(frame[required].isna().any(axis=1))[:1]:
        line = file.read_text(encoding="utf-8").splitlines()[row + 1]
        raise _damaged(file, columns, f"line {row + 2}: {line}")
    return frame


def _damaged(file: Path, columns: Sequence[str], received: str) -> ResultsError:
    return ResultsError(
        "A file of results is damaged.",
        expected=f"rows of {', '.join(columns)}",
        received=f"{received} ({file})",
        next_step=REPAIR,
    )

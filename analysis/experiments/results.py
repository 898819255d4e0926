"""The results of an experiment: two tidy CSV files beside its declaration, which are its journal as well."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.experiments.declaration import STUDIES, Experiment
from analysis.experiments.place import Place

COLUMNS = ("arm", "seed", "subset", "metric", "value", "settings", "backend", "hardware")
ERROR_COLUMNS = ("arm", "seed", "example", "truth", "predicted")
VALIDATION = "validation"
TEST = "test"


class ResultsError(ValueError):
    """Results are not as they were written; the message says what was expected and what was received."""


@dataclass(frozen=True)
class Outcome:
    """What a run of an arm with a seed has found.

    Attributes:
        figures: Rows of (subset, metric, value).
        truth: int64 [N], the true groups of the examples that were judged.
        predicted: int64 [N], the groups that they were given.
        arrays: What is to be looked at, by name; kept of the first seed alone.
        place: What the network was trained on, where there is one; None for where the run is made.
    """

    figures: list[tuple[str, str, float]] = field(default_factory=list)
    truth: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    predicted: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    place: Place | None = None


class Results:
    """The results of one experiment, on disk and in memory.

    A run that is added is written at once, and a kill leaves the files before it or after it. Rows made with other
    settings than the declared ones count as not there.

    Args:
        experiment: The experiment.
        directory: Where its files are. Defaults to where the declarations are.
    """

    def __init__(self, experiment: Experiment, directory: Path = STUDIES) -> None:
        self.experiment = experiment
        self._file = directory / f"{experiment.name}.csv"
        self.array_file = directory / f"{experiment.name}.npz"
        self._lock_file = directory / f".{experiment.name}.lock"
        self._error_file = directory / f"{experiment.name}.errors.csv"
        self._digests = {arm: digest([experiment.measure, experiment.of_arm(arm)]) for arm in experiment.arms}
        self.reread()

    def reread(self) -> None:
        """Reads the files, to which another process may have added."""
        self.figures = self._current(_read(self._file, COLUMNS))
        of_current = set(zip(self.figures["arm"], self.figures["seed"], strict=True))
        errors = _read(self._error_file, ERROR_COLUMNS)
        runs = zip(errors["arm"], errors["seed"], strict=True)
        self.errors = errors[np.array([run in of_current for run in runs], bool)]
        self._check()

    def _check(self) -> None:
        """Raises ResultsError for a figure that is there twice, or wrong answers that do not fit the accuracy."""
        figures, runs = self.figures, ["arm", "seed"]
        for _, row in figures[figures.duplicated(list(COLUMNS[:4]))].head(1).iterrows():
            raise ResultsError(
                f"A figure is there twice. Expected: one row for {', '.join(COLUMNS[:4])}. "
                f"Received: another for {', '.join(map(str, row[:4]))} ({self._file})"
            )
        whole = (figures["metric"] == "group_accuracy") & figures["subset"].isin([VALIDATION, TEST])
        sizes = figures[figures["metric"] == "support"].groupby(runs)["value"].sum()
        wrong = ((1 - figures[whole].set_index(runs)["value"]) * sizes).dropna().astype(float).round().astype(int)
        there = self.errors.groupby(runs).size().reindex(wrong.index, fill_value=0)
        for run in wrong.index[wrong != there][:1]:
            raise ResultsError(
                "The wrong answers of a run do not fit its accuracy. "
                f"Expected: {wrong[run]} of {run[0]}, seed {run[1]}. Received: {there[run]} ({self._error_file})"
            )

    def _current(self, figures: pd.DataFrame) -> pd.DataFrame:
        kept = [self._digests.get(arm) == made for arm, made in zip(figures["arm"], figures["settings"], strict=True)]
        return figures[np.array(kept, bool) & figures["seed"].isin(self.experiment.seeds)]

    def missing(self) -> list[tuple[str, int]]:
        """Returns the runs that are still to be made, a seed of all arms before the next seed."""
        made = set(zip(self.figures["arm"], self.figures["seed"], strict=True))
        return [
            (arm, seed) for seed in self.experiment.seeds for arm in self.experiment.arms if (arm, seed) not in made
        ]

    @property
    def complete(self) -> bool:
        """Whether every run was made."""
        return not self.missing()

    def add(self, arm: str, seed: int, outcome: Outcome, place: Place) -> None:
        """Adds a run in place of the same run before, and writes the files; what others have added meanwhile stays."""
        rows = [
            (arm, seed, subset, metric, float(f"{value:.7g}"), self._digests[arm], place.backend, place.hardware)
            for subset, metric, value in outcome.figures
        ]
        wrong = np.flatnonzero(outcome.truth != outcome.predicted)
        errors = [(arm, seed, int(i), int(outcome.truth[i]), int(outcome.predicted[i])) for i in wrong]
        with self._alone():
            self.reread()
            self.figures, self.errors = (
                held[(held["arm"] != arm) | (held["seed"] != seed)] for held in (self.figures, self.errors)
            )
            self._write(rows, errors)
            if outcome.arrays and seed == self.experiment.seeds[0]:
                contents: dict[str, Any] = outcome.arrays
                unfinished = self.array_file.with_suffix(".unfinished.npz")
                np.savez_compressed(unfinished, **contents)
                unfinished.replace(self.array_file)

    def _write(self, rows: Sequence[Any], errors: Sequence[Any]) -> None:
        self.figures = self._sorted(self.figures, rows, COLUMNS)
        self.errors = self._sorted(self.errors, errors, ERROR_COLUMNS)
        # The errors first: a run counts as made when its figures are there.
        for frame, file in ((self.errors, self._error_file), (self.figures, self._file)):
            if len(frame):
                _write(frame, file)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Holds the files for this process; the operating system lets go when it ends, however it ends."""
        with self._lock_file.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _sorted(self, before: pd.DataFrame, rows: Sequence[Any], columns: Sequence[str]) -> pd.DataFrame:
        added = pd.DataFrame(rows, columns=list(columns))
        frame = pd.concat([f for f in (before, added) if len(f)]) if len(before) or len(added) else before
        order = {arm: place for place, arm in enumerate(self.experiment.arms)}
        return frame.sort_values(["arm", "seed"], key=lambda c: c.map(order) if c.name == "arm" else c, kind="stable")

    def values(self, metric: str, subset: str = VALIDATION) -> pd.DataFrame:
        """Returns a metric's values: one row a seed, one column an arm, in the order of the declaration."""
        chosen = self.figures[(self.figures["metric"] == metric) & (self.figures["subset"] == subset)]
        table = chosen.pivot_table(index="seed", columns="arm", values="value")
        return table[[arm for arm in self.experiment.arms if arm in table.columns]]

    def supports(self, groups: Sequence[str]) -> npt.NDArray[np.int64]:
        """Returns how many of the examples judged each group has, int64 [groups]."""
        of_support = self.figures[self.figures["metric"] == "support"].drop_duplicates("subset").set_index("subset")
        return of_support["value"].reindex(list(groups)).to_numpy(np.int64)


def digest(content: Any) -> str:
    """Returns eight hexadecimal digits that tell contents apart."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def _read(file: Path, columns: Sequence[str]) -> pd.DataFrame:
    if not file.exists():
        return pd.DataFrame({name: pd.Series(dtype=object) for name in columns})
    try:
        frame = pd.read_csv(file, dtype={"arm": str, "subset": str, "settings": str})
    except ValueError as error:  # what pandas raises on reading is one
        raise _unreadable(file, columns, str(error).strip()) from None
    known = [name for name in columns if name != "value"]
    if missing := [name for name in columns if name not in frame]:
        raise _unreadable(file, columns, f"no {', '.join(missing)}")
    for place in np.flatnonzero(frame[known].isna().any(axis=1))[:1]:
        raise _unreadable(
            file, columns, f"line {place + 2}: {file.read_text(encoding='utf-8').splitlines()[place + 1]}"
        )
    return frame


def _unreadable(file: Path, columns: Sequence[str], received: str) -> ResultsError:
    return ResultsError(
        f"The results are not as they were written. Expected: rows of {', '.join(columns)}. "
        f"Received: {received} ({file})"
    )


def _write(frame: pd.DataFrame, file: Path) -> None:
    unfinished = file.with_suffix(".unfinished")
    frame.to_csv(unfinished, index=False, lineterminator="\n")
    unfinished.replace(file)

"""Measures the time to an accuracy and the throughput of training: `make bench-training`. Prints tables and JSON.

Everything that is compared is trained in turns in one run, on this machine; nothing is asserted. `--only tricks`
changes the shortest recipe instead, one change at a time.

Seconds are those of the training steps: batches, augmentation, learning, and the first step with all tracing and
compilation, which is also listed separately. Building the network and validation do not count. Validation runs every
second of training, and after twenty seconds at every twentieth of the time so far, equally often for all contenders.
The time to a level is that of the first evaluation at or above it.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from models.augmentation import AUGMENTATIONS, Augmentation
from models.batches import one_hot
from models.recipe import Recipe
from models.studied.augmentation import StudiedAugmentation
from models.studied.families import whitening_kernel
from models.studied.recipe import StudiedRecipe
from models.studied.tutorial_networks import TUTORIALS, Tutorial
from models.training import Plan, Precision, Task, train
from pipeline.commands.options import renamed_option
from scripts.bench import report, row
from scripts.training_curves import PREDICTORS, Stopwatch, TimeLimitError, TrainingCurve, ValidationTimer

LEVELS = (0.97, 0.98, 0.985)
COMPARED_LEVEL, TARGET_LEVEL = 0.98, 0.985
BLOCK_SECONDS, BLOCKS, WARM_STEPS = 2.0, 10, 20


@dataclass(frozen=True)
class Contender:
    """One of the project's recipes with its training plan.

    Attributes:
        recipe: Network, optimiser, schedule.
        epochs: Epochs.
        batch_size: Images per step.
        augmentation: The augmentation of the images.
        precision: As in `Plan`.
        whitened: Whether the first convolution is initialized with a whitening kernel.
        frozen: Whether that kernel stays fixed.
    """

    recipe: Recipe
    epochs: int
    batch_size: int = 256
    augmentation: Augmentation = field(default_factory=Augmentation)
    precision: Precision = "auto"
    whitened: bool = False
    frozen: bool = False


FAST = Recipe(family="quick", width=32, dropout=0.0, peak_learning_rate=6e-3)
OURS = {"quick, 12 epochs": Contender(FAST, 12), "quick, 4 epochs": Contender(FAST, 4)}
BRIEF = OURS["quick, 4 epochs"]
# Its weights fit every image size, unlike those of the quick family.
PLAIN = replace(BRIEF, recipe=StudiedRecipe(family="plain", width=32, dropout=0.0, peak_learning_rate=6e-3))
TRICKS = {
    "as it is": BRIEF,
    "float32": replace(BRIEF, precision="float32"),
    "batches of 128": replace(BRIEF, batch_size=128),
    "batches of 512": replace(BRIEF, batch_size=512),
    "peak rate of 1e-3": replace(BRIEF, recipe=replace(FAST, peak_learning_rate=1e-3)),
    "no label smoothing": replace(BRIEF, recipe=replace(FAST, label_smoothing=0.0)),
    "no augmentation": replace(BRIEF, augmentation=AUGMENTATIONS["none"]),
    "compact instead of quick": replace(BRIEF, recipe=replace(FAST, family="compact")),
    "plain instead of quick": PLAIN,
    "plain, progressive resizing": replace(PLAIN, augmentation=StudiedAugmentation(side=14, side_until=0.5)),
    "whitened first": replace(BRIEF, whitened=True),
    "whitened first, frozen": replace(BRIEF, whitened=True, frozen=True),
}
FED = {"default network": Contender(Recipe(), 1000), "quick network": Contender(FAST, 1000)}


def main() -> None:
    """Runs the measurements chosen on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["time", "throughput", "tricks"], nargs="+", default=["time", "throughput"])
    parser.add_argument(
        "--workspace", type=Path, default=Path("workspace"), help="the workspace with the examples; created if missing"
    )
    parser.add_argument("--profile", default="default", help="as for fashion run")
    parser.add_argument("--set", action="append", help="as for fashion run")
    parser.add_argument("--seeds", type=int, default=3, help="trainings per contender")
    parser.add_argument("--limit-seconds", type=float, default=300.0, help="the time limit of a training")
    parser.add_argument("--json", type=Path, default=Path("workspace/bench-training.json"))
    if renamed := renamed_option(["python", "-m", "scripts.bench_training", *sys.argv[1:]]):
        parser.error(renamed.one_line)
    options = parser.parse_args()
    # TensorFlow warns about the tracing that every new network needs.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    task = _task(options)
    seeds, rows, tables = range(1, options.seeds + 1), [], []
    if "time" in options.only:
        curves = train_in_turns({**OURS, **TUTORIALS}, task, seeds, options.limit_seconds)
        tables.append(table("Seconds of training until validation group accuracy", curves))
        rows += [*time_rows(curves), *comparison(curves, list(OURS), list(TUTORIALS))]
    if "tricks" in options.only:
        curves = train_in_turns(TRICKS, task, seeds, options.limit_seconds)
        tables.append(table("Seconds of training until validation group accuracy, one change at a time", curves))
        rows += time_rows(curves)
    if "throughput" in options.only:
        rows += [each for name, contender in FED.items() for each in _throughput(name, contender, task)]
    report(rows, options.json)
    for each in tables:
        # Without a terminal rich assumes 80 columns, which would fold every cell.
        Console(width=None if sys.stdout.isatty() else 150).print(each)


def _task(options: argparse.Namespace) -> Task:
    from pipeline.commands.experiment import open_laboratory
    from pipeline.runner.display import display_for, terminal_console
    from pipeline.runner.workspace import Workspace

    display = display_for(terminal_console())
    laboratory = open_laboratory(Workspace(options.workspace), options.profile, options.set, display)
    images, garments = laboratory.images, laboratory.garments
    return Task(images["train"], garments["train"], images["validation"], garments["validation"], laboratory.membership)


class Whitening(keras.callbacks.Callback):
    """Initializes the first convolution with a whitening kernel before the first step."""

    def __init__(self, images: np.ndarray, frozen: bool) -> None:
        super().__init__()
        self._images, self._frozen = images, frozen

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Sets the weights, and freezes them if requested."""
        first = next(layer for layer in self.model.layers if isinstance(layer, keras.layers.Conv2D))
        first.set_weights([whitening_kernel(self._images, first.kernel_size[0], first.filters)])
        first.trainable = not self._frozen


TrainingCurves = Mapping[str, Sequence[TrainingCurve]]


def train_in_turns(
    contenders: Mapping[str, Contender | Tutorial], task: Task, seeds: Sequence[int], limit_seconds: float
) -> dict[str, list[TrainingCurve]]:
    """Trains every contender with every seed, all contenders with one seed before the next seed."""
    curves: dict[str, list[TrainingCurve]] = {name: [] for name in contenders}
    # A warm-up: the first training of a process includes what TensorFlow loads on first use.
    measure_training(next(iter(contenders.values())), task, 0, 0.0)
    for seed in seeds:
        for name, contender in contenders.items():
            print(f"seed {seed}, {name} ... ", end="", flush=True)
            curves[name].append(curve := measure_training(contender, task, seed, limit_seconds))
            last = curve.evaluations[-1]
            ends = " and ".join(f"{getattr(last, key):.4f} ({PREDICTORS[key]})" for key in curve.predictors)
            reached = curve.reached(COMPARED_LEVEL, curve.predictors[-1])
            seen = f"{COMPARED_LEVEL} never" if reached is None else f"{COMPARED_LEVEL} after {reached:.1f} s"
            print(f"{seen}, {ends} at the end, after {curve.seconds:.1f} s", flush=True)
    return curves


def measure_training(contender: Contender | Tutorial, task: Task, seed: int, limit_seconds: float) -> TrainingCurve:
    """Trains a contender up to the time limit."""
    timer = ValidationTimer(task, limit_seconds, isinstance(contender, Contender))
    with suppress(TimeLimitError):
        if isinstance(contender, Contender):
            _train(contender, task, seed, timer)
        else:
            keras.utils.set_random_seed(seed)
            model = contender.build(len(task.membership))
            # Keras's own loop, as in the tutorials; the time between epochs does not count, in their favour.
            options = {"batch_size": contender.batch_size, "epochs": contender.epochs, "verbose": 0}
            model.fit(task.images, task.garments, callbacks=[timer], **options)
    keras.backend.clear_session()
    return timer.curve


def _train(contender: Contender, task: Task, seed: int, timer: Stopwatch) -> None:
    plan = Plan(contender.epochs, contender.batch_size, seed, contender.augmentation, contender.precision)
    first = [Whitening(task.images, contender.frozen)] if contender.whitened else []
    train(contender.recipe, task, plan, callbacks=[*first, timer])


def median(values: Sequence[float | None]) -> float | None:
    """Returns the median, counting None as later than any time; None if the median is None."""
    found = statistics.median(float("inf") if value is None else value for value in values)
    return None if found == float("inf") else found


def time_rows(curves: TrainingCurves) -> list[dict[str, Any]]:
    """Returns the figures of every contender, with its best accuracy in place of the time to a level that it misses."""
    rows = []
    for name, runs in curves.items():
        for predictor in runs[0].predictors:
            rows += [_level_row(f"{name}, {PREDICTORS[predictor]}", runs, level, predictor) for level in LEVELS]
            last = [getattr(run.evaluations[-1], predictor) for run in runs]
            rows.append(_row(f"{name}, {PREDICTORS[predictor]}, at the end", last, ""))
        rows.append(_row(f"{name}, first step", [run.first_step for run in runs], "s"))
        rows.append(_row(f"{name}, whole training", [run.seconds for run in runs], "s"))
    return rows


def _level_row(name: str, runs: Sequence[TrainingCurve], level: float, predictor: str) -> dict[str, Any]:
    seconds = [run.reached(level, predictor) for run in runs]
    middle, most = median(seconds), statistics.median(run.seconds for run in runs)
    reached = [value for value in seconds if value is not None]
    if middle is None:
        missed = _row(f"{name}, {level} not reached in {most:.0f} s; best", [run.best(predictor) for run in runs], "")
        return missed | {"seconds": seconds}
    return row(f"{name}, to {level}", middle, "s", "", _range(reached)) | {"seconds": seconds}


def _row(name: str, values: Sequence[float], unit: str) -> dict[str, Any]:
    return row(name, statistics.median(values), unit, "", _range(values))


def _range(values: Sequence[float]) -> list[float]:
    return [min(values), max(values)]


def better_of(curves: TrainingCurves, names: Sequence[str]) -> str:
    """Returns the contender that reaches the compared level first, or else the one with the best accuracy."""

    def standing(name: str) -> tuple[float, float]:
        seconds = median([run.reached(COMPARED_LEVEL, "plain") for run in curves[name]])
        best = statistics.median(run.best("plain") for run in curves[name])
        return (float("inf") if seconds is None else seconds, -best)

    return min(names, key=standing)


def comparison(curves: TrainingCurves, ours: Sequence[str], others: Sequence[str]) -> list[dict[str, Any]]:
    """Compares every contender of `ours` with the best of the others, seed by seed.

    If that one never reaches the level, the seconds of its whole recipe are a lower bound of the time to it.
    """
    rival = better_of(curves, others)
    theirs = [run.reached(COMPARED_LEVEL, "plain") for run in curves[rival]]
    whole = [run.seconds for run in curves[rival]]
    bound = "" if None not in theirs else ", at least: not all of its trainings reach it"
    needed = [end if seconds is None else seconds for seconds, end in zip(theirs, whole, strict=True)]
    rows = []
    for name in ours:
        for predictor in curves[name][0].predictors:
            label = f"{name}, {PREDICTORS[predictor]}"
            ratio = _ratio(needed, [run.reached(COMPARED_LEVEL, predictor) for run in curves[name]])
            if ratio:
                rows.append(
                    row(f"{rival} to {label}, to {COMPARED_LEVEL}{bound}", ratio[0], "times", "at least 4", ratio[1])
                )
            target_seconds = [run.reached(TARGET_LEVEL, predictor) for run in curves[name]]
            share = _ratio([seconds or float("inf") for seconds in target_seconds], whole)
            if share and share[0] < float("inf"):
                rows.append(
                    row(f"{label}, to {TARGET_LEVEL}, of all of {rival}", share[0], "of 1", "under 1", share[1])
                )
    return rows


def _ratio(above: Sequence[float], below: Sequence[float | None]) -> tuple[float, list[float] | None] | None:
    """Returns the ratio of the medians and its range over the seeds; None if the denominator is never reached."""
    middle = median(below)
    if middle is None:
        return None
    by_seed = [a / b for a, b in zip(above, below, strict=True) if b is not None]
    whole = len(by_seed) == len(below) and float("inf") not in by_seed
    return statistics.median(above) / middle, _range(by_seed) if whole else None


def cell(runs: Sequence[TrainingCurve], level: float, predictor: str) -> str:
    """Returns "12.3 (11.9 to 12.8)" for the seconds to a level, or the best accuracy if it is not reached."""
    seconds = [run.reached(level, predictor) for run in runs]
    middle, reached = median(seconds), [value for value in seconds if value is not None]
    if middle is None:
        most, best = (
            statistics.median(run.seconds for run in runs),
            statistics.median(run.best(predictor) for run in runs),
        )
        return f"not reached in {most:.0f} s, best {best:.4f}"
    missed = f", {len(seconds) - len(reached)} never" if len(reached) < len(seconds) else ""
    return f"{middle:.1f} ({min(reached):.1f} to {max(reached):.1f}{missed})"


def table(title: str, curves: TrainingCurves) -> Table:
    """Returns a table with a row per contender and predictor."""
    result = Table("contender", "predictor", *map(str, LEVELS), "at the end", "whole, s", "first step, s", title=title)
    for name, runs in curves.items():
        for predictor in runs[0].predictors:
            ends = statistics.median(getattr(run.evaluations[-1], predictor) for run in runs)
            whole, first = (statistics.median(v) for v in ([r.seconds for r in runs], [r.first_step for r in runs]))
            cut = "" if all(run.finished for run in runs) else ", cut"
            cells = [cell(runs, level, predictor) for level in LEVELS]
            result.add_row(name, PREDICTORS[predictor], *cells, f"{ends:.4f}", f"{whole:.1f}{cut}", f"{first:.1f}")
    return result


class Turns(Stopwatch):
    """Alternates, within one training, between the training itself and the bare network on one random batch.

    Args:
        images: uint8 [batch, 28, 28].
        targets: float32 [batch, garments].
        blocks: Turns of each until the training ends.
        seconds: Seconds of a turn.
    """

    def __init__(self, images: np.ndarray, targets: np.ndarray, blocks: int, seconds: float) -> None:
        super().__init__()
        self._batch = [keras.ops.convert_to_tensor(array) for array in (images, targets)]
        self._blocks, self._block = blocks, seconds
        self._size, self._start = len(images), (0, 0.0)
        self.fed: list[float] = []
        self.bare: list[float] = []

    def after_step(self) -> None:
        """Runs the bare network for a turn when the training has had one.

        Raises:
            TimeLimitError: All turns are done.
        """
        if self.steps <= WARM_STEPS:
            self.model.train_on_batch(*self._batch)
            self._start = self.steps, self.clock.seconds
        steps, seconds = self.steps - self._start[0], self.clock.seconds - self._start[1]
        if seconds < self._block:
            return
        self.fed.append(self._size * steps / seconds)
        self.bare.append(self._turn())
        self._start = self.steps, self.clock.seconds
        if len(self.bare) == self._blocks:
            raise TimeLimitError

    def _turn(self) -> float:
        start, steps = time.perf_counter(), 0
        while time.perf_counter() < start + self._block:
            self.model.train_on_batch(*self._batch)
            steps += 1
        return self._size * steps / (time.perf_counter() - start)


def _throughput(name: str, contender: Contender, task: Task) -> list[dict[str, Any]]:
    """Measures the training and, in turns of two seconds, the same compiled network on one random batch."""
    print(f"throughput, {name} ...", flush=True)
    random, size = np.random.default_rng(0), contender.batch_size
    targets = one_hot(random.integers(0, len(task.membership), size), len(task.membership))
    turns = Turns(random.integers(0, 256, (size, 28, 28), np.uint8), targets, BLOCKS, BLOCK_SECONDS)
    with suppress(TimeLimitError):
        _train(contender, task, 0, turns)
    keras.backend.clear_session()
    # Ratios of adjacent turns, so that other load on the machine affects both alike.
    shares = [fed / bare for fed, bare in zip(turns.fed, turns.bare, strict=True)]
    return [
        _row(f"trainer, {name}", turns.fed, "images/s"),
        _row(f"the same on one random batch, {name}", turns.bare, "images/s"),
        row(f"trainer to that, {name}", statistics.median(shares), "of 1", "at least 0.95", _range(shares)),
    ]


if __name__ == "__main__":
    main()

"""Measures how soon a training is good, and how much the trainer loses: `make bench-training`. Prints tables and JSON.

Everything that is compared is trained in turns in this run, on this machine; nothing is asserted. `--only tricks`
takes the shortest recipe apart instead, one change at a time.

Seconds are those of the training steps: feeding, augmenting, learning, and the first step with all the tracing and
compiling in it, which is also told apart. Building the network and looking at validation are not counted. Validation is
looked at every second of training, and once twenty are over after every twentieth of the seconds so far: as densely for
one contender as for another, and what is told is the first look at or above a level.
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
from models.studied.recipe import StudiedRecipe
from models.studied.tutorials import TUTORIALS, Tutorial
from models.studied.whitening import whitening_kernel
from models.training import Plan, Precision, Task, train
from scripts.bench import report, row
from scripts.training_watch import Course, Stopwatch, TimeIsUpError, Watch

LEVELS = (0.97, 0.98, 0.985)
RACED, WANTED = 0.98, 0.985
BLOCK_SECONDS, BLOCKS, WARM_STEPS = 2.0, 10, 20


@dataclass(frozen=True)
class Contender:
    """A recipe of ours with its plan.

    Attributes:
        recipe: Network, optimiser, schedule.
        epochs: Passes over the images.
        batch_size: Images a step.
        augmentation: What is done to the images.
        precision: As `Plan` has it.
        whitened: Whether the first convolution begins as a whitening one.
        frozen: Whether it stays so.
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
# Its weights are the same for every size of the image, those of the quick family are not.
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
        "--workspace", type=Path, default=Path("workspace"), help="whose split is used; made if missing"
    )
    parser.add_argument("--profile", default="default", help="as for fashion run")
    parser.add_argument("--set", action="append", help="as for fashion run")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each contender")
    parser.add_argument("--most-seconds", type=float, default=300.0, help="after which a training is ended")
    parser.add_argument("--json", type=Path, default=Path("workspace/bench-training.json"))
    options = parser.parse_args()
    # It warns of the tracing that every new network needs.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    task = _task(options)
    seeds, rows, tables = range(1, options.seeds + 1), [], []
    if "time" in options.only:
        courses = race({**OURS, **TUTORIALS}, task, seeds, options.most_seconds)
        tables.append(table("Seconds of training until validation group accuracy", courses))
        rows += [*time_rows(courses), *comparison(courses, list(OURS), list(TUTORIALS))]
    if "tricks" in options.only:
        courses = race(TRICKS, task, seeds, options.most_seconds)
        tables.append(table("Seconds of training until validation group accuracy, one change at a time", courses))
        rows += time_rows(courses)
    if "throughput" in options.only:
        rows += [each for name, contender in FED.items() for each in _throughput(name, contender, task)]
    report(rows, options.json)
    for each in tables:
        # A pipe has no width, and 80 columns would fold every cell.
        Console(width=None if sys.stdout.isatty() else 150).print(each)


def _task(options: argparse.Namespace) -> Task:
    from pipeline.commands.experiment import open_laboratory
    from pipeline.runner.display import display_for, terminal_console
    from pipeline.runner.workspace import Workspace

    display = display_for(terminal_console())
    held = open_laboratory(Workspace(options.workspace), options.profile, options.set, display)
    images, garments = held.images, held.garments
    return Task(images["train"], garments["train"], images["validation"], garments["validation"], held.membership)


class Whitening(keras.callbacks.Callback):
    """Sets the first convolution before the first step."""

    def __init__(self, images: np.ndarray, frozen: bool) -> None:
        super().__init__()
        self._images, self._frozen = images, frozen

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Sets its weights, and freezes them where it is wanted."""
        first = next(layer for layer in self.model.layers if isinstance(layer, keras.layers.Conv2D))
        first.set_weights([whitening_kernel(self._images, first.kernel_size[0], first.filters)])
        first.trainable = not self._frozen


Courses = Mapping[str, Sequence[Course]]


def race(
    contenders: Mapping[str, Contender | Tutorial], task: Task, seeds: Sequence[int], most_seconds: float
) -> dict[str, list[Course]]:
    """Trains each contender with each seed, all of them with one seed before any with the next."""
    courses: dict[str, list[Course]] = {name: [] for name in contenders}
    # The first training of a process pays for what TensorFlow loads on its first use.
    watched(next(iter(contenders.values())), task, 0, 0.0)
    for seed in seeds:
        for name, contender in contenders.items():
            print(f"seed {seed}, {name} ... ", end="", flush=True)
            courses[name].append(course := watched(contender, task, seed, most_seconds))
            ends = " and ".join(f"{getattr(course.looks[-1], side):.4f} ({side})" for side in course.sides)
            reached = course.reached(RACED, course.sides[-1])
            seen = f"{RACED} never" if reached is None else f"{RACED} after {reached:.1f} s"
            print(f"{seen}, {ends} at the end, after {course.seconds:.1f} s", flush=True)
    return courses


def watched(contender: Contender | Tutorial, task: Task, seed: int, most_seconds: float) -> Course:
    """Trains a contender for at most as many seconds."""
    watch = Watch(task, most_seconds, isinstance(contender, Contender))
    with suppress(TimeIsUpError):
        if isinstance(contender, Contender):
            _train(contender, task, seed, watch)
        else:
            keras.utils.set_random_seed(seed)
            model = contender.build(len(task.membership))
            # Keras's own loop, as the pages have it; what it does between two epochs is off the clock, in its favour.
            fed = {"batch_size": contender.batch_size, "epochs": contender.epochs, "verbose": 0}
            model.fit(task.images, task.garments, callbacks=[watch], **fed)
    keras.backend.clear_session()
    return watch.course


def _train(contender: Contender, task: Task, seed: int, watch: Stopwatch) -> None:
    plan = Plan(contender.epochs, contender.batch_size, seed, contender.augmentation, contender.precision)
    first = [Whitening(task.images, contender.frozen)] if contender.whitened else []
    train(contender.recipe, task, plan, callbacks=[*first, watch])


def median(values: Sequence[float | None]) -> float | None:
    """Returns the median, where None is later than any time; None where that is the median."""
    found = statistics.median(float("inf") if value is None else value for value in values)
    return None if found == float("inf") else found


def time_rows(courses: Courses) -> list[dict[str, Any]]:
    """Returns the figures of each contender; a level that it misses is told by the best that it came to."""
    rows = []
    for name, runs in courses.items():
        for side in runs[0].sides:
            rows += [_level_row(f"{name}, {side} answer", runs, level, side) for level in LEVELS]
            rows.append(_row(f"{name}, {side} answer, at the end", [getattr(r.looks[-1], side) for r in runs], ""))
        rows.append(_row(f"{name}, first step", [run.first_step for run in runs], "s"))
        rows.append(_row(f"{name}, whole training", [run.seconds for run in runs], "s"))
    return rows


def _level_row(name: str, runs: Sequence[Course], level: float, side: str) -> dict[str, Any]:
    seconds = [run.reached(level, side) for run in runs]
    middle, most = median(seconds), statistics.median(run.seconds for run in runs)
    reached = [value for value in seconds if value is not None]
    if middle is None:
        missed = _row(f"{name}, {level} not reached in {most:.0f} s; best", [run.best(side) for run in runs], "")
        return missed | {"seconds": seconds}
    return row(f"{name}, to {level}", middle, "s", "", _range(reached)) | {"seconds": seconds}


def _row(name: str, values: Sequence[float], unit: str) -> dict[str, Any]:
    return row(name, statistics.median(values), unit, "", _range(values))


def _range(values: Sequence[float]) -> list[float]:
    return [min(values), max(values)]


def better_of(courses: Courses, names: Sequence[str]) -> str:
    """Returns the contender that reaches the raced level first, or else the one that comes nearest to it."""

    def standing(name: str) -> tuple[float, float]:
        seconds = median([run.reached(RACED, "plain") for run in courses[name]])
        best = statistics.median(run.best("plain") for run in courses[name])
        return (float("inf") if seconds is None else seconds, -best)

    return min(names, key=standing)


def comparison(courses: Courses, ours: Sequence[str], others: Sequence[str]) -> list[dict[str, Any]]:
    """Compares each of ours with the better of the others, seed by seed.

    Where that one never reaches the level, the seconds of its whole recipe are a lower bound of what it would take.
    """
    rival = better_of(courses, others)
    theirs = [run.reached(RACED, "plain") for run in courses[rival]]
    whole = [run.seconds for run in courses[rival]]
    bound = "" if None not in theirs else ", at least: not all of its trainings reach it"
    needed = [end if seconds is None else seconds for seconds, end in zip(theirs, whole, strict=True)]
    rows = []
    for name in ours:
        for side in courses[name][0].sides:
            told = f"{name}, {side} answer"
            raced = _ratio(needed, [run.reached(RACED, side) for run in courses[name]])
            if raced:
                rows.append(row(f"{rival} to {told}, to {RACED}{bound}", raced[0], "times", "at least 4", raced[1]))
            wanted = [run.reached(WANTED, side) for run in courses[name]]
            share = _ratio([seconds or float("inf") for seconds in wanted], whole)
            if share and share[0] < float("inf"):
                rows.append(row(f"{told}, to {WANTED}, of all of {rival}", share[0], "of 1", "under 1", share[1]))
    return rows


def _ratio(above: Sequence[float], below: Sequence[float | None]) -> tuple[float, list[float] | None] | None:
    """Returns the ratio of the medians and the range over the seeds; None where the one below is never reached."""
    middle = median(below)
    if middle is None:
        return None
    by_seed = [a / b for a, b in zip(above, below, strict=True) if b is not None]
    whole = len(by_seed) == len(below) and float("inf") not in by_seed
    return statistics.median(above) / middle, _range(by_seed) if whole else None


def cell(runs: Sequence[Course], level: float, side: str) -> str:
    """Returns "12.3 (11.9 to 12.8)" for the seconds to a level, or what there is instead."""
    seconds = [run.reached(level, side) for run in runs]
    middle, reached = median(seconds), [value for value in seconds if value is not None]
    if middle is None:
        most, best = statistics.median(run.seconds for run in runs), statistics.median(run.best(side) for run in runs)
        return f"not reached in {most:.0f} s, best {best:.4f}"
    missed = f", {len(seconds) - len(reached)} never" if len(reached) < len(seconds) else ""
    return f"{middle:.1f} ({min(reached):.1f} to {max(reached):.1f}{missed})"


def table(title: str, courses: Courses) -> Table:
    """Returns the contenders side by side."""
    made = Table("contender", "answer", *map(str, LEVELS), "at the end", "whole, s", "first step, s", title=title)
    for name, runs in courses.items():
        for side in runs[0].sides:
            ends = statistics.median(getattr(run.looks[-1], side) for run in runs)
            whole, first = (statistics.median(v) for v in ([r.seconds for r in runs], [r.first_step for r in runs]))
            cut = "" if all(run.finished for run in runs) else ", cut"
            cells = [cell(runs, level, side) for level in LEVELS]
            made.add_row(name, side, *cells, f"{ends:.4f}", f"{whole:.1f}{cut}", f"{first:.1f}")
    return made


class Turns(Stopwatch):
    """Trains on one random batch for as long as the trainer did, again and again, within a training.

    Args:
        images: uint8 [batch, 28, 28].
        targets: float32 [batch, garments].
        blocks: Turns until the training is ended.
        seconds: Of a turn.
    """

    def __init__(self, images: np.ndarray, targets: np.ndarray, blocks: int, seconds: float) -> None:
        super().__init__()
        self._batch = [keras.ops.convert_to_tensor(array) for array in (images, targets)]
        self._blocks, self._block = blocks, seconds
        self._size, self._begun = len(images), (0, 0.0)
        self.fed: list[float] = []
        self.bare: list[float] = []

    def stepped(self) -> None:
        """Lets the bare network have its turn.

        Raises:
            TimeIsUpError: There were enough of them.
        """
        if self.steps <= WARM_STEPS:
            self.model.train_on_batch(*self._batch)
            self._begun = self.steps, self.clock.seconds
        steps, seconds = self.steps - self._begun[0], self.clock.seconds - self._begun[1]
        if seconds < self._block:
            return
        self.fed.append(self._size * steps / seconds)
        self.bare.append(self._turn())
        self._begun = self.steps, self.clock.seconds
        if len(self.bare) == self._blocks:
            raise TimeIsUpError

    def _turn(self) -> float:
        begun, steps = time.perf_counter(), 0
        while time.perf_counter() < begun + self._block:
            self.model.train_on_batch(*self._batch)
            steps += 1
        return self._size * steps / (time.perf_counter() - begun)


def _throughput(name: str, contender: Contender, task: Task) -> list[dict[str, Any]]:
    """The trainer and, in turns of two seconds, the same compiled network on one random batch."""
    print(f"throughput, {name} ...", flush=True)
    random, size = np.random.default_rng(0), contender.batch_size
    targets = one_hot(random.integers(0, len(task.membership), size), len(task.membership))
    turns = Turns(random.integers(0, 256, (size, 28, 28), np.uint8), targets, BLOCKS, BLOCK_SECONDS)
    with suppress(TimeIsUpError):
        _train(contender, task, 0, turns)
    keras.backend.clear_session()
    # Each turn with the one that followed it: what else the machine did meanwhile, it did to both.
    shares = [fed / bare for fed, bare in zip(turns.fed, turns.bare, strict=True)]
    return [
        _row(f"trainer, {name}", turns.fed, "images/s"),
        _row(f"the same on one random batch, {name}", turns.bare, "images/s"),
        row(f"trainer to that, {name}", statistics.median(shares), "of 1", "at least 0.95", _range(shares)),
    ]


if __name__ == "__main__":
    main()

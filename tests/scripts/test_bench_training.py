"""The bookkeeping of `make bench-training`: what is on the clock, what is compared, and how it is told."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest

from models.recipe import Recipe
from models.studied.augmentation import StudiedAugmentation
from models.studied.recipe import StudiedRecipe
from models.studied.tutorials import TUTORIALS
from models.studied.whitening import whitening_kernel
from models.taxonomy import Taxonomy
from models.training import Plan, Task, train
from scripts.bench_training import (
    Contender,
    Turns,
    Whitening,
    better_of,
    cell,
    comparison,
    median,
    race,
    time_rows,
    watched,
)
from scripts.training_watch import Clock, Course, Look, Stopwatch, TimeIsUpError
from tests.synthetic import images_and_garments

PLAIN = StudiedRecipe(family="plain", width=8)

pytestmark = pytest.mark.slow
TINY = Contender(Recipe(family="quick", width=8), epochs=2, batch_size=32, precision="float32")


def course(*plain: float, every: float = 10.0, mirror: bool = False) -> Course:
    """A training with a look after each so many seconds; its mirror is a hundredth better."""
    looks = [Look(every * n, n, value, value + 0.01 if mirror else None) for n, value in enumerate(plain, 1)]
    return Course(looks, first_step=1.0)


@pytest.fixture(scope="module")
def task() -> Task:
    """Some made-up garments."""
    (images, garments), (others, of_others) = images_and_garments(96, 0), images_and_garments(40, 1)
    return Task(images, garments, others, of_others, np.array(Taxonomy.load().membership()))


class Time:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_paused_clock_counts_nothing() -> None:
    """Only the time between going and pausing is counted, however often either is said."""
    clock = Clock(time := Time())
    for going in (True, True, False, False, True):
        clock.go() if going else clock.pause()
        time.now += 3.0
    assert clock.seconds == 9.0


def test_looks_and_pauses_between_epochs_are_off_the_clock() -> None:
    """Seconds are those of feeding and steps, in two epochs of two steps."""
    time = Time()

    class Slow(Stopwatch):
        def stepped(self) -> None:
            time.now += 50.0

    watch = Slow(Clock(time))
    watch.set_params({"steps": 2})
    for epoch in range(2):
        watch.on_epoch_begin(epoch)
        for batch in range(2):
            time.now += 1.5
            watch.on_train_batch_end(batch)
        time.now += 1000.0
    assert watch.clock.seconds == 6.0 and watch.steps == 4


def test_a_level_is_reached_at_the_first_look_at_or_above_it() -> None:
    """A later fall does not matter, and what is never reached is none."""
    held = course(0.96, 0.98, 0.97, 0.99)
    assert [held.reached(level, "plain") for level in (0.97, 0.98, 0.985, 0.995)] == [20.0, 20.0, 40.0, None]
    assert held.best("plain") == 0.99 and held.seconds == 40.0


def test_what_is_never_reached_is_later_than_any_time() -> None:
    """The median of three is the second, and none where two are none."""
    assert median([30.0, None, 10.0]) == 30.0 and median([None, 10.0, None]) is None


def test_a_cell_says_median_range_and_what_is_missed() -> None:
    """A level that most trainings miss is told by the best they came to."""
    runs = [course(0.96, 0.98), course(0.98, 0.98), course(0.96, 0.96)]
    assert cell(runs, 0.98, "plain") == "20.0 (10.0 to 20.0, 1 never)"
    assert cell(runs, 0.99, "plain") == "not reached in 20 s, best 0.9800"


def test_rows_hold_the_seconds_of_every_seed() -> None:
    """Both answers of ours are told, and a missed level has no number of seconds."""
    rows = time_rows({"ours": [course(0.975, 0.98, mirror=True), course(0.965, 0.97, mirror=True)]})
    by_name = {each["figure"]: each for each in rows}
    assert by_name["ours, plain answer, to 0.97"]["seconds"] == [10.0, 20.0]
    assert by_name["ours, mirror answer, to 0.98"]["value"] == 15.0
    missed = by_name["ours, plain answer, 0.985 not reached in 20 s; best"]
    assert missed["value"] == pytest.approx(0.975) and missed["seconds"] == [None, None]


def test_the_better_is_the_sooner_and_else_the_nearer() -> None:
    """Of two that miss the level the more accurate is the rival, not the one that gives up sooner."""
    courses = {"fast": [course(0.97)], "good": [course(0.97, 0.979)], "there": [course(0.9, 0.9, 0.98)]}
    assert better_of(courses, ["fast", "good", "there"]) == "there"
    assert better_of(courses, ["fast", "good"]) == "good"


def test_a_rival_that_misses_the_level_gives_a_lower_bound() -> None:
    """Its whole recipe is then what ours is compared with, and that is said."""
    courses = {"ours": [course(0.98, 0.985, every=1.0)], "rival": [course(0.97, 0.975)]}
    ratio, share = comparison(courses, ["ours"], ["rival"])
    assert ratio["figure"] == "rival to ours, plain answer, to 0.98, at least: not all of its trainings reach it"
    assert ratio["value"] == 20.0 and share["value"] == 0.1


def test_what_ours_never_reaches_is_not_compared() -> None:
    """There is no ratio to a time that is not there."""
    assert comparison({"ours": [course(0.9)], "rival": [course(0.98)]}, ["ours"], ["rival"]) == []


def test_ours_and_a_tutorial_are_watched_to_their_ends(task: Task) -> None:
    """Looks are in order, the last one after the last step; ours alone has a mirror."""
    courses = race({"ours": TINY, "theirs": replace(TUTORIALS["tensorflow_tutorial"], epochs=2)}, task, [1], 100.0)
    for name, sides in (("ours", ["plain", "mirror"]), ("theirs", ["plain"])):
        (held,) = courses[name]
        seconds = [look.seconds for look in held.looks]
        assert held.finished and held.sides == sides and held.looks[-1].steps == 6
        assert 0 < held.first_step <= seconds[0] and seconds == sorted(seconds)


def test_a_training_ends_when_its_time_is_up(task: Task) -> None:
    """Without any time it is one step, looked at."""
    held = watched(TUTORIALS["tensorflow_tutorial"], task, seed=1, most_seconds=0.0)
    assert not held.finished and [look.steps for look in held.looks] == [1]


def test_a_frozen_whitened_convolution_stays_what_it_was(task: Task) -> None:
    """The trained network still has the kernel that it began with, and learned the rest."""
    plan = Plan(1, 32, seed=1, precision="float32")
    model = train(TINY.recipe, task, plan, callbacks=[Whitening(task.images, frozen=True)]).model
    first = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    np.testing.assert_array_equal(first.get_weights()[0], whitening_kernel(task.images, 5, 8))
    # A bias begins at zero.
    assert model.get_layer("logits").get_weights()[1].all()


def test_a_training_that_begins_small_is_looked_at_in_full_size(task: Task) -> None:
    """Progressive resizing is watched as any other training, both answers of it."""
    resized = replace(TINY, recipe=PLAIN, augmentation=StudiedAugmentation(side=14, side_until=0.5))
    held = watched(resized, task, seed=1, most_seconds=100.0)
    assert held.finished and held.sides == ["plain", "mirror"] and held.looks[-1].steps == 6


def test_trainer_and_bare_network_take_turns(task: Task) -> None:
    """Each turn of the trainer is followed by one of the bare network, and then it ends."""
    turns = Turns(task.images[:8], np.eye(10, dtype=np.float32)[task.garments[:8]], blocks=3, seconds=0.001)
    with pytest.raises(TimeIsUpError):
        train(TINY.recipe, task, Plan(10, 8, seed=1, precision="float32"), callbacks=[turns])
    assert len(turns.fed) == len(turns.bare) == 3 and min(turns.fed + turns.bare) > 0

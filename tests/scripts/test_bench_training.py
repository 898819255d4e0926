"""The bookkeeping of `make bench-training`: which seconds count, what is compared, and how it is printed."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest

from models.recipe import Recipe
from models.studied.augmentation import StudiedAugmentation
from models.studied.families import whitening_kernel
from models.studied.recipe import StudiedRecipe
from models.studied.tutorial_networks import TUTORIALS
from models.taxonomy import Taxonomy
from models.training import Plan, Task, train
from scripts.bench_training import (
    Contender,
    Turns,
    Whitening,
    better_of,
    cell,
    comparison,
    main,
    measure_training,
    median,
    time_rows,
    train_in_turns,
)
from scripts.training_curves import Clock, Evaluation, Stopwatch, TimeLimitError, TrainingCurve
from tests.synthetic import images_and_garments

PLAIN = StudiedRecipe(family="plain", width=8)

pytestmark = pytest.mark.slow
TINY = Contender(Recipe(family="quick", width=8), epochs=2, batch_size=32, precision="float32")


def curve(*plain: float, every: float = 10.0, flip_tta: bool = False) -> TrainingCurve:
    """A training with an evaluation every so many seconds; flip TTA is a hundredth better."""
    evaluations = [
        Evaluation(every * n, n, value, value + 0.01 if flip_tta else None) for n, value in enumerate(plain, 1)
    ]
    return TrainingCurve(evaluations, first_step=1.0)


@pytest.fixture(scope="module")
def task() -> Task:
    """Synthetic garments."""
    (images, garments), (others, of_others) = images_and_garments(96, 0), images_and_garments(40, 1)
    return Task(images, garments, others, of_others, np.array(Taxonomy.load().membership()))


class Time:
    """A time that the test advances."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_paused_clock_counts_nothing() -> None:
    """Only the time between start and pause is counted, however often either is called."""
    clock = Clock(time := Time())
    for running in (True, True, False, False, True):
        clock.start() if running else clock.pause()
        time.now += 3.0
    assert clock.seconds == 9.0


def test_evaluations_and_pauses_between_epochs_do_not_count() -> None:
    """Seconds are those of batches and steps, in two epochs of two steps."""
    time = Time()

    class Slow(Stopwatch):
        def after_step(self) -> None:
            time.now += 50.0

    timer = Slow(Clock(time))
    timer.set_params({"steps": 2})
    for epoch in range(2):
        timer.on_epoch_begin(epoch)
        for batch in range(2):
            time.now += 1.5
            timer.on_train_batch_end(batch)
        time.now += 1000.0
    assert timer.clock.seconds == 6.0 and timer.steps == 4


def test_a_level_is_reached_at_the_first_evaluation_at_or_above_it() -> None:
    """A later fall does not matter; a level that is never reached is None."""
    measured = curve(0.96, 0.98, 0.97, 0.99)
    assert [measured.reached(level, "plain") for level in (0.97, 0.98, 0.985, 0.995)] == [20.0, 20.0, 40.0, None]
    assert measured.best("plain") == 0.99 and measured.seconds == 40.0


def test_a_missed_level_is_later_than_any_time() -> None:
    """The median of three is the second, and None if two are None."""
    assert median([30.0, None, 10.0]) == 30.0 and median([None, 10.0, None]) is None


def test_a_cell_shows_median_range_and_misses() -> None:
    """For a level that most trainings miss, the table shows their best accuracy."""
    runs = [curve(0.96, 0.98), curve(0.98, 0.98), curve(0.96, 0.96)]
    assert cell(runs, 0.98, "plain") == "20.0 (10.0 to 20.0, 1 never)"
    assert cell(runs, 0.99, "plain") == "not reached in 20 s, best 0.9800"


def test_rows_hold_the_seconds_of_every_seed() -> None:
    """Both predictors have rows, and a missed level has no number of seconds."""
    rows = time_rows({"ours": [curve(0.975, 0.98, flip_tta=True), curve(0.965, 0.97, flip_tta=True)]})
    by_name = {each["figure"]: each for each in rows}
    assert by_name["ours, plain, to 0.97"]["seconds"] == [10.0, 20.0]
    assert by_name["ours, flip TTA, to 0.98"]["value"] == 15.0
    missed = by_name["ours, plain, 0.985 not reached in 20 s; best"]
    assert missed["value"] == pytest.approx(0.975) and missed["seconds"] == [None, None]


def test_the_better_is_the_sooner_or_else_the_more_accurate() -> None:
    """Of two that miss the level the more accurate is the rival, not the one that ends sooner."""
    curves = {"fast": [curve(0.97)], "good": [curve(0.97, 0.979)], "there": [curve(0.9, 0.9, 0.98)]}
    assert better_of(curves, ["fast", "good", "there"]) == "there"
    assert better_of(curves, ["fast", "good"]) == "good"


def test_a_rival_that_misses_the_level_gives_a_lower_bound() -> None:
    """Ours is then compared with its whole recipe, and the row states this."""
    curves = {"ours": [curve(0.98, 0.985, every=1.0)], "rival": [curve(0.97, 0.975)]}
    ratio, share = comparison(curves, ["ours"], ["rival"])
    assert ratio["figure"] == "rival to ours, plain, to 0.98, at least: not all of its trainings reach it"
    assert ratio["value"] == 20.0 and share["value"] == 0.1


def test_what_ours_never_reaches_is_not_compared() -> None:
    """Without a time there is no ratio."""
    assert comparison({"ours": [curve(0.9)], "rival": [curve(0.98)]}, ["ours"], ["rival"]) == []


def test_ours_and_a_tutorial_are_measured_to_their_ends(task: Task) -> None:
    """Evaluations are in order, the last one after the last step; only ours has flip TTA."""
    curves = train_in_turns(
        {"ours": TINY, "theirs": replace(TUTORIALS["tensorflow_tutorial"], epochs=2)}, task, [1], 100.0
    )
    for name, predictors in (("ours", ["plain", "flip_tta"]), ("theirs", ["plain"])):
        (measured,) = curves[name]
        seconds = [evaluation.seconds for evaluation in measured.evaluations]
        assert measured.finished and measured.predictors == predictors and measured.evaluations[-1].steps == 6
        assert 0 < measured.first_step <= seconds[0] and seconds == sorted(seconds)


def test_a_training_ends_at_the_time_limit(task: Task) -> None:
    """A time limit of zero allows one step and one evaluation."""
    measured = measure_training(TUTORIALS["tensorflow_tutorial"], task, seed=1, limit_seconds=0.0)
    assert not measured.finished and [evaluation.steps for evaluation in measured.evaluations] == [1]


def test_a_frozen_whitening_convolution_does_not_change(task: Task) -> None:
    """The trained network still has its initial kernel, and has learned the rest."""
    plan = Plan(1, 32, seed=1, precision="float32")
    model = train(TINY.recipe, task, plan, callbacks=[Whitening(task.images, frozen=True)]).model
    first = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    np.testing.assert_array_equal(first.get_weights()[0], whitening_kernel(task.images, 5, 8))
    # A bias begins at zero.
    assert model.get_layer("logits").get_weights()[1].all()


def test_progressive_resizing_is_evaluated_at_full_size(task: Task) -> None:
    """Progressive resizing is evaluated like any other training, with both predictors."""
    resized = replace(TINY, recipe=PLAIN, augmentation=StudiedAugmentation(side=14, side_until=0.5))
    measured = measure_training(resized, task, seed=1, limit_seconds=100.0)
    assert measured.finished and measured.predictors == ["plain", "flip_tta"] and measured.evaluations[-1].steps == 6


def test_trainer_and_bare_network_take_turns(task: Task) -> None:
    """Each turn of the training is followed by one of the bare network; then the training ends."""
    turns = Turns(task.images[:8], np.eye(10, dtype=np.float32)[task.garments[:8]], blocks=3, seconds=0.001)
    with pytest.raises(TimeLimitError):
        train(TINY.recipe, task, Plan(10, 8, seed=1, precision="float32"), callbacks=[turns])
    assert len(turns.fed) == len(turns.bare) == 3 and min(turns.fed + turns.bare) > 0


def test_former_option_gives_the_present_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error for the former time limit names the present option."""
    monkeypatch.setattr("sys.argv", ["bench_training", "--most-seconds", "3"])
    with pytest.raises(SystemExit):
        main()
    assert "Expected: --limit-seconds." in capsys.readouterr().err

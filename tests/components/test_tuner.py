"""The Tuner's promises, on synthetic garments and networks of width 8."""

from __future__ import annotations

import csv
import gc
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from analysis.data.examples import read_arrays
from analysis.search.oracles import OBJECTIVE
from analysis.search.space import searched_values
from analysis.search.trials import Outcome, stratified_sample
from components.trainer import trainer
from components.tuner import _read_task, _write_outcomes, tuner
from models.augmentation import AUGMENTATIONS
from models.families import FAMILIES
from models.recipe import Recipe
from models.studied import EXPERIMENT_OF_FAMILY
from models.taxonomy import Taxonomy
from pipeline.contract.artifacts import Examples, HyperParameters
from pipeline.contract.component import Component
from pipeline.contract.errors import UserError
from pipeline.contract.progress import silent
from pipeline.runner.configuration import load_configuration
from tests.synthetic import write_examples

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {
    "algorithm": "random",
    "max_trials": 4,
    "max_seconds": 3600,
    "max_epochs": 1,
    "search_examples": 128,
    "batch_size": 32,
    "widths": (8, 16),
    "augmentation": "none",
    "precision": "float32",
}

CHILD = """
import sys
from pathlib import Path
from tests.components.test_tuner import run_tuner
from pipeline.contract.artifacts import Examples
run_tuner(Path(sys.argv[1]), Examples(Path(sys.argv[2])), progress=lambda *state: print(state[0], flush=True))
"""


def run_tuner(directory: Path, examples: Examples, progress: Any = silent, **changes: Any) -> HyperParameters:
    """Runs the Tuner in a directory; it resumes from the `scratch` there."""
    shutil.rmtree(directory / "out", ignore_errors=True)
    for name in ("out", "scratch", "logs"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    found = HyperParameters(directory / "out")
    tuner.run(
        examples=examples,
        hyperparameters=found,
        scratch=directory / "scratch",
        logs=directory / "logs",
        progress=progress,
        taxonomy=Taxonomy.load(),
        seed=0,
        **{**SMALL, **changes},
    )
    return found


def reproducible_part(found: HyperParameters) -> list[tuple[Any, ...]]:
    """The facts of all trials that do not depend on the clock."""
    return [(t["trial"], t["values"], t["epochs"], t["seed"], t["score"]) for t in found.trials()["trials"]]


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    """A few synthetic garments."""
    return write_examples(tmp_path_factory.mktemp("examples"), train=200, validation=60, test=20)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, examples: Examples) -> Path:
    """The directory of a random search of four trials."""
    directory = tmp_path_factory.mktemp("uninterrupted")
    run_tuner(directory, examples)
    return directory


@pytest.fixture
def finished(uninterrupted: Path, tmp_path: Path) -> Path:
    """A directory in which the trials of the uninterrupted search are finished already."""
    shutil.copytree(uninterrupted / "scratch", tmp_path / "scratch")
    return tmp_path


def test_first_trial_is_the_known_good_recipe(uninterrupted: Path) -> None:
    """The first trial has the recipe's defaults, as near as the space allows."""
    first = HyperParameters(uninterrupted / "out").trials()["trials"][0]
    assert first["values"] == {**searched_values(Recipe()), "width": 16}


def test_search_ends_after_max_trials(uninterrupted: Path) -> None:
    """Both tables list as many trials as are allowed, and all have a score."""
    found = HyperParameters(uninterrupted / "out")
    with (found.path / "trials.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    trials = found.trials()["trials"]
    assert [row["trial"] for row in rows] == [t["trial"] for t in trials] == ["0", "1", "2", "3"]
    assert [float(row["score"]) for row in rows] == [t["score"] for t in trials]


def test_scratch_holds_no_weights(uninterrupted: Path) -> None:
    """The scratch directory has only small JSON files."""
    files = [path for path in (uninterrupted / "scratch").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json"} and max(path.stat().st_size for path in files) < 20_000


def test_no_network_outlives_its_trial(uninterrupted: Path) -> None:
    """The memory of a trial's network is free after the search."""
    gc.collect()
    assert not [each for each in gc.get_objects() if isinstance(each, keras.Model)]


def test_tensorboard_lists_every_trial(uninterrupted: Path) -> None:
    """Every trial has its values for the HParams tab and the metric beside them; the root declares the space."""
    logs = uninterrupted / "logs"
    trials = HyperParameters(uninterrupted / "out").trials()["trials"]
    assert _events(logs).SummaryMetadata(metadata.EXPERIMENT_TAG).plugin_data.content
    for trial in trials:
        events = _events(logs / f"trial-{trial['trial']}")
        content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
        hparams = metadata.parse_session_start_info_plugin_data(content).hparams
        assert hparams["width"].number_value == trial["values"]["width"]
        assert hparams["family"].string_value == trial["values"]["family"]
        score = float(tf.make_ndarray(events.Tensors(OBJECTIVE)[-1].tensor_proto))
        assert score == pytest.approx(trial["score"], abs=1e-6)


def _events(directory: Path) -> EventAccumulator:
    return EventAccumulator(str(directory)).Reload()


def test_bayesian_search_continues_from_known_points(finished: Path, examples: Examples) -> None:
    """The Bayesian oracle fits its model after three trials, proposes, and repeats its proposals in a second search."""
    once = reproducible_part(run_tuner(finished, examples, algorithm="bayesian"))
    again = reproducible_part(run_tuner(finished, examples, algorithm="bayesian"))
    assert len(once) == 4 and once == again
    assert once[3][1] not in [values for _, values, *_ in once[:3]]


def test_hyperband_promotes_the_best_of_a_short_round(tmp_path: Path, examples: Examples) -> None:
    """The first trial has all epochs; of three with one epoch the best is trained again with all."""
    trials = run_tuner(tmp_path, examples, algorithm="hyperband", max_trials=5, max_epochs=3).trials()
    trials = trials["trials"]
    assert [t["epochs"] for t in trials] == [3, 1, 1, 1, 3]
    assert trials[4]["values"] == max(trials[1:4], key=lambda t: t["score"])["values"]


def test_no_seconds_left_is_one_trial(finished: Path, examples: Examples) -> None:
    """With a budget of zero seconds exactly the first trial is finished, and its recipe is chosen."""
    found = run_tuner(finished, examples, max_seconds=0)
    assert found.properties["trials"] == 1 and found.properties["default_kept"] is True


def test_killed_search_ends_like_an_uninterrupted_one(tmp_path: Path, uninterrupted: Path, examples: Examples) -> None:
    """After SIGKILL in its third trial a search continues with the same trials, and repeats none that had finished."""
    command = [sys.executable, "-c", CHILD, str(tmp_path), str(examples.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert child.stdout is not None
        assert any(line.strip() == "2" for line in child.stdout)
        child.kill()
    journal = tmp_path / "scratch" / "finished"
    before = {path: path.stat().st_mtime_ns for path in journal.glob("*.json")}
    assert len(before) == 2

    resumed = run_tuner(tmp_path, examples)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    expected = HyperParameters(uninterrupted / "out")
    assert reproducible_part(resumed) == reproducible_part(expected)
    name = "best_hyperparameters.json"
    assert (resumed.path / name).read_bytes() == (expected.path / name).read_bytes()


@pytest.mark.parametrize(("margin", "keep_first"), [(1.0, True), (0.0, None)])
def test_best_replaces_the_first_by_more_than_the_margin(
    finished: Path, examples: Examples, margin: float, keep_first: bool | None
) -> None:
    """The first recipe is chosen unless another exceeds it by more than the margin; a property records the choice."""
    found = run_tuner(finished, examples, margin=margin)
    trials = found.trials()["trials"]
    best = max(trials, key=lambda t: t["score"])
    if keep_first is None:
        keep_first = best is trials[0] or best["score"] == trials[0]["score"]
    chosen = trials[0] if keep_first else best
    assert found.properties["default_kept"] is keep_first
    assert found.best() == chosen["values"]
    assert found.trials()["chosen"] == chosen["trial"]


def test_a_search_reads_a_stratified_part_of_both_splits(examples: Examples) -> None:
    """As many training and validation images as are asked for, each with its garment; 0 and too many are all."""
    known = {s: read_arrays(examples.split(s), ("image", "garment")) for s in ("train", "validation")}
    task = _read_task(examples, Taxonomy.load(), 100, 30, 32, 5)
    for split, images, garments, count in (
        ("train", task.images, task.garments, 100),
        ("validation", task.validation_images, task.validation_garments, 30),
    ):
        rows = stratified_sample(known[split]["garment"], count, 5)
        np.testing.assert_array_equal(images, known[split]["image"][rows])
        np.testing.assert_array_equal(garments, known[split]["garment"][rows])
        assert np.bincount(garments).tolist() == [count // 10] * 10
    whole = _read_task(examples, Taxonomy.load(), 10_000, 0, 32, 5)
    assert (len(whole.images), len(whole.validation_images)) == (200, 60)
    assert len(_read_task(examples, Taxonomy.load(), 32, 0, 32, 5).images) == 32, "one whole batch is enough"


def outcomes(*scores: float | None) -> list[Outcome]:
    """Finished trials with these scores, None for one that diverged; each has a width of its own."""
    return [
        Outcome(str(index), {"family": "plain", "width": 8 * (index + 1)}, 3, 70 + index, 1.5, score, [], "diverged")
        for index, score in enumerate(scores)
    ]


@pytest.mark.parametrize(
    ("scores", "margin", "chosen"),
    [
        ((0.5, 0.75, 0.6), 0.25, 0),
        ((0.5, 0.7501, 0.6), 0.25, 1),
        ((0.5, 0.4, 0.3), 0.0, 0),
        ((0.5, 0.5), 0.0, 0),
        ((None, 0.2, 0.3), 0.25, 2),
        ((0.5, None), 0.0, 0),
    ],
)
def test_a_noisy_maximum_does_not_replace_the_first(
    scores: tuple[float | None, ...], margin: float, chosen: int, tmp_path: Path
) -> None:
    """The best must exceed the first by more than the margin; a first trial that diverged is no reference."""
    found, trials = HyperParameters(tmp_path), outcomes(*scores)
    _write_outcomes(found, trials, margin)
    best = max(score for score in scores if score is not None)
    assert found.best() == trials[chosen].values
    record = found.trials()
    assert (record["first"], record["chosen"], record["margin"]) == ("0", str(chosen), margin)
    assert (record["best"], record["best_macro_f1"]) == (str(scores.index(best)), best)
    assert record["first_macro_f1"] == scores[0] and record["default_kept"] is (chosen == 0)
    assert found.properties == {"trials": len(scores), "best_macro_f1": round(best, 4), "default_kept": chosen == 0}
    with (tmp_path / "trials.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["failed" if score is None else "completed" for score in scores]
    assert [row["width"] for row in rows] == [str(trial.values["width"]) for trial in trials]
    assert rows[0] | {"score": ""} == {
        "trial": "0", "status": rows[0]["status"], "score": "", "epochs": "3", "seconds": "1.5", "seed": "70",
        "family": "plain", "width": "8",
    }  # fmt: skip


def test_a_search_without_a_score_is_an_error(tmp_path: Path) -> None:
    """Every training diverged: the error has the reason of the last."""
    with pytest.raises(UserError, match="No trial of the search has finished") as caught:
        _write_outcomes(HyperParameters(tmp_path), outcomes(None, None), 0.01)
    assert caught.value.received == "diverged"


def test_warm_start_is_the_first_trial(tmp_path: Path, examples: Examples) -> None:
    """The recipe of an earlier search is tried first, instead of the known good one."""
    values = {**searched_values(Recipe()), "width": 8, "dropout": 0.2}
    (tmp_path / "best.json").write_text(json.dumps(values), encoding="utf-8")
    found = run_tuner(tmp_path, examples, max_trials=1, warm_start=tmp_path / "best.json")
    assert found.best() == values


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "best_hyperparameters.json"),
        ("[1]", "table of values"),
        ('{"colour": 1}', "colour"),
        ('{"width": 20}', "width one of 8, 16"),
        ('{"width": true}', "width one of 8, 16"),
        ('{"family": "huge"}', "family one of compact, plain"),
        ('{"dropout": 0.9}', "dropout between 0 and 0.4"),
        ('{"dropout": "much"}', "'much'"),
        ('{"peak_learning_rate": NaN}', "peak_learning_rate between"),
        (None, "No such file"),
    ],
)
def test_bad_warm_start_is_rejected(tmp_path: Path, examples: Examples, content: str | None, message: str) -> None:
    """A warm start that is missing, no JSON or outside the space is an error that names what is expected."""
    if content is not None:
        (tmp_path / "best.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="cannot start from") as caught:
        run_tuner(tmp_path, examples, warm_start=tmp_path / "best.json")
    assert message in str(caught.value)
    assert caught.value.next_step == "correct the file, or leave tuner.warm_start out"


def test_fewer_examples_than_a_batch_are_rejected(tmp_path: Path, examples: Examples) -> None:
    """A search that cannot fill a batch fails before it trains."""
    with pytest.raises(UserError, match="fewer examples than a batch"):
        run_tuner(tmp_path, examples, search_examples=20)


@pytest.mark.parametrize("component", [trainer, tuner])
def test_every_augmentation_and_family_can_be_named(component: Component) -> None:
    """The types of the parameters list all shipped augmentations and families, and no others."""
    hints = {argument.name: str(argument.type) for argument in component.spec.arguments}
    assert all(f"'{name}'" in hints["augmentation"] for name in AUGMENTATIONS)
    if component is tuner:
        assert f"Literal[{', '.join(map(repr, FAMILIES))}]" in hints["families"]


@pytest.mark.parametrize(("family", "experiment"), EXPERIMENT_OF_FAMILY.items())
def test_a_studied_family_is_an_error_that_names_its_experiment(family: str, experiment: str) -> None:
    """The configuration offers shipped families only, and the next step trains the studied one."""
    with pytest.raises(UserError, match=f"{family} is a studied family") as caught:
        load_configuration([tuner], overrides=[f'tuner.families=["compact", "{family}"]'])
    assert caught.value.next_step == f"fashion experiment run {experiment}"

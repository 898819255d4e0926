"""Each measure on a network that is trained once, on synthetic garments."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.experiments.laboratory import Laboratory
from analysis.experiments.results import Outcome
from analysis.experiments.runner import measure_of
from analysis.experiments.training_settings import read
from models.probabilities import softmax
from models.taxonomy import Taxonomy
from pipeline.contract.errors import UserError
from tests.serving.exports import TWO_GROUPS
from tests.synthetic import images_and_garments

pytestmark = pytest.mark.slow

NETWORK: dict[str, Any] = {"family": "quick", "width": 8, "dropout": 0.0, "epochs": 4, "batch_size": 32}
SPLITS = {"train": slice(0, 400), "validation": slice(400, 560), "test": slice(560, 640)}


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    """400 images to train on."""
    images, garments = images_and_garments(640, 0)
    return Laboratory(
        {name: images[part] for name, part in SPLITS.items()},
        {name: garments[part] for name, part in SPLITS.items()},
        Taxonomy.load(),
        tmp_path_factory.mktemp("laboratory"),
    )


def run(measure: str, settings: dict[str, Any], laboratory: Laboratory) -> Outcome:
    """Runs an arm with seed 1."""
    return measure_of(measure)(settings, 1, laboratory)


def figures(outcome: Outcome) -> dict[str, dict[str, float]]:
    """Subset to metric to value; each is named once."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for subset, metric, value in outcome.figures:
        assert metric not in found[subset] and np.isfinite(value)
        found[subset][metric] = value
    return found


def test_training_counts_its_own_answers(laboratory: Laboratory) -> None:
    """Accuracy and support are those of the answers that are reported with them."""
    outcome = run("training", NETWORK, laboratory)
    of_validation = figures(outcome)["validation"]
    assert of_validation["group_accuracy"] == (outcome.truth == outcome.predicted).mean() > 0.5
    assert sum(v.get("support", 0) for v in figures(outcome).values()) == 160
    assert of_validation["train_seconds"] > 0 and of_validation["multiply_adds"] > 1e5


def test_a_network_is_evaluated_at_the_side_of_its_last_epoch(laboratory: Laboratory) -> None:
    """It answers as it did after its last epoch; one that is small for good costs half of one that began small."""
    plain = {**NETWORK, "family": "plain", "flip_tta": False, "precision": "float32", "epochs": 2}
    costs = []
    for until in (0.5, 1.0):
        settings = {**plain, "augmentation": {"side": 20, "side_until": until}}
        of_validation = figures(run("training", settings, laboratory))["validation"]
        last = laboratory.train(read(settings), 1).history[-1]
        assert of_validation["group_accuracy"] == pytest.approx(last["val_group_accuracy"], abs=0.01)
        costs.append(of_validation["multiply_adds"])
    assert costs[1] < 0.6 * costs[0]


def test_unknown_garments_become_all_garments_of_their_group(laboratory: Laboratory) -> None:
    """About the given share is known, the same for each seed; the other targets have all garments of the group."""
    settings = read({"known_garments": 0.3, "objective": {"sets": True}})
    targets = [laboratory.task(settings, seed).targets for seed in (1, 2)]
    assert targets[0] is not None and targets[1] is not None
    np.testing.assert_array_equal(targets[0], targets[1])
    garments = laboratory.garments["train"]
    size = (laboratory.membership @ laboratory.membership.T)[garments].sum(axis=1)
    named = targets[0].sum(axis=1)
    assert set(named[size == 1]) == {1.0} and 0.15 < (named[size > 1] == 1).mean() < 0.45
    assert (targets[0][np.arange(len(garments)), garments] == 1).all()


def test_soft_labels_are_distributions_and_suspected_errors_are_left_out(laboratory: Laboratory) -> None:
    """Half of a soft target is the label; a training without suspected label errors has fewer images."""
    soft = laboratory.task(read({"labels": "soft"}), 1).targets
    assert soft is not None
    np.testing.assert_allclose(soft.sum(axis=1), 1, rtol=1e-5)
    assert (soft[np.arange(400), laboratory.garments["train"]] >= 0.5).all() and (soft.max(axis=1) < 1).any()
    clean = read({"labels": "without_suspected_errors"})
    left = laboratory.task(clean, 1)
    assert 0 < len(left.images) == len(left.garments) == laboratory.training_size(clean) < 400
    assert laboratory.training_size(read({"labels": "soft"})) == 400
    images, garments = laboratory.images["train"], laboratory.garments["train"]
    garment_of = {image.tobytes(): garment for image, garment in zip(images, garments, strict=True)}
    assert [garment_of[image.tobytes()] for image in left.images] == left.garments.tolist()


def test_distillation_targets_are_the_teacher_s_probabilities(laboratory: Laboratory) -> None:
    """The targets are nine tenths the teacher's softened probabilities and one tenth the label."""
    task = laboratory.task(read({**NETWORK, "teacher": NETWORK}), 1)
    labels = np.eye(10)[laboratory.garments["train"]]
    assert task.targets is not None
    teacher = laboratory.logits(read(NETWORK), 1, "train")
    expected = 0.9 * softmax(teacher / 2) + 0.1 * labels
    np.testing.assert_allclose(task.targets, expected, atol=1e-5)
    weak = laboratory.task(
        read({**NETWORK, "teacher": NETWORK, "teacher_weight": 0.5, "teacher_temperature": 4.0}), 1
    ).targets
    np.testing.assert_allclose(weak, 0.5 * softmax(teacher / 4) + 0.5 * labels, atol=1e-5)


def test_calibration_is_better_than_none(laboratory: Laboratory) -> None:
    """A temperature from other folds lowers the log loss of a smoothed network; both report coverage."""
    none, scaled = (
        figures(run("calibration", {"network": NETWORK, "scaling": scaling}, laboratory))
        for scaling in ("none", "temperature")
    )
    assert scaled["validation"]["log_loss"] < none["validation"]["log_loss"]
    assert scaled["abstain 5%"]["risk"] <= scaled["abstain 0%"]["risk"] and "coverage_by_group" in scaled["Bags"]


def test_robustness_averages_what_it_measured(laboratory: Laboratory) -> None:
    """The mean is that of sixteen corruptions at five severities, and far below the clean images."""
    found = figures(run("robustness", NETWORK, laboratory))
    corrupted = [value["group_accuracy"] for subset, value in found.items() if "/" in subset]
    assert len(corrupted) == 80 and found["corrupted"]["group_accuracy"] == pytest.approx(np.mean(corrupted))
    assert found["corrupted"]["group_accuracy"] < found["clean"]["group_accuracy"]


@pytest.mark.parametrize("score", ["group_confidence", "negative_neighbour_distance"])
def test_out_of_distribution_images_are_scored(
    score: str, laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every kind has its AUROC, and the whole has their mean."""
    monkeypatch.setattr("analysis.experiments.measures.out_of_distribution.COUNT", 20)
    found = figures(run("out_of_distribution", {"network": NETWORK, "score": score}, laboratory))
    kinds = [value["auroc"] for subset, value in found.items() if subset != "validation"]
    assert len(kinds) == 12 and found["validation"]["auroc"] == pytest.approx(np.mean(kinds)) and max(kinds) <= 1


def test_deployed_networks_answer_as_the_trained_one(laboratory: Laboratory) -> None:
    """float32 in LiteRT gives TensorFlow's answers, int8 nearly all of them in a quarter of the bytes."""
    plain = {**NETWORK, "flip_tta": False}
    trained, lite, small = (
        run("deployment", {**plain, **more}, laboratory) for more in ({}, {"deployed": "float32"}, {"deployed": "int8"})
    )
    np.testing.assert_array_equal(trained.predicted, lite.predicted)
    assert (small.predicted == trained.predicted).mean() > 0.95
    assert figures(small)["validation"]["bytes"] < 0.4 * figures(lite)["validation"]["bytes"]
    assert figures(trained)["validation"]["latency_ms"] > 0


def test_text_corrects_errors_of_the_image(laboratory: Laboratory) -> None:
    """Clean texts correct more errors than they cause; without texts the predictions are the image's."""
    settings = {"network": NETWORK, "answer": "product", "doubt": 0.05, "max_ngram": 1}
    image = run("text", {**settings, "answer": "image"}, laboratory)
    both = run("text", settings, laboratory)
    none = run("text", {**settings, "test_noise": {"missing": 1.0}}, laboratory)
    alone, fused = (figures(outcome)["validation"] for outcome in (image, both))
    assert fused["corrected"] - fused["harmed"] == pytest.approx(fused["group_accuracy"] - alone["group_accuracy"])
    assert fused["corrected"] > fused["harmed"] and fused["log_loss"] < alone["log_loss"] and 0 < fused["scale"] <= 1
    np.testing.assert_array_equal(none.predicted, image.predicted)
    same = figures(none)["validation"]
    assert "with a text" not in figures(none) and all(same[metric] == alone[metric] for metric in alone)


def test_texts_that_mislead_unexpectedly_do_harm_that_doubt_bounds(laboratory: Laboratory) -> None:
    """Where they mislead the answers are worse than the image's, less so with doubt; elsewhere no text harms."""
    clean = {"network": NETWORK, "answer": "product", "max_ngram": 1, "test_noise": {"misleading": 0.5, "missing": 0.2}}
    sure, doubting = (figures(run("text", {**clean, "doubt": doubt}, laboratory)) for doubt in (0.0, 0.3))
    where_misled = sure["misled"]
    assert where_misled["group_accuracy"] < where_misled["image_accuracy"]
    assert where_misled["group_accuracy"] <= doubting["misled"]["group_accuracy"]
    assert sure["validation"]["log_loss"] > doubting["validation"]["log_loss"]
    assert doubting["without a text"]["group_accuracy"] == doubting["without a text"]["image_accuracy"]


@pytest.mark.parametrize("answer", ["text", "learned"])
def test_rivals_of_the_product_rule_answer_too(answer: str, laboratory: Laboratory) -> None:
    """The text alone, and a small network over both."""
    settings = {"network": NETWORK, "answer": answer, "doubt": 0.05, "max_ngram": 1}
    found = figures(run("text", settings, laboratory))["validation"]
    assert found["group_accuracy"] > 0.4 and "scale" not in found


def test_ladder_has_rungs_and_networks(laboratory: Laboratory) -> None:
    """The largest group's name is right as often as it is true; trees on gradients and a network are better."""
    majority = figures(run("ladder", {"rung": "majority"}, laboratory))["validation"]
    again = figures(measure_of("ladder")({"rung": "majority"}, 2, laboratory))["validation"]
    assert again == majority, "another seed changes nothing, nor the seconds that it took"
    assert majority["group_accuracy"] == (laboratory.groups("validation") == 0).mean()
    boosted = figures(run("ladder", {"rung": "gradient boosting"}, laboratory))["validation"]
    assert boosted["group_accuracy"] > majority["group_accuracy"]
    assert figures(run("ladder", {"network": NETWORK}, laboratory))["validation"]["group_accuracy"] > 0.5


def test_final_evaluation_is_on_the_test_images_alone(laboratory: Laboratory) -> None:
    """Test images are evaluated; validation is only for calibration."""
    outcome = run("final_evaluation", NETWORK, laboratory)
    assert len(outcome.truth) == 80 and "validation" not in figures(outcome)
    of_test = figures(outcome)["test"]
    assert of_test["group_accuracy"] == (outcome.truth == outcome.predicted).mean()
    np.testing.assert_array_equal(outcome.truth, laboratory.groups("test"))


def test_an_ensemble_averages_several_seeds(laboratory: Laboratory) -> None:
    """An ensemble of two differs from both members and takes the seconds of both."""
    one, other = (measure_of("final_evaluation")(NETWORK, seed, laboratory) for seed in (1, 2))
    ensemble = run("final_evaluation", {**NETWORK, "ensemble": 2}, laboratory)
    seconds = [figures(outcome)["test"]["train_seconds"] for outcome in (one, other, ensemble)]
    assert seconds[2] == pytest.approx(seconds[0] + seconds[1])
    losses = [figures(outcome)["test"]["log_loss"] for outcome in (one, other, ensemble)]
    assert losses[2] not in losses[:2] and losses[2] < max(losses[:2])


def test_errors_are_examined(laboratory: Laboratory) -> None:
    """Dresses and tops have neighbours and smallest edits, and the first images are stored for the report."""
    outcome = run("error_causes", NETWORK, laboratory)
    found = figures(outcome)
    assert 0 <= found["tops predicted correctly/features"]["true_neighbours"] <= 1
    assert found["tops predicted correctly"]["smallest_edit"] > 0
    arrays = outcome.arrays
    assert len({len(arrays[name]) for name in ("images", "attributions", "edited", "subset")}) == 1
    assert len(arrays["images"]) > 0


def test_errors_of_other_groups_are_refused(laboratory: Laboratory, tmp_path: Path) -> None:
    """Dresses and tops are groups of the default taxonomy; another one has other groups at their indices."""
    other = Laboratory(laboratory.images, laboratory.garments, TWO_GROUPS, tmp_path)
    with pytest.raises(
        UserError, match="compares One piece with Upper part.\n.*\nReceived: groups Shoes & bags, Röcke"
    ):
        run("error_causes", NETWORK, other)

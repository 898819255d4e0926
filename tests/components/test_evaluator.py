"""Tests of the Evaluator on a tiny model: its files, its verdict and its errors."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import tensorflow
from sklearn import metrics as sklearn

from analysis.data.examples import read_arrays
from analysis.evaluation.corruptions import CLEAN, CORRUPTIONS, EVALUATED_SEVERITY, corrupt
from analysis.evaluation.predictions import predict
from analysis.evaluation.verdict import NO_BASELINE, Rule
from components.evaluator import evaluator, slicing_features, write_corrupted
from models.taxonomy import Taxonomy
from pipeline.contract.artifacts import Examples, Model, ModelBlessing, ModelEvaluation, ServedModel
from pipeline.contract.errors import UserError
from pipeline.contract.progress import silent
from pipeline.definition import COMPONENTS
from pipeline.runner.configuration import load_configuration
from tests.saved_models import export_tiny
from tests.synthetic import write_examples

TAXONOMY = Taxonomy.load()
LENIENT = (Rule(metric="accuracy", at_least=0.5), Rule(metric="macro_f1", change_at_least=-0.2))
NOISY = Rule(metric="accuracy", slice="corruption:gaussian_noise", at_least=0.0)
SEED = 3
CORRUPTED = 40


@dataclass(frozen=True)
class Evaluated:
    """A finished evaluation and its inputs."""

    examples: Examples
    evaluation: ModelEvaluation
    blessing: ModelBlessing

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of `metrics.json`."""
        return self.evaluation.metrics()

    @property
    def verdict(self) -> dict[str, Any]:
        """The content of `verdict.json`."""
        return self.blessing.verdict()


def evaluate(root: Path, examples: Examples, model: Model, baseline: Model | None, **parameters: Any) -> Evaluated:
    """Runs the component into empty directories under `root`."""
    evaluation, blessing = ModelEvaluation(root / "evaluation"), ModelBlessing(root / "blessing")
    for output in (evaluation, blessing):
        shutil.rmtree(output.path, ignore_errors=True)
        output.path.mkdir(parents=True)
    settings: dict[str, Any] = {
        "rules": LENIENT,
        "resamples": 200,
        "misclassified_examples": 3,
        "slice_by": ("near_duplicate_count",),
        "corrupted_examples": 0,
        "earlier": None,
        "taxonomy": TAXONOMY,
        "taxonomy_rules": (),
    }
    settings |= parameters
    evaluator.run(
        examples=examples,
        model=model,
        baseline=baseline,
        evaluation=evaluation,
        blessing=blessing,
        progress=silent,
        seed=SEED,
        **settings,
    )
    return Evaluated(examples, evaluation, blessing)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    """300 synthetic garments for the evaluation, 400 for the ladder."""
    return write_examples(tmp_path_factory.mktemp("examples"), train=400, validation=10, test=300)


@pytest.fixture(scope="module")
def models(examples: Examples, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Model]:
    """Two models with means of different garments."""
    roots = [tmp_path_factory.mktemp("model") for _ in range(2)]
    export_tiny(roots[0] / "saved_model", examples)
    export_tiny(roots[1] / "saved_model", seed=8)
    return Model(roots[0]), Model(roots[1])


@pytest.fixture(scope="module")
def first(examples, models, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """The evaluation of the first model, without a baseline, also on corrupted examples."""
    root = tmp_path_factory.mktemp("first")
    return evaluate(root, examples, models[0], None, rules=(*LENIENT, NOISY), corrupted_examples=CORRUPTED)


@pytest.fixture(scope="module")
def second(examples, models, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """The evaluation of the second model against the first, with a rule that it breaks."""
    rules = (*LENIENT, Rule(metric="accuracy", at_least=1.01))
    return evaluate(tmp_path_factory.mktemp("second"), examples, models[1], models[0], rules=rules)


def test_predictions_have_one_row_for_each_test_example(first):
    """Each row has the example, the prediction and the slicing features, in the order of the examples."""
    table = pyarrow.parquet.read_table(first.evaluation.path / "predictions.parquet").to_pandas()
    columns = read_arrays(first.examples.split("test"), ("source_id", "group_name"))
    assert list(table.source_id) == list(columns["source_id"])
    assert list(table.group) == list(columns["group_name"])
    assert table[[f"probability: {name}" for name in TAXONOMY.groups]].sum(axis=1).to_numpy() == pytest.approx(
        1, abs=1e-4
    )
    expected = {"garment", "predicted_group", "predicted_garment", "confidence", "abstain", "prediction_set"}
    assert expected | {"has_near_duplicate", "brightness_decile", "near_duplicate_count"} <= set(table.columns)
    assert ([len(predicted_set) != 1 for predicted_set in table.prediction_set] == table.abstain).all()


def test_figures_are_those_of_the_stored_predictions(first):
    """Accuracy, macro F1, the groups' figures and the confusion matrix equal scikit-learn's."""
    table = pyarrow.parquet.read_table(first.evaluation.path / "predictions.parquet").to_pandas()
    overall, groups = first.metrics["overall"], first.metrics["groups"]
    assert overall["accuracy"]["value"] == pytest.approx(sklearn.accuracy_score(table.group, table.predicted_group))
    macro = sklearn.f1_score(table.group, table.predicted_group, average="macro")
    assert overall["macro_f1"]["value"] == pytest.approx(macro)
    for name in TAXONOMY.groups:
        true, predicted = table.group == name, table.predicted_group == name
        covered = [name in one for one in table.prediction_set[true]]
        assert groups[name]["coverage"]["value"] == pytest.approx(np.mean(covered))
        assert groups[name]["recall"]["value"] == pytest.approx(sklearn.recall_score(true, predicted))
        assert groups[name]["auc"]["value"] == pytest.approx(sklearn.roc_auc_score(true, table[f"probability: {name}"]))
    assert np.sum(first.metrics["confusion_matrix"]) == first.metrics["examples"] == 300


def test_curves_and_operating_points_are_those_of_the_stored_predictions(first):
    """Selective error, garments' figures and the errors with the highest confidence follow from the predictions."""
    table = pyarrow.parquet.read_table(first.evaluation.path / "predictions.parquet").to_pandas()
    wrong, metrics = table.group != table.predicted_group, first.metrics
    rule = metrics["selective"]["abstain"]
    assert (rule["count"], rule["errors"]) == ((~table.abstain).sum(), (wrong & ~table.abstain).sum())
    assert rule["abstained"] + rule["count"] == 300 and rule["avoided"] + rule["errors"] == wrong.sum()
    matrix = sklearn.confusion_matrix(table.garment, table.predicted_garment, labels=list(TAXONOMY.garments))
    assert metrics["garments"]["confusion_matrix"] == matrix.tolist()
    f1 = sklearn.f1_score(table.garment, table.predicted_garment, labels=list(TAXONOMY.garments), average=None)
    per_garment = metrics["garments"]["per_garment"].values()
    assert [block["f1"]["value"] for block in per_garment] == pytest.approx(f1.tolist())
    group = metrics["curves"]["group"]
    precision = sklearn.average_precision_score(table.group == group, table[f"probability: {group}"])
    assert metrics["groups"][group]["average_precision"]["value"] == pytest.approx(precision)
    expected = table[wrong].sort_values("confidence", ascending=False, kind="stable").head(3)
    assert [error["source_id"] for error in metrics["most_confident_errors"]] == list(expected.source_id)


def test_slices_expect_the_accuracy_of_their_garments(first):
    """It is the mean over the slice of the garments' accuracies; for a slice of one garment it is its own accuracy."""
    table = pyarrow.parquet.read_table(first.evaluation.path / "predictions.parquet").to_pandas()
    correct = (table.group == table.predicted_group).groupby(table.garment).mean()
    for line in first.metrics["slices"]:
        if line["feature"] == "garment_name":
            assert line["expected_accuracy"] == pytest.approx(line["accuracy"]["value"])
        elif line["feature"] == "brightness_decile":
            chosen = table[table.brightness_decile.astype(str) == line["value"]]
            assert line["expected_accuracy"] == pytest.approx(correct[chosen.garment].mean())


def test_slices_add_up(first):
    """TFMA's slices of a feature contain every example once and sum to the overall number of correct predictions."""
    whole = first.metrics["overall"]["accuracy"]["value"]
    by_feature: dict[str, list[Any]] = {}
    for line in first.metrics["slices"]:
        by_feature.setdefault(line["feature"], []).append(line)
    assert {"group_name", "garment_name", "has_near_duplicate", "brightness_decile", "near_duplicate_count"} <= set(
        by_feature
    )
    for lines in by_feature.values():
        assert sum(line["count"] for line in lines) == 300
        assert sum(line["count"] * line["accuracy"]["value"] for line in lines) == pytest.approx(300 * whole)


def test_every_corruption_has_the_same_examples(examples, tmp_path):
    """The examples are drawn from the test split without replacement and corrupted with the same seed."""
    test = read_arrays(examples.split("test"), ("image", "group"))
    found = read_arrays(write_corrupted(tmp_path, test, CORRUPTED, SEED), ("image", "group", "corruption"))
    clean = found["image"][found["corruption"] == CLEAN]
    positions = {image.tobytes(): position for position, image in enumerate(test["image"])}
    drawn = [positions[image.tobytes()] for image in clean]
    assert len(set(drawn)) == CORRUPTED
    for name in CORRUPTIONS:
        chosen = found["corruption"] == name
        assert (found["image"][chosen] == corrupt(clean, name, EVALUATED_SEVERITY, SEED)).all()
        assert (found["group"][chosen] == test["group"][drawn]).all()
    assert len(found["image"]) == CORRUPTED * (1 + len(CORRUPTIONS))


def test_figures_under_corruption_are_those_of_the_model_on_the_corrupted_images(first, models, tmp_path):
    """Count, accuracy and log loss follow from the export's predictions; the interval contains the accuracy."""
    shards = write_corrupted(tmp_path, read_arrays(first.examples.split("test")), CORRUPTED, SEED)
    columns, predictions = read_arrays(shards, ("group", "corruption")), predict(models[0].saved_model, shards)
    assert {line["name"] for line in first.metrics["corruptions"]} == {CLEAN, *CORRUPTIONS}
    for line in first.metrics["corruptions"]:
        chosen = columns["corruption"] == line["name"]
        truth, probabilities = columns["group"][chosen], predictions.group_probabilities[chosen]
        accuracy, (low, high) = line["accuracy"]["value"], line["accuracy"]["interval"]
        assert line["count"] == CORRUPTED
        assert accuracy == pytest.approx(np.mean(predictions.group[chosen] == truth))
        assert low <= accuracy <= high
        losses = -np.log(np.clip(probabilities[np.arange(CORRUPTED), truth], 1e-7, 1 - 1e-7))
        assert line["log_loss"]["value"] == pytest.approx(losses.mean(), rel=1e-4)


def test_zero_corrupted_examples_skip_the_corruptions(second):
    """With 0, the list is empty, TFMA writes no files for it and the report has no section."""
    assert second.metrics["corruptions"] == []
    assert not (second.evaluation.path / "tfma_corruptions").exists()
    assert "Under corruption" not in (second.evaluation.path / "report.html").read_text(encoding="utf-8")


def test_a_rule_may_name_a_corruption(first, examples, models, tmp_path):
    """The rule applies to that slice; without corrupted examples it is an error before the evaluation."""
    accuracies = {line["name"]: line["accuracy"]["value"] for line in first.metrics["corruptions"]}
    assert first.verdict["rules"][2]["value"] == accuracies["gaussian_noise"]
    with pytest.raises(UserError, match="unknown slice 'corruption:gaussian_noise'"):
        evaluate(tmp_path, examples, models[0], None, rules=(NOISY,))


@pytest.mark.parametrize(
    ("count", "bound"), [(-1, "greater than or equal to 0"), (10_001, "less than or equal to 10000")]
)
def test_a_count_of_corrupted_examples_has_bounds(count, bound):
    """The official test split has 10,000 examples."""
    with pytest.raises(UserError, match="corrupted_examples") as error:
        load_configuration(COMPONENTS, "default", [f"evaluator.corrupted_examples={count}"])
    assert error.value.expected == bound


def test_the_ladder_ends_with_the_model(first):
    """The ladder lists the simplest model first and ends with the candidate, in the same figures."""
    ladder = first.metrics["ladder"]
    assert [r["name"] for r in ladder] == [
        "majority",
        "nearest centroid",
        "logistic regression",
        "1-nearest neighbour",
        "model",
    ]
    assert ladder[-1]["accuracy"] == first.metrics["overall"]["accuracy"]


def test_the_first_model_is_blessed_without_a_baseline(first):
    """Marker, property and verdict agree, and the rule on changes notes why it passed."""
    assert first.verdict["blessed"] and first.blessing.properties == {"blessed": True, "compared": False}
    assert [p.name for p in first.blessing.path.glob("*BLESSED")] == ["BLESSED"]
    assert first.verdict["rules"][1]["note"] == NO_BASELINE
    assert first.metrics["baseline"] is None and first.metrics["best_blessed"] is None
    assert first.verdict["comparison"].startswith("No earlier model to compare with: the workspace has no other")


def test_a_missing_blessing_has_a_reason(second):
    """The verdict and the artifact's property name the rule and the value."""
    assert [p.name for p in second.blessing.path.glob("*BLESSED")] == ["NOT_BLESSED"]
    assert second.verdict["reason"].startswith("accuracy at least 1.01: 0.")
    expected = {"blessed": False, "compared": True, "reason": second.verdict["reason"]}
    assert second.blessing.properties == expected


def test_changes_are_against_the_baseline_on_the_same_examples(first, second):
    """The difference is that of the two models' figures, and the rule applies to it."""
    change = second.metrics["baseline"]["change"]["macro_f1"]["value"]
    own = [judged.metrics["overall"]["macro_f1"]["value"] for judged in (first, second)]
    assert change == pytest.approx(own[1] - own[0])
    assert second.metrics["baseline"]["overall"]["macro_f1"]["value"] == pytest.approx(own[0])
    assert second.verdict["rules"][1]["value"] == pytest.approx(change)


def test_a_served_version_is_a_baseline(first, examples, models, tmp_path):
    """Without a recorded blessed model, a worse model is refused because of the version that is served."""
    served = ServedModel(shutil.copytree(models[0].saved_model, tmp_path / "serving" / "3"))
    worse = export_tiny(tmp_path / "worse" / "saved_model", seed=8, noise=0.5)
    rules = (Rule(metric="accuracy", change_at_least=-0.002),)
    judged = evaluate(tmp_path, examples, Model(worse.parent), served, rules=rules)
    assert judged.verdict["comparison"] == (
        "Compared with the pushed version 3, because no other blessed model is recorded."
    )
    own = [one.metrics["overall"]["accuracy"]["value"] for one in (first, judged)]
    assert judged.verdict["rules"][0]["value"] == pytest.approx(own[1] - own[0]) and own[1] < own[0] - 0.002
    assert not judged.verdict["blessed"] and judged.verdict["compared"]


@pytest.mark.parametrize("fault", ["groups", "order", "signature", "damaged"])
def test_a_version_that_cannot_be_compared_says_why(fault, examples, models, tmp_path):
    """Other groups, another order of groups, or an export that does not run: the verdict has no baseline."""
    served = tmp_path / "serving" / "3"
    if fault == "damaged":
        shutil.copytree(models[0].saved_model, served)
        (served / "saved_model.pb").write_bytes(b"no graph")
    elif fault == "signature":
        module = tensorflow.Module()
        tensorflow.saved_model.save(module, str(served))
    else:
        table = TAXONOMY.to_table()
        if fault == "order":
            table["group"] = table["group"][::-1]
        else:
            table["group"][0]["name"] = "Tops"
        export_tiny(served, examples, taxonomy=Taxonomy.from_table(table))
    judged = evaluate(tmp_path, examples, models[1], ServedModel(served))
    expected = {"groups": "predicts other groups: Tops.", "order": "predicts other groups: the same names in another"}
    assert judged.verdict["comparison"].startswith("No earlier model to compare with: the pushed version 3 ")
    assert expected.get(fault, "cannot be run on the test examples") in judged.verdict["comparison"]
    assert judged.metrics["baseline"] is None and not judged.verdict["compared"]


def test_figures_of_blessed_models_pass_on(first, second, examples, models, tmp_path):
    """An evaluation hands its figures to the next, which compares with the best of all on the same examples."""
    third = evaluate(tmp_path, examples, models[1], models[0], earlier=first.evaluation)
    kept = third.metrics["earlier_models"]
    assert [one["overall"]["accuracy"] for one in kept] == [first.metrics["overall"]["accuracy"]["value"]]
    assert kept[0]["test_examples"] == third.metrics["test_examples"] == second.metrics["test_examples"]
    assert third.metrics["best_blessed"]["models"] == 1  # the baseline is the model that was blessed last
    for name, change in third.metrics["best_blessed"]["change"].items():
        assert change["value"] == pytest.approx(third.metrics["baseline"]["change"][name]["value"])


def test_rules_of_the_taxonomy_apply_unless_they_are_left_out(examples, models, tmp_path):
    """They come beside the parameter's rules; a smaller network or another data set may leave them out."""
    rule = Rule(metric="recall", slice="group:Bags", at_least=1.01)
    assert "recall of Bags" in evaluate(tmp_path, examples, models[0], None, taxonomy_rules=(rule,)).verdict["reason"]
    without = evaluate(tmp_path, examples, models[0], None, taxonomy_rules=(rule,), use_taxonomy_rules=False)
    assert without.verdict["blessed"] and len(without.verdict["rules"]) == len(LENIENT)


def test_properties_and_report(first):
    """The artifact has the properties for the run's table, and a report."""
    assert set(first.evaluation.properties) == {"accuracy", "macro_f1"}
    page = (first.evaluation.path / "report.html").read_text(encoding="utf-8")
    assert f"{first.metrics['overall']['accuracy']['value']:.4f}" in page and "Blessed" in page
    assert "Under corruption" in page and f"same {CORRUPTED} test images" in page


def test_metrics_are_plain_json(first):
    """Undefined values are null, as JSON has no NaN."""
    text = (first.evaluation.path / "metrics.json").read_text(encoding="utf-8")
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_a_misspelt_rule_fails_before_the_evaluation(examples, models, tmp_path):
    """The error suggests the nearest name and says where to correct it."""
    with pytest.raises(UserError, match="Did you mean 'accuracy'") as error:
        evaluate(tmp_path, examples, models[0], None, rules=(Rule(metric="acuracy", at_least=0.9),))
    assert "[[evaluator.rules]]" in error.value.next_step
    assert list((tmp_path / "evaluation").iterdir()) == []


def test_an_unknown_slicing_feature_is_a_user_error(examples, models, tmp_path):
    """The error lists the features of the examples."""
    with pytest.raises(UserError, match="lack season") as error:
        evaluate(tmp_path, examples, models[0], None, slice_by=("season",))
    assert "has_near_duplicate" in error.value.received


def test_slicing_features_are_recognised_by_their_endings():
    """A new decile or quintile needs no entry, and no feature appears twice."""
    names = ("image", "foreground_decile", "taper_quintile", "has_near_duplicate", "cluster")
    expected = ["group_name", "garment_name", "foreground_decile", "taper_quintile", "has_near_duplicate", "cluster"]
    assert slicing_features(names, ("cluster", "has_near_duplicate")) == expected

"""The tables of the notebook: their keys fit, and their figures are those of the arrays that they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.evaluation.predictions import Predictions, prediction_table
from analysis.exploration.data import Data
from analysis.exploration.neighbours import Neighbours, nearest
from analysis.exploration.tables import (
    accuracy_table,
    browse,
    feature_table,
    image_table,
    neighbour_table,
    read_predictions,
    score_table,
    vote,
)
from pipeline.contract.errors import UserError
from tests.analysis.exploration.synthetic_data import make_out_of_fold, make_plain_data


@pytest.fixture(scope="module")
def data() -> Data:
    """Synthetic images."""
    return make_plain_data()


@pytest.fixture(scope="module")
def neighbours(data: Data) -> Neighbours:
    """Their five nearest training images."""
    return nearest(data.pixels, len(data.train_rows), k=5)


def planted_errors(data: Data) -> np.ndarray:
    """Returns the rows of eight images of each split."""
    return np.concatenate([data.train_rows[:8], data.test_rows[:8]])


@pytest.fixture(scope="module")
def images(data: Data, neighbours: Neighbours) -> pd.DataFrame:
    """The table of images; the networks disagree with the labels of the planted errors."""
    predicted = data.garments.copy()
    predicted[planted_errors(data)] = (predicted[planted_errors(data)] + 1) % len(data.taxonomy.garments)
    return image_table(data, neighbours, make_out_of_fold(data, predicted, sharpness=12))


@pytest.fixture(scope="module")
def parquet(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Evaluator's file for the test images, in another order: of every tenth image, the next group is predicted."""
    import pyarrow.parquet as pq

    rows = data.test_rows[::-1]
    predicted = data.groups[rows].copy()
    predicted[::10] = (predicted[::10] + 1) % len(data.taxonomy.groups)
    groups = np.full((len(rows), len(data.taxonomy.groups)), 0.05, np.float32)
    groups[np.arange(len(rows)), predicted] = np.linspace(0.5, 0.9, len(rows))
    members = np.array([data.taxonomy.members(group)[0] for group in predicted])
    garments = np.eye(len(data.taxonomy.garments), dtype=np.float32)[members]
    found = Predictions(groups, garments, groups.max(axis=1), groups.max(axis=1) < 0.6, groups > 0.1)
    examples = {
        "source_id": data.names[rows],
        "garment_name": np.array(data.taxonomy.garments)[data.garments[rows]],
        "group_name": np.array(data.taxonomy.groups)[data.groups[rows]],
    }
    file = tmp_path_factory.mktemp("predictions") / "predictions.parquet"
    pq.write_table(prediction_table(examples, found, data.taxonomy), file)
    return file


@pytest.fixture(scope="module")
def predictions(parquet: Path, images: pd.DataFrame) -> pd.DataFrame:
    """The table of predictions."""
    return read_predictions(parquet, images)


def test_images_have_their_classes_and_suspected_label_errors(data: Data, images: pd.DataFrame) -> None:
    """A row describes the image with that row of the data; only planted errors are suspected, in both splits."""
    assert list(images.index) == list(range(len(data))) and images.index.name == "image"
    assert (images["group"].cat.codes == data.groups).all() and ((images["split"] == "test") == data.test).all()
    suspected = images[images["suspected_garment_error"]]
    assert set(suspected["split"]) == {"train", "test"} and set(suspected.index) <= set(planted_errors(data))
    assert (suspected["suggested_garment"].astype(str) != suspected["garment"].astype(str)).all()


def test_features_have_names_without_spaces(data: Data) -> None:
    """So that a column can be written as an attribute and in a query."""
    features = feature_table(data)
    assert len(features) == len(data) and all(name.isidentifier() for name in features)


def test_images_have_their_nearest_distance_and_what_networks_suggest(
    data: Data, neighbours: Neighbours, images: pd.DataFrame
) -> None:
    """The suggestion is that of networks that did not see the image; the probability is that of the labelled group."""
    assert images["source_id"].tolist() == data.names.tolist()
    assert images["nearest_rmse"].to_numpy() == pytest.approx(neighbours.rmse[:, 0])
    assert (images["near_duplicate"] == (neighbours.rmse[:, 0] <= 0.08)).all() and images[
        "near_duplicate"
    ].nunique() == 2
    suggested = data.garments.copy()
    suggested[planted_errors(data)] = (suggested[planted_errors(data)] + 1) % 10
    groups = np.array(data.taxonomy.group_of)
    assert (images["suggested_garment"].cat.codes == suggested).all()
    assert (images["suggested_group"].cat.codes == groups[suggested]).all()
    likely = images["labelled_group_probability"] > 0.5
    assert (likely == (groups[suggested] == data.groups)).all() and not likely.all()


def test_features_have_a_row_an_image(data: Data) -> None:
    """Their names can be typed, and a brighter image has the larger brightness."""
    table = feature_table(data)
    assert table.index.tolist() == list(range(len(data))) and table.index.name == "image"
    assert not [name for name in table.columns if " " in name]
    order = np.argsort(data.images.reshape(len(data), -1).mean(axis=1))
    assert (
        table["foreground_coverage"].between(0, 1).all()
        and table["brightness"][order[0]] < table["brightness"][order[-1]]
    )


def test_neighbours_are_ranked_training_images(data: Data, neighbours: Neighbours) -> None:
    """Every image has its neighbours once each, nearest first, with the labelled classes of the neighbour."""
    table = neighbour_table(data, neighbours)
    of_last = table[table["image"] == len(data) - 1]
    assert of_last["rank"].tolist() == [1, 2, 3, 4, 5] and of_last["rmse"].is_monotonic_increasing
    assert of_last["neighbour"].tolist() == neighbours.index[-1].tolist()
    assert of_last["rmse"].tolist() == neighbours.rmse[-1].tolist()
    assert (table["garment"].cat.codes == data.garments[table["neighbour"]]).all()
    assert (table["group"].cat.codes == data.groups[table["neighbour"]]).all()


def test_predictions_are_joined_by_source(data: Data, predictions: pd.DataFrame) -> None:
    """The order of the file does not matter."""
    assert predictions.index.tolist() == data.test_rows.tolist()
    assert (predictions["garment"].cat.codes == data.garments[data.test_rows]).all()
    assert int((~predictions["correct"]).sum()) == len(data.test_rows) // 10
    labelled, count = data.groups[data.test_rows], len(data.test_rows)
    predicted = np.where(np.arange(count)[::-1] % 10 == 0, (labelled + 1) % 5, labelled)
    assert (predictions["group"].cat.codes == labelled).all()
    assert (predictions["predicted_group"].cat.codes == predicted).all()
    assert predictions["confidence"].to_numpy() == pytest.approx(np.linspace(0.5, 0.9, count)[::-1], abs=1e-6)
    assert (predictions["abstain"] == (predictions["confidence"] < 0.6)).all()


def test_predictions_of_other_images_are_an_error(parquet: Path, images: pd.DataFrame) -> None:
    """The message says how many images agree."""
    fewer = images.drop(index=images.index[-1])
    with pytest.raises(UserError, match="different test images") as error:
        read_predictions(parquet, fewer)
    assert "99 of them the same" in error.value.received


def test_accuracy_has_wilson_intervals() -> None:
    """9 of 10 is 0.9 with Wilson's interval [0.596, 0.982]."""
    table = accuracy_table(pd.Series([True] * 9 + [False] + [True] * 2), pd.Series(["a"] * 10 + ["b"] * 2))
    assert table.loc["a", ["images", "errors"]].tolist() == [10, 1]
    assert table.loc["a", ["accuracy", "low", "high"]].tolist() == pytest.approx([0.9, 0.596, 0.982], abs=1e-3)
    assert table.loc["b", "low"] < table.loc["b", "accuracy"] == 1


def test_scores_equal_those_of_the_table(predictions: pd.DataFrame) -> None:
    """Accuracy and macro F1 of the model are scikit-learn's; a model that always predicts one group has a macro F1."""
    from sklearn.metrics import f1_score

    labelled, predicted = predictions["group"], predictions["predicted_group"]
    constant = pd.Series("Bags", labelled.index)
    scores = score_table(labelled, {"model": predicted, "constant": constant})
    assert scores.loc["model", "accuracy"] == predictions["correct"].mean()
    for name, classes in (("model", predicted), ("constant", constant)):
        assert scores.loc[name, "macro_f1"] == pytest.approx(f1_score(labelled, classes, average="macro"))


def test_nearer_neighbours_decide_a_tie() -> None:
    """Of two against two, the class of the nearest wins; a majority wins against the nearest."""
    table = pd.DataFrame(
        {
            "image": [0] * 4 + [1] * 4,
            "rank": [1, 2, 3, 4] * 2,
            "group": pd.Categorical(["b", "a", "a", "b", "b", "a", "a", "a"], ["a", "b"]),
        }
    )
    assert vote(table, 4).tolist() == ["b", "a"]
    assert vote(table, 1).tolist() == ["b", "b"]


def test_browse_filters_and_sorts_the_errors(predictions: pd.DataFrame) -> None:
    """Every filter holds for every row, and no filter at all returns all errors."""
    everything = browse(predictions, n=1000)
    assert len(everything) == (~predictions["correct"]).sum() and everything["confidence"].is_monotonic_decreasing
    true, predicted = everything.iloc[0][["group", "predicted_group"]]
    found = browse(predictions, true, predicted, min_confidence=0.6, sort="confidence", ascending=True, n=2)
    assert 0 < len(found) <= 2 and found["confidence"].is_monotonic_increasing and not found["correct"].any()
    assert set(found["group"]) == {true} and set(found["predicted_group"]) == {predicted}
    assert (found["confidence"] >= 0.6).all()
    assert browse(predictions, garment="Coat", max_confidence=0.1).empty
    kind = everything.iloc[0]["garment"]
    assert len(browse(predictions, garment=kind, n=1000)) == (everything["garment"] == kind).sum()
    middle = everything["confidence"].median()
    assert len(browse(predictions, max_confidence=middle, n=1000)) == (everything["confidence"] <= middle).sum()

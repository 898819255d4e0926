"""TFMA's figures are scikit-learn's on the same predictions, in every slice."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from sklearn import metrics as sklearn

from analysis.data.examples import read_arrays
from analysis.evaluation.predictions import Predictions, predict
from analysis.evaluation.tfma import OVERALL, Slice, SliceMetrics, analyse, read_slices
from pipeline.contract.beam import beam_pipeline
from tests.saved_models import export_tiny
from tests.synthetic import write_examples

FEATURES = ("group_name", "has_near_duplicate", "brightness_decile")
GROUPS = 5


class Evaluated(NamedTuple):
    """What TFMA says, and what it says it about."""

    slices: dict[Slice, SliceMetrics]
    columns: dict[str, Any]
    predictions: Predictions


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """A tiny model on 300 synthetic garments in two files."""
    root = tmp_path_factory.mktemp("tfma")
    shards = write_examples(root / "examples", train=50, validation=10, test=300).split("test")
    saved_model = export_tiny(root / "saved_model", seed=5)
    with beam_pipeline() as pipeline:
        analyse(pipeline, saved_model, shards, FEATURES, root / "tfma")
    columns = read_arrays(shards, ("group", *FEATURES))
    return Evaluated(read_slices(root / "tfma", GROUPS), columns, predict(saved_model, shards))


def test_every_value_of_every_feature_is_a_slice(evaluated):
    """No slice is lost, and numbers are in the order of their size."""
    expected = {(f, str(value)) for f in FEATURES for value in np.unique(evaluated.columns[f])}
    assert set(evaluated.slices) == expected | {OVERALL}
    deciles = [int(value) for feature, value in evaluated.slices if feature == "brightness_decile"]
    assert deciles == sorted(deciles)


def test_slice_by_slice_tfma_is_scikit_learn(evaluated):
    """Count, accuracy, log loss and confusion matrix."""
    for (feature, value), metrics_of_slice in evaluated.slices.items():
        chosen = np.ones(300, bool) if not feature else evaluated.columns[feature].astype(str) == value
        truth = evaluated.columns["group"][chosen]
        predicted = evaluated.predictions.group[chosen]
        probabilities = evaluated.predictions.group_probabilities[chosen].astype(np.float64)
        assert metrics_of_slice.count == chosen.sum()
        assert metrics_of_slice.accuracy == pytest.approx(sklearn.accuracy_score(truth, predicted))
        assert (metrics_of_slice.confusion == sklearn.confusion_matrix(truth, predicted, labels=range(GROUPS))).all()
        probabilities = np.clip(probabilities, 1e-7, 1 - 1e-7)
        losses = -np.log(probabilities[np.arange(len(truth)), truth])
        assert metrics_of_slice.log_loss == pytest.approx(losses.mean(), rel=1e-4)

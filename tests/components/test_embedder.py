"""The Embedder with a trained model whose taxonomy is not that of the exploration."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from analysis.exploration.data import read_data
from components.embedder import embedder
from models.calibration import Calibration
from models.families import build
from models.probabilities import softmax
from models.taxonomy import Taxonomy
from pipeline.contract.artifacts import Examples, ImageEmbedding, Model, OutOfFoldPredictions
from pipeline.contract.errors import UserError
from pipeline.contract.progress import silent
from tests.serving.exports import TWO_GROUPS, uncalibrated
from tests.synthetic import write_examples

TAXONOMY = Taxonomy.load()


def train(path: Path, garments: int, calibration: Calibration) -> Model:
    """Writes a network with its initial weights, as the Trainer does."""
    path.mkdir()
    keras.utils.set_random_seed(0)
    model = Model(path)
    build("plain", garments, width=8, dropout=0.0).save(model.keras_file)
    (path / "calibration.json").write_text(json.dumps(calibration.to_json()))
    return model


def run(examples: Examples, model: Model, path: Path) -> ImageEmbedding:
    """Runs the stage with the default taxonomy."""
    path.mkdir()
    embedding = ImageEmbedding(path)
    unused = OutOfFoldPredictions(path)
    embedder.run(
        examples=examples, predictions=unused, trained=model, embedding=embedding, progress=silent,
        taxonomy=TAXONOMY, seed=1, count=50,
    )  # fmt: skip
    return embedding


@pytest.mark.slow
def test_a_model_of_other_groups_is_shown_with_the_groups_of_the_exploration(tmp_path: Path) -> None:
    """The groups follow from the garments' probabilities; a model of other garments is refused."""
    examples = write_examples(tmp_path / "examples", train=100, validation=50, test=60, grouped=False)
    model = train(tmp_path / "model", 10, uncalibrated(TWO_GROUPS))
    found = np.load(run(examples, model, tmp_path / "embedding").trained_file)["groups"]
    data = read_data(examples.split, TAXONOMY)
    logits = keras.models.load_model(model.keras_file, compile=False).predict(data.images[data.test_rows], verbose=0)
    expected = (softmax(logits) @ np.array(TAXONOMY.membership())).argmax(axis=1)
    assert found.tolist() == expected.tolist() and found.max() < len(TAXONOMY.groups)

    hats = Taxonomy(("Hat", "Scarf"), ("Hats", "Scarves"), (0, 1), ("#000000", "#000001"))
    with pytest.raises(
        UserError, match="other garments than those of the taxonomy.\n.*\nReceived: a model of 2 garments"
    ):
        run(examples, train(tmp_path / "hats", 2, uncalibrated(hats)), tmp_path / "other")

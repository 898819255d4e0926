"""The Embedder maps the features of the trained model, also of another taxonomy, or of the small network."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from analysis.exploration.cross_validation import OutOfFold
from analysis.exploration.data import read_data
from analysis.exploration.embedding import Embedding, embed, sample_rows
from components.embedder import embedder
from models.calibration import Calibration
from models.families import build
from models.probabilities import softmax
from models.taxonomy import Taxonomy
from models.training import PREDICT_BATCH
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


def run(examples: Examples, model: Model | None, path: Path) -> ImageEmbedding:
    """Runs the stage with the default taxonomy; the directory may hold out-of-fold predictions."""
    path.mkdir(exist_ok=True)
    embedding = ImageEmbedding(path)
    predictions = OutOfFoldPredictions(path)
    embedder.run(
        examples=examples, predictions=predictions, trained=model, embedding=embedding, progress=silent,
        taxonomy=TAXONOMY, seed=1, count=50,
    )  # fmt: skip
    return embedding


@pytest.mark.slow
def test_a_model_of_other_groups_is_shown_with_the_groups_of_the_exploration(tmp_path: Path) -> None:
    """The groups follow from the garments' probabilities; a model of other garments is refused."""
    examples = write_examples(tmp_path / "examples", train=100, validation=50, test=60, grouped=False)
    model = train(tmp_path / "model", 10, uncalibrated(TWO_GROUPS))
    embedding = run(examples, model, tmp_path / "embedding")
    found = np.load(embedding.trained_file)["groups"]
    data = read_data(examples.split, TAXONOMY)
    network = keras.models.load_model(model.keras_file, compile=False)
    logits = network.predict(data.images[data.test_rows], verbose=0)
    expected = (softmax(logits) @ np.array(TAXONOMY.membership())).argmax(axis=1)
    assert found.tolist() == expected.tolist() and found.max() < len(TAXONOMY.groups)

    maps, rows = Embedding.load(embedding.path), sample_rows(data, 50, 1)
    assert embedding.properties == {"network": "the trained model", "images": 50} and (maps.rows == rows).all()
    inner = keras.Model(network.inputs, network.get_layer("features").output)
    features = inner.predict(data.images[rows], batch_size=PREDICT_BATCH, verbose=0)
    # Another rounding of the features moves the points a little.
    distances = [pdist(positions) for positions in (maps.network, embed(data, features, rows, "", 1).network)]
    assert np.corrcoef(distances)[0, 1] > 0.95

    hats = Taxonomy(("Hat", "Scarf"), ("Hats", "Scarves"), (0, 1), ("#000000", "#000001"))
    with pytest.raises(
        UserError, match="other garments than those of the taxonomy.\n.*\nReceived: a model of 2 garments"
    ):
        run(examples, train(tmp_path / "hats", 2, uncalibrated(hats)), tmp_path / "other")


@pytest.mark.slow
def test_without_a_trained_model_the_map_is_of_the_small_networks_features(tmp_path: Path) -> None:
    """The features of the sampled test images, those of the cross-validated network of fold 0."""
    examples = write_examples(tmp_path / "examples", train=100, validation=50, test=60, grouped=False)
    features = np.random.default_rng(0).normal(size=(210, 8)).astype(np.float32)
    (tmp_path / "embedding").mkdir()
    empty = np.zeros((0, 0), np.float32)
    OutOfFold(np.zeros(0, np.int8), empty, empty, features).save(tmp_path / "embedding")
    found = run(examples, None, tmp_path / "embedding")
    data = read_data(examples.split, TAXONOMY)
    maps, rows = Embedding.load(found.path), sample_rows(data, 50, 1)
    assert found.properties == {"network": "a small network", "images": 50} and not found.trained_file.exists()
    expected = embed(data, features[rows], rows, "a small network", 1)
    assert maps.network_name == expected.network_name and (maps.rows == rows).all() and data.test[rows].all()
    np.testing.assert_allclose(maps.network, expected.network, atol=1e-3)
    np.testing.assert_allclose(maps.pixels, expected.pixels, atol=1e-3)

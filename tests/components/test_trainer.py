"""The Trainer leaves a calibrated export, what can be trained on, and logs that TensorBoard reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from components.examples import read_arrays
from components.trainer import trainer
from models.calibration import Calibration
from models.taxonomy import Taxonomy
from pipeline.artifacts import Examples, HyperParameters, Model
from tests.synthetic import write_examples


@dataclass(frozen=True)
class Run:
    """What a training left."""

    examples: Examples
    model: Model
    logs: Path
    reported: list[tuple[int, int, str, str]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two epochs on synthetic examples."""
    base = tmp_path_factory.mktemp("trainer")
    for name in ("examples", "hyperparameters", "model", "scratch"):
        (base / name).mkdir()
    examples = write_examples(base / "examples", train=200, validation=100, test=20)
    hyperparameters = HyperParameters(base / "hyperparameters")
    hyperparameters.write_json("best_hyperparameters.json", {"width": 8})
    model, reported = Model(base / "model"), []
    trainer.run(
        examples=examples,
        hyperparameters=hyperparameters,
        model=model,
        scratch=base / "scratch",
        logs=base / "logs",
        progress=lambda *state: reported.append(state),
        taxonomy=Taxonomy.load(),
        seed=3,
        epochs=2,
        batch_size=32,
        projected_examples=30,
    )
    return Run(examples, model, base / "logs", reported)


def test_export_answers_as_the_saved_network_with_the_saved_calibration(trained: Run) -> None:
    """What is served is the network beside it, calibrated as the file says."""
    images = read_arrays(trained.examples.split("validation"), ("image",))["image"]
    network = keras.models.load_model(trained.model.path / "model.keras", compile=False)
    calibration = Calibration.from_json(trained.model.read_json("calibration.json"))
    expected = calibration.garment_probabilities(network.predict(images, verbose=0))
    served = tf.saved_model.load(str(trained.model.saved_model)).signatures["serving_default"]
    answer = served(image=tf.constant(images))
    np.testing.assert_allclose(answer["garment_probabilities"].numpy(), expected, atol=1e-5)


def test_served_answer_is_the_same_for_the_mirror_image(trained: Run) -> None:
    """The exported model averages over the mirror image, so that flipping the input changes nothing."""
    images = read_arrays(trained.examples.split("validation"), ("image",))["image"]
    served = tf.saved_model.load(str(trained.model.saved_model)).signatures["serving_default"]
    one, other = (served(image=tf.constant(np.ascontiguousarray(i))) for i in (images, images[:, :, ::-1]))
    np.testing.assert_allclose(one["group_probabilities"].numpy(), other["group_probabilities"].numpy(), atol=1e-5)


def test_history_and_progress_tell_every_epoch(trained: Run) -> None:
    """Each epoch stands in the history with its scores, and was reported."""
    training = trained.model.read_json("training.json")
    assert len(training["history"]) == 2 and training["recipe"]["width"] == 8
    assert {"loss", "val_group_accuracy", "val_group_macro_f1", "seconds"} <= set(training["history"][0])
    assert trained.reported[-1][:3] == (2, 2, "epochs") and "validation macro F1" in trained.reported[-1][3]


def test_tensorboard_finds_scalars_pictures_graph_and_embedding(trained: Run) -> None:
    """The event files hold the validation score and two pictures an epoch, the graph, and the projector's files."""
    validation = EventAccumulator(str(trained.logs / "validation"), size_guidance={"tensors": 0}).Reload()
    tags = set(validation.Tags()["tensors"])
    assert {"confusion", "mistakes", "epoch_group_macro_f1"} <= tags
    assert len(validation.Tensors("confusion")) == 2
    # Keras writes its graph of layers under this tag, and TensorBoard draws it.
    assert "keras" in EventAccumulator(str(trained.logs / "train")).Reload().Tags()["tensors"]
    assert len((trained.logs / "validation" / "features.tsv").read_text().splitlines()) == 30
    assert len((trained.logs / "validation" / "names.tsv").read_text().splitlines()) == 31
    assert "features.tsv" in (trained.logs / "validation" / "projector_config.pbtxt").read_text()

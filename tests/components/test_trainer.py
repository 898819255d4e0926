"""The Trainer writes a calibrated export, the network in Keras's format, and logs that TensorBoard reads."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from analysis.data.examples import read_arrays, write_shards
from components.trainer import trainer
from models.calibration import Calibration, calibrate
from models.taxonomy import Taxonomy
from models.training import PREDICT_BATCH
from pipeline.contract.artifacts import Examples, HyperParameters, Model
from pipeline.contract.errors import UserError
from serving.requests.prediction_log import answer, load, predict_request
from sql.synthetic_descriptions import GARMENTS, Noise, describe_all
from tests.synthetic import base_columns, write_examples

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Run:
    """The results of a training."""

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


def test_export_predicts_as_the_saved_network_with_the_saved_calibration(trained: Run) -> None:
    """The export computes the saved network with the saved calibration."""
    images = read_arrays(trained.examples.split("validation"), ("image",))["image"]
    network = keras.models.load_model(trained.model.path / "model.keras", compile=False)
    calibration = Calibration.from_json(trained.model.calibration())
    expected = calibration.garment_probabilities(network.predict(images, verbose=0))
    served = tf.saved_model.load(str(trained.model.saved_model)).signatures["serving_default"]
    answer = served(image=tf.constant(images))
    np.testing.assert_allclose(answer["garment_probabilities"].numpy(), expected, atol=1e-5)


def test_calibration_is_fitted_on_the_validation_split(trained: Run) -> None:
    """Its numbers are those of the saved network on these images; the training images give others."""
    network = keras.models.load_model(trained.model.path / "model.keras", compile=False)
    membership, saved = np.array(Taxonomy.load().membership()), trained.model.calibration()

    def fitted_on(split: str) -> dict[str, Any]:
        columns = read_arrays(trained.examples.split(split), ("image", "garment"))
        logits = network.predict(columns["image"], batch_size=PREDICT_BATCH, verbose=0)
        return calibrate(logits, columns["garment"], membership, saved["coverage"]).to_json()

    validation, train = fitted_on("validation"), fitted_on("train")
    assert saved["within"] == pytest.approx(validation["within"], rel=1e-3)
    np.testing.assert_allclose(saved["between"]["weights"], validation["between"]["weights"], rtol=1e-2, atol=1e-3)
    assert saved["within"] != pytest.approx(train["within"], rel=1e-2)


def test_flip_tta_makes_the_flipped_image_the_same(trained: Run) -> None:
    """The exported model averages over the flipped image, so that flipping the input changes nothing."""
    images = read_arrays(trained.examples.split("validation"), ("image",))["image"]
    served = tf.saved_model.load(str(trained.model.saved_model)).signatures["serving_default"]
    one, other = (served(image=tf.constant(np.ascontiguousarray(i))) for i in (images, images[:, :, ::-1]))
    np.testing.assert_allclose(one["group_probabilities"].numpy(), other["group_probabilities"].numpy(), atol=1e-5)


def test_history_and_progress_have_every_epoch(trained: Run) -> None:
    """Each epoch is in the history with its scores, and is reported."""
    training = trained.model.training()
    assert len(training["history"]) == 2 and training["recipe"]["width"] == 8
    assert {"loss", "val_group_accuracy", "val_group_macro_f1", "seconds"} <= set(training["history"][0])
    assert trained.reported[-1][:3] == (2, 2, "epochs") and "validation macro F1" in trained.reported[-1][3]


def test_tensorboard_finds_scalars_pictures_graph_and_embedding(trained: Run) -> None:
    """The event files hold the validation score and two pictures an epoch, the graph, and the projector's files."""
    validation = EventAccumulator(str(trained.logs / "validation"), size_guidance={"tensors": 0}).Reload()
    tags = set(validation.Tags()["tensors"])
    assert {"confusion", "errors", "epoch_group_macro_f1"} <= tags
    assert len(validation.Tensors("confusion")) == 2
    # Keras writes its graph of layers under this tag, and TensorBoard draws it.
    assert "keras" in EventAccumulator(str(trained.logs / "train")).Reload().Tags()["tensors"]
    assert len((trained.logs / "validation" / "features.tsv").read_text().splitlines()) == 30
    assert len((trained.logs / "validation" / "names.tsv").read_text().splitlines()) == 31
    assert "features.tsv" in (trained.logs / "validation" / "projector_config.pbtxt").read_text()


def test_with_texts_the_export_reads_descriptions_too(tmp_path: Path) -> None:
    """Without one its outputs are unchanged; with one its accuracy is higher, as the record says."""
    for name in ("examples", "hyperparameters", "model", "scratch"):
        (tmp_path / name).mkdir()
    examples = write_examples(tmp_path / "examples", train=200, validation=100, test=20)
    hyperparameters = HyperParameters(tmp_path / "hyperparameters")
    hyperparameters.write_json("best_hyperparameters.json", {"width": 8})
    inputs = {"examples": examples, "hyperparameters": hyperparameters, "model": Model(tmp_path / "model")}
    directories = {"scratch": tmp_path / "scratch", "logs": tmp_path / "logs", "progress": lambda *state: None}
    parameters = {"taxonomy": Taxonomy.load(), "seed": 3, "epochs": 1, "batch_size": 32, "texts": True}
    with pytest.raises(UserError, match="no descriptions to learn from") as caught:
        trainer.run(**inputs, **directories, **parameters)
    assert caught.value.next_step == "fashion run --set trainer.texts=false"

    for split in ("train", "validation", "test"):
        columns = read_arrays(examples.split(split), ("image", "garment"))
        texts = describe_all([GARMENTS[garment] for garment in columns["garment"]], 0, Noise(missing=0.3))
        shutil.rmtree(examples.path / f"Split-{split}")
        origin = "test" if split == "test" else "train"
        columns = base_columns(columns["image"], columns["garment"], split, origin) | {"description": texts}
        write_shards(examples.path / f"Split-{split}", columns)
    trainer.run(**inputs, **directories, **parameters)
    record = json.loads(inputs["model"].texts_file.read_text(encoding="utf-8"))
    assert 0 < record["scale"] <= 1 and 0.5 < record["with_text"] / record["of"] < 1
    assert record["validation"]["image_and_text"]["group_accuracy"] > record["validation"]["image"]["group_accuracy"]

    columns = read_arrays(examples.split("validation"), ("image", "garment", "description"))
    served = load(inputs["model"].saved_model)
    image, without_text, both = (
        answer(served, request)["garment_probabilities"]
        for request in (
            predict_request("serving_default", columns["image"]),
            predict_request("serving_text", columns["image"]),
            predict_request("serving_text", columns["image"], columns["description"].tolist()),
        )
    )
    np.testing.assert_allclose(without_text, image, atol=1e-6)
    groups = both @ np.array(Taxonomy.load().membership())
    truth = np.array(Taxonomy.load().membership())[columns["garment"]].argmax(axis=1)
    assert np.mean(groups.argmax(axis=1) == truth) == record["validation"]["image_and_text"]["group_accuracy"]

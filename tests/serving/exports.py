"""Small exported models, and copies with faults, for tests of serving and pushing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.calibration import Calibration
from models.logit_scaling import Affine, LevelScaling
from models.taxonomy import Taxonomy
from pipeline.contract.artifacts import Model
from sql.synthetic_descriptions import GARMENTS, describe_all

BETWEEN = Affine(0.6 * np.eye(5) + 0.02 * np.roll(np.eye(5), 1, axis=1), np.array([0.1, 0.0, 0.3, 0.0, -0.2]))
CALIBRATION = Calibration(
    scaling=LevelScaling(BETWEEN, within=1.5, membership=np.array(Taxonomy.load().membership())),
    thresholds=np.array([0.2, 0.25, 0.1, 0.3, 0.2]),
    coverage=0.95,
)


TWO_GROUPS = Taxonomy.from_table(
    {
        "garments": list(Taxonomy.load().garments),
        "group": [
            {"name": "Shoes & bags", "colour": "#0072B2", "garments": list(Taxonomy.load().garments[5:])},
            {"name": "Röcke, Hosen", "colour": "#E69F00", "garments": list(Taxonomy.load().garments[:5])},
        ],
    }
)
"""A taxonomy that differs from the default in the number, order and names of its groups."""


def export_small(
    path: Path,
    seed: int = 0,
    weights: Sequence[np.ndarray] = (),
    texts: bool = False,
    taxonomy: Taxonomy | None = None,
) -> Model:
    """Writes a Model artifact of a linear network: `saved_model/`, `model.keras`, `calibration.json`.

    Args:
        path: The directory of the artifact.
        seed: The seed of random weights.
        weights: From 784 pixels in 0..1 to the garments' logits: [784, 10] and [10]. Defaults to random ones.
        texts: Whether the model also reads descriptions. Defaults to False.
        taxonomy: The groups, which are then not calibrated. Defaults to the five groups.
    """
    import keras

    from models.export import export_model

    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(10)]
    network = keras.Sequential([keras.Input((28, 28), dtype="uint8"), *layers])
    if weights:
        network.set_weights(weights)
    model = Model(path)
    calibration = CALIBRATION if taxonomy is None else uncalibrated(taxonomy)
    evidence = plain_evidence() if texts else None
    export_model(network, calibration, taxonomy or Taxonomy.load(), model.saved_model, evidence)
    network.save(path / "model.keras")
    (path / "calibration.json").write_text(json.dumps(calibration.to_json()))
    return model


def uncalibrated(taxonomy: Taxonomy) -> Calibration:
    """A calibration that changes no probability."""
    count = len(taxonomy.groups)
    scaling = LevelScaling(
        Affine(np.eye(count), np.zeros(count)), within=1.0, membership=np.array(taxonomy.membership())
    )
    return Calibration(scaling=scaling, thresholds=np.full(count, 0.2), coverage=0.95)


def plain_evidence() -> Any:
    """A text model of clean descriptions, weighed."""
    from models.text_evidence import fit_text_model, scaled_evidence_model

    garments = np.arange(500) % len(GARMENTS)
    texts = describe_all([GARMENTS[garment] for garment in garments], 0)
    return scaled_evidence_model(fit_text_model(texts, garments, len(GARMENTS)), 0.9)


def spoil_serving_bytes(model: Model, path: Path) -> Model:
    """Writes a copy whose `serving_bytes` adds 0.01 to the group probabilities."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(model.saved_model))
    right = loaded.signatures["serving_bytes"]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def wrong(image_bytes: Any) -> Any:
        answers = right(image_bytes=image_bytes)
        return answers | {"group_probabilities": answers["group_probabilities"] + 0.01}

    return _save(loaded, {**loaded.signatures, "serving_bytes": wrong}, path)


def without_signature(model: Model, signature: str, path: Path) -> Model:
    """Writes a copy that lacks a signature."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(model.saved_model))
    return _save(loaded, {name: function for name, function in loaded.signatures.items() if name != signature}, path)


def logged_outputs(log: Any) -> dict[str, np.ndarray]:
    """Returns the outputs in a PredictionLog by name."""
    import tensorflow as tf

    return {name: tf.make_ndarray(tensor) for name, tensor in log.predict_log.response.outputs.items()}


def _save(loaded: Any, signatures: dict[str, Any], path: Path) -> Model:
    import tensorflow as tf

    model = Model(path)
    tf.saved_model.save(loaded, str(model.saved_model), signatures=signatures)
    return model

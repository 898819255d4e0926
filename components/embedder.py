"""Embedder: two-dimensional maps of test images, by their pixels and by a network's features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from models.taxonomy import Taxonomy
from pipeline.contract.artifacts import Examples, ImageEmbedding, Model, OutOfFoldPredictions
from pipeline.contract.component import Input, Output, component
from pipeline.contract.errors import UserError, suggest
from pipeline.contract.progress import Progress

if TYPE_CHECKING:
    import numpy as np

    from analysis.exploration.data import Data


@component
def embedder(
    examples: Input[Examples],
    predictions: Input[OutOfFoldPredictions],
    trained: Input[Model] | None,
    embedding: Output[ImageEmbedding],
    progress: Progress,
    *,
    taxonomy: Taxonomy,
    seed: int,
    count: Annotated[int, Field(ge=50, le=20_000, description="Test images on the maps.")] = 6000,
) -> None:
    """Maps test images to two dimensions so that similar ones are close, by pixels and by a network's features."""
    from analysis.exploration.cross_validation import OutOfFold
    from analysis.exploration.data import read_data
    from analysis.exploration.embedding import embed, sample_rows

    data = read_data(examples.split, taxonomy)
    rows = sample_rows(data, count, seed)
    progress(0, 3, "steps", "features")
    if trained is None:
        name, features = "a small network", OutOfFold.load(predictions.path).features[rows]
    else:
        name, features = "the trained model", _trained_features(trained, data, rows, embedding)
    progress(1, 3, "steps", "maps")
    embed(data, features, rows, name, seed).save(embedding.path)
    embedding.properties["network"] = name
    embedding.properties["images"] = len(rows)
    progress(3, 3, "steps")


def _trained_features(model: Model, data: Data, rows: np.ndarray, embedding: ImageEmbedding) -> np.ndarray:
    """Returns the network's features of the rows, float32 [P, F]; writes its groups for all test images."""
    import keras
    import numpy as np

    from models.calibration import Calibration
    from models.training import PREDICT_BATCH

    network = keras.models.load_model(model.keras_file, compile=False)
    logits = network.predict(data.images[data.test_rows], batch_size=PREDICT_BATCH, verbose=0)
    with suggest("fashion run, then fashion explore"):
        calibration = Calibration.from_json(model.calibration())
    if logits.shape[1] != len(data.taxonomy.garments):
        raise UserError(
            "The newest model predicts other garments than those of the taxonomy.",
            expected=f"{len(data.taxonomy.garments)} garments: {', '.join(data.taxonomy.garments)}",
            received=f"a model of {logits.shape[1]} garments",
            next_step="fashion run with the same --set taxonomy, then fashion explore",
        )
    # The model may be of other groups over the same garments.
    groups = (calibration.garment_probabilities(logits) @ np.array(data.taxonomy.membership())).argmax(axis=1)
    np.savez_compressed(embedding.trained_file, groups=groups.astype(np.int64))
    # A network with flip TTA contains the network that was trained.
    inner = next((layer for layer in network.layers if isinstance(layer, keras.Model)), network)
    features = keras.Model(inner.inputs, inner.get_layer("features").output)
    predicted: np.ndarray = features.predict(data.images[rows], batch_size=PREDICT_BATCH, verbose=0)
    return predicted

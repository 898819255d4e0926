"""Training of the text model that the Trainer exports beside the network, and its scores on validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.data.examples import read_arrays, read_record_batches
from models.probabilities import accuracy, group_confusion, macro_f1
from models.text_evidence import DOUBT, fit_evidence_model, fuse, predict_evidence
from pipeline.contract.errors import UserError

if TYPE_CHECKING:
    import keras

    from models.training import Task

Probabilities = NDArray[np.float64]


def read_descriptions(shards: Sequence[Path]) -> list[str]:
    """Returns the descriptions of a split's examples in their order, empty where an example has none.

    Args:
        shards: The split's TFRecord files.

    Raises:
        UserError: The examples have no descriptions, or a file is damaged.
    """
    present = next(iter(read_record_batches(shards[0], 1))).schema.names
    if "description" not in present:
        raise UserError(
            "There are no descriptions to learn from.",
            expected="examples from a catalogue (example_gen.source=catalogue), or trainer.texts=false",
            received=f"examples with {', '.join(sorted(present))}",
        )
    descriptions: list[str] = read_arrays(shards, ("description",))["description"].tolist()
    return descriptions


def fit_descriptions(
    text_model: keras.Model, descriptions: Sequence[str], task: Task, by_image: Probabilities
) -> tuple[keras.Model, dict[str, Any]]:
    """Fits the weight of the descriptions on validation, and measures their effect there.

    Args:
        text_model: As `models.text_evidence.fit_text_model` returns it.
        descriptions: The validation examples' descriptions, M of them.
        task: The validation examples.
        by_image: The validation examples' calibrated garment probabilities, float64 [M, garments].

    Returns:
        The evidence model to export, and a record: `scale` and `doubt` of the evidence, how many examples have a
            description (`with_text`, `of`), and the scores of `image` and `image_and_text`.
    """
    log_probabilities = np.log(np.maximum(by_image, np.finfo(np.float64).tiny))
    evidence_model, scale = fit_evidence_model(text_model, descriptions, log_probabilities, task.validation_garments)
    by_both = fuse(log_probabilities, predict_evidence(evidence_model, descriptions))
    return evidence_model, {
        "scale": scale,
        "doubt": DOUBT,
        "with_text": sum(bool(text.strip()) for text in descriptions),
        "of": len(descriptions),
        "validation": {"image": _scores(by_image, task), "image_and_text": _scores(by_both, task)},
    }


def _scores(garments: Probabilities, task: Task) -> dict[str, float]:
    confusion = group_confusion(garments @ task.membership, task.validation_groups)
    return {"group_accuracy": round(accuracy(confusion), 4), "macro_f1": round(macro_f1(confusion), 4)}

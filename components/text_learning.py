"""What the Trainer learns from the products' descriptions, beside what it learns from their images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis.data.examples import read_arrays
from pipeline.contract.artifacts import Examples, Model
from pipeline.contract.errors import UserError

if TYPE_CHECKING:
    import keras
    import numpy as np

    from models.training import Task

WITHOUT = "fashion run --set trainer.texts=false"
RECORD = "texts.json"


def read_texts(examples: Examples) -> dict[str, list[str]]:
    """Returns the descriptions of training and validation examples, in their order; an empty one where there is none.

    Raises:
        UserError: The examples have no descriptions.
    """
    try:
        splits = {name: read_arrays(examples.split(name), ("description",)) for name in ("train", "validation")}
    except UserError as error:
        raise UserError(
            "There are no descriptions to learn from.",
            expected="examples from a catalogue (example_gen.source=catalogue), or trainer.texts=false",
            received=str(error.received),
            next_step=WITHOUT,
        ) from None
    return {name: columns["description"].tolist() for name, columns in splits.items()}


def learn_words(texts: list[str], task: Task) -> keras.Model:
    """Returns the text model of the training examples.

    Raises:
        UserError: A garment has no text.
    """
    from models.text_evidence import fit_text_model

    try:
        return fit_text_model(texts, task.garments, len(task.membership))
    except ValueError as error:
        raise UserError(str(error), next_step=WITHOUT) from None


def weigh_words(words: keras.Model, texts: list[str], task: Task, by_image: np.ndarray, model: Model) -> keras.Model:
    """Returns the evidence to export, weighed on validation, and writes `texts.json`: how much it counts and brings.

    Args:
        words: As `learn_words` returns it.
        texts: The validation examples' descriptions.
        task: The examples.
        by_image: The validation examples' calibrated garments' probabilities, float64 [N, garments].
        model: The artifact.
    """
    import numpy as np

    from models.text_evidence import DOUBT, evidence_of, fused, learned

    logarithms = np.log(np.maximum(by_image, np.finfo(np.float64).tiny))
    evidence, scale = learned(words, texts, logarithms, task.validation_garments)
    by_both = fused(logarithms, evidence_of(evidence, texts))
    scores = {"image": _scores(by_image, task), "image_and_text": _scores(by_both, task)}
    told = sum(bool(text.strip()) for text in texts)
    weights = {"scale": scale, "doubt": DOUBT}
    model.write_json(RECORD, {**weights, "with_text": told, "of": len(texts), "validation": scores})
    model.properties["validation_macro_f1_with_texts"] = scores["image_and_text"]["macro_f1"]
    return evidence


def _scores(garments: np.ndarray, task: Task) -> dict[str, Any]:
    from models.scores import accuracy, group_confusion, macro_f1

    confusion = group_confusion(garments @ task.membership, task.validation_groups)
    return {"group_accuracy": round(accuracy(confusion), 4), "macro_f1": round(macro_f1(confusion), 4)}

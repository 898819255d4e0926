"""The state of a training after an epoch, in one file, so that a training that was killed goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np


class CheckpointError(ValueError):
    """A checkpoint is of another network; the message says what was expected and what was received."""


def save(checkpoint: Path, model: keras.Model, history: list[dict[str, float]]) -> None:
    """Writes weights, optimiser state, random states and history; a kill leaves the old file or the new one."""
    arrays = {f"v{index:04d}": np.asarray(variable) for index, variable in enumerate(_state(model))}
    unfinished = checkpoint.with_suffix(".unfinished.npz")
    contents: dict[str, Any] = {**arrays, "history": np.array(json.dumps(history))}
    np.savez(unfinished, **contents)
    unfinished.replace(checkpoint)


def restore(checkpoint: Path, model: keras.Model) -> list[dict[str, float]]:
    """Reads what `save` wrote into a compiled model, and returns the history.

    Raises:
        CheckpointError: The file was written for another network.
    """
    variables = _state(model)
    with np.load(checkpoint) as content:
        arrays = [content[name] for name in sorted(content.files) if name != "history"]
        history: list[dict[str, float]] = json.loads(str(content["history"]))
    if [a.shape for a in arrays] != [tuple(v.shape) for v in variables]:
        raise CheckpointError(
            f"The checkpoint {checkpoint} is of another network. Expected: {len(variables)} variables of the same "
            f"shapes. Received: {len(arrays)}."
        )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    return history


def _state(model: keras.Model) -> list[Any]:
    return [*model.variables, *model.optimizer.variables]

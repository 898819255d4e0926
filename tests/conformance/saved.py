"""Writing the SavedModels of the suite: TensorFlow writes the graph, then the description of its signatures is edited.

TensorFlow's own writer gives every signature the method "predict" and the shapes of the graph; what the facts ask for
(classify, regress, defaults, shapes that promise less than the graph takes) exists only in the file.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

METHOD = "tensorflow/serving/"
SignatureDefs = Any
"""The map of the file: a `SignatureDef` by the signature's key."""


def save(path: Path, signatures: Mapping[str, Any], *tracked: Any) -> None:
    """Writes a SavedModel.

    Args:
        path: The directory of the version.
        signatures: Functions by the signature's key.
        tracked: The variables that they use.
    """
    module = tf.Module()
    module.tracked = list(tracked)
    tf.saved_model.save(module, str(path), signatures=dict(signatures))
    (path / "fingerprint.pb").unlink(missing_ok=True)


def edit(path: Path, change: Callable[[SignatureDefs], None]) -> None:
    """Lets `change` edit the signatures of a SavedModel in place."""
    file = path / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    change(model.meta_graphs[0].signature_def)
    file.write_bytes(model.SerializeToString())


def copy_with(source: Path, target: Path, chosen: Mapping[str, str]) -> None:
    """Copies a SavedModel, keeping some signatures under other keys.

    Args:
        source: The version to copy.
        target: The directory of the copy.
        chosen: The key in the source by the key in the copy.
    """
    shutil.copytree(source, target)

    def change(definitions: SignatureDefs) -> None:
        kept = {}
        for new, old in chosen.items():
            kept[new] = meta_graph_pb2.SignatureDef()
            kept[new].CopyFrom(definitions[old])
        for key in [key for key in definitions if not key.startswith("__")]:
            del definitions[key]
        for key, definition in kept.items():
            definitions[key].CopyFrom(definition)

    edit(target, change)


def set_shape(info: Any, shape: Sequence[int]) -> None:
    """States the shape of an input or output, -1 for any size, whatever the graph says."""
    info.tensor_shape.Clear()
    for size in shape:
        info.tensor_shape.dim.add(size=size)


def spec(dtype: Any, name: str, shape: Sequence[int | None] | None = None) -> Any:
    """Returns the specification of an input; of any rank unless told."""
    return tf.TensorSpec(shape, dtype, name=name)

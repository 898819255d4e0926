"""Signatures of a SavedModel: the names, types and shapes of their inputs and outputs.

Tensors are NumPy arrays; strings are arrays of Python `bytes` (dtype object). Types without a NumPy type of their own
are known by TensorFlow's name alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from numpy.typing import NDArray

DEFAULT_SIGNATURE: Final = "serving_default"

Tensors = Mapping[str, NDArray[Any]]
"""Arrays by their name in the signature."""


@dataclass(frozen=True)
class TensorSpec:
    """Type and shape of an input or output.

    Attributes:
        dtype: TensorFlow's name without prefix: "float", "double", "int32", "uint8", "string", "bool", "half", ...
        shape: Its dimensions, -1 for one of any size; None when the rank is unknown.
        tensor: The name of the tensor in the graph.
    """

    dtype: str
    shape: tuple[int, ...] | None
    tensor: str = ""


@dataclass(frozen=True)
class Signature:
    """A signature of a SavedModel.

    Attributes:
        name: Its key.
        method: Its method name, such as "tensorflow/serving/predict".
        inputs: Specifications by name.
        outputs: Specifications by name, without outputs that are no tensors.
        optional: Default values of the inputs that a gRPC request may omit, by name.
    """

    name: str
    method: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    optional: Mapping[str, NDArray[Any]]

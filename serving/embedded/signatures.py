"""Tensors as the server passes them on: NumPy arrays, and what a signature says of them.

Strings are arrays of Python `bytes` (dtype object). Types without a NumPy type of their own are known by TensorFlow's
number alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[Any]]
"""Arrays by their name in the signature."""


@dataclass(frozen=True)
class TensorSpec:
    """What a signature says of an input or output.

    Attributes:
        dtype: TensorFlow's name without prefix: "float", "double", "int32", "uint8", "string", "bool", "half", ...
        shape: Its dimensions, -1 where one may have any size; None when even the rank is unknown.
        tensor: The name of the tensor in the graph.
    """

    dtype: str
    shape: tuple[int, ...] | None
    tensor: str = ""

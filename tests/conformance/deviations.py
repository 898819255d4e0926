"""Where the embedded server answers otherwise than TensorFlow Serving, and why no client would care."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Deviation:
    """A case that the embedded server answers in its own way.

    Attributes:
        expect: What it answers; this is what the suite asserts of it.
        difference: The difference in words.
        reason: Why a client would not care.
    """

    expect: Mapping[str, Any]
    difference: str
    reason: str


DEVIATIONS: Final[Mapping[str, Deviation]] = {}

"""How an arm is run, by the name that a declaration gives; each measure is one module."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from analysis.experiments.declaration import DeclarationError
from analysis.experiments.laboratory import Laboratory
from analysis.experiments.results import Outcome

Measure = Callable[[dict[str, Any], int, Laboratory], Outcome]

MEASURES = ("calibration", "deployment", "final", "ladder", "robustness", "strangers", "training", "why")
"""Modules of this package; each has a function `measure(settings, seed, laboratory)`."""


def measure_of(name: str) -> Measure:
    """Returns a measure.

    Raises:
        DeclarationError: There is none of that name.
    """
    if name not in MEASURES:
        raise DeclarationError(f"There is no measure {name!r}. Expected: {', '.join(MEASURES)}. Received: {name}")
    found: Measure = import_module(f"analysis.experiments.{name}").measure
    return found

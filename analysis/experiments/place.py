"""What a run is made on: Keras's backend and the processor."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """Where a run was made.

    Attributes:
        backend: Keras's backend and its version.
        hardware: The processor, and how many cores of it.
    """

    backend: str
    hardware: str


def here() -> Place:
    """Says what this process computes on."""
    import keras

    backend = keras.backend.backend()
    return Place(f"{backend} {version(backend)}", f"{_processor()}, {len(os.sched_getaffinity(0))} cores")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())

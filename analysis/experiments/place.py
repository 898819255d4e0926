"""What a run is made on: Keras's backend, the processor, and the GPUs that the backend uses."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """Where a run was made.

    Attributes:
        backend: Keras's backend and its version.
        hardware: The processor, how many cores of it, and the GPUs or other accelerators that the backend found.
    """

    backend: str
    hardware: str


def here() -> Place:
    """Says what this process computes on."""
    import keras

    backend = keras.backend.backend()
    return Place(
        f"{backend} {version(backend)}",
        hardware(_processor(), len(os.sched_getaffinity(0)), _accelerators(backend)),
    )


def hardware(processor: str, cores: int, accelerators: Sequence[str]) -> str:
    """Returns a line such as "AMD EPYC, 2 cores, 2 x NVIDIA H100"."""
    counted = [f"{count} x {name}" for name, count in Counter(accelerators).items()]
    return ", ".join([processor, f"{cores} cores", *counted])


def _accelerators(backend: str) -> list[str]:
    # Only one of the backends need be installed.
    module = import_module(backend)
    if backend == "jax":
        return [str(device.device_kind) for device in module.devices() if device.platform != "cpu"]
    if backend == "torch":
        return [str(module.cuda.get_device_name(place)) for place in range(module.cuda.device_count())]
    details = module.config.experimental.get_device_details
    return [str(details(gpu).get("device_name", "GPU")) for gpu in module.config.list_physical_devices("GPU")]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())

"""The callback that a stage reports its progress to."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A callback for progress, which the runner shows as a bar or as occasional lines."""

    def __call__(self, done: int, total: int, unit: str, note: str = "") -> None:
        """Reports progress.

        Args:
            done: The number of finished units.
            total: The number of all units.
            unit: The unit in the plural: "examples", "trials", "epochs".
            note: A short remark, such as "validation macro F1 0.981".
        """


def silent(done: int, total: int, unit: str, note: str = "") -> None:
    """A `Progress` that shows nothing."""

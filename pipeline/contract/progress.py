"""How a stage says how far it is, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A call says how far the stage is; the runner draws it as a bar, or as a line now and then."""

    def __call__(self, done: int, total: int, unit: str, note: str = "") -> None:
        """Reports progress.

        Args:
            done: How many units are finished.
            total: How many there are.
            unit: What is counted, in the plural: "examples", "trials", "epochs".
            note: A few words worth seeing now, such as "validation macro F1 0.981".
        """


def silent(done: int, total: int, unit: str, note: str = "") -> None:
    """A `Progress` that nobody watches."""

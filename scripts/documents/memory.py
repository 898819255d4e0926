"""The memory of the server over an hour and more of load, as `make bench-memory` measured it, for docs/capacity.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

LEFT, TOP, WIDTH, HEIGHT = 62.0, 20.0, 660.0, 250.0
"""The plot area of the figure in its own units."""
LARGEST_MIB: Final = 1000.0


@dataclass(frozen=True)
class MemoryFigure:
    """Maps minutes and MiB to the coordinates of the figure.

    Attributes:
        runs: The runs of `make bench-memory` by name.
    """

    runs: Mapping[str, Any]

    @property
    def minutes(self) -> int:
        """The end of the horizontal axis, a multiple of ten minutes."""
        return -(-max(run["minutes"][-1] for run in self.runs.values()) // 10) * 10

    def x(self, minute: float) -> float:
        """Returns the horizontal coordinate of a minute."""
        return round(LEFT + WIDTH * minute / self.minutes, 1)

    def y(self, mebibytes: float) -> float:
        """Returns the vertical coordinate of an amount of memory."""
        return round(TOP + HEIGHT * (1 - mebibytes / LARGEST_MIB), 1)

    def points(self, run: str, series: str) -> str:
        """Returns the points of a line, `resident` or `allocated`, as SVG writes them."""
        pairs = zip(self.runs[run]["minutes"], self.runs[run][series], strict=True)
        return " ".join(f"{self.x(minute)},{self.y(value)}" for minute, value in pairs)

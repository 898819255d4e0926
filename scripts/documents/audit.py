"""The accuracy objective of the production audit, and the sample sizes that notice a drop below it.

The audit labels a random sample of the answered images, those on which the model does not abstain. The objective
follows from the risk-coverage curve of the evaluated model, see `docs/decisions/0022-audit-objective.md`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LEVEL = 0.05
"""The probability of a false alarm while the accuracy equals the objective."""
POWER = 0.8
DROP = 0.01
"""The drop below the objective that the audit's sample size is chosen for: one percentage point."""
STEP = 0.001
"""The objective is rounded down to a multiple of a tenth of a point."""
MAX_SAMPLE = 1_000_000


@dataclass(frozen=True)
class Selective:
    """Accuracy among the images that the model answers, in the evaluation on the test split.

    Attributes:
        accuracy: Of the answered images, in [0, 1].
        interval: Its 95% interval (Wilson).
        answered: The share of images that the model answers.
        abstained: The share of images on which it abstains.
        accuracy_of_abstained: The accuracy that it would have on these.
        count: The number of answered images.
        errors: The number of errors among these.
    """

    accuracy: float
    interval: tuple[float, float]
    answered: float
    abstained: float
    accuracy_of_abstained: float
    count: int
    errors: int

    @classmethod
    def of(cls, metrics: Mapping[str, Any]) -> Selective:
        """Reads the operating point of `abstain` from the content of `metrics.json`."""
        point = metrics["selective"]["abstain"]
        low, high = point["error"]["interval"]
        return cls(
            accuracy=1 - point["error"]["value"],
            interval=(1 - high, 1 - low),
            answered=point["answered"]["value"],
            abstained=1 - point["answered"]["value"],
            accuracy_of_abstained=1 - point["avoided"] / max(point["abstained"], 1),
            count=point["count"],
            errors=point["errors"],
        )


@dataclass(frozen=True)
class Audit:
    """An audit that counts the errors in a random sample of the answered images.

    Its test is the exact one-sided binomial test of accuracy >= `objective`. It raises an alarm at `critical_errors`
    errors or more.

    Attributes:
        objective: The accuracy among answered images that production has to keep.
        level: The most probable false alarm while the accuracy equals the objective.
    """

    objective: float
    level: float = LEVEL

    @classmethod
    def of(cls, selective: Selective) -> Audit:
        """Sets the objective to the lower end of the interval, rounded down to a tenth of a point."""
        return cls.above(selective.interval[0])

    @classmethod
    def above(cls, low: float) -> Audit:
        """Sets the objective to the lower end of an interval, rounded down to a tenth of a point."""
        return cls(round(math.floor(low / STEP + 1e-9) * STEP, 6))

    @property
    def drop(self) -> float:
        """The drop below the objective that `sample_size` is chosen for."""
        return DROP

    @property
    def wanted_power(self) -> float:
        """The probability with which `sample_size` images reveal that drop."""
        return POWER

    @property
    def sample_size(self) -> int:
        """The smallest sample that reveals the stated drop with the stated power."""
        return self.sample_size_for(DROP)

    def critical_errors(self, count: int) -> int:
        """Returns the number of errors among `count` audited images that raises an alarm."""
        from scipy.stats import binom

        return int(binom.isf(self.level, count, 1 - self.objective)) + 1

    def power(self, count: int, drop: float = DROP) -> float:
        """Returns the probability of an alarm from `count` images when the accuracy is `drop` below the objective."""
        from scipy.stats import binom

        return float(binom.sf(self.critical_errors(count) - 1, count, 1 - self.objective + drop))

    def sample_size_for(self, drop: float, power: float = POWER) -> int:
        """Returns the smallest sample that reveals a drop below the objective with this power."""
        low, high = 1, 1
        while self.power(high, drop) < power:
            low, high = high, 2 * high
            if high > MAX_SAMPLE:
                raise ValueError(f"no sample up to {MAX_SAMPLE} reveals a drop of {drop} with a power of {power}")
        # The power of an exact test is not monotonic in the sample's size, so the candidates are tried in turn.
        return next(count for count in range(max(1, low // 2), high + 1) if self.power(count, drop) >= power)

    def detectable_drop(self, count: int, power: float = POWER) -> float:
        """Returns the smallest drop below the objective that `count` images reveal with this power."""
        from scipy.optimize import brentq

        drop = brentq(lambda drop: self.power(count, drop) - power, 0.0, self.objective)
        return float(drop)

"""Computes how many requests a canary needs to show that it is not worse than the served version."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Canary:
    """A one-sided non-inferiority test on images that both versions answer.

    People label the images on which the versions disagree: `b` answers of the candidate are right alone, `c` of the
    served version. The difference in accuracy is (b - c) / n, with a variance of (b + c) / n² for equal versions.

    Attributes:
        margin: The tolerated loss of accuracy.
        disagreement: The planned share of images on which the versions disagree.
        level: The level of the test.
        power: The probability that a candidate of equal accuracy passes.
    """

    margin: float = 0.002
    disagreement: float = 0.02
    level: float = 0.05
    power: float = 0.8

    def images_for(self, disagreement: float) -> int:
        """Returns the images that both versions have to answer, to three digits."""
        from scipy.stats import norm

        quantiles = norm.isf(self.level) + norm.ppf(self.power)
        exact = disagreement * (quantiles / self.margin) ** 2
        return int(round(exact, 2 - math.floor(math.log10(exact))))

    @property
    def images(self) -> int:
        """The images at the planned disagreement."""
        return self.images_for(self.disagreement)

    @property
    def audited(self) -> int:
        """The disagreements to label at the planned disagreement."""
        return round(self.images * self.disagreement)

    @staticmethod
    def error_half_width(requests: float, rate: float) -> float:
        """Returns half the width of the 95% interval of an error rate."""
        return 1.96 * math.sqrt(rate * (1 - rate) / requests)

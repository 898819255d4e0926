"""Do models err on the same images? Counts of models that are wrong, against what independent errors would give.

Geirhos, Meding and Wichmann, "Beyond accuracy: quantifying trial-by-trial behaviour of CNNs and humans by measuring
error consistency", 2020 (https://arxiv.org/abs/2006.16736).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.exploration.data import Indices

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SharedErrors:
    """Errors of M models on n images.

    Attributes:
        models: Their names.
        wrong: bool [M, n].
        observed: int64 [M + 1], how many images so many models are wrong on.
        expected: float64 [M + 1], the same if the models erred independently, each at its own rate.
        consistency: float64 [M, M], Cohen's kappa of being right: 0 by chance, 1 on the same images.
    """

    models: tuple[str, ...]
    wrong: npt.NDArray[np.bool_]
    observed: Indices
    expected: Values
    consistency: Values

    @property
    def by_all(self) -> Indices:
        """The images, int64, that every model gets wrong."""
        return np.flatnonzero(self.wrong.all(axis=0))


def share_errors(answers: Mapping[str, Indices], truth: Indices) -> SharedErrors:
    """Compares the errors of models; one that answers the same to every image is left out.

    Args:
        answers: For each model its answers int64 [n].
        truth: int64 [n].
    """
    kept = {name: found for name, found in answers.items() if len(np.unique(found)) > 1}
    wrong = np.stack([found != truth for found in kept.values()])
    observed = np.bincount(wrong.sum(axis=0), minlength=len(wrong) + 1)
    expected = len(truth) * _poisson_binomial(wrong.mean(axis=1))
    return SharedErrors(tuple(kept), wrong, observed, expected, _kappa(wrong))


def _poisson_binomial(rates: Values) -> Values:
    """Returns the distribution float64 [M + 1] of how many of M independent events happen."""
    distribution = np.ones(1)
    for rate in rates:
        distribution = np.convolve(distribution, [1 - rate, rate])
    return distribution


def _kappa(wrong: npt.NDArray[np.bool_]) -> Values:
    rate, one = wrong.mean(axis=1), wrong.astype(np.float64)
    agree = (one @ one.T + (1 - one) @ (1 - one).T) / wrong.shape[1]
    chance = np.outer(rate, rate) + np.outer(1 - rate, 1 - rate)
    return (agree - chance) / np.maximum(1 - chance, 1e-12)

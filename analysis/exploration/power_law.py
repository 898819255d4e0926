"""Fits error = floor + scale * images ** -exponent to learning curves, many at once.

Hestness et al., "Deep Learning Scaling is Predictable, Empirically", 2017 (https://arxiv.org/abs/1712.00409).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

EXPONENTS = np.linspace(0.05, 2.0, 391)


@dataclass(frozen=True)
class PowerLaw:
    """One law or many: float64 of one shape, [] or [curves].

    Attributes:
        floor: The error that no number of images removes, at least 0.
        scale: The error above the floor at one image.
        exponent: How fast it falls.
    """

    floor: Any
    scale: Any
    exponent: Any

    def error(self, images: Any) -> Any:
        """Returns the error at so many images, of the shape of the law or broadcast with it."""
        return self.floor + self.scale * np.asarray(images, np.float64) ** -self.exponent


def fit_power_law(images: Values, errors: Values, floor: bool = True) -> PowerLaw:
    """Fits laws by least squares of the relative deviations.

    For a given exponent the law is linear in floor and scale: those are solved for exactly, the exponent is the best
    of a fine grid. So there is nothing to start from, nothing to get stuck in, and a thousand curves take milliseconds.

    Args:
        images: [S], the sizes.
        errors: [S] or [curves, S], positive.
        floor: Whether there may be a floor above 0. Defaults to True.
    """
    y = np.atleast_2d(errors)
    basis = (images / images.max()) ** -EXPONENTS[:, None]
    scale, base, loss = _solve(basis, y, floor)
    best = loss.argmin(axis=1)
    rows = np.arange(len(y))
    exponent = EXPONENTS[best]
    law = PowerLaw(base[rows, best], scale[rows, best] * images.max() ** exponent, exponent)
    return law if np.ndim(errors) == 2 else PowerLaw(law.floor[0], law.scale[0], law.exponent[0])


def _solve(basis: Values, y: Values, floor: bool) -> tuple[Values, Values, Values]:
    """Returns scale, floor and loss, each [curves, exponents], of y [curves, S] on basis [exponents, S]."""
    weight = 1 / y**2
    w, wy = weight.sum(axis=1, keepdims=True), (weight * y).sum(axis=1, keepdims=True)
    wu, wuu, wuy = weight @ basis.T, weight @ (basis**2).T, (weight * y) @ basis.T
    scale = (w * wuy - wu * wy) / (w * wuu - wu**2)
    base = (wy - scale * wu) / w
    grounded = (base < 0) | (not floor)
    scale, base = np.where(grounded, wuy / wuu, scale), np.where(grounded, 0.0, base)
    loss = y.shape[1] - 2 * base * wy - 2 * scale * wuy + base**2 * w + 2 * base * scale * wu + scale**2 * wuu
    return scale, base, loss

"""Images as rows of a few dozen numbers, for tests that cannot look at 784: features and principal components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analysis.exploration.features import FEATURES, measure_images
from analysis.exploration.principal_components import PrincipalComponents, principal_components

if TYPE_CHECKING:
    import pandas as pd

Images = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.float32]

COMPONENTS = 40
FITTED = 10_000


@dataclass(frozen=True)
class ImageColumns:
    """The readable features and then the coordinates along fixed principal directions."""

    directions: PrincipalComponents

    @classmethod
    def fit(cls, images: Images) -> ImageColumns:
        """Finds the principal directions of uint8 [N, 28, 28], of evenly spaced ones if there are many."""
        return cls(principal_components(_unit_pixels(images[:: max(1, len(images) // FITTED)])))

    def place(self, images: Images, features: pd.DataFrame | None = None) -> Rows:
        """Returns float32 [N, features + components]; the features are measured unless they are given."""
        measured = measure_images(images) if features is None else features
        projected = self.directions.project(_unit_pixels(images), COMPONENTS)
        return np.column_stack([measured.to_numpy(np.float32), projected])

    @staticmethod
    def features(rows: Rows) -> Rows:
        """Returns the readable features of rows that `place` made."""
        return rows[:, : len(FEATURES)]

    @staticmethod
    def components(rows: Rows) -> Rows:
        """Returns the principal components of rows that `place` made."""
        return rows[:, len(FEATURES) :]


def _unit_pixels(images: Images) -> Rows:
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)

"""The results that the client returns: a prediction for an image, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from models.taxonomy import Taxonomy
from serving.client.errors import InvalidRequest

ROUNDING = 1e-5
"""The most by which a rounded probability may lie below the largest one and still count as the largest."""


@dataclass(frozen=True)
class Prediction:
    """The outputs of the model for one image.

    Attributes:
        source: The name of the image: its path, URL, or position.
        group: The most likely group.
        confidence: The calibrated probability of that group.
        abstain: Whether the model abstains, which leaves the image to a person.
        group_probabilities: The probability of each group, by name; by number if the client's taxonomy differs from the
            model's.
        garment: The most likely garment.
        garment_probabilities: The probability of each garment, likewise.
        prediction_set: The groups in the conformal prediction set.
        version: The version of the model; None if the server does not report it (REST, unless one was requested).
    """

    source: str
    group: str
    confidence: float
    abstain: bool
    group_probabilities: dict[str, float]
    garment: str
    garment_probabilities: dict[str, float]
    prediction_set: tuple[str, ...]
    version: int | None = None


@dataclass(frozen=True)
class Failure:
    """An image without a prediction, and the reason on one line."""

    source: str
    reason: str


class ImagesFailed(InvalidRequest):
    """Some images have no prediction.

    Attributes:
        failures: The images without a prediction, with the reasons.
        predictions: The predictions of the others.
    """

    def __init__(self, failures: Sequence[Failure], predictions: Sequence[Prediction]) -> None:
        super().__init__(f"{len(failures)} of {len(failures) + len(predictions)} images failed. {failures[0].reason}")
        self.failures = list(failures)
        self.predictions = list(predictions)


def to_prediction(source: str, row: Mapping[str, Any], version: int | None, taxonomy: Taxonomy) -> Prediction:
    """Returns one image's row of the outputs as a prediction.

    Args:
        source: The name of the image.
        row: The outputs by name, without the batch dimension.
        version: The version of the model, if it is known.
        taxonomy: The names of groups and garments.
    """
    group, garment = row["group"].decode(), row["garment"].decode()
    groups = _by_name(taxonomy.groups, row["group_probabilities"], group)
    return Prediction(
        source=source,
        group=group,
        confidence=float(row["confidence"]),
        abstain=bool(row["abstain"]),
        group_probabilities=groups,
        garment=garment,
        garment_probabilities=_by_name(taxonomy.garments, row["garment_probabilities"], garment),
        prediction_set=tuple(name for name, member in zip(groups, row["prediction_set"], strict=True) if member),
        version=version,
    )


def _by_name(names: Sequence[str], probabilities: NDArray[Any], winner: str) -> dict[str, float]:
    """Returns probabilities by name if the names fit the answer, else by number: a wrong name is worse than none."""
    values = [float(p) for p in probabilities]
    fits = len(names) == len(values) and winner in names and values[list(names).index(winner)] >= max(values) - ROUNDING
    return dict(zip(names if fits else map(str, range(len(values))), values, strict=True))

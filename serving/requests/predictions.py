"""What the client returns: an image's prediction, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from models.taxonomy import Taxonomy
from serving.client.errors import InvalidRequest

NEAR = 1e-5
"""How far a rounded probability may be from the largest one and still be it."""


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image.

    Attributes:
        source: The image: its path, URL, or kind and position.
        group: The most likely group.
        confidence: The calibrated probability of that group.
        abstain: Whether the model would rather leave it to a person.
        group_probabilities: By group; by its number where the client's taxonomy is not the model's.
        garment: The most likely garment.
        garment_probabilities: By garment, likewise.
        prediction_set: The groups that it may be.
        version: The version that answered; None where the server does not say (REST, unless one was asked for).
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
    """An image without an answer, and why."""

    source: str
    reason: str


class ImagesFailed(InvalidRequest):
    """Some images got no answer.

    Attributes:
        failures: Those, with the reasons.
        predictions: The answers to the others.
    """

    def __init__(self, failures: Sequence[Failure], predictions: Sequence[Prediction]) -> None:
        super().__init__(f"{len(failures)} of {len(failures) + len(predictions)} images fail. {failures[0].reason}")
        self.failures = list(failures)
        self.predictions = list(predictions)


def prediction(source: str, row: Mapping[str, Any], version: int | None, taxonomy: Taxonomy) -> Prediction:
    """Returns one image's row of the outputs as a prediction.

    Args:
        source: The image's name.
        row: The outputs by name, without the batch dimension.
        version: The version that answered, where it is known.
        taxonomy: The names of groups and garments.
    """
    group, garment = row["group"].decode(), row["garment"].decode()
    groups = _named(taxonomy.groups, row["group_probabilities"], group)
    return Prediction(
        source=source,
        group=group,
        confidence=float(row["confidence"]),
        abstain=bool(row["abstain"]),
        group_probabilities=groups,
        garment=garment,
        garment_probabilities=_named(taxonomy.garments, row["garment_probabilities"], garment),
        prediction_set=tuple(name for name, held in zip(groups, row["prediction_set"], strict=True) if held),
        version=version,
    )


def _named(names: Sequence[str], probabilities: NDArray[Any], winner: str) -> dict[str, float]:
    """By name when the names fit the answer, else by number: a wrong name would be worse than none."""
    values = [float(p) for p in probabilities]
    fits = len(names) == len(values) and winner in names and values[list(names).index(winner)] >= max(values) - NEAR
    return dict(zip(names if fits else map(str, range(len(values))), values, strict=True))

"""The results that the client returns: a prediction for an image, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        group_probabilities: The probability of each group, by name. A model of an earlier version of this project does
            not name its groups; all but the most likely one are then named by number: "group 3".
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


@dataclass(frozen=True)
class ClassNames:
    """The names of a model's groups and garments, by index.

    Attributes:
        groups: The groups.
        garments: The garments.
    """

    groups: tuple[str, ...]
    garments: tuple[str, ...]

    @classmethod
    def from_outputs(cls, outputs: Mapping[str, NDArray[Any]]) -> ClassNames:
        """Returns the names in the outputs of the signature `taxonomy` for all garments in their order."""
        groups = dict(zip(outputs["group_index"].tolist(), outputs["group"].tolist(), strict=True))
        return cls(
            tuple(groups[index].decode() for index in sorted(groups)),
            tuple(name.decode() for name in outputs["garment"].tolist()),
        )

    def fit(self, outputs: Mapping[str, NDArray[Any]]) -> bool:
        """Returns whether every predicted group and garment of a batch has the name of the largest probability."""
        return all(
            probabilities.shape[1:] == (len(names),)
            and all(
                winner.decode() in names and row[names.index(winner.decode())] >= row.max() - ROUNDING
                for winner, row in zip(winners, probabilities, strict=True)
            )
            for names, winners, probabilities in (
                (self.groups, outputs["group"], outputs["group_probabilities"]),
                (self.garments, outputs["garment"], outputs["garment_probabilities"]),
            )
        )


def to_prediction(source: str, row: Mapping[str, Any], version: int | None, names: ClassNames | None) -> Prediction:
    """Returns one image's row of the outputs as a prediction.

    Args:
        source: The name of the image.
        row: The outputs by name, without the batch dimension.
        version: The version of the model, if it is known.
        names: The names of the model's groups and garments; None if the model does not tell them.
    """
    group, garment = row["group"].decode(), row["garment"].decode()
    groups = _by_name(row["group_probabilities"], names.groups if names else _numbered("group", group, row))
    garments = _by_name(row["garment_probabilities"], names.garments if names else _numbered("garment", garment, row))
    return Prediction(
        source=source,
        group=group,
        confidence=float(row["confidence"]),
        abstain=bool(row["abstain"]),
        group_probabilities=groups,
        garment=garment,
        garment_probabilities=garments,
        prediction_set=tuple(name for name, member in zip(groups, row["prediction_set"], strict=True) if member),
        version=version,
    )


def _by_name(probabilities: NDArray[Any], names: Sequence[str]) -> dict[str, float]:
    return dict(zip(names, map(float, probabilities), strict=True))


def _numbered(kind: str, winner: str, row: Mapping[str, Any]) -> list[str]:
    """Returns the winner's name for the largest probability, and numbers for the others."""
    probabilities = row[f"{kind}_probabilities"]
    names = [f"{kind} {index}" for index in range(len(probabilities))]
    names[int(np.argmax(probabilities))] = winner
    return names

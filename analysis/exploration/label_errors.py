"""Suspected label errors by confident learning, and how many swapped labels the search finds.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", 2021
(https://jair.org/index.php/jair/article/view/12125).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.exploration.cross_validation import OutOfFold, assign_folds
from analysis.exploration.data import Data, Indices

Probabilities = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]

SHARE = 0.02
FOLDS = 3
MOST_IMAGES = 12_000
SEED = 0


@dataclass(frozen=True)
class SuspectedErrors:
    """Images whose given class is probably wrong, the surest first.

    Attributes:
        rows: int64 [S], of Data.
        suggested: int64 [S], the class that the networks find most probable.
        probability: float64 [S], of the suggested class.
        given: float64 [S], the probability of the given class.
    """

    rows: Indices
    suggested: Indices
    probability: Probabilities
    given: Probabilities


def find_suspected_errors(given: Indices, probabilities: Probabilities, rows: Indices) -> SuspectedErrors:
    """Finds the images whose given class is probably wrong, by cleanlab.

    Args:
        given: int64 [n], the given classes.
        probabilities: [n, classes], of a model that was not trained on these images.
        rows: int64 [n], what the images are called in the answer.
    """
    from cleanlab.filter import find_label_issues

    place = np.asarray(
        find_label_issues(given, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1), np.int64
    )
    suggested = probabilities[place].argmax(axis=1)
    # Pruned by counts, an image may be among them whose given class is the most probable all the same.
    place, suggested = place[suggested != given[place]], suggested[suggested != given[place]]
    return SuspectedErrors(rows[place], suggested, probabilities[place, suggested], probabilities[place, given[place]])


@dataclass(frozen=True)
class PlantedSwaps:
    """What became of garments swapped on purpose.

    Attributes:
        kind: Which garment an image got instead: "any other" or "the one it looks like".
        target: Among what the suspects were searched for: "garment" or "group".
        images: How many images there were.
        swapped: How many of them had their class changed.
        suspects: How many were found suspect.
        found: How many of the swapped are among them.
        before: How many were suspect before anything was swapped.
    """

    kind: str
    target: str
    images: int
    swapped: int
    suspects: int
    found: int
    before: int

    @property
    def recall(self) -> float:
        """The share of the swapped that was found."""
        return self.found / max(self.swapped, 1)

    @property
    def precision(self) -> float:
        """The share of the suspects that was swapped; those that were suspect before count as false alarms."""
        return self.found / max(self.suspects, 1)


def plant_swaps(data: Data, out_of_fold: OutOfFold) -> tuple[PlantedSwaps, ...]:
    """Swaps 2% of the garments of images that the network of fold 0 has not seen, and searches for them.

    The probabilities come from a logistic regression on the network's features, fitted to the swapped garments in
    cross-validation: what a last layer makes of wrong garments, without training whole networks again.
    """
    rows = data.train_rows[np.flatnonzero(out_of_fold.fold == 0)[:MOST_IMAGES]]
    membership = np.array(data.taxonomy.membership())
    search = _Search(out_of_fold.features[rows], data.garments[rows], data.clusters[rows], membership)
    swapped = np.zeros(len(rows), bool)
    swapped[np.random.default_rng(SEED).choice(len(rows), round(SHARE * len(rows)), replace=False)] = True
    return tuple(
        planted
        for kind, other in (("any other", search.any_other()), ("the one it looks like", search.rival()))
        for planted in search.planted(kind, np.where(swapped, other, search.garments))
    )


class _Search:
    """Searches for wrong garments among images of which the network has computed features."""

    def __init__(self, features: Features, garments: Indices, clusters: Indices, membership: Probabilities) -> None:
        self.garments = garments
        self._features, self._fold = features, assign_folds(garments, clusters, FOLDS, SEED)
        self._matrix = {"garment": np.eye(len(membership)), "group": membership}
        self._honest = self._probabilities(garments)

    def any_other(self) -> Indices:
        """Returns a garment at random that is not an image's own."""
        shift = np.random.default_rng(SEED).integers(1, self._honest.shape[1], len(self.garments))
        return (self.garments + shift) % self._honest.shape[1]

    def rival(self) -> Indices:
        """Returns the most probable garment that is not an image's own."""
        others = self._honest.copy()
        others[np.arange(len(others)), self.garments] = -1
        return others.argmax(axis=1)

    def planted(self, kind: str, given: Indices) -> Iterator[PlantedSwaps]:
        """Searches for wrong garments and for wrong groups after some garments were swapped."""
        probabilities = self._probabilities(given)
        for target, matrix in self._matrix.items():
            true, seen = (matrix[classes].argmax(axis=1) for classes in (self.garments, given))
            place, changed = np.arange(len(true)), seen != true
            before = find_suspected_errors(true, self._honest @ matrix, place).rows
            after = find_suspected_errors(seen, probabilities @ matrix, place).rows
            found = int(changed[after].sum())
            yield PlantedSwaps(kind, target, len(true), int(changed.sum()), len(after), found, len(before))

    def _probabilities(self, given: Indices) -> Probabilities:
        """Returns [n, garments] of a regression that was not fitted to the image."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        probabilities = np.zeros((len(given), len(self._matrix["garment"])))
        for fold in range(FOLDS):
            known, unknown = self._fold != fold, self._fold == fold
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, tol=3e-3, max_iter=500))
            model.fit(self._features[known], given[known])
            probabilities[np.ix_(unknown, model.classes_)] = model.predict_proba(self._features[unknown])
        return probabilities

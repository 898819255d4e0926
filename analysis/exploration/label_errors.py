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
from models.probabilities import fit_temperature, softmax

Probabilities = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]

SHARE = 0.02
FOLDS = 3
MOST_IMAGES = 12_000
SEED = 0


@dataclass(frozen=True)
class SuspectedErrors:
    """Images whose labelled class is probably wrong, the most certain first.

    Attributes:
        rows: int64 [S], of Data.
        suggested: int64 [S], the class that the networks find most probable.
        probability: float64 [S], the probability of the suggested class.
    """

    rows: Indices
    suggested: Indices
    probability: Probabilities


def find_suspected_errors(labelled: Indices, probabilities: Probabilities, rows: Indices) -> SuspectedErrors:
    """Finds the images whose labelled class is probably wrong, with cleanlab.

    Args:
        labelled: int64 [n], the labelled classes.
        probabilities: [n, classes], of a model that was not trained on these images.
        rows: int64 [n], the identifiers of the images in the result.
    """
    from cleanlab.filter import find_label_issues

    found = np.asarray(
        find_label_issues(labelled, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1), np.int64
    )
    suggested = probabilities[found].argmax(axis=1)
    # cleanlab prunes by counts, so it may return an image whose labelled class is the most probable one.
    found, suggested = found[suggested != labelled[found]], suggested[suggested != labelled[found]]
    return SuspectedErrors(rows[found], suggested, probabilities[found, suggested])


def unseen_probabilities(data: Data, out_of_fold: OutOfFold) -> Probabilities:
    """Returns garment probabilities, float64 [N, garments], of networks that were not trained on the image.

    A training image has the network of its fold, a test image the mean of all networks. One temperature, fitted to the
    training split, calibrates all logits.
    """
    temperature = fit_temperature(out_of_fold.logits[-1], data.garments[data.train_rows])
    train = softmax(out_of_fold.logits[-1] / temperature)
    test = np.mean([softmax(logits / temperature) for logits in out_of_fold.test_logits], axis=0)
    return np.concatenate([train, test])


@dataclass(frozen=True)
class PlantedSwaps:
    """How many labels that were swapped on purpose the search finds.

    Attributes:
        kind: The new garment: "any other garment" or "the most similar garment".
        target: The classes that were searched: "garment" or "group".
        images: The number of images.
        swapped: The number of images whose class was changed.
        suspected: The number of suspected label errors.
        found: The number of swapped images among the suspected ones.
        before: The number of suspected label errors before the swap.
    """

    kind: str
    target: str
    images: int
    swapped: int
    suspected: int
    found: int
    before: int

    @property
    def recall(self) -> float:
        """The share of swapped images that was found."""
        return self.found / max(self.swapped, 1)

    @property
    def precision(self) -> float:
        """The share of suspected images that was swapped; those suspected before the swap count as false positives."""
        return self.found / max(self.suspected, 1)


def plant_swaps(data: Data, out_of_fold: OutOfFold) -> tuple[PlantedSwaps, ...]:
    """Swaps 2% of the garments of images that the network of fold 0 was not trained on, and searches for them.

    The probabilities come from a cross-validated logistic regression on the network's features, fitted to the swapped
    garments. This stands for a last layer trained on wrong labels, without training whole networks again.
    """
    rows = data.train_rows[np.flatnonzero(out_of_fold.fold == 0)[:MOST_IMAGES]]
    membership = np.array(data.taxonomy.membership())
    search = _SwapSearch(out_of_fold.features[rows], data.garments[rows], data.clusters[rows], membership)
    swapped = np.zeros(len(rows), bool)
    swapped[np.random.default_rng(SEED).choice(len(rows), round(SHARE * len(rows)), replace=False)] = True
    return tuple(
        result
        for kind, other in (
            ("any other garment", search.any_other()),
            ("the most similar garment", search.most_similar()),
        )
        for result in search.search(kind, np.where(swapped, other, search.garments))
    )


class _SwapSearch:
    """Searches for swapped garments among images with features."""

    def __init__(self, features: Features, garments: Indices, clusters: Indices, membership: Probabilities) -> None:
        self.garments = garments
        self._features, self._fold = features, assign_folds(garments, clusters, FOLDS, SEED)
        self._matrix = {"garment": np.eye(len(membership)), "group": membership}
        self._original = self._probabilities(garments)

    def any_other(self) -> Indices:
        """Returns, for each image, a random garment that is not its own."""
        shift = np.random.default_rng(SEED).integers(1, self._original.shape[1], len(self.garments))
        return (self.garments + shift) % self._original.shape[1]

    def most_similar(self) -> Indices:
        """Returns, for each image, the most probable garment that is not its own."""
        others = self._original.copy()
        others[np.arange(len(others)), self.garments] = -1
        return others.argmax(axis=1)

    def search(self, kind: str, labelled: Indices) -> Iterator[PlantedSwaps]:
        """Searches for wrong garments and for wrong groups after some garments were swapped."""
        probabilities = self._probabilities(labelled)
        for target, matrix in self._matrix.items():
            true, swapped = (matrix[classes].argmax(axis=1) for classes in (self.garments, labelled))
            rows, changed = np.arange(len(true)), swapped != true
            before = find_suspected_errors(true, self._original @ matrix, rows).rows
            after = find_suspected_errors(swapped, probabilities @ matrix, rows).rows
            found = int(changed[after].sum())
            yield PlantedSwaps(kind, target, len(true), int(changed.sum()), len(after), found, len(before))

    def _probabilities(self, labelled: Indices) -> Probabilities:
        """Returns probabilities [n, garments] of a logistic regression that was not fitted to the image."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        probabilities = np.zeros((len(labelled), len(self._matrix["garment"])))
        for fold in range(FOLDS):
            known, unknown = self._fold != fold, self._fold == fold
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, tol=3e-3, max_iter=500))
            model.fit(self._features[known], labelled[known])
            probabilities[np.ix_(unknown, model.classes_)] = model.predict_proba(self._features[unknown])
        return probabilities

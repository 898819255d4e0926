"""The measure "out_of_distribution": how well a score of a trained network separates garments from other images.

Every score is higher for images that look known. Energy, entropy and probabilities need only the logits; the neighbour
distance also needs the features of the training images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import entr, logsumexp

from analysis.experiments.declaration import check_settings
from analysis.experiments.laboratory import Laboratory, predict
from analysis.experiments.results import VALIDATION, Outcome
from analysis.experiments.training_settings import TrainingSettings, read
from analysis.exploration.neighbours import search
from models.probabilities import softmax

Floats = npt.NDArray[np.floating[Any]]
Scores = npt.NDArray[np.float64]

COUNT = 1000
SEED = 0
NEIGHBOURS = 50
NEIGHBOUR_DISTANCE = "negative_neighbour_distance"
Images = npt.NDArray[np.uint8]
Scorer = Callable[[Images], Scores]

REJECTED = 20
"""One known image in so many may be rejected, so that the threshold accepts 95%."""


def check(settings: dict[str, Any]) -> None:
    """Raises DeclarationError for an unknown score or invalid settings of the network."""
    check_settings(settings, {"score": [*SCORES, NEIGHBOUR_DISTANCE]}, ["network"])
    read(settings["network"])


def measure(settings: dict[str, Any], seed: int, laboratory: Laboratory) -> Outcome:
    """Evaluates `settings["score"]`: a name of `SCORES`, or "negative_neighbour_distance" of the features."""
    from analysis.experiments.measures.ood_images import KINDS, draw_ood_images

    score = _scorer(settings["score"], read(settings["network"]), seed, laboratory)
    garments = laboratory.images[VALIDATION]
    known, figures = score(garments), []
    for name in KINDS:
        found = detection(known, score(draw_ood_images(name, COUNT, SEED, garments)))
        figures += [(name, "auroc", found.auroc), (name, "fpr95", found.fpr95)]
    for metric in ("auroc", "fpr95"):
        figures.append((VALIDATION, metric, float(np.mean([value for _, m, value in figures if m == metric]))))
    return Outcome(figures)


def _scorer(name: str, network: TrainingSettings, seed: int, laboratory: Laboratory) -> Scorer:
    from analysis.experiments.measures.nearest_examples import features

    # Without flip TTA: the features are those of one forward pass, so the logits must be too to be comparable.
    trained = laboratory.train(replace(network, flip_tta=False), seed).network
    if name != NEIGHBOUR_DISTANCE:
        return lambda images: SCORES[name](predict(trained, images), laboratory.membership)
    known = features(trained, laboratory.images["train"])
    return lambda images: negative_neighbour_distance(features(trained, images), known, NEIGHBOURS)


@dataclass(frozen=True)
class Detection:
    """How well a score separates known from out-of-distribution images.

    Attributes:
        auroc: The probability that a known image scores higher than an out-of-distribution one, ties counting half:
            0.5 is chance, 1 perfect.
        fpr95: The share of out-of-distribution images above a threshold that at least 95% of the known images reach.
    """

    auroc: float
    fpr95: float


def detection(known: Floats, unknown: Floats) -> Detection:
    """Returns AUROC and FPR95 of a score.

    Args:
        known: [K], the scores of known images.
        unknown: [U], the scores of out-of-distribution images.

    Raises:
        ValueError: One of them is empty, not one-dimensional, or has a NaN.
    """
    for which, scores in (("known", known), ("unknown", unknown)):
        if scores.ndim != 1 or not len(scores) or np.isnan(scores).any():
            text = f"shape {list(scores.shape)}, {int(np.isnan(scores).sum())} of them NaN"
            raise ValueError(f"Scores of {which} images cannot be ranked. Expected: [N] numbers. Received: {text}")
    ascending = np.sort(unknown)
    below = np.searchsorted(ascending, known, "left")
    not_above = np.searchsorted(ascending, known, "right")
    # The largest score that enough known images reach; scores equal to it are accepted.
    threshold = np.sort(known)[len(known) // REJECTED]
    return Detection(float((below + not_above).mean() / 2 / len(unknown)), float((unknown >= threshold).mean()))


def garment_confidence(logits: Floats, membership: Floats) -> Scores:
    """Returns the highest garment probability, [N].

    Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural Networks",
    2017, section 3.

    Args:
        logits: [N, garments].
        membership: [garments, groups] of 0 and 1, which this score ignores.
    """
    return softmax(logits).max(axis=1)


def group_confidence(logits: Floats, membership: Floats) -> Scores:
    """Returns the highest group probability, [N]: the served model's confidence.

    Args:
        logits: [N, garments].
        membership: [garments, groups] of 0 and 1.
    """
    return (softmax(logits) @ membership).max(axis=1)


def negative_entropy(logits: Floats, membership: Floats) -> Scores:
    """Returns minus the entropy of the garment probabilities in nats, [N].

    Args:
        logits: [N, garments].
        membership: [garments, groups] of 0 and 1, which this score ignores.
    """
    return -entr(softmax(logits)).sum(axis=1)


def negative_energy(logits: Floats, membership: Floats, temperature: float = 1.0) -> Scores:
    """Returns minus the energy -T logsumexp(logits / T), [N].

    Liu, Wang, Owens and Li, "Energy-based Out-of-distribution Detection", 2020, section 3.

    Args:
        logits: [N, garments].
        membership: [garments, groups] of 0 and 1, which this score ignores.
        temperature: T. Defaults to 1, the authors' choice.
    """
    return temperature * logsumexp(np.asarray(logits, np.float64) / temperature, axis=1)


def negative_neighbour_distance(features: Floats, training_features: Floats, k: int = 50) -> Scores:
    """Returns minus the distance to the k-th nearest training image, [N], of features scaled to length 1.

    Sun, Ming, Zhu and Li, "Out-of-Distribution Detection with Deep Nearest Neighbors", 2022, section 3.

    Args:
        features: [N, F], for example of the layer before the logits.
        training_features: [M, F] with M at least k.
        k: The rank of the neighbour. Defaults to 50, the authors' choice for a training set of 50,000.

    Raises:
        ValueError: k is not from 1 to M.
    """
    if not 1 <= k <= len(training_features):
        raise ValueError(f"There is no such neighbour. Expected: 1 to {len(training_features)}. Received: {k}")
    _, squared = search(_unit(features), _unit(training_features), k)
    # Rounding can make the squared distance to a copy negative.
    return -np.sqrt(squared[:, k - 1].clip(0).astype(np.float64))


SCORES: dict[str, Callable[[Floats, Floats], Scores]] = {
    "garment_confidence": garment_confidence,
    "group_confidence": group_confidence,
    "negative_entropy": negative_entropy,
    "negative_energy": negative_energy,
}
"""The scores of logits [N, garments] and membership [garments, groups]."""


def _unit(features: Floats) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.ascontiguousarray(features / np.maximum(lengths, 1e-12), np.float32)

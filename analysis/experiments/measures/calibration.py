"""The measure "calibration": a scaling of a trained network, evaluated on validation folds it was not fitted on.

A network that is right in 98.5% of 6,000 predictions leaves few errors per bin, so that even a perfectly calibrated one
has a calibration error above 0. Hence the debiased estimate, and the error of a perfectly calibrated model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from analysis.evaluation.selective import risk_coverage
from analysis.experiments.declaration import check_settings
from analysis.experiments.laboratory import Laboratory
from analysis.experiments.measures.training import Figures, evaluate_probabilities
from analysis.experiments.results import VALIDATION, Outcome
from analysis.experiments.training_settings import read
from models.probabilities import expected_calibration_error

Doubles = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
Correct = NDArray[np.bool_]
BINS = 15
COVERAGE = 0.99
ABSTAINED = (0.0, 0.01, 0.02, 0.05)
DRAWS = 200


def check(settings: dict[str, Any]) -> None:
    """Raises DeclarationError for an unknown scaling or invalid settings of the network."""
    from models.studied.logit_scalings import SCALINGS

    check_settings(settings, {"scaling": SCALINGS}, ["network"])
    read(settings["network"])


def measure(settings: dict[str, Any], seed: int, laboratory: Laboratory) -> Outcome:
    """Evaluates `settings["scaling"]`, a name of `SCALINGS`, on the network of `settings["network"]`."""
    from models.logit_scaling import cross_fit
    from models.studied.logit_scalings import SCALINGS

    logits = laboratory.logits(read(settings["network"]), seed)
    garments = laboratory.garments[VALIDATION]
    probabilities = cross_fit(SCALINGS[settings["scaling"]], logits, garments, laboratory.membership)
    outcome = evaluate_probabilities(probabilities, laboratory, VALIDATION)
    groups = probabilities @ laboratory.membership
    figures = [
        *outcome.figures,
        *calibration_figures(groups, outcome),
        *_prediction_set_figures(groups, outcome.truth, laboratory.taxonomy.groups),
    ]
    return Outcome(figures, outcome.truth, outcome.predicted)


def calibration_figures(groups: Doubles, outcome: Outcome, split: str = VALIDATION) -> Figures:
    """Returns the debiased and the reference calibration error, AURC, and the risk at several shares of abstention."""
    confidence, correct = groups.max(axis=1), outcome.predicted == outcome.truth
    curve = risk_coverage(confidence, correct)
    return [
        (split, "debiased_calibration_error", debiased_calibration_error(confidence, correct)),
        (split, "reference_calibration_error", reference_calibration_error(confidence)),
        (split, "aurc", curve.area),
        *((f"abstain {share:.0%}", "risk", curve.risk_after_abstaining(share)) for share in ABSTAINED),
    ]


def _prediction_set_figures(groups: Doubles, truth: NDArray[np.int64], names: tuple[str, ...]) -> Figures:
    """Returns coverage and size of prediction sets with one threshold for all, and with one threshold per group."""
    from models.calibration import group_thresholds
    from models.studied.conformal import cross_fit_sets, marginal_thresholds, measure_sets

    figures: Figures = []
    for suffix, thresholds in (("", marginal_thresholds), ("_by_group", group_thresholds)):
        found = measure_sets(cross_fit_sets(thresholds, groups, truth, COVERAGE), truth)
        figures += [
            (VALIDATION, f"coverage{suffix}", found.coverage),
            (VALIDATION, f"set_size{suffix}", found.mean_size),
            (VALIDATION, f"single{suffix}", found.single),
            *((name, f"coverage{suffix}", float(c)) for name, c in zip(names, found.coverage_by_group, strict=True)),
        ]
    return figures


def debiased_calibration_error(confidence: Floats, correct: Correct, bins: int = BINS) -> float:
    """Returns the calibration error over bins of equal size without its finite-sample bias; it may be below 0.

    Kumar, Liang and Ma, "Verified Uncertainty Calibration", 2019: the estimate of their published code for the absolute
    error, which takes the accuracy of a bin as normal. It adds sampling noise once more and subtracts what that adds;
    instead of resampling, this uses the mean of the folded normal distribution. Examples of equal confidence share a
    bin.

    Args:
        confidence: [N], the probability of the predicted class.
        correct: bool [N].
        bins: Number of bins. Defaults to 15.
    """
    edges = np.unique(np.quantile(confidence, np.arange(1, bins) / bins))
    _, index = np.unique(np.searchsorted(edges, confidence), return_inverse=True)
    sizes = np.bincount(index).astype(np.float64)
    accuracy = np.bincount(index, weights=correct) / sizes
    gaps, shares = np.bincount(index, weights=confidence) / sizes - accuracy, sizes / len(confidence)
    spread = np.sqrt(np.maximum(accuracy * (1 - accuracy) / sizes, 1e-300))
    ratio = gaps / spread
    folded = spread * np.sqrt(2 / np.pi) * np.exp(-(ratio**2) / 2) + gaps * (2 * ndtr(ratio) - 1)
    return float((shares * (2 * np.abs(gaps) - folded)).sum())


def reference_calibration_error(confidence: Floats, draws: int = DRAWS, seed: int = 0) -> float:
    """Returns the mean `expected_calibration_error` of a perfectly calibrated model with these confidences [N].

    Consistency resampling of Bröcker and Smith, "Increasing the Reliability of Reliability Diagrams", 2007: every
    example is correct with a probability of exactly its confidence.
    """
    random = np.random.default_rng(seed)
    errors = [expected_calibration_error(confidence, random.random(len(confidence)) < confidence) for _ in range(draws)]
    return float(np.array(errors).mean())

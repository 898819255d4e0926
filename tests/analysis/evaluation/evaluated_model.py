"""The figures of a made-up model, with and without an earlier one to compare with."""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.evaluation import history
from analysis.evaluation import model_evaluation as evaluation
from analysis.evaluation.ladder import evaluate_ladder
from analysis.evaluation.predictions import Predictions
from analysis.evaluation.tfma import OVERALL, SliceMetrics
from models.taxonomy import Taxonomy
from tests.synthetic import images_and_garments

TAXONOMY = Taxonomy.load()
COUNT = 200


def answers(seed: int) -> Predictions:
    """Returns made-up answers to the garments of `images_and_garments(COUNT, 1)`, most of them right."""
    _, garments = images_and_garments(COUNT, 1)
    scores = np.random.default_rng(seed).dirichlet(np.ones(10), COUNT) + 0.6 * np.eye(10)[garments]
    by_garment = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    by_group = by_garment @ np.array(TAXONOMY.membership(), np.float32)
    chosen = by_group > 0.3
    return Predictions(by_group, by_garment, by_group.max(axis=1), chosen.sum(axis=1) != 1, chosen)


def content(baseline: Predictions | None = None) -> dict[str, Any]:
    """Returns the content of a `metrics.json` with one slice and three corruptions."""
    train, known = images_and_garments(300, 0)
    images, garments = images_and_garments(COUNT, 1)
    tested = evaluation.TestedModel(garments, answers(0), TAXONOMY, resamples=200)
    whole = SliceMetrics(COUNT, 0.9, 0.2, tested.confusion)
    slices = {OVERALL: whole, ("shop_window", "<b>left</b>"): whole}
    features = {"shop_window": np.full(COUNT, "<b>left</b>"), "has_near_duplicate": np.tile(["yes", "no"], COUNT // 2)}
    rights = {"jpeg": 38, "none": 39, "shot_noise": 21}
    corruptions = {("corruption", name): corrupted(right) for name, right in rights.items()}
    rungs = evaluate_ladder(train, known, images, TAXONOMY)
    metrics = evaluation.compute_metrics(tested, features, slices, corruptions, rungs, 1.5, baseline) | {
        "versions": {"numpy": "2"},
        "comparison": "No earlier model to compare with: none." if baseline is None else "Compared with the last one.",
        "test_examples": "digest",
        "earlier_models": [],
    }
    return metrics | {"best_blessed": history.best_blessed(metrics)}


def corrupted(right: int) -> SliceMetrics:
    """Returns the figures of 40 corrupted examples, as many of them right."""
    return SliceMetrics(40, right / 40, 0.5, np.diag([right, 0, 0, 0, 0]) + np.diag([40 - right, 0, 0, 0], 1))

"""The measure "strangers": how well a score of a trained network tells garments from what is no garment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.experiments.declaration import check_settings
from analysis.experiments.laboratory import Laboratory, predict
from analysis.experiments.results import VALIDATION, Outcome
from analysis.experiments.training_settings import TrainingSettings, read

COUNT = 1000
SEED = 0
NEIGHBOURS = 50
NEARNESS = "nearness"
Images = npt.NDArray[np.uint8]


def check(settings: dict[str, Any]) -> None:
    """Raises DeclarationError for an unknown score, or a network that cannot be trained."""
    from analysis.experiments.measures.ood_scores import SCORES

    check_settings(settings, {"score": [*SCORES, NEARNESS]}, ["network"])
    read(settings["network"])


def measure(settings: dict[str, Any], seed: int, laboratory: Laboratory) -> Outcome:
    """Judges `settings["score"]`: a name of `ood_scores.SCORES`, or "nearness" of the features."""
    from analysis.experiments.measures.ood_images import STRANGERS, strangers
    from analysis.experiments.measures.ood_scores import detection

    score = _scorer(settings["score"], read(settings["network"]), seed, laboratory)
    garments = laboratory.images[VALIDATION]
    known, figures = score(garments), []
    for name in STRANGERS:
        found = detection(known, score(strangers(name, COUNT, SEED, garments)))
        figures += [(name, "auroc", found.auroc), (name, "fpr95", found.fpr95)]
    for metric in ("auroc", "fpr95"):
        figures.append((VALIDATION, metric, float(np.mean([value for _, m, value in figures if m == metric]))))
    return Outcome(figures)


def _scorer(name: str, network: TrainingSettings, seed: int, laboratory: Laboratory) -> Any:
    from analysis.experiments.measures.nearest_examples import features
    from analysis.experiments.measures.ood_scores import SCORES, nearness

    # The features are of one network, and so are the logits, to be compared.
    trained = laboratory.train(replace(network, mirror=False), seed).network
    if name != NEARNESS:
        return lambda images: SCORES[name](predict(trained, images), laboratory.membership)
    known = features(trained, laboratory.images["train"])
    return lambda images: nearness(features(trained, images), known, NEIGHBOURS)

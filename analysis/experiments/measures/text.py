"""The measure "text": an image and a synthetic description of its product, classified together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache, lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from analysis.experiments.declaration import DeclarationError, check_settings, unknown
from analysis.experiments.laboratory import Laboratory
from analysis.experiments.measures.training import Figures, evaluate_probabilities
from analysis.experiments.results import VALIDATION, Outcome
from analysis.experiments.training_settings import TrainingSettings, read
from models.logit_scaling import stratified_folds
from models.probabilities import softmax
from sql.synthetic_descriptions import Noise, describe_all

FOLDS = 5
COVERAGE = 0.99
HIDDEN = 32
Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]
Classify = Callable[[Floats, Floats], Doubles]
"""From the image's log-probabilities and the text's log-ratios, [N, garments] each, to probabilities."""


@dataclass(frozen=True)
class _Examples:
    """The validation examples; arrays are [N, garments], but `garments`, int [N].

    Attributes:
        logits: The image network's.
        usual: The text model's log-ratios for texts with the noise it was trained on; combinations are fitted on them.
        test: Its log-ratios for the evaluated texts.
        garments: The true garments.
    """

    logits: Floats
    usual: Floats
    test: Floats
    garments: npt.NDArray[np.int64]


def check(settings: dict[str, Any]) -> None:
    """Raises DeclarationError for an unknown answer or kind of noise, or invalid settings of the network."""
    others = ["network", "text_noise", "test_noise", "doubt", "max_ngram"]
    check_settings({"text_noise": {}, "test_noise": {}, **settings}, {"answer": ANSWERS}, others)
    for noise in (settings.get("text_noise", {}), settings.get("test_noise", {})):
        kinds = [field.name for field in fields(Noise)]
        if wrong := noise.keys() - set(kinds):
            raise unknown("kind of noise", min(wrong), kinds)
        try:
            Noise(**noise)
        except (ValueError, TypeError):
            raise DeclarationError(
                "The noise of the texts is invalid.", expected="shares from 0 to 1", received=str(noise)
            ) from None
    read(settings["network"])


def measure(settings: dict[str, Any], seed: int, laboratory: Laboratory) -> Outcome:
    """Evaluates `settings["answer"]`, one of `ANSWERS`, with the network of `settings["network"]`.

    Texts have the noise of `settings["text_noise"]`; in the evaluated texts `settings["test_noise"]` overrides it.
    Everything fitted on validation is cross-fitted: it is evaluated on other folds.
    """
    usual = Noise(**settings.get("text_noise", {}))
    noise = replace(usual, **settings.get("test_noise", {}))
    text_model = _text_model(laboratory, usual, seed, settings["max_ngram"])
    examples = _Examples(
        _logits(laboratory, read(settings["network"]), seed),
        _log_ratios(text_model, _texts(laboratory, VALIDATION, usual, seed)),
        _log_ratios(text_model, _texts(laboratory, VALIDATION, noise, seed)),
        laboratory.garments[VALIDATION],
    )
    fit = partial(ANSWERS[settings["answer"]], doubt=settings["doubt"], seed=seed)
    image, combined = (_cross_fitted(each, examples, laboratory.membership) for each in (_image, fit))
    outcome = evaluate_probabilities(combined, laboratory, VALIDATION)
    figures = [
        *outcome.figures,
        *_prediction_set_figures(image, combined, laboratory),
        *_by_text(image, outcome, laboratory, noise, seed),
    ]
    if settings["answer"] == "product":
        figures.append((VALIDATION, "scale", _scale(image, examples, settings["doubt"])))
    return Outcome(figures, outcome.truth, outcome.predicted)


def _texts(laboratory: Laboratory, split: str, noise: Noise, seed: int) -> list[str]:
    names = [laboratory.taxonomy.garments[garment] for garment in laboratory.garments[split]]
    return describe_all(names, 2 * seed + (split == VALIDATION), noise)


@lru_cache(maxsize=32)
def _text_model(laboratory: Laboratory, noise: Noise, seed: int, longest: int) -> Any:
    from models.text_evidence import fit_text_model

    texts = _texts(laboratory, "train", noise, seed)
    return fit_text_model(texts, laboratory.garments["train"], len(laboratory.membership), longest)


def _log_ratios(text_model: Any, texts: list[str]) -> Doubles:
    from models.text_evidence import predict_evidence

    return predict_evidence(text_model, texts).astype(np.float64)


@cache
def _logits(laboratory: Laboratory, network: TrainingSettings, seed: int) -> Floats:
    return laboratory.logits(network, seed)


def _cross_fitted(fit: Callable[..., Classify], examples: _Examples, membership: Doubles) -> Doubles:
    """Returns probabilities [N, garments], each by a calibration and a combination fitted on the other folds."""
    from models.logit_scaling import fit_level_scaling

    fold = stratified_folds(examples.garments, FOLDS, seed=0)
    probabilities = np.empty(examples.logits.shape, np.float64)
    for held_out in range(FOLDS):
        rest = fold != held_out
        scaling = fit_level_scaling(examples.logits[rest], examples.garments[rest], membership)
        image = log_softmax(scaling.apply(examples.logits), axis=1)
        classify = fit(image[rest], examples.usual[rest], examples.garments[rest])
        probabilities[~rest] = classify(image[~rest], examples.test[~rest])
    return probabilities


def _image(image: Floats, text: Floats, garments: npt.NDArray[np.int64], **unused: Any) -> Classify:
    return lambda image, text: softmax(image)


def _text(image: Floats, text: Floats, garments: npt.NDArray[np.int64], **unused: Any) -> Classify:
    from models.text_evidence import fuse

    prior = np.log(np.bincount(garments, minlength=image.shape[1]) / len(garments))
    return lambda image, text: fuse(np.broadcast_to(prior, text.shape), text)


def _product(image: Floats, text: Floats, garments: npt.NDArray[np.int64], doubt: float, **unused: Any) -> Classify:
    from models.text_evidence import fit_scale, fuse

    scale = fit_scale(image, _doubted(text, doubt), garments)
    return lambda image, text: fuse(image, scale * _doubted(text, doubt))


def _learned(image: Floats, text: Floats, garments: npt.NDArray[np.int64], seed: int, **unused: Any) -> Classify:
    """A small network over the outputs of both models: Wolpert, "Stacked Generalization", 1992."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    early_stopping = {"early_stopping": True, "n_iter_no_change": 20, "max_iter": 500}
    network = MLPClassifier((HIDDEN,), learning_rate_init=0.01, random_state=seed, **early_stopping)
    fitted = make_pipeline(StandardScaler(), network).fit(np.hstack([image, text]), garments)
    return lambda image, text: np.asarray(fitted.predict_proba(np.hstack([image, text])))


ANSWERS: dict[str, Callable[..., Classify]] = {
    "image": _image,
    "text": _text,
    "product": _product,
    "learned": _learned,
}
"""Ways to combine image and text, by name; each is fitted to image, text and garments."""


def _doubted(text: Floats, doubt: float) -> Doubles:
    from models.text_evidence import bound_evidence

    return np.asarray(bound_evidence(text, doubt), np.float64)


def _scale(image: Doubles, examples: _Examples, doubt: float) -> float:
    from models.text_evidence import fit_scale

    return fit_scale(np.log(image), _doubted(examples.usual, doubt), examples.garments)


def _prediction_set_figures(image: Doubles, combined: Doubles, laboratory: Laboratory) -> Figures:
    """Returns coverage and share of single-group sets of the combination, with the thresholds of the image alone."""
    from models.calibration import group_thresholds
    from models.studied.conformal import measure_sets, prediction_sets

    groups, truth = (each @ laboratory.membership for each in (image, combined)), laboratory.groups(VALIDATION)
    of_image, of_both = groups
    fold = stratified_folds(truth, FOLDS, seed=0)
    sets = np.empty(of_both.shape, np.bool_)
    for held_out in range(FOLDS):
        rest = fold != held_out
        sets[~rest] = prediction_sets(of_both[~rest], group_thresholds(of_image[rest], truth[rest], COVERAGE))
    found = measure_sets(sets, truth)
    by_group = zip(laboratory.taxonomy.groups, found.coverage_by_group, strict=True)
    return [
        (VALIDATION, "coverage_by_group", found.coverage),
        (VALIDATION, "single_by_group", found.single),
        *((name, "coverage_by_group", float(share)) for name, share in by_group),
    ]


def _by_text(image: Doubles, outcome: Outcome, laboratory: Laboratory, noise: Noise, seed: int) -> Figures:
    """Returns shares corrected and harmed by the text, and accuracies with, without and with misleading texts."""
    alone = (image @ laboratory.membership).argmax(axis=1) == outcome.truth
    right = outcome.predicted == outcome.truth
    texts = _texts(laboratory, VALIDATION, noise, seed)
    # With the same seed the texts differ only in what the noise changes.
    correct = _texts(laboratory, VALIDATION, replace(noise, misleading=0.0), seed)
    with_text = np.array([bool(text) for text in texts])
    misled = np.array([text != other for text, other in zip(texts, correct, strict=True)])
    figures: Figures = [(VALIDATION, "corrected", float((right & ~alone).mean()))]
    figures.append((VALIDATION, "harmed", float((alone & ~right).mean())))
    for name, chosen in (("with a text", with_text), ("without a text", ~with_text), ("misled", misled)):
        if chosen.any():
            figures.append((name, "group_accuracy", float(right[chosen].mean())))
            figures.append((name, "image_accuracy", float(alone[chosen].mean())))
    return figures

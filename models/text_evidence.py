"""Evidence from a product's description for each garment, added to the log-probabilities by its image.

Where image and text are independent given the garment, Bayes' rule is

    log p(garment | image, text) = log p(garment | image) + log(p(garment | text) / p(garment)) + const,

the product rule of Kittler et al., "On Combining Classifiers", 1998. Two numbers limit the second term. A text may be
about something else: with probability `doubt` it says nothing about the garment, so the evidence is
log((1 - doubt) p(garment | text) / p(garment) + doubt). No text, however certain, weighs more against a garment than
log(doubt), where Bayes' rule has no bound (Huber, "A Robust Version of the Probability Ratio Test", 1965, bounds it for
the same reason). And a scale from 0 to 1, fitted on validation, accounts for what image and text have in common.

Without a text, or without a known word, the evidence is exactly zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from models.probabilities import Floats, Integers, softmax
from pipeline.contract.errors import UserError

if TYPE_CHECKING:
    import keras

DOUBT = 0.05
MAX_WORDS = 2000
BATCH = 1000


class TextModelError(UserError):
    """The descriptions are not enough to learn a text model from."""


def fit_text_model(texts: Sequence[str], garments: Integers, count: int, max_ngram: int = 1) -> keras.Model:
    """Fits a model from descriptions, string [N], to log(p(garment | text) / p(garment)), float32 [N, garments].

    A text is the set of those of its words that are among the `MAX_WORDS` most frequent. The logits are linear in them:
    a logistic regression, whose optimum needs no seed.

    Args:
        texts: Descriptions to learn from; those without a known word are left out.
        garments: int [N], the true garments.
        count: Number of garments.
        max_ngram: Largest number of consecutive words that count as one. Defaults to 1.

    Raises:
        TextModelError: A garment has no text.
    """
    from keras import layers
    from sklearn.linear_model import LogisticRegression

    # Index 0 of the vocabulary is every unknown word.
    words = layers.TextVectorization(MAX_WORDS + 1, ngrams=max_ngram, output_mode="multi_hot", name="words")
    words.adapt(list(texts))
    table = _known_words(words, texts)
    with_words = np.flatnonzero(table.getnnz(axis=1))
    support = np.bincount(garments[with_words], minlength=count)
    if not support.all():
        raise TextModelError(
            "The descriptions are not enough to learn from.",
            expected="a text of every garment",
            received=f"none of the garments {np.flatnonzero(support == 0).tolist()}",
        )
    fitted = LogisticRegression(max_iter=1000).fit(table[with_words], garments[with_words])
    return _assemble(words, fitted.coef_.T, fitted.intercept_, np.log(support / support.sum()))


def _known_words(words: Any, texts: Sequence[str]) -> Any:
    """Returns the known words of each text, a sparse matrix of 0 and 1 [N, words]."""
    from scipy import sparse

    if words.vocabulary_size() == 1:
        return sparse.csr_matrix((len(texts), 0))  # Keras fails on an empty vocabulary.
    return sparse.vstack([sparse.csr_matrix(np.asarray(words(batch))[:, 1:]) for batch in _batches(texts)])


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    return (list(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH))


def _assemble(words: Any, weights: Floats, bias: Floats, log_prior: Floats) -> keras.Model:
    import keras
    from keras import layers, ops

    description = keras.Input((), dtype="string", name="description")
    known = words(description)[:, 1:]
    dense = layers.Dense(len(bias), dtype="float32", name="logits")
    # After the softmax: before it, the ratios would be normalised to sum up to 1.
    prior = layers.Rescaling(1.0, offset=(-log_prior).tolist(), dtype="float32", name="less_the_prior")
    ratio = prior(ops.log_softmax(dense(known), axis=1))
    evidence = ops.where(ops.any(known > 0, axis=1, keepdims=True), ratio, 0.0)
    dense.set_weights([weights, bias])
    return keras.Model(description, evidence, name="text_model")


def predict_evidence(text_model: keras.Model, texts: Sequence[str]) -> NDArray[np.float32]:
    """Returns a text model's output for descriptions, float32 [N, garments]; `predict` takes no strings from NumPy."""
    from keras import ops

    return np.concatenate([np.asarray(text_model(ops.convert_to_tensor(batch))) for batch in _batches(texts)])


def scaled_evidence_model(text_model: keras.Model, scale: float, doubt: float = DOUBT) -> keras.Model:
    """Returns a model from descriptions, string [N], to the evidence that is added, float32 [N, garments].

    Args:
        text_model: As `fit_text_model` returns it.
        scale: As `fit_scale` returns it.
        doubt: Probability that a text says nothing about the garment, in [0, 1]. Defaults to 0.05.
    """
    import keras

    evidence = scale * bound_evidence(text_model.output, doubt)
    return keras.Model(text_model.input, evidence, name="text_evidence")


def fit_evidence_model(
    text_model: keras.Model, texts: Sequence[str], log_probabilities: Floats, garments: Integers
) -> tuple[keras.Model, float]:
    """Fits the scale of a text model's evidence; returns `scaled_evidence_model` with it, and the scale.

    Args:
        text_model: As `fit_text_model` returns it.
        texts: The descriptions, empty where there are none, of N examples that neither model was trained on.
        log_probabilities: [N, garments], by their images.
        garments: int [N], the true garments.
    """
    evidence = np.asarray(bound_evidence(predict_evidence(text_model, texts), DOUBT), np.float64)
    scale = fit_scale(log_probabilities, evidence, garments)
    return scaled_evidence_model(text_model, scale), scale


def bound_evidence(ratio: Any, doubt: float) -> Any:
    """Returns log((1 - doubt) exp(ratio) + doubt), of the shape of `ratio`; exactly zero where that is zero."""
    from keras import ops

    return ratio if doubt == 0 else ops.log1p((1 - doubt) * ops.expm1(ratio))


def fit_scale(log_probabilities: Floats, evidence: Floats, garments: Integers) -> float:
    """Returns the scale of the evidence, from 0 to 1, that maximises the likelihood of the true garments.

    A text counts no more than by Bayes' rule: a scale above 1 would only correct an underconfident text model, and
    increase the damage of a misleading text.

    Args:
        log_probabilities: [N, garments], by the images, of examples that neither model was trained on.
        evidence: [N, garments], by the texts of the same examples, bounded, not scaled.
        garments: int [N], the true garments.
    """
    rows = np.arange(len(garments))

    def loss(scale: float) -> float:
        true = fuse(log_probabilities, scale * evidence)[rows, garments]
        return float(-np.log(np.maximum(true, 1e-300)).mean())

    return float(minimize_scalar(loss, bounds=(0.0, 1.0), method="bounded").x)


def fuse(log_probabilities: Floats, evidence: Floats) -> NDArray[np.float64]:
    """Returns p(garment | image, text), float64 [N, garments], for log p(garment | image) and scaled evidence."""
    return softmax(np.asarray(log_probabilities, np.float64) + evidence)

"""What a product's description adds to what its image says: evidence for each garment, added to the log-probabilities.

Where image and text are independent given the garment, Bayes' rule is

    log p(garment | image, text) = log p(garment | image) + log(p(garment | text) / p(garment)) + const,

the product rule of Kittler et al., "On Combining Classifiers", 1998. Two numbers hold the second term back. A text may
be about something else: with the chance `doubt` it says nothing of the garment, so that the evidence is
log((1 - doubt) p(garment | text) / p(garment) + doubt): no text, however sure, speaks stronger against a garment than
log(doubt), where Bayes' rule knows no bound (Huber, "A Robust Version of the Probability Ratio Test", 1965, bounds it
for the same reason). And a scale from 0 to 1, fitted on validation, takes off what image and text have in common.

Without a text, or without a word that is known, the evidence is exactly zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from models.probabilities import Floats, Integers, softmax

if TYPE_CHECKING:
    import keras

DOUBT = 0.05
MOST_WORDS = 2000
BATCH = 1000


def fit_text_model(texts: Sequence[str], garments: Integers, count: int, longest: int = 1) -> keras.Model:
    """Learns a model from descriptions, string [N], to log(p(garment | text) / p(garment)), float32 [N, garments].

    A text is the set of its words, as far as they are among the `MOST_WORDS` most frequent. The logits are linear in
    these: a logistic regression, whose optimum needs no seed.

    Args:
        texts: To learn from; those without a word are left out.
        garments: int [N], the true garments.
        count: How many garments there are.
        longest: Up to as many words in a row count as a word too. Defaults to 1.

    Raises:
        ValueError: A garment has no text.
    """
    from keras import layers
    from sklearn.linear_model import LogisticRegression

    # Index 0 of the vocabulary is every word that is not in it.
    words = layers.TextVectorization(MOST_WORDS + 1, ngrams=longest, output_mode="multi_hot", name="words")
    words.adapt(list(texts))
    table = _known_words(words, texts)
    told = np.flatnonzero(table.getnnz(axis=1))
    support = np.bincount(garments[told], minlength=count)
    if not support.all():
        lacking = np.flatnonzero(support == 0).tolist()
        raise ValueError(
            f"There is nothing to learn from. Expected: a text of every garment. Received: none of {lacking}."
        )
    fitted = LogisticRegression(max_iter=1000).fit(table[told], garments[told])
    return _assemble(words, fitted.coef_.T, fitted.intercept_, np.log(support / support.sum()))


def _known_words(words: Any, texts: Sequence[str]) -> Any:
    """Returns which known words each text has, a sparse matrix [N, words]."""
    from scipy import sparse

    if words.vocabulary_size() == 1:
        return sparse.csr_matrix((len(texts), 0))  # There is nothing to look up, and Keras would fail at it.
    return sparse.vstack([sparse.csr_matrix(np.asarray(words(batch))[:, 1:]) for batch in _batches(texts)])


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    return (list(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH))


def _assemble(words: Any, weights: Floats, bias: Floats, log_prior: Floats) -> keras.Model:
    import keras
    from keras import layers, ops

    description = keras.Input((), dtype="string", name="description")
    known = words(description)[:, 1:]
    dense = layers.Dense(len(bias), dtype="float32", name="logits")
    # Behind the softmax: before it, the ratios would be normed to sum up to 1.
    prior = layers.Rescaling(1.0, offset=(-log_prior).tolist(), dtype="float32", name="less_the_prior")
    ratio = prior(ops.log_softmax(dense(known), axis=1))
    evidence = ops.where(ops.any(known > 0, axis=1, keepdims=True), ratio, 0.0)
    dense.set_weights([weights, bias])
    return keras.Model(description, evidence, name="text_model")


def evidence_of(text_model: keras.Model, texts: Sequence[str]) -> NDArray[np.float32]:
    """Returns what a text model says of descriptions, float32 [N, garments]; `predict` takes no strings from NumPy."""
    from keras import ops

    answers = [np.asarray(text_model(ops.convert_to_tensor(batch))) for batch in _batches(texts)]
    return np.concatenate(answers)


def weighed(text_model: keras.Model, scale: float, doubt: float = DOUBT) -> keras.Model:
    """Returns a model from descriptions, string [N], to the evidence that is added, float32 [N, garments].

    Args:
        text_model: As `fit_text_model` returns it.
        scale: As `fit_scale` returns it.
        doubt: The chance that a text says nothing of the garment, in [0, 1]. Defaults to 0.05.
    """
    import keras

    evidence = scale * doubted(text_model.output, doubt)
    return keras.Model(text_model.input, evidence, name="text_evidence")


def learned(
    text_model: keras.Model, texts: Sequence[str], log_probabilities: Floats, garments: Integers
) -> tuple[keras.Model, float]:
    """Returns what `weighed` makes of a text model, and the scale that was fitted for it.

    Args:
        text_model: As `fit_text_model` returns it.
        texts: The descriptions, empty where there are none, of N examples that taught neither model.
        log_probabilities: [N, garments], by their images.
        garments: int [N], the true garments.
    """
    evidence = np.asarray(doubted(evidence_of(text_model, texts), DOUBT), np.float64)
    scale = fit_scale(log_probabilities, evidence, garments)
    return weighed(text_model, scale), scale


def doubted(ratio: Any, doubt: float) -> Any:
    """Returns log((1 - doubt) exp(ratio) + doubt), of the shape of `ratio`; exactly zero where that is zero."""
    from keras import ops

    return ratio if doubt == 0 else ops.log1p((1 - doubt) * ops.expm1(ratio))


def fit_scale(log_probabilities: Floats, evidence: Floats, garments: Integers) -> float:
    """Returns the scale of the evidence that makes the true garments most likely, from 0 to 1.

    A text counts no more than by Bayes' rule: above 1 the scale would only mend a text model that is too modest, and
    widen what a misleading text can do.

    Args:
        log_probabilities: [N, garments], by the images, of examples that taught neither model.
        evidence: [N, garments], by the texts of the same examples, doubted, not scaled.
        garments: int [N], the true garments.
    """
    rows = np.arange(len(garments))

    def loss(scale: float) -> float:
        right = fused(log_probabilities, scale * evidence)[rows, garments]
        return float(-np.log(np.maximum(right, 1e-300)).mean())

    return float(minimize_scalar(loss, bounds=(0.0, 1.0), method="bounded").x)


def fused(log_probabilities: Floats, evidence: Floats) -> NDArray[np.float64]:
    """Returns p(garment | image, text), float64 [N, garments], for log p(garment | image) and scaled evidence."""
    return softmax(np.asarray(log_probabilities, np.float64) + evidence)

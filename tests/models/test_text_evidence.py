"""What a text adds: nothing where there is none, else what Bayes' rule says, and never more than the doubt allows."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from models.text_evidence import (
    TextModelError,
    bound_evidence,
    fit_scale,
    fit_text_model,
    fuse,
    predict_evidence,
    scaled_evidence_model,
)
from sql.synthetic_descriptions import CLEAN, GARMENTS, Noise, describe_all

NOTHING = ["", " ", "\n\t ", "!!! ...", "qwertz zuiop", "\N{NO-BREAK SPACE}", "\N{SNOWMAN}" * 1000, "x" * 10**6]


def products(count: int, seed: int, noise: Noise = CLEAN) -> tuple[np.ndarray, list[str]]:
    """Garments, int [count], and their descriptions."""
    garments = np.random.default_rng(seed).integers(0, len(GARMENTS), count)
    return garments, describe_all([GARMENTS[garment] for garment in garments], seed, noise)


def seen(garments: np.ndarray, seed: int, sharpness: float = 2.0) -> np.ndarray:
    """Log-probabilities by images that are honest by the making, float64 [N, garments]."""
    eye = np.eye(len(GARMENTS))[garments]
    return np.asarray(
        log_softmax(sharpness * (np.random.default_rng(seed).normal(size=eye.shape) + sharpness * eye), 1)
    )


@pytest.fixture(scope="module")
def text_model() -> keras.Model:
    """Learned from clean texts, every fifth product without one."""
    garments, texts = products(3000, 0, Noise(missing=0.2))
    return fit_text_model(texts, garments, len(GARMENTS))


def test_clean_texts_name_their_garment(text_model: keras.Model) -> None:
    """Fresh ones, nearly all."""
    garments, texts = products(1000, 1)
    assert (predict_evidence(text_model, texts).argmax(axis=1) == garments).mean() > 0.97


def test_a_text_that_says_nothing_adds_exactly_zero(text_model: keras.Model) -> None:
    """Empty, blank, signs alone, unknown words and a million letters: the image's answer stays to the bit."""
    for doubt in (0.0, 0.05, 1.0):
        evidence = predict_evidence(scaled_evidence_model(text_model, 0.7, doubt), NOTHING)
        np.testing.assert_array_equal(evidence, 0.0)
    image = seen(np.arange(len(NOTHING)), 0)
    np.testing.assert_array_equal(fuse(image, evidence), fuse(image, np.zeros_like(image)))
    assert np.abs(predict_evidence(text_model, ["a coat"])).max() > 1, "known words add something"


def test_odd_texts_are_read(text_model: keras.Model) -> None:
    """Bytes that are no UTF-8, quotes, a NUL: finite evidence, and the words around them count."""
    odd = [b"a \xff\xfe coat", "a 'coat\"; DROP TABLE", "coat\0coat", "COAT", "coat " * 10_000]
    answers = predict_evidence(text_model, odd)
    assert np.isfinite(answers).all()
    np.testing.assert_array_equal(answers[3], answers[4])


def test_fused_is_bayes_rule() -> None:
    """With a text model and an image model that are exact in a synthetic world, so is their product."""
    random = np.random.default_rng(0)
    prior = random.dirichlet(np.ones(4))
    image, text = (random.dirichlet(np.ones(3), 4) for _ in range(2))
    joint = prior[:, None, None] * image[:, :, None] * text[:, None, :]
    by_image, by_text = (joint.sum(axis) / joint.sum((0, axis)) for axis in (2, 1))
    for i in range(3):
        for t in range(3):
            ratio = np.log(by_text[:, t] / prior)
            true = joint[:, i, t] / joint[:, i, t].sum()
            np.testing.assert_allclose(fuse(np.log(by_image[:, i])[None], ratio[None])[0], true, rtol=1e-12)


def test_doubt_mixes_in_a_text_that_says_nothing() -> None:
    """The formula, on both sides of zero, and what bounds it below."""
    ratio = np.linspace(-8, 3, 50)
    found = np.asarray(bound_evidence(ratio.astype(np.float32), 0.05))
    np.testing.assert_allclose(found, np.log(0.95 * np.exp(ratio) + 0.05), rtol=1e-4, atol=1e-5)
    assert np.asarray(bound_evidence(np.float32(-100), 0.05)) >= np.log(0.05) - 1e-5


def test_texts_help_where_they_are_honest(text_model: keras.Model) -> None:
    """Images and clean texts together are better than either, by log loss too."""
    garments, texts = products(2000, 2, Noise(vague=0.5))
    image, evidence = seen(garments, 3), predict_evidence(text_model, texts)
    scale = fit_scale(image, evidence, garments)
    both, rows = fuse(image, scale * evidence), np.arange(2000)
    assert (both.argmax(1) == garments).mean() > max((each.argmax(1) == garments).mean() for each in (image, evidence))
    assert np.log(both)[rows, garments].mean() > image[rows, garments].mean()


def test_misleading_texts_do_bounded_harm(text_model: keras.Model) -> None:
    """Every text lies, and none overturns an image that is surer than the doubt allows; without doubt some do."""
    garments, texts = products(2000, 4, Noise(misleading=1.0))
    model, eye = scaled_evidence_model(text_model, 1.0, 0.05), np.eye(len(GARMENTS))[garments]
    sure = np.log(0.95 / 0.08 + 0.05) - np.log(0.05)
    image = (sure + 0.1) * eye
    assert (fuse(image, predict_evidence(model, texts)).argmax(1) == garments).all()
    assert (fuse(image, predict_evidence(text_model, texts)).argmax(1) != garments).any()
    assert (fuse(image / 5, predict_evidence(model, texts)).argmax(1) != garments).mean() > 0.5, "the texts do lie"


def test_a_scale_holds_back_what_lies() -> None:
    """Texts drawn at random get no weight, texts that repeat the image's error little, independent ones all."""
    garments = np.random.default_rng(0).integers(0, len(GARMENTS), 3000)
    image, other = seen(garments, 1), seen(garments, 2)
    lying = seen(np.random.default_rng(5).permutation(garments), 3)
    scales = [fit_scale(image, evidence, garments) for evidence in (lying, image, other)]
    assert scales[0] < 0.02 and scales[1] < 0.5 < 0.9 < scales[2] <= 1


def test_scale_and_doubt_are_in_the_model(text_model: keras.Model, tmp_path: Path) -> None:
    """What is exported adds scale times the bounded ratio, also after saving."""
    _, texts = products(50, 6)
    model = scaled_evidence_model(text_model, 0.7, 0.05)
    expected = 0.7 * np.log(0.95 * np.exp(predict_evidence(text_model, texts).astype(float)) + 0.05)
    np.testing.assert_allclose(predict_evidence(model, texts), expected, rtol=1e-3, atol=1e-4)
    model.save(tmp_path / "text.keras")
    loaded = keras.models.load_model(tmp_path / "text.keras", compile=False)
    np.testing.assert_array_equal(predict_evidence(loaded, texts), predict_evidence(model, texts))


def test_pairs_of_words_tell_whose_name_it_is() -> None:
    """Where half of the texts name a companion, two words in a row tell more than a set of words."""
    companions = Noise(companions=0.5)
    garments, texts = products(1500, 0, companions)
    fresh, new_texts = products(1000, 1, companions)
    losses = []
    for max_ngram in (1, 2):
        ratio = predict_evidence(fit_text_model(texts, garments, len(GARMENTS), max_ngram), new_texts)
        losses.append(-np.log(softmax(ratio, axis=1)[np.arange(1000), fresh]).mean())
    assert losses[1] < losses[0]


@pytest.mark.parametrize(
    ("texts", "lacking"), [(["a coat"] * 9 + [" "], r"\[9\]"), (["", "!"] * 5, r"\[0, 1, .*, 9\]")]
)
def test_a_garment_without_a_text_is_an_error(texts: list[str], lacking: str) -> None:
    """The error names the garment by its number."""
    with pytest.raises(TextModelError, match=rf"Expected: a text of every garment\nReceived: none of .* {lacking}$"):
        fit_text_model(texts, np.arange(10), 10)

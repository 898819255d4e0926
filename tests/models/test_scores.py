"""Our vectorised scores are scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from models.scores import accuracy, group_confusion, macro_f1


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 200))
def test_scores_equal_scikit_learns(seed: int, count: int) -> None:
    """Accuracy and macro F1 from the confusion matrix are those of the reference, for any predictions."""
    random = np.random.default_rng(seed)
    probabilities, true = random.dirichlet(np.ones(5), count), random.integers(0, 5, count)
    confusion, predicted = group_confusion(probabilities, true), probabilities.argmax(axis=1)
    assert confusion.sum() == count
    assert accuracy(confusion) == pytest.approx(accuracy_score(true, predicted))
    expected = f1_score(true, predicted, average="macro", labels=range(5), zero_division=0)
    assert macro_f1(confusion) == pytest.approx(expected)

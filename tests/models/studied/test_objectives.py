"""Studied heads and losses compute what their docstrings say."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.batches import one_hot
from models.probabilities import group_probabilities, softmax
from models.studied.objectives import GroupedCrossEntropy, Hierarchy, Objective
from models.studied.recipe import StudiedRecipe
from models.taxonomy import Taxonomy

MEMBERSHIP = np.array(Taxonomy.load().membership())
GROUP_OF = MEMBERSHIP.argmax(axis=1)
SHARES = MEMBERSHIP.mean(axis=0)
RANDOM = np.random.default_rng(0)
GARMENTS = RANDOM.integers(0, 10, 40)
TARGETS = one_hot(GARMENTS, 10)
LOGITS = RANDOM.normal(size=(40, 10)).astype(np.float32)


def each(
    objective: Objective, targets: np.ndarray = TARGETS, logits: np.ndarray = LOGITS, smoothing: float = 0.0
) -> np.ndarray:
    """The loss of each example."""
    loss = objective.loss(MEMBERSHIP, SHARES, smoothing)
    return np.asarray(loss.call(keras.ops.convert_to_tensor(targets), keras.ops.convert_to_tensor(logits)))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_plain_loss_is_keras_s_own_with_label_smoothing(smoothing: float) -> None:
    """Without options it is categorical cross-entropy."""
    reference = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing, reduction=None)
    np.testing.assert_allclose(each(Objective(), smoothing=smoothing), reference(TARGETS, LOGITS), rtol=1e-5)


def test_five_outputs_learn_the_groups() -> None:
    """The loss of groups is cross-entropy against the group of the garment."""
    logits = LOGITS[:, :5]
    expected = -np.log(softmax(logits)[np.arange(40), GROUP_OF[GARMENTS]])
    np.testing.assert_allclose(each(Objective(output="groups"), logits=logits), expected, rtol=1e-5)


def test_joint_loss_adds_that_of_the_sums() -> None:
    """The second term is the cross-entropy of the groups that the garments sum up to."""
    of_group = -np.log((softmax(LOGITS) @ MEMBERSHIP)[np.arange(40), GROUP_OF[GARMENTS]])
    np.testing.assert_allclose(each(Objective(group_loss=2.0)), each(Objective()) + 2 * of_group, rtol=1e-4)


def test_smoothing_inside_the_group_leaves_other_groups_nothing() -> None:
    """All that is spread stays with the garments of the group."""
    aimed = np.array(Objective(smooth="group").loss(MEMBERSHIP, SHARES, 0.2).targets)
    np.testing.assert_allclose(aimed @ MEMBERSHIP, MEMBERSHIP, atol=1e-12)
    assert aimed[0, 0] == pytest.approx(0.8 + 0.2 / 4) and aimed[1, 1] == pytest.approx(1.0)


def test_class_weights_weigh_every_group_alike() -> None:
    """Over images in their shares each group's weights sum up to the same, and to one in all."""
    weights = np.array(Objective(class_weights=True).loss(MEMBERSHIP, SHARES, 0.0).weights)
    by_group = (weights / 10) @ MEMBERSHIP
    np.testing.assert_allclose(by_group, 1 / 5)


def test_logit_adjustment_is_cross_entropy_of_shifted_logits() -> None:
    """The logarithm of the group's share is added to each garment."""
    shifted = LOGITS + np.log(SHARES)[GROUP_OF]
    np.testing.assert_allclose(each(Objective(logit_adjustment=1.0)), each(Objective(), logits=shifted), rtol=1e-4)


def test_focal_loss_by_hand() -> None:
    """The exponent weighs each example by how wrong it is."""
    right = softmax(LOGITS)[np.arange(40), GARMENTS]
    np.testing.assert_allclose(each(Objective(focal=2.0)), -((1 - right) ** 2) * np.log(right), rtol=1e-4)


def test_trimmed_loss_drops_the_highest() -> None:
    """A tenth of the batch, the worst, counts nothing; the rest counts as before."""
    plain, trimmed = each(Objective()), each(Objective(trim=0.1))
    np.testing.assert_array_equal(np.flatnonzero(trimmed == 0), np.sort(plain.argsort()[-4:]))
    np.testing.assert_allclose(trimmed[trimmed > 0], plain[trimmed > 0])


def test_a_set_of_garments_costs_what_its_sum_does() -> None:
    """A target that names a whole group is the loss of the group; one that names a garment is plain."""
    sets = MEMBERSHIP[:, GROUP_OF[GARMENTS]].T.astype(np.float32)
    expected = -np.log((softmax(LOGITS) @ MEMBERSHIP)[np.arange(40), GROUP_OF[GARMENTS]])
    np.testing.assert_allclose(each(Objective(sets=True), sets), expected, rtol=1e-4)
    np.testing.assert_allclose(each(Objective(sets=True)), each(Objective()), rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 20))
def test_hierarchy_multiplies_group_and_garment(seed: int, spread: float) -> None:
    """Its answers are the logarithms of P(group) P(garment | group), and sum up to one."""
    logits = np.random.default_rng(seed).normal(size=(3, 15)).astype(np.float32) * np.float32(spread)
    answers = np.exp(np.asarray(Hierarchy(MEMBERSHIP.tolist())(logits), np.float64))
    groups = softmax(logits[:, 10:])
    within = np.exp(logits[:, :10] - logits[:, :10].max(axis=1, keepdims=True)).astype(np.float64)
    expected = within / ((within @ MEMBERSHIP) @ MEMBERSHIP.T) * groups[:, GROUP_OF]
    np.testing.assert_allclose(answers, expected, rtol=2e-3, atol=1e-6)
    np.testing.assert_allclose(answers.sum(axis=1), 1, rtol=1e-3)


@pytest.mark.parametrize(("output", "answers"), [("garments", 10), ("groups", 5), ("hierarchy", 10)])
def test_every_head_trains_and_answers_with_groups(output: str, answers: int, tmp_path: object) -> None:
    """A step runs, the network is saved and loaded with its loss, and its logits make group probabilities."""
    objective = Objective(output=output)  # type: ignore[arg-type]
    model = StudiedRecipe(family="quick", width=8, objective=objective).build_network(MEMBERSHIP)
    model.compile("sgd", loss=objective.loss(MEMBERSHIP, SHARES, 0.1))
    assert np.isfinite(model.train_on_batch(np.zeros((4, 28, 28), np.uint8), TARGETS[:4]))
    model.save(f"{tmp_path}/m.keras")
    loaded = keras.models.load_model(f"{tmp_path}/m.keras")
    logits = np.asarray(loaded(np.zeros((2, 28, 28), np.uint8)))
    assert logits.shape == (2, answers) and isinstance(loaded.loss, GroupedCrossEntropy)
    np.testing.assert_allclose(group_probabilities(logits, MEMBERSHIP).sum(axis=1), 1, rtol=1e-5)


def test_a_loss_of_sets_is_not_focal() -> None:
    """The error says so before a network is built."""
    with pytest.raises(ValueError, match="cannot use both sets and focal"):
        Objective(sets=True, focal=2.0)

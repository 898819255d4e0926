"""The measure "error_causes": what a trained network's confusions of One piece and Upper part depend on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analysis.experiments.laboratory import Laboratory, predict
from analysis.experiments.measures import training
from analysis.experiments.measures.training import Figures
from analysis.experiments.results import VALIDATION, Outcome
from analysis.experiments.training_settings import read
from models.taxonomy import Taxonomy
from pipeline.contract.errors import UserError

if TYPE_CHECKING:
    import keras

UPPER, ONE = 0, 2
"""The indices of Upper part and One piece in the default taxonomy."""
CORRECT = 50
"""Correctly predicted images of each group, for comparison with the misclassified ones."""
STEPS, BASELINES = 16, 8
"""Points on a path and images as baselines; with 16 points attributions miss 0.4% of the change in the odds."""
NEIGHBOURS = 10
SHOWN = 6
Indices = npt.NDArray[np.int64]
SUBSETS = (
    ("dresses predicted as tops", ONE, UPPER),
    ("tops predicted as dresses", UPPER, ONE),
    ("dresses predicted correctly", ONE, ONE),
    ("tops predicted correctly", UPPER, UPPER),
)
"""Name, true group and predicted group of the images that are compared."""


@dataclass(frozen=True)
class _Examples:
    """The validation images that are examined.

    Attributes:
        rows: int64 [n], of validation.
        truth: int64 [n], their true groups.
        predicted: int64 [n], their predicted groups.
    """

    rows: Indices
    truth: Indices
    predicted: Indices

    def masks(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Returns bool [n] for each of `SUBSETS`."""
        return {name: (self.truth == truth) & (self.predicted == predicted) for name, truth, predicted in SUBSETS}

    @property
    def other(self) -> Indices:
        """The one of the two groups that was not predicted, int64 [n]."""
        return np.where(self.predicted == ONE, UPPER, ONE)

    def drawn(self) -> Indices:
        """Returns the positions of the images that the report shows, the first few of each subset."""
        return np.concatenate([np.flatnonzero(mask)[:SHOWN] for mask in self.masks().values()])


Part = Callable[["keras.Model", _Examples, Laboratory], tuple[Figures, dict[str, Any]]]


def measure(settings: dict[str, Any], seed: int, laboratory: Laboratory) -> Outcome:
    """Trains a network and examines its errors: attributions, nearest training images and smallest edits."""
    _check_groups(laboratory.taxonomy)
    outcome = training.measure(settings, seed, laboratory)
    network = laboratory.train(replace(read(settings), flip_tta=False), seed).network
    examples = _choose(predict(network, laboratory.images[VALIDATION]), laboratory)
    figures: Figures = []
    arrays: dict[str, Any] = {}
    parts: tuple[Part, ...] = (_attributions, _neighbours, _edits)
    for part in parts:
        part_figures, part_arrays = part(network, examples, laboratory)
        figures += part_figures
        arrays |= part_arrays
    return replace(outcome, figures=[*outcome.figures, *figures], arrays=arrays)


def _check_groups(taxonomy: Taxonomy) -> None:
    if not {(UPPER, "Upper part"), (ONE, "One piece")} <= set(enumerate(taxonomy.groups)):
        raise UserError(
            "The measure error_causes compares One piece with Upper part.",
            expected="the taxonomy models/fashion.toml",
            received=f"groups {', '.join(taxonomy.groups)}",
            next_step="leave the taxonomy out, or the measure",
        )


def _choose(logits: npt.NDArray[np.float32], laboratory: Laboratory) -> _Examples:
    from models.probabilities import group_probabilities

    truth = laboratory.groups(VALIDATION)
    predicted = group_probabilities(logits, laboratory.membership).argmax(axis=1).astype(np.int64)
    rows = []
    for _, of_truth, of_predicted in SUBSETS:
        found = np.flatnonzero((truth == of_truth) & (predicted == of_predicted))
        rows.append(found if of_truth != of_predicted else found[:: max(1, len(found) // CORRECT)][:CORRECT])
    chosen = np.concatenate(rows)
    return _Examples(chosen, truth[chosen], predicted[chosen])


def _attributions(network: keras.Model, examples: _Examples, laboratory: Laboratory) -> tuple[Figures, dict[str, Any]]:
    """Integrated gradients of the log-odds of One piece against Upper part.

    The baselines are images of the other group: a black one would attribute nothing to a black pixel, such as the place
    of a missing sleeve.
    """
    from analysis.experiments.measures.attribution import attribution_by_region, float_network, integrated_gradients

    images = laboratory.images[VALIDATION][examples.rows]
    pairs = np.tile([ONE, UPPER], (len(images), 1))
    copy, values = float_network(network), np.zeros(images.shape)
    for group in (ONE, UPPER):
        of_group = laboratory.images["train"][laboratory.groups("train") == group][:BASELINES]
        chosen = examples.truth != group
        values[chosen] = integrated_gradients(
            copy, images[chosen], laboratory.membership, pairs[chosen], of_group, STEPS
        )
    by_region, not_empty = attribution_by_region(values, images), (values != 0).any(axis=(1, 2))
    masks = examples.masks()
    figures: Figures = [
        (f"{subset}/{region}", "attribution", float(sums[mask & not_empty].mean()))
        for subset, mask in masks.items()
        if (mask & not_empty).any()
        for region, sums in by_region.items()
    ]
    drawn = examples.drawn()
    scale = np.abs(values[drawn]).max(axis=(1, 2), keepdims=True)
    levels = np.rint(values[drawn] / np.maximum(scale, 1e-9) * 127).astype(np.int8)
    subset_of = np.concatenate([np.full(min(SHOWN, mask.sum()), k) for k, mask in enumerate(masks.values())])
    return figures, {"images": images[drawn], "attributions": levels, "subset": subset_of.astype(np.int8)}


def _neighbours(network: keras.Model, examples: _Examples, laboratory: Laboratory) -> tuple[Figures, dict[str, Any]]:
    """The share of the nearest training images that have the true group, by features and by pixels."""
    from analysis.experiments.measures.nearest_examples import features, nearest_groups, pixels

    images, known = laboratory.images[VALIDATION][examples.rows], laboratory.images["train"]
    known_groups = laboratory.groups("train")
    figures: Figures = []
    for space, represent in (("features", lambda i: features(network, i)), ("pixels", pixels)):
        nearest = nearest_groups(represent(images), represent(known), known_groups, NEIGHBOURS)
        true = (nearest == examples.truth[:, None]).mean(axis=1)
        for name, mask in examples.masks().items():
            if mask.any():
                figures.append((f"{name}/{space}", "true_neighbours", float(true[mask].mean())))
                figures.append((f"{name}/{space}", "no_true_neighbour", float((true[mask] == 0).mean())))
    return figures, {}


def _edits(network: keras.Model, examples: _Examples, laboratory: Laboratory) -> tuple[Figures, dict[str, Any]]:
    """The smallest part of a training image of the other group that, put into an image, changes its prediction."""
    from analysis.experiments.measures.attribution import group_logits
    from analysis.experiments.measures.counterfactual_edits import rectangles, smallest_edits
    from analysis.experiments.measures.nearest_examples import nearest_donors, pixels

    images, known = laboratory.images[VALIDATION][examples.rows], laboratory.images["train"]
    known_groups = laboratory.groups("train").copy()
    predicted = group_logits(network, known, laboratory.membership).argmax(axis=1)
    # A training image that the network misclassifies is no example of its group.
    known_groups[predicted != known_groups] = -1
    donors = nearest_donors(pixels(images), pixels(known), known, known_groups, examples.other)
    edits = smallest_edits(
        lambda edited: group_logits(network, edited, laboratory.membership),
        images,
        examples.other,
        donors,
        rectangles(),
    )
    figures: Figures = [
        (name, "smallest_edit", float(np.median(edits.cost[mask & edits.found])))
        for name, mask in examples.masks().items()
        if (mask & edits.found).any()
    ]
    return figures, {"edited": edits.images[examples.drawn()].astype(np.uint8)}

"""The measure "why": what the mistakes between One piece and Upper part hang on, in a trained network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analysis.experiments.laboratory import Laboratory, predict
from analysis.experiments.measures import training
from analysis.experiments.measures.training import Figures
from analysis.experiments.results import VALIDATION, Outcome
from analysis.experiments.training_settings import read

if TYPE_CHECKING:
    import keras

UPPER, ONE = 0, 2
RIGHT = 50
"""Right answers of each group to compare the mistakes with."""
STEPS, BASELINES = 16, 8
NEIGHBOURS = 10
SHOWN = 6
Indices = npt.NDArray[np.int64]
SUBSETS = (("dresses taken for tops", ONE, UPPER), ("tops taken for dresses", UPPER, ONE),
           ("dresses that are right", ONE, ONE), ("tops that are right", UPPER, UPPER))  # fmt: skip


@dataclass(frozen=True)
class _Looked:
    """The validation images that are looked at.

    Attributes:
        rows: int64 [n], of validation.
        truth: int64 [n], their groups.
        predicted: int64 [n], the groups that the network gives them.
    """

    rows: Indices
    truth: Indices
    predicted: Indices

    def masks(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Returns bool [n] for each of `SUBSETS`."""
        return {name: (self.truth == truth) & (self.predicted == given) for name, truth, given in SUBSETS}

    @property
    def other(self) -> Indices:
        """int64 [n], the group of the two that the image was not given."""
        return np.where(self.predicted == ONE, UPPER, ONE)


def measure(settings: dict[str, Any], seed: int, laboratory: Laboratory) -> Outcome:
    """Trains as the settings say, and looks at its mistakes: attribution, nearest examples, smallest edits."""
    outcome = training.measure(settings, seed, laboratory)
    network = laboratory.train(replace(read(settings), mirror=False), seed).network
    looked = _choose(predict(network, laboratory.images[VALIDATION]), laboratory)
    figures: Figures = []
    arrays: dict[str, Any] = {}
    for part in (_pushes, _neighbours, _edits):
        found, shown = part(network, looked, laboratory)
        figures += found
        arrays |= shown
    return replace(outcome, figures=[*outcome.figures, *figures], arrays=arrays)


def _choose(logits: npt.NDArray[np.float32], laboratory: Laboratory) -> _Looked:
    from models.probabilities import group_probabilities

    truth = laboratory.groups(VALIDATION)
    predicted = group_probabilities(logits, laboratory.membership).argmax(axis=1).astype(np.int64)
    rows = []
    for _, of, given in SUBSETS:
        found = np.flatnonzero((truth == of) & (predicted == given))
        rows.append(found if of != given else found[:: max(1, len(found) // RIGHT)][:RIGHT])
    chosen = np.concatenate(rows)
    return _Looked(chosen, truth[chosen], predicted[chosen])


def _pushes(network: keras.Model, looked: _Looked, laboratory: Laboratory) -> tuple[Figures, dict[str, Any]]:
    """Integrated gradients of the log-odds of One piece against Upper part, from images of the other group.

    A black baseline would give a black pixel nothing, and a dress could owe nothing to the sleeves that it lacks.
    """
    from analysis.experiments.measures.image_regions import region_table
    from analysis.experiments.measures.saliency import float_network, integrated_gradients

    images = laboratory.images[VALIDATION][looked.rows]
    pairs = np.tile([ONE, UPPER], (len(images), 1))
    copy, values = float_network(network), np.zeros(images.shape)
    for group in (ONE, UPPER):
        of_group = laboratory.images["train"][laboratory.groups("train") == group][:BASELINES]
        chosen = looked.truth != group
        found = integrated_gradients(
            copy, images[chosen], laboratory.membership, pairs[chosen], baselines=of_group, steps=STEPS
        )
        values[chosen] = found.values
    table = region_table(values, images, looked.masks())
    figures: Figures = [
        (f"{subset}/{region}", "push", float(push))
        for subset, region, push in table[["subset", "region", "push"]].itertuples(index=False, name=None)
    ]
    shown = np.concatenate([np.flatnonzero(mask)[:SHOWN] for mask in looked.masks().values()])
    scale = np.abs(values[shown]).max(axis=(1, 2), keepdims=True)
    drawn = np.rint(values[shown] / np.maximum(scale, 1e-9) * 127).astype(np.int8)
    which = np.concatenate([np.full(min(SHOWN, mask.sum()), k) for k, mask in enumerate(looked.masks().values())])
    return figures, {"images": images[shown], "pushes": drawn, "subset": which.astype(np.int8)}


def _neighbours(network: keras.Model, looked: _Looked, laboratory: Laboratory) -> tuple[Figures, dict[str, Any]]:
    """How many of the nearest training images have the true group, by features and by pixels."""
    from analysis.experiments.measures.nearest_examples import features, nearest_examples, pixels

    images, known = laboratory.images[VALIDATION][looked.rows], laboratory.images["train"]
    group_of = laboratory.taxonomy.group_of
    figures: Figures = []
    for space, made in (("features", lambda i: features(network, i)), ("pixels", pixels)):
        nearest = nearest_examples(made(images), made(known), laboratory.garments["train"], group_of, NEIGHBOURS)
        true = (nearest.groups == looked.truth[:, None]).mean(axis=1)
        for name, mask in looked.masks().items():
            if mask.any():
                figures.append((f"{name}/{space}", "true_neighbours", float(true[mask].mean())))
                figures.append((f"{name}/{space}", "no_true_neighbour", float((true[mask] == 0).mean())))
    return figures, {}


def _edits(network: keras.Model, looked: _Looked, laboratory: Laboratory) -> tuple[Figures, dict[str, Any]]:
    """The smallest part of a training image of the other group that, put into an image, changes the answer."""
    from analysis.experiments.measures.boundary import nearest_donors, rectangles, smallest_flip
    from analysis.experiments.measures.nearest_examples import pixels
    from analysis.experiments.measures.saliency import group_logits

    images, known = laboratory.images[VALIDATION][looked.rows], laboratory.images["train"]
    answers = laboratory.groups("train").copy()
    given = group_logits(network, known, laboratory.membership).argmax(axis=1)
    # An image that the network itself takes for another group is no example of its own.
    answers[given != answers] = -1
    donors = nearest_donors(pixels(images), pixels(known), known, answers, looked.other)
    flip = smallest_flip(
        lambda asked: group_logits(network, asked, laboratory.membership), images, looked.other, donors, rectangles()
    )
    figures: Figures = [
        (name, "smallest_edit", float(np.median(flip.cost[mask & flip.found])))
        for name, mask in looked.masks().items()
        if (mask & flip.found).any()
    ]
    shown = np.concatenate([np.flatnonzero(mask)[:SHOWN] for mask in looked.masks().values()])
    return figures, {"edited": flip.images[shown].astype(np.uint8)}

"""Errors that models share: predictions of models of rising strength, and how consistent their errors are.

Geirhos, Meding and Wichmann, "Beyond accuracy: quantifying trial-by-trial behaviour of CNNs and humans by measuring
error consistency", 2020 (https://arxiv.org/abs/2006.16736).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from analysis.evaluation.ladder import logistic_regression, nearest_centroid
from analysis.exploration.cross_validation import OutOfFold
from analysis.exploration.data import Data, Indices
from analysis.exploration.neighbours import Neighbours
from analysis.pages import figure_style as style
from analysis.pages.section import Block, Gallery, Picture, Row
from models.probabilities import softmax

Values = npt.NDArray[np.float64]

IN_A_ROW = 12
ROWS = 4


def predict_groups(
    data: Data, neighbours: Neighbours, out_of_fold: OutOfFold, trained: Indices | None = None
) -> dict[str, Indices]:
    """Returns the groups that each model predicts for the test images, int64 [n_test], the weakest model first.

    Args:
        data: The images.
        neighbours: The nearest training images; the first is the prediction of 1-nearest neighbour.
        out_of_fold: The small networks; their mean probability is the prediction.
        trained: The predictions of the trained model; None without one.
    """
    known, garments, unknown = data.pixels[data.train_rows], data.garments[data.train_rows], data.pixels[data.test_rows]
    probabilities = np.mean([softmax(logits) for logits in out_of_fold.test_logits], axis=0)
    networks = probabilities @ np.array(data.taxonomy.membership())
    predictions = {
        "nearest centroid": nearest_centroid(known, garments, unknown, data.taxonomy),
        "logistic regression": logistic_regression(known, garments, unknown, data.taxonomy),
        "1-nearest neighbour": data.groups[neighbours.index[data.test_rows, 0]],
        "small networks": networks.argmax(axis=1).astype(np.int64),
    }
    return predictions if trained is None else {**predictions, "trained model": trained}


@dataclass(frozen=True)
class SharedErrors:
    """Errors of M models on n images.

    Attributes:
        models: Their names.
        wrong: bool [M, n], True where a model misclassifies an image.
        observed: int64 [M + 1], the number of images that 0, 1, ... M models misclassify.
        expected: float64 [M + 1], the same for independent errors, each model at its own error rate.
        consistency: float64 [M, M], Cohen's kappa of correct predictions: 0 by chance, 1 for the same errors.
    """

    models: tuple[str, ...]
    wrong: npt.NDArray[np.bool_]
    observed: Indices
    expected: Values
    consistency: Values

    @property
    def by_all(self) -> Indices:
        """The images, int64, that every model misclassifies."""
        return np.flatnonzero(self.wrong.all(axis=0))


def compare_errors(predictions: Mapping[str, Indices], truth: Indices) -> SharedErrors:
    """Compares the errors of models, without models that predict the same class for every image.

    Args:
        predictions: For each model, int64 [n].
        truth: int64 [n].
    """
    varied = {name: predicted for name, predicted in predictions.items() if len(np.unique(predicted)) > 1}
    wrong = np.stack([predicted != truth for predicted in varied.values()])
    observed = np.bincount(wrong.sum(axis=0), minlength=len(wrong) + 1)
    expected = len(truth) * _poisson_binomial(wrong.mean(axis=1))
    return SharedErrors(tuple(varied), wrong, observed, expected, _kappa(wrong))


def _poisson_binomial(rates: Values) -> Values:
    """Returns the distribution, float64 [M + 1], of the number of M independent events that occur."""
    distribution = np.ones(1)
    for rate in rates:
        distribution = np.convolve(distribution, [1 - rate, rate])
    return distribution


def _kappa(wrong: npt.NDArray[np.bool_]) -> Values:
    rate, one = wrong.mean(axis=1), wrong.astype(np.float64)
    agree = (one @ one.T + (1 - one) @ (1 - one).T) / wrong.shape[1]
    chance = np.outer(rate, rate) + np.outer(1 - rate, 1 - rate)
    return (agree - chance) / np.maximum(1 - chance, 1e-12)


def errors_text(data: Data, shared: SharedErrors, suspected_of_all: int) -> str:
    """Returns the paragraph on shared errors, as Markdown.

    Args:
        data: The images.
        shared: The errors.
        suspected_of_all: How many images that every model misclassifies are suspected of a wrong group.
    """
    count, tested, models = len(shared.by_all), shared.wrong.shape[1], len(shared.models)
    kappa = shared.consistency[np.triu_indices(models, 1)]
    pair = np.unravel_index(np.argmax(np.triu(shared.consistency, 1)), shared.consistency.shape)
    any_wrong = int(shared.wrong.any(axis=0).sum())
    groups = np.bincount(data.groups[data.test_rows[shared.by_all]], minlength=len(data.taxonomy.groups))
    return (
        f"All {models} models misclassify {count:,} of {tested:,} test images, where independent errors give "
        f"{shared.expected[-1]:.2g}; every model classifies {tested - any_wrong:,} ({1 - any_wrong / tested:.0%}) "
        f"correctly. {data.taxonomy.groups[groups.argmax()]} is the labelled group of {groups.max():,} of the "
        f"{count:,}, and {suspected_of_all:,} are suspected of a wrong group. The error consistency of the models "
        f"(Cohen's kappa) is {kappa.min():.2f} to {kappa.max():.2f}, the highest between {shared.models[pair[0]]} and "
        f"{shared.models[pair[1]]}: part of the difficulty is in the images, whatever the model."
    )


def error_blocks(data: Data, shared: SharedErrors) -> Iterator[Block]:
    """Yields the figures of shared errors and the images that every model misclassifies."""
    yield Picture("errors-shared", _count_figure(shared), _SHARED)
    yield Picture(
        "errors-consistency", style.matrix(shared.consistency.round(3).tolist(), shared.models, ".2f"), _KAPPA
    )
    yield Gallery("errors-of-all", _rows_by_group(data, shared), _ALL)


def _count_figure(shared: SharedErrors) -> go.Figure:
    figure = style.figure("models that misclassify the image", "test images")
    names = list(range(len(shared.observed)))
    for name, values, colour in (
        ("observed", shared.observed, style.TEST),
        ("expected if independent", shared.expected, style.NEUTRAL),
    ):
        figure.add_bar(
            x=names, y=np.round(values, 3).tolist(), name=name, marker={"color": colour}, hovertemplate="%{y:,.3~g}"
        )
    figure.update_yaxes(type="log", range=[-1, np.log10(shared.wrong.shape[1]) + 0.1], dtick=1)
    figure.update_xaxes(dtick=1)
    return figure


def _rows_by_group(data: Data, shared: SharedErrors) -> list[Row]:
    rows = data.test_rows[shared.by_all]
    counts = np.bincount(data.groups[rows], minlength=len(data.taxonomy.groups))
    return [
        Row(
            title=f"labelled {data.taxonomy.groups[group]} ({counts[group]:,})",
            images=data.images[rows[data.groups[rows] == group][:IN_A_ROW]],
            notes=[data.garment_name(row) for row in rows[data.groups[rows] == group][:IN_A_ROW]],
            colour=style.group_colours(data.taxonomy)[group],
        )
        for group in np.argsort(-counts, kind="stable")[:ROWS]
        if counts[group]
    ]


_SHARED = (
    "Number of test images by the number of models that misclassify them, observed and expected for independent "
    "errors; the vertical axis is logarithmic."
)
_KAPPA = "Error consistency: agreement of two models on which test images they classify correctly (Cohen's kappa)."
_ALL = "Test images that every model misclassifies, with the labelled garment."

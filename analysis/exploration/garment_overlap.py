"""Overlap of garments, separability of groups and maps of the images: the section on geometry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.evaluation.bootstrap import confusion, from_confusion
from analysis.evaluation.metrics import OVERALL, Metric, of_class, recall
from analysis.exploration.data import Data, Indices
from analysis.exploration.embedding import Embedding
from analysis.exploration.intrinsic_dimension import (
    NEIGHBOURS,
    dimension_figure,
    dimension_text,
    dimensions,
    dimensions_by_scale,
    direction_gallery,
    error_bars,
    variance_figure,
)
from analysis.exploration.neighbours import Floats, Neighbours, search
from analysis.exploration.principal_components import PrincipalComponents, principal_components
from analysis.pages import figure_style as style
from analysis.pages.section import Block, Listing, Picture, Section

RESAMPLES = 1000


@dataclass(frozen=True)
class Geometry:
    """Measurements of the geometry.

    Attributes:
        components: The principal components of all training images.
        dimensions: A row for all images, each group and each garment: `kind`, `name`, `number`, `images`,
            `two_nearest` with `low` and `high`, `many_nearest`, and `linear`, the directions for 95% of its variance.
        scales: `images` and `two_nearest` with `low` and `high`, for ever more training images.
        nearest_garment: float64 [garments, garments]: of all images of a garment (down), the share whose nearest
            training image is of each garment (across).
        purity: A row for each garment, of the test images: `number`, `garment`, and the mean share of the ten nearest
            training images that have the same garment or group, by pixels and by the network: `pixels_garment`,
            `pixels_group`, `network_garment`, `network_group`, each with its standard error `..._error`.
        separability: A row for each model on the official test split: `model`, `accuracy` and `macro_f1`, each with
            `..._low` and `..._high`, `worst_pair` (the two groups most confused) and `worst_share` (of all errors).
        recalls: `model`, `group`, `recall`, `low`, `high`.
    """

    components: PrincipalComponents
    dimensions: pd.DataFrame
    scales: pd.DataFrame
    nearest_garment: npt.NDArray[np.float64]
    purity: pd.DataFrame
    separability: pd.DataFrame
    recalls: pd.DataFrame


def measure(
    data: Data, neighbours: Neighbours, features: Floats, predictions: Mapping[str, Indices], seed: int = 0
) -> Geometry:
    """Measures the geometry of the images.

    Args:
        data: The images.
        neighbours: The nearest training images of all.
        features: float32 [N, F], features of all images by a network that was not trained on the test images.
        predictions: For each model, the predicted groups of the test images, int64 [n_test]; the weakest model first.
        seed: Of samples and resamples. Defaults to 0.
    """
    separability, recalls = judge_models(data, predictions, seed)
    return Geometry(
        components=principal_components(data.pixels[data.train_rows]),
        dimensions=dimensions(data, seed),
        scales=dimensions_by_scale(data, neighbours, seed),
        nearest_garment=nearest_garments(data, neighbours),
        purity=purity(data, neighbours, features),
        separability=separability,
        recalls=recalls,
    )


def nearest_garments(data: Data, neighbours: Neighbours) -> npt.NDArray[np.float64]:
    """Returns, for each garment (down), the garments of its images' nearest training images (across), as shares."""
    count = len(data.taxonomy.garments)
    table = confusion(data.garments, data.garments[neighbours.index[:, 0]], count)
    return table / np.maximum(table.sum(axis=1, keepdims=True), 1)


def purity(data: Data, neighbours: Neighbours, features: Floats) -> pd.DataFrame:
    """Measures how often the nearest training images of a test image have its class, by pixels and by features."""
    train, test = data.train_rows, data.test_rows
    in_network = search(features[test], features[train], NEIGHBOURS)[0]
    found = {"pixels": neighbours.index[test, :NEIGHBOURS], "network": in_network}
    shares = {
        f"{space}_{kind}": (classes[index] == classes[test, None]).mean(axis=1)
        for space, index in found.items()
        for kind, classes in (("garment", data.garments), ("group", data.groups))
    }
    by_garment = pd.DataFrame(shares).groupby(data.garments[test])
    table = by_garment.mean().join(by_garment.sem().add_suffix("_error"))
    table.insert(0, "garment", [data.taxonomy.garments[garment] for garment in table.index])
    return table.rename_axis("number").reset_index()


def judge_models(data: Data, predictions: Mapping[str, Indices], seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measures the models' accuracy on the groups of the official test split.

    Returns:
        The tables `separability` and `recalls` of a Geometry.
    """
    truth, groups = data.groups[data.test_rows], data.taxonomy.groups
    per_group: dict[str, Metric] = {name: of_class(recall, group) for group, name in enumerate(groups)}
    metrics = {"accuracy": OVERALL["accuracy"], "macro_f1": OVERALL["macro_f1"]} | per_group
    overall, recalls = [], []
    for model, predicted in predictions.items():
        counts = confusion(truth, predicted, len(groups))
        found = from_confusion(metrics, counts, RESAMPLES, seed)
        figures = [
            x for name in ("accuracy", "macro_f1") for x in (found[name].value, found[name].low, found[name].high)
        ]
        overall.append((model, *figures, *_worst_pair(counts, groups)))
        recalls += [(model, name, found[name].value, found[name].low, found[name].high) for name in groups]
    names = [f"{name}{end}" for name in ("accuracy", "macro_f1") for end in ("", "_low", "_high")]
    return (
        pd.DataFrame(overall, columns=["model", *names, "worst_pair", "worst_share"]),
        pd.DataFrame(recalls, columns=["model", "group", "recall", "low", "high"]),
    )


def _worst_pair(counts: npt.NDArray[np.int64], groups: tuple[str, ...]) -> tuple[str, float]:
    """Returns the two groups that are confused most, and their share of all errors."""
    first, second = np.triu_indices(len(groups), k=1)
    errors = (counts + counts.T)[first, second]
    most = errors.argmax()
    return f"{groups[first[most]]} and {groups[second[most]]}", float(errors[most] / max(errors.sum(), 1))


def section(data: Data, geometry: Geometry, embedding: Embedding) -> Section:
    """Returns the section "Geometry"."""
    return Section(
        name="geometry",
        title="Geometry",
        finding="\n\n".join(
            (
                dimension_text(geometry.components, geometry.dimensions, geometry.scales),
                _overlap_text(data, geometry),
                _separability_text(geometry),
                _network_text(geometry),
            )
        ),
        decision=_decision(geometry),
        blocks=tuple(_blocks(data, geometry, embedding)),
    )


def _overlap_text(data: Data, geometry: Geometry) -> str:
    shares, names = geometry.nearest_garment, data.taxonomy.garments
    apart = np.where(np.eye(len(names), dtype=bool), 0, shares)
    first, second = np.unravel_index(apart.argmax(), apart.shape)
    owner = np.array(data.taxonomy.group_of)
    across = np.where(owner[:, None] == owner[None], 0, shares)
    source, target = np.unravel_index(across.argmax(), across.shape)
    weakest = int(np.diagonal(shares).argmin())
    return (
        f"**Which garments overlap.** {names[weakest]} overlaps most: the nearest training image of one is a "
        f"{names[weakest]} in {shares[weakest, weakest]:.0%} of the cases. The strongest overlap is from "
        f"{names[first]} to {names[second]} ({apart.max():.1%}), "
        f"{'inside one group' if owner[first] == owner[second] else 'across groups'}. The strongest across groups is "
        f"from {names[source]} to {names[target]} ({across.max():.1%}); in all, {across.sum(axis=1)[source]:.1%} of "
        f"the images of {names[source]} are nearest to another group."
    )


def _separability_text(geometry: Geometry) -> str:
    accuracies = "; ".join(
        f"{r.model} {r.accuracy:.4f} [{r.accuracy_low:.4f}, {r.accuracy_high:.4f}]"
        for r in geometry.separability.itertuples()
    )
    table = geometry.separability
    best, worst = table.iloc[table["accuracy"].argmax()], table.iloc[table["accuracy"].argmin()]
    return (
        f"**Separability of groups**, as accuracy on the official test split: {accuracies}. Of the errors of "
        f"{best['model']}, {best['worst_share']:.0%} are between {best['worst_pair']}; of those of {worst['model']}, "
        f"{worst['worst_share']:.0%} are between {worst['worst_pair']}."
    )


def _network_text(geometry: Geometry) -> str:
    table = geometry.purity
    gain = table["network_garment"] - table["pixels_garment"]
    gain_of_groups = table["network_group"] - table["pixels_group"]
    most, best = int(gain.argmax()), int(gain_of_groups.argmax())
    weakest = table.iloc[table["network_group"].argmin()]
    return (
        "**Neighbours by pixels and by a network.** Of a test image's ten nearest training images, "
        f"{table['pixels_garment'].mean():.1%} have its garment by pixels and {table['network_garment'].mean():.1%} by "
        f"the features of a small network; {table['pixels_group'].mean():.1%} and {table['network_group'].mean():.1%} "
        f"have its group. {table['garment'][most]} gains most by garment ({gain[most]:+.1%}), "
        f"{table['garment'][best]} by group ({gain_of_groups[best]:+.1%}). {weakest['garment']} remains the least pure "
        f"by group ({weakest['network_group']:.1%})."
    )


def _decision(geometry: Geometry) -> str:
    best = geometry.separability.iloc[geometry.separability["accuracy"].argmax()]
    return (
        "So we compare a model with nearest centroids, a linear model and 1-nearest neighbour, which are in the "
        "Evaluator's report, and not with the majority class alone. We report the F1 of each group as well as "
        f"accuracy, because most errors are between {best['worst_pair']}. The network predicts garments, and the "
        "probability of a group is the sum over its garments, so overlaps inside a group do not matter."
    )


def _blocks(data: Data, geometry: Geometry, embedding: Embedding) -> Iterator[Block]:
    """Yields the figures and tables in the order of the prose."""
    yield variance_figure(geometry.components)
    yield direction_gallery(geometry.components)
    yield dimension_figure(data, geometry.dimensions)
    yield _nearest_figure(data, geometry)
    yield _purity_figure(data, geometry)
    yield _recall_figure(data, geometry)
    yield _separability_table(geometry)
    yield _map_figure(data, embedding, embedding.pixels, "map-pixels", "by their pixels")
    yield _map_figure(data, embedding, embedding.network, "map-network", f"by the features of {embedding.network_name}")


def _nearest_figure(data: Data, geometry: Geometry) -> Picture:
    percent = (100 * geometry.nearest_garment).round(1)
    figure = style.matrix(percent.tolist(), data.taxonomy.garments, ".0f")
    figure.update_xaxes(title_text="nearest training image", tickangle=-45)
    caption = (
        "Of all images of a garment (down), the share in % whose nearest training image is of each garment (across). "
        "Each row sums to 100. Dark cells off the diagonal are overlaps; the grouping makes those inside a group "
        "harmless."
    )
    return Picture("nearest-garment", figure, caption)


def _purity_figure(data: Data, geometry: Geometry) -> Picture:
    table = geometry.purity.sort_values("pixels_group")
    colours = [style.garment_colours(data.taxonomy)[garment] for garment in table["number"]]
    figure = style.figure("of the same class, %", height=480)
    series = (
        ("group", "pixels", "square-open"),
        ("group", "network", "square"),
        ("garment", "pixels", "circle-open"),
        ("garment", "network", "circle"),
    )
    for kind, space, symbol in series:
        name = f"{space}_{kind}"
        figure.add_scatter(
            x=(100 * table[name]).round(1).tolist(),
            y=table["garment"].tolist(),
            error_x={
                "type": "data",
                "array": (196 * table[f"{name}_error"]).round(2).tolist(),
                "width": 0,
                "thickness": 1,
                "color": style.NEUTRAL,
            },
            mode="markers",
            marker={"symbol": symbol, "size": 9, "color": colours},
            showlegend=False,
        )
        marker = {"symbol": symbol, "size": 9, "color": style.NEUTRAL}
        figure.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name=f"same {kind}, {space}")
    caption = (
        "Test images: share of the ten nearest training images with the same garment (circles) or group (squares), "
        "by pixels (open) and by the features of a small network that was not trained on the test images (filled). "
        "Bars: 95% intervals."
    )
    return Picture("neighbour-purity", figure, caption)


def _recall_figure(data: Data, geometry: Geometry) -> Picture:
    figure = style.figure("recall, %", height=380)
    for number, group in enumerate(data.taxonomy.groups):
        part = geometry.recalls[geometry.recalls["group"] == group]
        figure.add_scatter(
            x=(100 * part["recall"]).round(2).tolist(),
            y=part["model"].tolist(),
            error_x=error_bars(100 * part["recall"], 100 * part["low"], 100 * part["high"]),
            mode="markers",
            marker={"size": 10, "color": style.group_colours(data.taxonomy)[number]},
            name=group,
        )
    caption = "Recall of each group of the test split, the weakest model first, with 95% bootstrap intervals."
    return Picture("separability", figure, caption)


def _separability_table(geometry: Geometry) -> Listing:
    table = pd.DataFrame(
        {
            "model": geometry.separability["model"],
            "group accuracy": _with_intervals(geometry.separability, "accuracy"),
            "macro F1": _with_intervals(geometry.separability, "macro_f1"),
            "most confused": geometry.separability["worst_pair"],
            "of its errors": [f"{share:.0%}" for share in geometry.separability["worst_share"]],
        }
    )
    return Listing("separability-table", table, "Models on the official test split, with 95% bootstrap intervals.")


def _with_intervals(table: pd.DataFrame, name: str) -> list[str]:
    columns = zip(table[name], table[f"{name}_low"], table[f"{name}_high"], strict=True)
    return [f"{value:.4f} [{low:.4f}, {high:.4f}]" for value, low, high in columns]


def _map_figure(data: Data, embedding: Embedding, positions: npt.NDArray[np.float32], name: str, by: str) -> Picture:
    figure = style.figure(height=560)
    # Integers of 16 bits: a quarter of the page's size, and a two-thousandth of the map is below a pixel.
    scaled = np.rint(1000 * positions / max(float(np.abs(positions).max()), 1e-9)).astype(np.int16)
    colours, symbols = style.garment_colours(data.taxonomy), style.garment_symbols(data.taxonomy)
    for garment in np.argsort(data.taxonomy.group_of, kind="stable"):
        members = np.flatnonzero(data.garments[embedding.rows] == garment)
        figure.add_scattergl(
            x=scaled[members, 0],
            y=scaled[members, 1],
            customdata=members.astype(np.int16),
            mode="markers",
            marker={"size": 4, "color": colours[garment], "symbol": symbols[garment], "opacity": 0.75},
            name=data.taxonomy.garments[garment],
            hovertemplate="%{fullData.name}<extra></extra>",
        )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, scaleanchor="x")
    figure.update_layout(legend={"itemsizing": "constant"}, margin={"l": 4, "r": 4})
    caption = (
        f"t-SNE map of {len(embedding.rows):,} test images {by}. Near images are similar; distances between clusters "
        "and axes have no meaning."
    )
    return Picture(name, figure, caption, thumbnails=data.images[embedding.rows])

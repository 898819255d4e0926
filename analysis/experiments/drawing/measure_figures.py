"""Figures and tables of single measures, such as coverage, corruptions or attributions.

What was not measured is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.experiments.comparison import mean_over_seeds
from analysis.experiments.declaration import Experiment
from analysis.experiments.drawing.charts import COSTS, cost_charts, dots, lines
from analysis.experiments.drawing.tables import heat_map
from analysis.experiments.judgement import Judgement, judge, over_seeds
from analysis.experiments.reported_metrics import scale_of
from analysis.experiments.results import Results
from analysis.pages.section import Block, Gallery, Listing, Picture, Row

HEADINGS = {
    "features/true_neighbours": "true group among the 10 nearest by features, %",
    "features/no_true_neighbour": "none of them of the true group, %",
    "pixels/true_neighbours": "true group among the 10 nearest by pixels, %",
    "smallest_edit": "smallest edit, pixels",
}


def error_causes(experiment: Experiment, results: Results) -> list[Block]:
    """Draws attributions by region, nearest training images and smallest edits of the measure "error_causes"."""
    figures = results.figures
    return [*_attributions(experiment, figures), *_neighbours(experiment, figures), *_gallery(experiment, results)]


def _attributions(experiment: Experiment, figures: pd.DataFrame) -> list[Block]:
    attributions = figures[figures["metric"] == "attribution"]
    if attributions.empty:
        return []
    parts = attributions["subset"].str.rpartition("/")
    table = attributions.assign(kind=parts[0], region=parts[2]).pivot_table("value", "region", "kind", sort=False)
    caption = (
        "Integrated gradients of the log-odds of One piece against Upper part, summed over regions of the image, mean "
        "over images and seeds: blue favours One piece, vermilion Upper part."
    )
    return [heat_map(f"{experiment.name}-attributions", table, caption, "log-odds")]


def _neighbours(experiment: Experiment, figures: pd.DataFrame) -> list[Block]:
    metrics = figures[figures["metric"].isin(["true_neighbours", "no_true_neighbour", "smallest_edit"])]
    if metrics.empty:
        return []
    parts = metrics["subset"].str.partition("/")
    column = (parts[2] + "/" + metrics["metric"]).str.removeprefix("/")
    table = metrics.assign(images=parts[0], column=column).pivot_table("value", "images", "column", sort=False)
    factors = {name: 1 if name == "smallest_edit" else 100 for name in table.columns}
    shown = (table * pd.Series(factors))[[name for name in HEADINGS if name in table.columns]].rename(columns=HEADINGS)
    text = shown.map(lambda value: "–" if value != value else f"{value:.1f}").rename_axis(columns=None).reset_index()
    caption = (
        "Means over images and seeds. An edit puts a rectangle of a training image of the other group into an image; "
        "its size is the equivalent number of pixels turned from black to white."
    )
    return [Listing(_block_name(experiment, "neighbours"), text, caption, documented=True)]


def _gallery(experiment: Experiment, results: Results) -> list[Block]:
    if not results.array_file.exists():
        return []
    with np.load(results.array_file) as content:
        arrays = {name: content[name] for name in content.files}
    if not {"images", "attributions", "subset"} <= set(arrays):
        return []
    kinds = list(
        dict.fromkeys(results.figures["subset"][results.figures["metric"] == "attribution"].str.rpartition("/")[0])
    )
    rows = [row for index, kind in enumerate(kinds) for row in _rows(arrays, index, kind)]
    caption = (
        "Images of the first seed. Next to each: the attributions in favour of One piece (white) and of Upper part "
        "(black), blurred over three pixels; and the image with the smallest edit that changes the prediction, an "
        "outlined part of an image of the other group."
    )
    alt = f"Rows of images with their attributions and smallest edits: {'; '.join(row.title for row in rows)}."
    return [Gallery(_block_name(experiment, "images"), rows, caption, documented=True, alt=alt)] if rows else []


def _rows(arrays: dict[str, npt.NDArray[np.generic]], index: int, kind: str) -> list[Row]:
    chosen = np.flatnonzero(arrays["subset"] == index)
    if not len(chosen):
        return []
    images = arrays["images"][chosen].astype(np.uint8)
    views = {"image": images, "attributions": _smooth(arrays["attributions"][chosen])}
    if "edited" in arrays:
        views["edited"] = outlined(images, arrays["edited"][chosen].astype(np.uint8))
    row = np.stack(list(views.values()), axis=1).reshape(-1, *images.shape[1:])
    return [Row(kind, row, list(views) * len(chosen))]


def outlined(images: npt.NDArray[np.uint8], edited: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Returns edited images with a black and white dashed frame around the rectangle that differs."""
    framed = edited.copy()
    for image, before in zip(framed, images, strict=True):
        rows, columns = np.nonzero(image != before)
        if not len(rows):
            continue
        frame = np.zeros(image.shape, bool)
        frame[max(rows.min() - 1, 0) : rows.max() + 2, max(columns.min() - 1, 0) : columns.max() + 2] = True
        frame[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = False
        image[frame] = np.where(np.indices(image.shape).sum(axis=0) % 2, 255, 0)[frame]
    return framed


def _smooth(attributions: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Returns attributions [N, height, width] as grey levels around 127, blurred because single pixels are noise."""
    from scipy.ndimage import gaussian_filter

    blurred = gaussian_filter(attributions.astype(np.float64), sigma=(0, 1.5, 1.5))
    largest = np.abs(blurred).max(axis=(1, 2), keepdims=True)
    return np.rint(127 + 127 * blurred / np.maximum(largest, 1e-9)).astype(np.uint8)


COSTS_OF_FILES = ("latency_ms", "parameters", "bytes")
"""Multiply-adds and training seconds do not depend on the precision of the deployed network."""


def means(judgement: Judgement, metric: str) -> pd.DataFrame:
    """Returns a metric's mean over seeds: a row per subset but the whole, a column per arm, NaN if missing."""
    figures = judgement.results.figures
    chosen = figures[(figures["metric"] == metric) & (figures["subset"] != "validation")]
    if chosen.empty:
        return pd.DataFrame()
    table = chosen.pivot_table(index="subset", columns="arm", values="value", aggfunc="mean", sort=False)
    return table[[arm for arm in judgement.arms if arm in table.columns]]


def deployment(experiment: Experiment, results: Results) -> list[Block]:
    """Draws the primary metric against each cost, of model files where there are some and otherwise of networks."""
    judgement = judge(experiment, results)
    costs = COSTS_OF_FILES if "bytes" in set(results.figures["metric"]) else COSTS
    return [*cost_charts(judgement, costs)]


def ladder(experiment: Experiment, results: Results) -> list[Block]:
    """Draws accuracy and macro F1 of every rung."""
    judgement = judge(experiment, results)
    metrics = ("group_accuracy", "macro_f1")
    return _not_none(dots(judgement, metric, complement=True, detail=metric == "macro_f1") for metric in metrics)


def robustness(experiment: Experiment, results: Results) -> list[Block]:
    """Draws the accuracy on corrupted images by corruption, by severity and by arm."""
    judgement = judge(experiment, results)
    table = means(judgement, "group_accuracy")
    table = table[table.index.str.contains("/")] if len(table) else table
    if table.empty or experiment.baseline not in table:
        return []
    same_images = results.values("group_accuracy", "clean")
    clean = (results.values("group_accuracy") if same_images.empty else same_images).mean()
    names = table.index.str.rpartition("/")
    kinds = names.get_level_values(0).str.replace("_", " ")
    keys = pd.MultiIndex.from_arrays([kinds, names.get_level_values(2).astype(int)])
    table.index = keys.set_names(["corruption", "severity"])
    return [
        *_over_corruptions(judgement),
        _drops(experiment, table, clean),
        _by_severity(experiment, table),
        *_gains(experiment, table),
    ]


def _over_corruptions(judgement: Judgement) -> list[Block]:
    baseline, scale = judgement.experiment.baseline, scale_of("group_accuracy")
    table = judgement.table("group_accuracy", "corrupted")
    if baseline not in table:
        return []
    rows = []
    for arm in table.columns:
        found = over_seeds((table[arm] - table[baseline]).dropna().tolist())
        change = f"{scale.change(found.value)} {scale.interval(found.low, found.high)}".strip()
        figure = scale.spread(*mean_over_seeds(judgement.values(arm, "group_accuracy", "corrupted")))
        rows.append((arm, figure, "baseline" if arm == baseline else change))
    headings = ["arm", "group accuracy over corruptions", "difference"]
    caption = (
        "Group accuracy in percent, mean over all corruptions and severities; difference to the baseline in points, "
        "with Student's 95% interval over the seeds, not corrected for the number of arms."
    )
    name = _block_name(judgement.experiment, "corrupted")
    return [Listing(name, pd.DataFrame(rows, columns=headings), caption, documented=True)]


def _drops(experiment: Experiment, table: pd.DataFrame, clean: pd.Series) -> Picture:
    baseline = experiment.baseline
    drop = 100 * (table[baseline].unstack("severity") - clean.get(baseline, float("nan")))
    drop = drop.loc[drop.mean(axis=1).sort_values().index, sorted(drop.columns)]
    caption = f"Points of group accuracy that “{baseline}” loses by each corruption at each severity, the worst first."
    return heat_map(f"{experiment.name}-drop", drop.dropna(how="all"), caption, "severity", digits=1, detail=True)


def _by_severity(experiment: Experiment, table: pd.DataFrame) -> Picture:
    mean = 100 * table.groupby("severity").mean()
    curves = {str(arm): mean[arm].tolist() for arm in mean.columns}
    strongest = mean.iloc[-1]
    best, worst = str(strongest.idxmax()), str(strongest.idxmin())
    caption = (
        f"At severity {mean.index[-1]:g} “{best}” has {strongest[best]:.1f}% and “{worst}” {strongest[worst]:.1f}%. "
        "Mean group accuracy over all corruptions."
    )
    titles = ("severity", "group accuracy, %")
    return lines(f"{experiment.name}-severity", mean.index.tolist(), curves, titles, caption, detail=True)


def _gains(experiment: Experiment, table: pd.DataFrame) -> list[Block]:
    others = [arm for arm in table.columns if arm != experiment.baseline]
    if not others:
        return []
    by_corruption = table.groupby("corruption", sort=False).mean()
    by_corruption.loc["all corruptions"] = by_corruption.mean()
    gain = 100 * by_corruption[others].sub(by_corruption[experiment.baseline], axis=0)
    caption = f"Points of group accuracy that each arm gains over “{experiment.baseline}”, mean over severities."
    caption += " Blue: gain; vermilion: loss."
    return [heat_map(f"{experiment.name}-gain", gain, caption, "points", digits=1)]


def calibration(experiment: Experiment, results: Results) -> list[Block]:
    """Draws log loss, calibration error, risk after abstaining, and coverage by group."""
    judgement = judge(experiment, results)
    blocks = _not_none([dots(judgement, "calibration_error"), dots(judgement, "log_loss", detail=True)])
    risk = means(judgement, "risk")
    risk = risk[risk.index.str.match(r"abstain [\d.]+%$")] if len(risk) else risk
    if len(risk):
        shares = risk.index.str.extract(r"([\d.]+)")[0].astype(float)
        risk = 100 * risk.set_axis(shares).sort_index()
        curves = {str(arm): risk[arm].tolist() for arm in risk.columns}
        titles = ("abstained on, %", "error among the others, %")
        caption = "Error among the others after abstaining on the least confident examples."
        blocks.append(lines(f"{experiment.name}-risk", risk.index.tolist(), curves, titles, caption))
    for metric, thresholds in (
        ("coverage", "one threshold"),
        ("coverage_by_group", "a threshold for each group"),
    ):
        coverage = 100 * means(judgement, metric)
        if len(coverage):
            caption = (
                f"Coverage of the true group by prediction sets with {thresholds}, in percent, mean over seeds. "
                "Pale: the target of 99%; blue: more; vermilion: less."
            )
            name = f"{experiment.name}-{metric}"
            # One scale for both kinds of thresholds.
            blocks.append(heat_map(name, coverage.T, caption, "coverage, %", middle=99.0, reach=4.0))
    return blocks


def out_of_distribution(experiment: Experiment, results: Results) -> list[Block]:
    """Draws AUROC and FPR95 of each score for each kind of out-of-distribution images."""
    judgement, blocks = judge(experiment, results), []
    for metric in ("auroc", "fpr95"):
        table = means(judgement, metric)
        if len(table):
            heading = scale_of(metric).heading
            subject = f"{heading[0].upper()}{heading[1:]} of each score"
            better = "higher is better" if scale_of(metric).more_is_better else "lower is better"
            caption = f"{subject} for each kind of out-of-distribution images, in percent: {better}. Darker: higher."
            name = f"{experiment.name}-{metric}"
            blocks.append(
                heat_map(
                    name, 100 * table, caption, f"{heading}, %", diverging=False, digits=1, detail=metric == "fpr95"
                )
            )
    return [*blocks]


def text(experiment: Experiment, results: Results) -> list[Block]:
    """Draws the gain over the image alone for products with a text, without one, and with a misleading one."""
    judgement = judge(experiment, results)
    both, image = means(judgement, "group_accuracy"), means(judgement, "image_accuracy")
    if both.empty or image.empty:
        return []
    caption = (
        "Points of group accuracy over the same network without texts, by the kind of the products' texts; empty where "
        "an arm has no such products. Blue: gain; vermilion: loss; full colours from six points on."
    )
    gain = 100 * (both.loc[image.index] - image).T
    return [heat_map(f"{experiment.name}-gain", gain, caption, "points", reach=6.0)]


def final_evaluation(experiment: Experiment, results: Results) -> list[Block]:
    """Counts each arm's misclassified images, those that every seed misclassifies, and their main confusion."""
    judgement = judge(experiment, results)
    names, every = judgement.taxonomy.groups, "all arms"
    rows = []
    for arm in [*judgement.arms, every]:
        wrong = results.errors if arm == every else results.errors[results.errors["arm"] == arm]
        runs = len(wrong[["arm", "seed"]].drop_duplicates())
        # A confusion is the unordered pair of the true group and the most frequent prediction.
        by_image = wrong.groupby("example").agg(
            runs=("seed", "size"), truth=("truth", "first"), predicted=("predicted", lambda groups: groups.mode()[0])
        )
        always = by_image[by_image["runs"] == runs]
        pairs = [
            " and ".join(names[group] for group in sorted(pair)) for pair in always[["truth", "predicted"]].to_numpy()
        ]
        worst = pd.Series(pairs, dtype=str).value_counts().head(1)
        named = "".join(f"{count} of {pair}" for pair, count in worst.items())
        rows.append((arm, f"{len(wrong) / max(runs, 1):.1f}", len(always), named))
    caption = (
        "Misclassified images: mean over seeds, images that every seed misclassifies, and the most frequent confusion "
        "among these."
    )
    table = pd.DataFrame(rows, columns=["arm", "misclassified", "by every seed", "most frequent confusion"])
    return [Listing(_block_name(experiment, "always-misclassified"), table, caption, documented=True)]


def _block_name(experiment: Experiment, part: str) -> str:
    return f"{experiment.name}-{part}".replace("_", "-")


def _not_none(pictures: Iterable[Picture | None]) -> list[Block]:
    return [picture for picture in pictures if picture is not None]


FIGURES_OF_MEASURE: dict[str, Callable[[Experiment, Results], list[Block]]] = {
    "calibration": calibration,
    "deployment": deployment,
    "final_evaluation": final_evaluation,
    "ladder": ladder,
    "robustness": robustness,
    "out_of_distribution": out_of_distribution,
    "text": text,
    "error_causes": error_causes,
}
"""Functions that draw a measure's own figures, by its name."""

"""Figures that only some studies have; each is drawn from what was measured, and left out where that is absent."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pandas as pd

from analysis.experiments.comparison import mean_over_seeds
from analysis.experiments.declaration import Experiment
from analysis.experiments.drawing import pareto, why
from analysis.experiments.drawing.lines import dots, lines
from analysis.experiments.drawing.tables import matrix
from analysis.experiments.judgement import Judgement, judge, over_seeds
from analysis.experiments.results import Results
from analysis.experiments.scales import scale_of
from analysis.pages.section import Block, Listing, Picture

COSTS_OF_FILES = ("latency_ms", "parameters", "bytes")
"""Multiply-adds and seconds of training do not tell a network in eight bits from the same in 32."""


def means(judgement: Judgement, metric: str) -> pd.DataFrame:
    """Returns the mean over seeds of a metric: a row a subset other than the whole, a column an arm, NaN elsewhere."""
    figures = judgement.results.figures
    chosen = figures[(figures["metric"] == metric) & (figures["subset"] != "validation")]
    if chosen.empty:
        return pd.DataFrame()
    table = chosen.pivot_table(index="subset", columns="arm", values="value", aggfunc="mean", sort=False)
    return table[[arm for arm in judgement.arms if arm in table.columns]]


def deployment(experiment: Experiment, results: Results) -> list[Block]:
    """The study's metric against each cost, with the front: that of files where there are some, or of networks."""
    judgement = judge(experiment, results)
    costs = COSTS_OF_FILES if "bytes" in set(results.figures["metric"]) else pareto.COSTS
    return [*pareto.pictures(judgement, costs)]


def ladder(experiment: Experiment, results: Results) -> list[Block]:
    """Every step's accuracy and macro F1."""
    judgement = judge(experiment, results)
    return _there(dots(judgement, metric, lacking=True) for metric in ("group_accuracy", "macro_f1"))


def robustness(experiment: Experiment, results: Results) -> list[Block]:
    """How far corruptions let the accuracy fall, by severity, by arm, and by both."""
    judgement = judge(experiment, results)
    table = means(judgement, "group_accuracy")
    table = table[table.index.str.contains("/")] if len(table) else table
    if table.empty or experiment.baseline not in table:
        return []
    of_same = results.values("group_accuracy", "clean")
    clean = (results.values("group_accuracy") if of_same.empty else of_same).mean()
    names = table.index.str.rpartition("/")
    kinds = names.get_level_values(0).str.replace("_", " ")
    keys = pd.MultiIndex.from_arrays([kinds, names.get_level_values(2).astype(int)])
    table.index = keys.set_names(["corruption", "severity"])
    return [
        *_over_corruptions(judgement),
        _drops(experiment, table, clean),
        _by_severity(experiment, table),
        *_who_helps(experiment, table),
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
    name = f"{judgement.experiment.name}-corrupted".replace("_", "-")
    return [Listing(name, pd.DataFrame(rows, columns=headings), caption, documented=True)]


def _drops(experiment: Experiment, table: pd.DataFrame, clean: pd.Series) -> Picture:
    baseline = experiment.baseline
    drop = 100 * (table[baseline].unstack("severity") - clean.get(baseline, float("nan")))
    drop = drop.loc[drop.mean(axis=1).sort_values().index, sorted(drop.columns)]
    caption = f"Points of group accuracy that “{baseline}” loses by each corruption at each severity, the worst first."
    return matrix(f"{experiment.name}-drop", drop.dropna(how="all"), caption, "severity", digits=1)


def _by_severity(experiment: Experiment, table: pd.DataFrame) -> Picture:
    mean = 100 * table.groupby("severity").mean()
    curves = {str(arm): mean[arm].tolist() for arm in mean.columns}
    caption = "Mean group accuracy over all corruptions."
    return lines(f"{experiment.name}-severity", mean.index.tolist(), curves, ("severity", "group accuracy, %"), caption)


def _who_helps(experiment: Experiment, table: pd.DataFrame) -> list[Block]:
    others = [arm for arm in table.columns if arm != experiment.baseline]
    if not others:
        return []
    by_corruption = table.groupby("corruption", sort=False).mean()
    by_corruption.loc["all of them"] = by_corruption.mean()
    gain = 100 * by_corruption[others].sub(by_corruption[experiment.baseline], axis=0)
    caption = f"Points of group accuracy that each arm gains over “{experiment.baseline}”, mean over severities."
    return [matrix(f"{experiment.name}-gain", gain, caption, "points", digits=1)]


def calibration(experiment: Experiment, results: Results) -> list[Block]:
    """Log loss and calibration error, what abstaining buys, and coverage by group."""
    judgement = judge(experiment, results)
    blocks = _there(dots(judgement, metric) for metric in ("calibration_error", "log_loss"))
    risk = means(judgement, "risk")
    risk = risk[risk.index.str.match(r"abstain [\d.]+%$")] if len(risk) else risk
    if len(risk):
        shares = risk.index.str.extract(r"([\d.]+)")[0].astype(float)
        risk = 100 * risk.set_axis(shares).sort_index()
        curves = {str(arm): risk[arm].tolist() for arm in risk.columns}
        titles = ("abstained on, %", "error among the others, %")
        caption = "What abstaining on the least sure examples buys: risk against coverage."
        blocks.append(lines(f"{experiment.name}-risk", risk.index.tolist(), curves, titles, caption))
    for metric, thresholds in (
        ("coverage", "one threshold"),
        ("coverage_by_group", "a threshold for each group"),
    ):
        coverage = 100 * means(judgement, metric)
        if len(coverage):
            caption = (
                f"How often a prediction set with {thresholds} holds the true group, in percent, mean over seeds. "
                "Pale: the 99% that were asked for; blue: more; vermilion: less."
            )
            name = f"{experiment.name}-{metric}"
            # One scale for both thresholds: a promise that is kept is pale.
            blocks.append(matrix(name, coverage.T, caption, "coverage, %", middle=99.0, reach=4.0))
    return blocks


def strangers(experiment: Experiment, results: Results) -> list[Block]:
    """How well each score tells each kind of stranger from clothes."""
    judgement, blocks = judge(experiment, results), []
    for metric in ("auroc", "fpr95"):
        table = means(judgement, metric)
        if len(table):
            heading = scale_of(metric).heading
            caption = f"{heading[0].upper()}{heading[1:]} of each score for each kind of stranger, in percent."
            name = f"{experiment.name}-{metric}"
            blocks.append(matrix(name, 100 * table, caption, f"{heading}, %", mirrored=False, digits=1))
    return [*blocks]


def text(experiment: Experiment, results: Results) -> list[Block]:
    """What the answers gain over the image's own where there is a text, where there is none, and where it misleads."""
    judgement = judge(experiment, results)
    both, image = means(judgement, "group_accuracy"), means(judgement, "image_accuracy")
    if both.empty or image.empty:
        return []
    caption = (
        "Points of group accuracy over the same network without texts, by what the products' texts are; empty where an "
        "arm has no such products."
    )
    gain = 100 * (both.loc[image.index] - image).T
    return [matrix(f"{experiment.name}-gain", gain, caption, "points")]


def final(experiment: Experiment, results: Results) -> list[Block]:
    """How many images each arm has wrong, how many of them with every seed, and how many of these in its worst pair."""
    judgement = judge(experiment, results)
    names, every = judgement.taxonomy.groups, "all of them"
    rows = []
    for arm in [*judgement.arms, every]:
        wrong = results.errors if arm == every else results.errors[results.errors["arm"] == arm]
        runs = len(wrong[["arm", "seed"]].drop_duplicates())
        # However an image is mistaken: the pair of the given group and the most frequent answer.
        by_image = wrong.groupby("example").agg(
            runs=("seed", "size"), truth=("truth", "first"), told=("predicted", lambda told: told.mode()[0])
        )
        always = by_image[by_image["runs"] == runs]
        pairs = [" and ".join(names[group] for group in sorted(pair)) for pair in always[["truth", "told"]].to_numpy()]
        worst = pd.Series(pairs, dtype=str).value_counts().head(1)
        named = "".join(f"{count} of {pair}" for pair, count in worst.items())
        rows.append((arm, f"{len(wrong) / max(runs, 1):.1f}", len(always), named))
    caption = "Images that are wrong: mean of the seeds, with every seed, and of these the pair that is confused most."
    table = pd.DataFrame(rows, columns=["arm", "wrong", "with every seed", "of these"])
    return [Listing(f"{experiment.name}-always-wrong", table, caption, documented=True)]


def _there(pictures: Iterable[Picture | None]) -> list[Block]:
    return [picture for picture in pictures if picture is not None]


SPECIAL: dict[str, Callable[[Experiment, Results], list[Block]]] = {
    "calibration": calibration,
    "deployment": deployment,
    "final": final,
    "ladder": ladder,
    "robustness": robustness,
    "strangers": strangers,
    "text": text,
    "why": why.blocks,
}
"""By the experiment's measure."""

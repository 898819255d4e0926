"""The sentences of a study: how it was made, what came out, and what was decided, with the figures of its results."""

from __future__ import annotations

import re
from collections.abc import Iterable

from analysis.experiments.comparison import Difference, mean_over_seeds
from analysis.experiments.decision import Decision
from analysis.experiments.judgement import Judgement, ran_on
from analysis.experiments.remark import remark
from analysis.experiments.scales import OF_GROUPS, probability

NOT_RUN = "Declared, not run."
MOST_NAMED = 5
_TAILS = (": adopted", ": reported, nothing to decide")


def one_line(text: str) -> str:
    """Returns a text of a declaration without its line breaks."""
    return " ".join(text.split())


def listed(names: Iterable[str], most: int = 0) -> str:
    """Returns arms in quotes: “a”, “b” and “c”; with `most`, the others of a long list as their number."""
    quoted = [f"“{name}”" for name in names]
    if most and len(quoted) > most + 1:
        quoted = [*quoted[:most], f"{len(quoted) - most} others"]
    return quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + f" and {quoted[-1]}"


def how(judgement: Judgement) -> str:
    """Tells how the study is made, and the least difference that it can see."""
    experiment, scale = judgement.experiment, judgement.scale
    seeds = f"{len(experiment.seeds)} seeds" if len(experiment.seeds) > 1 else "one seed"
    judged = ", compared" if judgement.supports is None else f", judged on {judgement.supports.sum():,} examples"
    arms = f"{len(experiment.arms)} arms with {seeds} each" if len(experiment.arms) > 1 else f"One arm with {seeds}"
    told = [f"{arms}{judged} by {scale.heading}."]
    if judgement.least_difference == judgement.least_difference:
        least = f"{scale.value(judgement.least_difference)} {scale.unit}".strip()
        told.append(
            f"In four cases of five such a study sees a difference of {least} to the baseline{_of_arms(judgement)}."
        )
    told.append(f"Rule: {one_line(experiment.rule.text)}")
    if places := ran_on(judgement.results.figures):
        told.append(f"Run on {' and '.join(places)}.")
    return " ".join(told)


def _of_arms(judgement: Judgement) -> str:
    return " (the median over its arms)" if len(judgement.differences) > 1 else ""


def what_came_out(judgement: Judgement) -> str:
    """Tells the best arm, which arms are told from the baseline, what happens by group, and what is missing."""
    if not judgement.arms:
        return NOT_RUN
    paragraphs = [_best(judgement), _told_apart(judgement), _by_group(judgement), missing(judgement)]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def missing(judgement: Judgement) -> str:
    """Says which runs are missing; empty if none is."""
    absent = judgement.results.missing()
    if not absent:
        return ""
    arms = list(dict.fromkeys(arm for arm, _ in absent))
    total = len(judgement.experiment.arms) * len(judgement.experiment.seeds)
    return f"**Not complete**: {len(absent)} of {total} runs are missing, of {listed(arms, MOST_NAMED)}."


def decided(judgement: Judgement, concluded: str = "") -> str:
    """Tells what the declared rule decides, beside what a person concludes from more than its metric.

    Args:
        judgement: The study.
        concluded: A person's conclusion, which then comes first. Where the rule only asks for a report, it stands
            alone. Defaults to none.
    """
    decision, experiment = judgement.decision, judgement.experiment
    if decision is None:
        state = _state(judgement)
        return f"So we decide nothing yet: {state[:1].lower()}{state[1:]}"
    if experiment.rule.kind == "report":
        return concluded or f"So we decide nothing by this study alone: {_reason(judgement, decision)}."
    verb, chosen = "keep" if decision.chosen == experiment.baseline else "take", f"“{decision.chosen}”"
    if not concluded:
        return f"So we {verb} {chosen}: {_reason(judgement, decision)}."
    own = f"By {judgement.scale.heading} alone the rule {verb}s {chosen}: {_reason(judgement, decision)}."
    return f"{concluded}\n\n{own}"


def verdict(judgement: Judgement) -> str:
    """Returns the study's answer in one sentence: a person's conclusion, or else the figures; or what is missing."""
    decision = judgement.decision
    if decision is None:
        return _state(judgement)
    concluded = one_line(remark(judgement, judgement.results.array_file.parent)[1])
    told = re.split(r"(?<=\.)\s", concluded)[0].removeprefix("So ") or f"{_reason(judgement, decision)}."
    return f"{told[:1].upper()}{told[1:]}"


def _state(judgement: Judgement) -> str:
    """Returns how far the study is."""
    if not judgement.arms:
        return NOT_RUN
    total = len(judgement.experiment.arms) * len(judgement.experiment.seeds)
    return f"{total - len(judgement.results.missing())} of {total} runs are made."


def _reason(judgement: Judgement, decision: Decision) -> str:
    """Returns why, without the decision itself, which the sentence around it says."""
    if judgement.scale.unit != "points" or not judgement.differences:
        # A decision gives its figures in points, which others are not.
        return _best(judgement).removesuffix(".")
    reason = decision.reason
    for tail in (*_TAILS, f": {decision.chosen} stays"):
        reason = reason.removesuffix(tail)
    return reason


def _best(judgement: Judgement) -> str:
    best = judgement.best
    if best is None:
        return ""
    metric, scale = judgement.experiment.metric, judgement.scale
    figure = scale.spread(*mean_over_seeds(judgement.values(best, metric)))
    if len(judgement.arms) == 1:
        return f"{scale.heading[:1].upper()}{scale.heading[1:]} {figure}."
    told = f"“{best}” is best: {scale.heading} {figure}"
    if best not in judgement.differences:
        return f"{told}; it is the baseline." if best == judgement.experiment.baseline else f"{told}."
    correction = f" after Holm over {len(judgement.adjusted)} comparisons" if len(judgement.adjusted) > 1 else ""
    chance = probability(judgement.adjusted[best], "p")
    return f"{told}, {_change(judgement, judgement.differences[best])} from the baseline, {chance}{correction}."


def _change(judgement: Judgement, found: Difference) -> str:
    scale = judgement.scale
    return " ".join(
        part for part in (scale.change(found.value), scale.unit, scale.interval(found.low, found.high)) if part
    )


def _told_apart(judgement: Judgement) -> str:
    if not judgement.differences:
        return ""
    sign = 1 if judgement.scale.more_is_better else -1
    sure = judgement.beyond_chance
    better = [arm for arm in sure if sign * judgement.differences[arm].value > 0]
    worse = [arm for arm in sure if arm not in better]
    told = [
        f"Beyond chance {word} than “{judgement.experiment.baseline}”: {listed(arms)}."
        for word, arms in (("better", better), ("worse", worse))
        if arms
    ]
    rest = len(judgement.differences) - len(sure)
    if not sure:
        told.append("No arm is told from the baseline beyond chance.")
    elif rest:
        told.append(f"The other {rest} cannot be told from it.")
    return " ".join(told)


def _by_group(judgement: Judgement) -> str:
    experiment = judgement.experiment
    candidates = [arm for arm, found in judgement.differences.items() if found.value == found.value]
    if experiment.metric not in OF_GROUPS or judgement.supports is None or not candidates:
        return ""
    arm = max(candidates, key=lambda name: judgement.differences[name].value)
    parts = []
    for group in judgement.taxonomy.groups:
        found, scale = judgement.difference(arm, experiment.baseline, group), judgement.scale
        parts.append(f"{group} {scale.change(found.value)} {scale.interval(found.low, found.high)}")
    return f"F1 of each group with “{arm}”, in points from the baseline's: {'; '.join(parts)}."

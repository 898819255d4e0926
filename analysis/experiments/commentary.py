"""The written commentary on an experiment, `studies/NAME.md`, with placeholders for figures of the results.

`{value:ARM:METRIC}`, `{difference:ARM:METRIC}` (to the baseline) and `{change:ARM:METRIC}` (the same with its 95%
interval) stand for means over seeds in the metric's unit; `{equivalence:ARM:METRIC}` stands for "equivalent within
±0.20 points (90% CI ...)" or "cannot tell: ...". A third part names a subset, such as a group, and `ARM against OTHER`
compares with another arm than the baseline. The paragraphs from the first that begins with "So we"
on are the conclusion; its first sentence is the experiment's answer in short, so it must be clear on its own. A
paragraph `Decided: ...` names in a few words what the experiment decided, for the table of all experiments.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from analysis.experiments.comparison import Difference
from analysis.experiments.declaration import STUDIES, DeclarationError
from analysis.experiments.equivalence import MARGINS, describe_equivalence
from analysis.experiments.judgement import UNDEFINED, Judgement, over_seeds
from analysis.experiments.reported_metrics import scale_of

AGAINST = " against "
DECIDED = "Decided: "
KINDS = ("value", "difference", "change", "equivalence")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Commentary:
    """What was written about the results of an experiment, in Markdown; empty where nothing was written."""

    remarks: str = ""
    conclusion: str = ""
    decided: str = ""


def read_commentary(judgement: Judgement, directory: Path = STUDIES) -> Commentary:
    """Returns the commentary with its figures.

    The commentary presumes complete results: while runs are missing, as after a change of an arm, it is left out.

    Raises:
        DeclarationError: A placeholder is invalid, or its figure was not measured.
    """
    file = directory / f"{judgement.experiment.name}.md"
    if not file.exists() or not judgement.results.complete:
        return Commentary()
    text = _PLACEHOLDER.sub(lambda match: _figure(judgement, match[1], file), file.read_text(encoding="utf-8"))
    paragraphs = [paragraph.strip() for paragraph in text.split("\n\n") if paragraph.strip()]
    decided = next((text.removeprefix(DECIDED) for text in paragraphs if text.startswith(DECIDED)), "")
    prose = [paragraph for paragraph in paragraphs if not paragraph.startswith(DECIDED)]
    begin = next((i for i, paragraph in enumerate(prose) if paragraph.startswith("So we")), len(prose))
    return Commentary("\n\n".join(prose[:begin]), "\n\n".join(prose[begin:]), " ".join(decided.split()))


def _figure(judgement: Judgement, placeholder: str, file: Path) -> str:
    kind, _, rest = placeholder.partition(":")
    arm, rest = _split_arm(judgement, rest)
    other = judgement.experiment.baseline
    if kind in KINDS[1:] and rest.startswith(AGAINST):
        other, rest = _split_arm(judgement, rest.removeprefix(AGAINST))
    metric_and_subset = rest.split(":")[1:]
    if kind not in KINDS or len(metric_and_subset) not in (1, 2):
        raise DeclarationError(
            "The commentary has an invalid placeholder.",
            expected=f"{', '.join(f'{{{kind}:ARM:METRIC}}' for kind in KINDS)}, optionally with :SUBSET",
            received=f"{{{placeholder}}} ({file})",
        )
    metric, subset = metric_and_subset[0], metric_and_subset[1] if len(metric_and_subset) > 1 else judgement.whole
    arms = (arm,) if kind == "value" else (arm, other)
    for name in arms:
        if name not in (known := judgement.table(metric, subset)):
            raise DeclarationError(
                "The commentary has a placeholder for a figure that was not measured.",
                expected=f"an arm with {metric} of {subset}: {', '.join(known.columns) or 'none has it'}",
                received=f"{{{placeholder}}} ({file})",
            )
    if kind == "equivalence":
        return _equivalence(judgement, arms, metric, subset)
    return _format(judgement, arms, metric, subset, with_interval=kind == "change")


def _format(judgement: Judgement, arms: tuple[str, ...], metric: str, subset: str, with_interval: bool) -> str:
    scale, table = scale_of(metric), judgement.table(metric, subset)
    if len(arms) == 1:
        return scale.value(float(table[arms[0]].mean()))
    change = scale.change(float((table[arms[0]] - table[arms[1]]).mean()))
    found = _compare(judgement, arms, metric, subset) if with_interval else UNDEFINED
    return f"{change} {scale.interval(found.low, found.high)}".strip()


def _equivalence(judgement: Judgement, arms: tuple[str, ...], metric: str, subset: str) -> str:
    margin = judgement.margin(metric)
    if margin is None:
        raise DeclarationError(
            "The commentary asks for the equivalence in a metric without a margin.",
            expected=f"one of {', '.join(MARGINS)}",
            received=metric,
        )
    return describe_equivalence(_compare(judgement, arms, metric, subset), margin, scale_of(metric))


def _split_arm(judgement: Judgement, text: str) -> tuple[str, str]:
    """Returns the arm that a text begins with, and the rest; an arm's name may contain a colon."""
    known = [arm for arm in judgement.experiment.arms if text.startswith((f"{arm}:", f"{arm}{AGAINST}"))]
    arm = max(known, key=len, default=text.partition(":")[0])
    return arm, text.removeprefix(arm)


def _compare(judgement: Judgement, arms: tuple[str, ...], metric: str, subset: str) -> Difference:
    arm, other = arms
    if subset == judgement.whole:
        return judgement.difference(arm, other, metric)
    if metric == "f1" and subset in judgement.taxonomy.groups:
        return judgement.difference(arm, other, subset)
    table = judgement.table(metric, subset).reindex(columns=[arm, other]).dropna()
    return over_seeds((table[arm] - table[other]).tolist())

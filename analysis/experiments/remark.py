"""What a person writes beside a study, `studies/NAME.md`, with figures that are filled in from the results.

`{value:ARM:METRIC}`, `{difference:ARM:METRIC}` (to the baseline) and `{change:ARM:METRIC}` (the same with its 95%
interval) stand for means over seeds in the metric's unit; a third part names the subset, such as a group, and
`ARM against OTHER` compares with another arm than the baseline. Paragraphs from one that begins with "So we" on tell
the decision; their first sentence is the study's answer in short, so it must be understood alone.
"""

from __future__ import annotations

import re
from pathlib import Path

from analysis.experiments.comparison import Difference
from analysis.experiments.declaration import STUDIES, DeclarationError
from analysis.experiments.judgement import UNDEFINED, Judgement, over_seeds
from analysis.experiments.scales import scale_of

AGAINST = " against "
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def remark(judgement: Judgement, directory: Path = STUDIES) -> tuple[str, str]:
    """Returns what is remarked and what is decided, with their figures; empty where there is nothing.

    It was written when all runs were there: while some are missing, as after a change of an arm, it is left out.

    Raises:
        DeclarationError: A placeholder is not one, or asks for what was not measured.
    """
    file = directory / f"{judgement.experiment.name}.md"
    if not file.exists() or not judgement.results.complete:
        return "", ""
    text = _PLACEHOLDER.sub(lambda found: _figure(judgement, found[1], file), file.read_text(encoding="utf-8"))
    paragraphs = [paragraph.strip() for paragraph in text.split("\n\n") if paragraph.strip()]
    begin = next((i for i, paragraph in enumerate(paragraphs) if paragraph.startswith("So we")), len(paragraphs))
    return "\n\n".join(paragraphs[:begin]), "\n\n".join(paragraphs[begin:])


def _figure(judgement: Judgement, asked: str, file: Path) -> str:
    kind, _, rest = asked.partition(":")
    arm, rest = _arm(judgement, rest)
    other = judgement.experiment.baseline
    if kind in ("difference", "change") and rest.startswith(AGAINST):
        other, rest = _arm(judgement, rest.removeprefix(AGAINST))
    asked_of = rest.split(":")[1:]
    if kind not in ("value", "difference", "change") or len(asked_of) not in (1, 2):
        raise DeclarationError(
            "A placeholder is not one. Expected: {value:ARM:METRIC}, {difference:ARM:METRIC} or {change:ARM:METRIC}, "
            f"with or without :SUBSET behind it. Received: {{{asked}}} ({file})"
        )
    metric, subset = asked_of[0], asked_of[1] if len(asked_of) > 1 else judgement.whole
    arms = (arm,) if kind == "value" else (arm, other)
    for name in arms:
        if name not in (known := judgement.table(metric, subset)):
            raise DeclarationError(
                f"A placeholder asks for what is not there. Expected: an arm with {metric} of {subset}: "
                f"{', '.join(known.columns) or 'none has it'}. Received: {{{asked}}} ({file})"
            )
    return _shown(judgement, arms, metric, subset, with_interval=kind == "change")


def _shown(judgement: Judgement, arms: tuple[str, ...], metric: str, subset: str, with_interval: bool) -> str:
    scale, table = scale_of(metric), judgement.table(metric, subset)
    if len(arms) == 1:
        return scale.value(float(table[arms[0]].mean()))
    change = scale.change(float((table[arms[0]] - table[arms[1]]).mean()))
    found = _compared(judgement, arms, metric, subset) if with_interval else UNDEFINED
    return f"{change} {scale.interval(found.low, found.high)}".strip()


def _arm(judgement: Judgement, text: str) -> tuple[str, str]:
    """Returns the arm that a text begins with, and the rest; an arm's name may have a colon in it."""
    known = [arm for arm in judgement.experiment.arms if text.startswith((f"{arm}:", f"{arm}{AGAINST}"))]
    arm = max(known, key=len, default=text.partition(":")[0])
    return arm, text.removeprefix(arm)


def _compared(judgement: Judgement, arms: tuple[str, ...], metric: str, subset: str) -> Difference:
    arm, other = arms
    if subset == judgement.whole:
        return judgement.difference(arm, other, metric)
    if metric == "f1" and subset in judgement.taxonomy.groups:
        return judgement.difference(arm, other, subset)
    table = judgement.table(metric, subset).reindex(columns=[arm, other]).dropna()
    return over_seeds((table[arm] - table[other]).tolist())

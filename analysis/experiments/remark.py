"""What a person writes beside a study, `studies/NAME.md`, with figures that are filled in from the results.

`{value:ARM:METRIC}` and `{difference:ARM:METRIC}` (to the baseline) stand for means over seeds in the metric's unit;
a third part names the subset, such as a group. Paragraphs from one that begins with "So we" on tell the decision.
"""

from __future__ import annotations

import re
from pathlib import Path

from analysis.experiments.declaration import STUDIES, DeclarationError
from analysis.experiments.judgement import Judgement
from analysis.experiments.scales import scale_of

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
    # An arm's name may have a colon in it.
    known = [name for name in judgement.experiment.arms if rest.startswith(f"{name}:")]
    arm = max(known, key=len, default=rest.partition(":")[0])
    asked_of = rest.removeprefix(arm).split(":")[1:]
    if kind not in ("value", "difference") or len(asked_of) not in (1, 2):
        raise DeclarationError(
            "A placeholder is not one. Expected: {value:ARM:METRIC} or {difference:ARM:METRIC}, with or without "
            f":SUBSET behind it. Received: {{{asked}}} ({file})"
        )
    metric, subset = asked_of[0], asked_of[1] if len(asked_of) > 1 else judgement.whole
    table, baseline = judgement.table(metric, subset), judgement.experiment.baseline
    for name in (arm, baseline) if kind == "difference" else (arm,):
        if name not in table:
            raise DeclarationError(
                f"A placeholder asks for what is not there. Expected: an arm with {metric} of {subset}: "
                f"{', '.join(table.columns) or 'none has it'}. Received: {{{asked}}} ({file})"
            )
    scale = scale_of(metric)
    if kind == "value":
        return scale.value(float(table[arm].mean()))
    return scale.change(float((table[arm] - table[baseline]).mean()))

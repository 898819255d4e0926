"""The report on the experiments: the texts and figures of each, and the interactive page that holds them all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from analysis.experiments import declaration
from analysis.experiments.commentary import Commentary, read_commentary
from analysis.experiments.comparison import Difference, mean_over_seeds
from analysis.experiments.declaration import STUDIES, Experiment
from analysis.experiments.equivalence import format_margin, margin_table
from analysis.experiments.judgement import (
    BETTER,
    CANNOT_TELL,
    EQUIVALENT,
    INCONCLUSIVE,
    NOT_SIGNIFICANT,
    WORSE,
    Decision,
    Judgement,
    correction,
    excludes_zero,
    judge,
    machines,
)
from analysis.experiments.links import link_mentions, link_within_page, page_name, section_name
from analysis.experiments.reported_metrics import GROUP_METRICS, format_p_value
from analysis.experiments.results import Results
from analysis.pages.section import Block, Section
from pipeline.contract.files import write_text

TITLE = "Experiments: what works, and what does not"
METHOD = Path(__file__).with_name("method.md")
NOT_RUN = "Declared, not run."
CONTRADICTION = "either the corrected p-value or the 95% interval indicates a difference, not both"
MOST_NAMED = 5


@dataclass(frozen=True, eq=False)
class Report:
    """The texts about one experiment, in Markdown, with its figures and tables.

    Attributes:
        experiment: The experiment.
        answer: The answer to its question in one sentence.
        uncertainty: For how many arms the experiment is inconclusive or cannot tell; empty for none.
        decided: What it decided, in a few words.
        question: The question as declared.
        expectation: The expected answer as declared.
        method: Arms, seeds, images, metric, power, rule and machines.
        results: The best arm, significant differences, and missing runs.
        remarks: The written interpretation; may be empty.
        decision: The decision and its reason.
        blocks: Figures and tables.
    """

    experiment: Experiment
    answer: str
    uncertainty: str
    decided: str
    question: str
    expectation: str
    method: str
    results: str
    remarks: str
    decision: str
    blocks: tuple[Block, ...]

    @property
    def title(self) -> str:
        """The heading, with the number."""
        return f"{self.experiment.number}. {self.experiment.title}"

    @property
    def prose(self) -> str:
        """All texts together."""
        return "\n\n".join(getattr(self, name) for name in TEXTS)


TEXTS = ("answer", "decided", "question", "expectation", "method", "results", "remarks", "decision")
"""The texts of a report, all of them Markdown."""


def reports(directory: Path = STUDIES) -> list[Report]:
    """Returns the reports of all declared experiments, in the order of their numbers, with links between them.

    Raises:
        DeclarationError: A declaration or a commentary is invalid.
    """
    judged = judgements(directory)
    pages = {judgement.experiment.number: page_name(judgement.experiment) for judgement in judged}
    return [_linked(report(judgement, directory), pages) for judgement in judged]


def judgements(directory: Path = STUDIES) -> list[Judgement]:
    """Returns the judgements of all declared experiments, in the order of their numbers."""
    experiments = [declaration.load(name, directory) for name in declaration.names(directory)]
    return [judge(experiment, Results(experiment, directory)) for experiment in experiments]


def report(judgement: Judgement, directory: Path = STUDIES) -> Report:
    """Returns the report of one experiment."""
    experiment, commentary = judgement.experiment, read_commentary(judgement, directory)
    return Report(
        experiment=experiment,
        answer=_answer(judgement, commentary),
        uncertainty=describe_uncertainty(judgement),
        decided=commentary.decided or describe_outcome(judgement),
        question=_one_line(experiment.question),
        expectation=_one_line(experiment.hypothesis),
        method=describe_method(judgement),
        results=describe_results(judgement),
        remarks=commentary.remarks,
        decision=describe_decision(judgement, commentary.conclusion),
        blocks=_blocks(judgement),
    )


def section(found: Report) -> Section:
    """Returns the section of the interactive page for an experiment."""
    parts = {
        "Question": found.question,
        "Expectation": found.expectation,
        "Method": found.method,
        "Results": found.results,
        "Remarks": found.remarks,
    }
    return Section(
        name=section_name(found.experiment),
        title=found.title,
        finding=link_within_page("\n\n".join(f"**{name}.** {text}" for name, text in parts.items() if text)),
        decision=link_within_page(found.decision),
        blocks=found.blocks,
    )


def sections(directory: Path = STUDIES) -> list[Section]:
    """Returns the sections of all experiments, in the order of their numbers."""
    return [section(found) for found in reports(directory)]


def reading_guide(found: Sequence[Report]) -> str:
    """Returns the explanation of intervals, significance, power and equivalence, in Markdown with headings."""
    text = METHOD.read_text(encoding="utf-8").replace("{margins}", margin_table())
    return link_mentions(text, {each.experiment.number: page_name(each.experiment) for each in found})


def write_page(target: Path, found: Sequence[Report]) -> None:
    """Writes all experiments as one HTML page that needs no network."""
    from analysis.pages import page

    guide = link_within_page(reading_guide(found)).replace("## ", "### ")
    short = [
        link_within_page(
            f"[{each.experiment.title}](#{section_name(each.experiment)}). {each.answer} {each.uncertainty}"
        )
        for each in found
    ]
    subtitle = f"{len(found)} experiments on the grouped garments of Fashion-MNIST"
    parts = [Section("reading", "How to read the figures", guide, "", ()), *map(section, found)]
    write_text(target, page.write_page(parts, short, subtitle, TITLE))


def summary(judgement: Judgement, directory: Path = STUDIES) -> str:
    """Returns the experiment's answer in one sentence, and for how many arms it is inconclusive or cannot tell.

    The answer is the first sentence of the written conclusion, or one from the figures.
    """
    found = _answer(judgement, read_commentary(judgement, directory))
    return f"{found} {describe_uncertainty(judgement)}".rstrip()


def describe_outcome(judgement: Judgement) -> str:
    """Returns what the rule decides, in a few words."""
    decision, experiment = judgement.decision, judgement.experiment
    if decision is None:
        return "nothing yet"
    if experiment.rule.kind == "report":
        return "nothing by itself"
    kept = decision.chosen == experiment.baseline
    return f"keeps “{decision.chosen}”" if kept else f"adopts “{decision.chosen}”"


def _answer(judgement: Judgement, commentary: Commentary) -> str:
    decision = judgement.decision
    if decision is None:
        return _progress(judgement)
    conclusion = _one_line(commentary.conclusion)
    sentence = re.split(r"(?<=\.)\s", conclusion)[0].removeprefix("So ") or f"{_reason(judgement, decision)}."
    return f"{sentence[:1].upper()}{sentence[1:]}"


def _linked(found: Report, pages: dict[int, str]) -> Report:
    others = {number: page for number, page in pages.items() if number != found.experiment.number}
    texts: dict[str, Any] = {name: link_mentions(getattr(found, name), others) for name in TEXTS}
    return replace(found, **texts)


def describe_method(judgement: Judgement) -> str:
    """Returns arms, seeds, examples, metric, minimum detectable difference, rule and machines."""
    experiment, scale = judgement.experiment, judgement.scale
    seeds = f"{len(experiment.seeds)} seeds" if len(experiment.seeds) > 1 else "one seed"
    compared = ", compared" if judgement.supports is None else f", evaluated on {judgement.supports.sum():,} examples"
    arms = f"{len(experiment.arms)} arms with {seeds} each" if len(experiment.arms) > 1 else f"One arm with {seeds}"
    sentences = [f"{arms}{compared} by {scale.heading}."]
    detectable = judgement.minimum_detectable_difference
    if detectable == detectable:
        size = f"{scale.value(detectable)} {scale.unit}".strip()
        over_arms = " (median over the arms)" if len(judgement.differences) > 1 else ""
        sentences.append(f"Minimum detectable difference to the baseline at 80% power: {size}{over_arms}.")
    sentences.append(f"Rule: {_one_line(experiment.rule.text)}")
    if ran_on := machines(judgement.results.figures):
        sentences.append(f"Run on {' and '.join(ran_on)}.")
    return " ".join(sentences)


def describe_results(judgement: Judgement) -> str:
    """Returns the best arm, the significant differences, the differences by group, and the missing runs."""
    if not judgement.arms:
        return NOT_RUN
    paragraphs = [_best(judgement), _significance(judgement), _by_group(judgement), _missing(judgement)]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def describe_decision(judgement: Judgement, conclusion: str = "") -> str:
    """Returns the decision of the declared rule, and before it the written conclusion.

    Args:
        judgement: The experiment's judgement.
        conclusion: The written conclusion. Where the rule only asks for a report, it stands alone. Defaults to none.
    """
    decision, experiment = judgement.decision, judgement.experiment
    if decision is None:
        progress = _progress(judgement)
        return f"So we decide nothing yet: {progress[:1].lower()}{progress[1:]}"
    if experiment.rule.kind == "report":
        return conclusion or f"So we decide nothing by this experiment alone: {_reason(judgement, decision)}."
    verb, chosen = "keep" if decision.chosen == experiment.baseline else "take", f"“{decision.chosen}”"
    if not conclusion:
        return f"So we {verb} {chosen}: {_reason(judgement, decision)}."
    by_rule = f"By {judgement.scale.heading} alone the rule {verb}s {chosen}: {_reason(judgement, decision)}."
    return f"{conclusion}\n\n{by_rule}"


def _missing(judgement: Judgement) -> str:
    missing = judgement.results.missing()
    if not missing:
        return ""
    arms = list(dict.fromkeys(arm for arm, _ in missing))
    total = len(judgement.experiment.arms) * len(judgement.experiment.seeds)
    named = [f"“{arm}”" for arm in arms]
    if len(arms) > MOST_NAMED + 1:
        named = [*named[:MOST_NAMED], f"{len(arms) - MOST_NAMED} others"]
    return f"**Not complete**: {len(missing)} of {total} runs are missing, of {_join(named)}."


def _progress(judgement: Judgement) -> str:
    if not judgement.arms:
        return NOT_RUN
    total = len(judgement.experiment.arms) * len(judgement.experiment.seeds)
    return f"{total - len(judgement.results.missing())} of {total} runs are finished."


def _reason(judgement: Judgement, decision: Decision) -> str:
    """Returns the figures that a decision follows from; those of the decision itself are always in points."""
    if judgement.scale.unit == "points" and judgement.differences:
        return decision.reason
    return _best(judgement).removesuffix(".")


def _best(judgement: Judgement) -> str:
    best = judgement.best
    if best is None:
        return ""
    metric, scale = judgement.experiment.metric, judgement.scale
    figure = scale.spread(*mean_over_seeds(judgement.values(best, metric)))
    if len(judgement.arms) == 1:
        return f"{scale.heading[:1].upper()}{scale.heading[1:]} {figure}."
    sentence = f"“{best}” is best: {scale.heading} {figure}"
    if best not in judgement.differences:
        return f"{sentence}; it is the baseline." if best == judgement.experiment.baseline else f"{sentence}."
    p_value = format_p_value(judgement.adjusted[best], "p")
    change = _change(judgement, judgement.differences[best])
    return f"{sentence}, {change} from the baseline, {p_value}{correction(len(judgement.adjusted))}."


def _change(judgement: Judgement, found: Difference) -> str:
    scale = judgement.scale
    return " ".join(
        part for part in (scale.change(found.value), scale.unit, scale.interval(found.low, found.high)) if part
    )


def _significance(judgement: Judgement) -> str:
    """Returns the arms by their verdict, one line a verdict."""
    baseline = judgement.experiment.baseline
    margin = judgement.margin(judgement.experiment.metric)
    limit = "" if margin is None else format_margin(margin, judgement.scale)
    titles = {
        BETTER: f"Significantly better than “{baseline}”",
        WORSE: f"Significantly worse than “{baseline}”",
        EQUIVALENT: f"Equivalent to “{baseline}” within {limit}, by the 90% interval",
        INCONCLUSIVE: f"Inconclusive ({CONTRADICTION})",
        CANNOT_TELL: f"Cannot tell, since the 90% interval includes differences beyond {limit}",
        NOT_SIGNIFICANT: "Not significantly different",
    }
    found = {title: judgement.arms_with(verdict) for verdict, title in titles.items()}
    return "\n".join(f"- {title}: {_with_intervals(judgement, arms)}." for title, arms in found.items() if arms)


def _with_intervals(judgement: Judgement, arms: Sequence[str]) -> str:
    """Returns arms in quotes; inconclusive ones have their 95% intervals, other non-significant ones those of 90%."""
    return _join([f"“{arm}” {_interval(judgement, arm)}".rstrip() for arm in arms])


def _interval(judgement: Judgement, arm: str) -> str:
    scale, found, verdict = judgement.scale, judgement.differences[arm], judgement.verdicts[arm]
    if verdict in (BETTER, WORSE):
        return ""
    return scale.interval(found.low, found.high) if verdict == INCONCLUSIVE else scale.interval(*found.interval_90)


def describe_uncertainty(judgement: Judgement) -> str:
    """Returns for how many arms the experiment is inconclusive or cannot tell; nothing if there is none."""
    if judgement.decision is None:
        return ""
    sentences = []
    if found := judgement.arms_with(INCONCLUSIVE):
        reason = _contradiction(judgement, found[0]) if len(found) == 1 else CONTRADICTION
        sentences.append(f"Inconclusive for {_counted(judgement, found)}: {reason}.")
    margin = judgement.margin(judgement.experiment.metric)
    if (found := judgement.arms_with(CANNOT_TELL)) and margin is not None:
        limit = f"{format_margin(margin, judgement.scale)} of {judgement.scale.heading}"
        reason = f"neither different from “{judgement.experiment.baseline}” nor equivalent within {limit}"
        sentences.append(f"Cannot tell for {_counted(judgement, found)}: {reason}.")
    return " ".join(sentences)


def _counted(judgement: Judgement, arms: Sequence[str]) -> str:
    compared = len(judgement.differences)
    return f"{len(arms)} of {compared} arms" if compared > 1 else f"“{arms[0]}”"


def _contradiction(judgement: Judgement, arm: str) -> str:
    """Returns which one of p-value and interval indicates a difference for an inconclusive arm, and which does not."""
    found = judgement.differences[arm]
    p_value = f"{format_p_value(judgement.adjusted[arm], 'p')}{' after Holm' if len(judgement.adjusted) > 1 else ''}"
    interval = f"95% interval {judgement.scale.interval(found.low, found.high)}"
    if excludes_zero(found):
        return f"the {interval} of “{arm}” excludes zero, but {p_value}"
    return f"“{arm}” has {p_value}, but its {interval} does not exclude zero"


def _by_group(judgement: Judgement) -> str:
    experiment = judgement.experiment
    candidates = [arm for arm, found in judgement.differences.items() if found.value == found.value]
    if experiment.metric not in GROUP_METRICS or judgement.supports is None or not candidates:
        return ""
    arm = max(candidates, key=lambda name: judgement.differences[name].value)
    parts = []
    for group in judgement.taxonomy.groups:
        found, scale = judgement.difference(arm, experiment.baseline, group), judgement.scale
        parts.append(f"{group} {scale.change(found.value)} {scale.interval(found.low, found.high)}")
    return f"F1 of each group with “{arm}”, difference to the baseline in points: {'; '.join(parts)}."


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _join(items: Sequence[str]) -> str:
    """Returns items as a list in words: a, b and c."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + f" and {items[-1]}"


def _blocks(judgement: Judgement) -> tuple[Block, ...]:
    # They need plotly, which the terminal's tables do without.
    from analysis.experiments.drawing import charts, tables
    from analysis.experiments.drawing.measure_figures import FIGURES_OF_MEASURE

    if not judgement.arms:
        return ()
    common = (tables.figure_table(judgement), charts.forest_plot(judgement), tables.group_effects(judgement))
    own = FIGURES_OF_MEASURE.get(judgement.experiment.measure)
    more = own(judgement.experiment, judgement.results) if own else []
    return (*(block for block in common if block is not None), *more)

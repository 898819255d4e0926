"""The report on the experiments: a section for each with its sentences and figures, and the page that holds them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from analysis.experiments import declaration
from analysis.experiments.commentary import read_commentary
from analysis.experiments.comparison import Difference, mean_over_seeds
from analysis.experiments.declaration import STUDIES, Experiment
from analysis.experiments.judgement import Decision, Judgement, correction, judge, machines
from analysis.experiments.reported_metrics import GROUP_METRICS, format_p_value
from analysis.experiments.results import Results
from analysis.pages.section import Block, Section
from pipeline.contract.files import write_text

TITLE = "Experiments: what works, and what does not"
NOT_RUN = "Declared, not run."
MOST_NAMED = 5


def judgements(directory: Path = STUDIES) -> list[Judgement]:
    """Returns the judgements of all declared experiments, in the order of their numbers."""
    experiments = [declaration.load(name, directory) for name in declaration.names(directory)]
    return [judge(experiment, Results(experiment, directory)) for experiment in experiments]


def sections(directory: Path = STUDIES) -> list[Section]:
    """Returns a section for each experiment, in the order of their numbers.

    Raises:
        DeclarationError: A declaration or a commentary is invalid.
    """
    return [section(judgement, directory) for judgement in judgements(directory)]


def section(judgement: Judgement, directory: Path = STUDIES) -> Section:
    """Returns the section of one experiment: question, hypothesis, method, results, remarks and decision."""
    experiment, (remarks, conclusion) = judgement.experiment, read_commentary(judgement, directory)
    parts = {
        "Question": _one_line(experiment.question),
        "Expected": _one_line(experiment.hypothesis),
        "How": describe_method(judgement),
        "What came out": describe_results(judgement),
        "Remark": remarks,
    }
    return Section(
        name=experiment.name.replace("_", "-"),
        title=heading(experiment),
        finding="\n\n".join(f"**{name}.** {text}" for name, text in parts.items() if text),
        decision=describe_decision(judgement, conclusion),
        blocks=_blocks(judgement),
    )


def heading(experiment: Experiment) -> str:
    """Returns the heading of an experiment's section."""
    return f"{experiment.number}. {experiment.title}"


def reading_guide() -> Section:
    """Returns the section that explains pairs, intervals, significance and power."""
    return Section("reading", "How to read the figures", _READING, _REPRODUCTION, ())


def write_page(target: Path, directory: Path = STUDIES) -> None:
    """Writes all experiments as one HTML page that needs no network."""
    from analysis.pages import page

    judged = judgements(directory)
    parts = [section(judgement, directory) for judgement in judged]
    short = [
        f"[{judgement.experiment.title}](#{part.name}). {answer(judgement)}"
        for judgement, part in zip(judged, parts, strict=True)
    ]
    subtitle = f"{len(parts)} experiments on the grouped garments of Fashion-MNIST"
    write_text(target, page.write_page([reading_guide(), *parts], short, subtitle, TITLE))


def answer(judgement: Judgement) -> str:
    """Returns the experiment's answer in one sentence: the written conclusion's first, or one from the figures."""
    decision = judgement.decision
    if decision is None:
        return _progress(judgement)
    conclusion = _one_line(read_commentary(judgement, judgement.results.array_file.parent)[1])
    sentence = re.split(r"(?<=\.)\s", conclusion)[0].removeprefix("So ") or f"{_reason(judgement, decision)}."
    return f"{sentence[:1].upper()}{sentence[1:]}"


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
    return f"**Not complete**: {len(missing)} of {total} runs are missing, of {_list(arms, MOST_NAMED)}."


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
    if not judgement.differences:
        return ""
    sign = 1 if judgement.scale.more_is_better else -1
    significant = judgement.significant
    better = [arm for arm in significant if sign * judgement.differences[arm].value > 0]
    worse = [arm for arm in significant if arm not in better]
    sentences = [
        f"Significantly {word} than “{judgement.experiment.baseline}”: {_list(arms)}."
        for word, arms in (("better", better), ("worse", worse))
        if arms
    ]
    rest = len(judgement.differences) - len(significant)
    if not significant:
        sentences.append("No arm differs significantly from the baseline.")
    elif rest == 1:
        sentences.append("The other arm does not differ significantly from it.")
    elif rest:
        sentences.append(f"The other {rest} arms do not differ significantly from it.")
    return " ".join(sentences)


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


def _list(names: Iterable[str], most: int = 0) -> str:
    """Returns arms in quotes: “a”, “b” and “c”; with `most`, the rest of a long list as a number."""
    quoted = [f"“{name}”" for name in names]
    if most and len(quoted) > most + 1:
        quoted = [*quoted[:most], f"{len(quoted) - most} others"]
    return quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + f" and {quoted[-1]}"


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


_READING = """\
**Pairs.** All arms of an experiment share their training images, the order of these, the seeds and the validation
images. So arms are compared image by image and seed by seed, and what is hard for all of them cancels out.

**Intervals.** A difference has a 95% interval over examples and seeds, both resampled (a crossed bootstrap,
[Owen 2007](https://arxiv.org/abs/0712.1111)): where it would lie with other images and other seeds. A figure that is
not counted image by image, such as seconds or the log loss, has Student's interval over the seeds. ± is the standard
deviation between seeds.

**Significance.** Of twenty arms without an effect, one has an interval without zero. So an arm differs significantly
when its p-value (of an exact sign-flip test for accuracy, of swapped predictions otherwise) is below 0.05 after Holm's
correction for the number of arms, so that the probability of any false positive in an experiment is at most 5%, and its
interval excludes zero too: the p-value is over examples for these seeds, and one seed that failed can make it small.

**Power.** “Not significant” does not mean “equal”: there may be a difference below the minimum detectable one, which
each section states (for one comparison, not corrected). One piece has 600 of 6,000
validation images, and one of them is 0.17 points of its recall. The best of many arms also looks a little better than
it is, on the images that chose it. No arm is chosen by the official test images; but before there were experiments
they were evaluated three times, and one of these evaluations led to a second convolution at full resolution
([0011](decisions/0011-network.md)).

**Shared networks.** Equal settings and seeds are one network, trained once. The same three, of the quick family
with six epochs, are the baseline of experiments 2, 3, 5, 6 and 8 and an arm of 1, and they are examined in 7, 9 and 11;
those of experiment 13 appear again in 1, 14, 16 and 17. If such a baseline was lucky or unlucky, all its comparisons
are biased in the same way, and Holm's correction is for one experiment alone.

**Seconds** are those of a machine with other work: seeds of one arm differ by up to a factor of two. Only a ratio of
seconds beyond that means something.
"""
_REPRODUCTION = """\
So we declare an experiment before it is run, with its rule: `analysis/experiments/studies/NAME.toml`. The results are
beside it as CSV, and everything here is computed from these files. `fashion experiment run NAME` makes the runs
that are missing, `fashion experiment report` writes this as an interactive page, and
`make experiments` writes `docs/experiments.md`.
"""

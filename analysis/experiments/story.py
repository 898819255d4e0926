"""The story of the experiments: a section for each, their answers in short, and the page that holds them all."""

from __future__ import annotations

from pathlib import Path

from analysis.experiments import declaration
from analysis.experiments.declaration import STUDIES, Experiment
from analysis.experiments.judgement import Judgement, judge
from analysis.experiments.remark import remark
from analysis.experiments.results import Results
from analysis.experiments.sentences import decided, how, one_line, verdict, what_came_out
from analysis.experiments.terminal import compare_text, table_text
from analysis.pages.section import Block, Section

__all__ = [
    "compare_text",
    "heading",
    "judgements",
    "reading",
    "section",
    "sections",
    "table_text",
    "verdict",
    "write_page",
]

TITLE = "Experiments: what works, and what does not"


def judgements(directory: Path = STUDIES) -> list[Judgement]:
    """Returns all declared experiments with their results, in the order of their numbers."""
    declared = [declaration.load(name, directory) for name in declaration.names(directory)]
    return [judge(experiment, Results(experiment, directory)) for experiment in declared]


def sections(directory: Path = STUDIES) -> list[Section]:
    """Returns a section for each experiment, in the order of their numbers.

    Raises:
        DeclarationError: A declaration or a remark is not as it must be.
    """
    return [section(judgement, directory) for judgement in judgements(directory)]


def section(judgement: Judgement, directory: Path = STUDIES) -> Section:
    """Tells one experiment: question, hypothesis, how it was made, what came out, and what was decided."""
    experiment, (remarked, concluded) = judgement.experiment, remark(judgement, directory)
    parts = {
        "Question": one_line(experiment.question),
        "Expected": one_line(experiment.hypothesis),
        "How": how(judgement),
        "What came out": what_came_out(judgement),
        "Remark": remarked,
    }
    return Section(
        name=experiment.name.replace("_", "-"),
        title=heading(experiment),
        finding="\n\n".join(f"**{name}.** {text}" for name, text in parts.items() if text),
        decision=decided(judgement, concluded),
        blocks=_blocks(judgement),
    )


def heading(experiment: Experiment) -> str:
    """Returns the heading of an experiment's section."""
    return f"{experiment.number}. {experiment.title}"


def reading() -> Section:
    """Tells how the intervals are to be read, and what a study can and cannot see."""
    return Section("reading", "How to read the figures", _READING, _AGAIN, ())


def write_page(target: Path, directory: Path = STUDIES) -> None:
    """Writes all experiments as one page that opens anywhere, without network."""
    from analysis.pages import page

    judged = judgements(directory)
    told = [section(judgement, directory) for judgement in judged]
    short = [
        f"[{judgement.experiment.title}](#{part.name}). {verdict(judgement)}"
        for judgement, part in zip(judged, told, strict=True)
    ]
    subtitle = f"{len(told)} experiments on the grouped garments of Fashion-MNIST"
    target.write_text(page.write_page([reading(), *told], short, subtitle, TITLE), encoding="utf-8")


def _blocks(judgement: Judgement) -> tuple[Block, ...]:
    # They need plotly, which the terminal's tables do without.
    from analysis.experiments.drawing import forest, tables
    from analysis.experiments.drawing.special import SPECIAL

    if not judgement.arms:
        return ()
    common = (tables.listing(judgement), forest.picture(judgement), tables.group_effects(judgement))
    own = SPECIAL.get(judgement.experiment.measure)
    more = own(judgement.experiment, judgement.results) if own else []
    return (*(block for block in common if block is not None), *more)


_READING = """\
**Pairs.** All arms of an experiment share their training images, the order of these, the seeds and the validation
images. So arms are compared image by image and seed by seed, and what is hard for all of them cancels out.

**Intervals.** A difference stands with its 95% interval over examples and seeds, both drawn anew (a crossed bootstrap,
[Owen 2007](https://arxiv.org/abs/0712.1111)): where it would lie with other images and another start. What is not
counted image by image, such as seconds or the log loss, has Student's interval over the seeds. ± is the standard
deviation between seeds.

**Beyond chance.** Of twenty arms that change nothing one has an interval without zero. So an arm counts as different
when its p-value (of an exact sign-flip test for accuracy, of swapped answers otherwise) is below 0.05 after Holm's
correction for the number of arms, so that the chance of any false alarm in an experiment is at most 5%, and its
interval leaves out zero too: the p-value is over examples for these seeds, and one seed that failed can make it small.

**What is not seen.** “Within chance” does not say “equal”: a difference may well be there that is smaller than what
the experiment sees, which each section states (for one comparison, not corrected). One piece has 600 of 6,000
validation images, and one of them is 0.17 points of its recall. The best of many arms also looks a little better than
it is, on the images that chose it. No arm is chosen by the official test images; but before there were experiments
they were looked at three times, and one of the looks sent us for a second convolution at full resolution
([0011](decisions/0011-network.md)).

**What hangs together.** Equal settings and seeds are one network, trained once. The same three, of the quick family
in six passes, are the baseline of experiments 2, 3, 5, 6 and 8 and an arm of 1, and they are looked at in 7, 9 and 11;
those of experiment 13 come again in 1, 14, 16 and 17. If such a baseline was lucky or unlucky, all its comparisons lean
the same way, and Holm's correction is for one experiment alone.

**Seconds** are those of a machine that had other work to do: seeds of one arm differ by up to a factor of two. Believe
a ratio of seconds only where it is larger than that.
"""
_AGAIN = """\
So we declare an experiment before it is run, with its rule: `analysis/experiments/studies/NAME.toml`. The results lie
beside it as CSV, and all that stands here is computed from these files. `fashion experiment run NAME` makes the runs
that are missing, `fashion experiment report` writes this as a page on which every figure can be touched, and
`make experiments` writes `docs/experiments.md`.
"""

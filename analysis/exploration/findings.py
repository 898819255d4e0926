"""The five findings that a reader should take away, each a sentence or two with the figures of this run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from analysis.exploration.sections import Explored


def main_findings(explored: Explored) -> list[str]:
    """Returns five findings, Markdown."""
    return [_balance(explored), _pair(explored), _look_alikes(explored), _doubt(explored), _more_data(explored)]


def _balance(explored: Explored) -> str:
    answers, groups = explored.classes.answers, explored.data.taxonomy.groups
    always = answers[answers["answers"].str.startswith("always")].iloc[0]
    small = groups[explored.classes.pair[0]]
    never = answers[answers["answers"] == f"never {small}"].iloc[0]
    return (
        f"**Accuracy flatters.** Answering {always['answers'].removeprefix('always ')} always is "
        f"right for {always['accuracy']:.0%} of the images; a model that never says {small} still reaches "
        f"{never['accuracy']:.0%}, and a macro F1 of {never['macro F1']:.2f}."
    )


def _pair(explored: Explored) -> str:
    pair = explored.difficulty.pair
    one, other = (explored.data.taxonomy.groups[group] for group in pair.groups)
    share = pair.shares.iloc[0]
    return (
        f"**The errors lie in one place.** {share['share']:.0%} ({share['low']:.0%} to {share['high']:.0%}) of the "
        f"small networks' {share['errors']:,} errors out of fold are between {other} and {one}."
    )


def _look_alikes(explored: Explored) -> str:
    counts = explored.leakage.counts
    near = counts.iloc[-1]
    return (
        f"**Test images have look-alikes among the training images.** {near['test_images']:,.0f} of "
        f"{len(explored.data.test_rows):,} have one within RMSE {near['rmse']:.2f}, and of these pairs "
        f"{near['group_conflicts']:,.0f} disagree on the group. {_effect(explored)}"
    )


def _effect(explored: Explored) -> str:
    models = explored.leakage.effects.set_index("model")
    last = models.iloc[-1]
    change, least, most = (-100 * last[name] for name in ("added", "added_high", "added_low"))
    sentence = (
        f"Judged on the others alone, the accuracy of the {models.index[-1]} changes by {change:+.2f} points "
        f"({least:+.2f} to {most:+.2f})."
    )
    return sentence.replace("-", "−")


def _doubt(explored: Explored) -> str:
    quality, images = explored.label_quality, len(explored.data.train_rows)
    garments, groups = len(quality.train_garments.rows), len(quality.train_groups.rows)
    noise = quality.noise.iloc[0]
    return (
        f"**Grouping heals most doubtful garments.** {garments / images:.1%} of the training images are suspected of a "
        f"wrong garment, {groups / images:.2%} of a wrong group. If confident learning is right about the test images "
        f"too, a model without a fault would be measured at {1 - noise['share']:.2%} ({1 - noise['high']:.2%} to "
        f"{1 - noise['low']:.2%}) on the groups."
    )


def _more_data(explored: Explored) -> str:
    fits = explored.fits
    best = fits[fits["target"] == "group"].sort_values("error").iloc[0]
    guesses = np.array([best[name] for name in ("tenfold", "tenfold_without_floor", "tenfold_from_larger")])
    return (
        f"**More images of this kind would help, slowly.** The {best['model']} errs on {best['error']:.2%} of the "
        f"groups with {best['images']:,.0f} images; with ten times as many it would err on {guesses.min():.2%} to "
        f"{guesses.max():.2%}, by what its learning curve says."
    )

"""`report.html`: the evaluation on one page that opens anywhere, without network and without a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from analysis.evaluation.corruptions import JUDGED_SEVERITY, SEVERITIES
from analysis.evaluation.misclassified import Mistake
from analysis.pages import parts
from analysis.pages.style import STYLE
from models.taxonomy import Taxonomy

Metrics = Mapping[str, Any]

HEADLINES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "balanced_accuracy": "Balanced accuracy",
    "macro_auc": "Macro AUC",
    "log_loss": "Log loss",
    "calibration_error": "Calibration error",
    "coverage": "Set coverage",
    "abstention": "Abstention",
}
WEAKEST = 10


def write_report(metrics: Metrics, verdict: Metrics, mistakes: Sequence[Mistake], taxonomy: Taxonomy) -> str:
    """Returns the page.

    Args:
        metrics: The content of `metrics.json`.
        verdict: The content of `verdict.json`.
        mistakes: The gallery, surest first.
        taxonomy: For the groups' colours.
    """
    sections = [
        _head(metrics, verdict),
        _headlines(metrics),
        _groups(metrics, taxonomy),
        _ladder(metrics),
        _confusion_and_reliability(metrics),
        _rules(verdict),
        _baseline(metrics, taxonomy),
        _slices(metrics),
        _corruptions(metrics),
        _garments(metrics),
        _gallery(mistakes),
        _foot(metrics),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><title>Evaluation report</title>'
        f"<style>{STYLE}</style></head><body>{''.join(sections)}</body></html>\n"
    )


def _section(title: str, text: str, content: str) -> str:
    note = f'<p class="soft">{text}</p>' if text else ""
    return f"<section><h2>{parts.escape(title)}</h2>{note}{content}</section>"


def _head(metrics: Metrics, verdict: Metrics) -> str:
    passed = sum(rule["passed"] for rule in verdict["rules"])
    outcome = "Blessed" if verdict["blessed"] else "Not blessed"
    reason = f"<br>{parts.escape(verdict['reason'])}" if verdict["reason"] else ""
    return (
        f"<h1>Evaluation on {metrics['examples']:,} test images</h1>"
        f'<div class="verdict{"" if verdict["blessed"] else " bad"}"><b>{outcome}</b>: '
        f"{passed} of {len(verdict['rules'])} rules passed.{reason}</div>"
    )


def _headlines(metrics: Metrics) -> str:
    cards = "".join(parts.card(name, metrics["overall"][key]) for key, name in HEADLINES.items())
    text = (
        f"Under each figure its {metrics['level']:.0%} interval, by bootstrap over the test images. Coverage is how "
        "often the prediction set holds the true group; abstention is how often it does not hold exactly one."
    )
    return _section("In short", text, f'<div class="cards">{cards}</div>')


def _groups(metrics: Metrics, taxonomy: Taxonomy) -> str:
    rows = [
        [f"{parts.swatch(colour, name)}<small>{metrics['groups'][name]['support']:,} images</small>"]
        + [parts.figure(metrics["groups"][name][key]) for key in ("precision", "recall", "f1", "auc", "coverage")]
        for name, colour in zip(taxonomy.groups, taxonomy.colours, strict=True)
    ]
    headings = ("Group", "Precision", "Recall", "F1", "AUC", "Set coverage")
    return _section("Groups", "", parts.table(headings, rows, numeric=(1, 2, 3, 4, 5)))


def _ladder(metrics: Metrics) -> str:
    rungs = metrics["ladder"]
    low = min(rung["accuracy"]["interval"][0] for rung in rungs[1:] or rungs)
    rows = [
        [
            parts.escape(rung["name"]),
            parts.dot(rung["accuracy"], low, 1),
            parts.figure(rung["accuracy"]),
            parts.figure(rung["macro_f1"]),
            parts.figure(rung["hardest_group_f1"]),
        ]
        for rung in rungs
    ]
    headings = ("", f"{low:.2f} to 1", "Accuracy", "Macro F1", f"F1, {parts.escape(rungs[-1]['hardest_group'])}")
    text = (
        "Simple classifiers, fitted on all training images and judged on the same test images, and last the model. "
        "What lies below the scale has no dot."
    )
    return _section("Ladder", text, parts.table(headings, rows, numeric=(2, 3, 4)))


def _confusion_and_reliability(metrics: Metrics) -> str:
    confusion = _section(
        "Confusion matrix",
        "True group down, answer across; shares are of the row.",
        parts.matrix(metrics["confusion_matrix"], metrics["group_names"]),
    )
    reliability = _section(
        "Reliability",
        "On the dashed line a stated confidence is right as often as it says. Larger dots hold more images.",
        parts.reliability_diagram(metrics["reliability"]),
    )
    return f'<div class="pair">{confusion}{reliability}</div>'


def _rules(verdict: Metrics) -> str:
    rows = [
        [
            f"{parts.escape(rule['rule'].replace('_', ' '))}<small>{parts.escape(rule['note'])}</small>",
            parts.number(rule["value"]),
            '<span class="good">passed</span>' if rule["passed"] else '<b class="bad-text">failed</b>',
        ]
        for rule in verdict["rules"]
    ]
    return _section("Rules", "", parts.table(("Rule", "Value", "Outcome"), rows, numeric=(1,)))


def _baseline(metrics: Metrics, taxonomy: Taxonomy) -> str:
    baseline = metrics["baseline"]
    if baseline is None:
        return _section("Against the last blessed model", "No model has been blessed yet.", "")
    rows = [
        [name.replace("_", " "), parts.number(baseline["overall"][name]["value"]), parts.figure(change, signed=True)]
        for name, change in baseline["change"].items()
    ]
    rows += [
        [f"F1, {parts.swatch(colour, name)}", "", parts.figure(baseline["groups"][name]["f1"], signed=True)]
        for name, colour in zip(taxonomy.groups, taxonomy.colours, strict=True)
    ]
    text = "Changes from that model to this one on the same test images; an interval that holds 0 may be chance."
    return _section("Against the last blessed model", text, parts.table(("", "Before", "Change"), rows, numeric=(1, 2)))


def _slices(metrics: Metrics) -> str:
    slices = metrics["slices"]
    if not slices:
        return ""
    low = min(line["accuracy"]["interval"][0] for line in slices)
    weakest = sorted(slices, key=lambda line: line["accuracy"]["value"])[:WEAKEST]
    first = _slice_table(weakest, low, named=True)
    rest = "".join(
        f"<details><summary>{_readable(feature)}</summary>{_slice_table(list(lines), low, named=False)}</details>"
        for feature, lines in groupby(slices, key=lambda line: line["feature"])
    )
    text = (
        f"The {len(weakest)} weakest of {len(slices)} slices, and below them every slice, feature by feature. "
        "Deciles and quintiles are those of the training images, 0 the lowest."
    )
    return _section("Slices", text, first + rest)


def _slice_table(lines: Sequence[Metrics], low: float, named: bool) -> str:
    rows = [
        [
            (f"{_readable(line['feature'])}: " if named else "") + parts.escape(line["value"]),
            parts.dot(line["accuracy"], low, 1),
            parts.figure(line["accuracy"]),
            f"{line['count']:,}",
        ]
        for line in lines
    ]
    return parts.table(("Slice", f"{low:.2f} to 1", "Accuracy", "Images"), rows, numeric=(2, 3))


def _corruptions(metrics: Metrics) -> str:
    corruptions = sorted(metrics["corruptions"], key=lambda line: line["accuracy"]["value"])
    if not corruptions:
        return ""
    low = min(line["accuracy"]["interval"][0] for line in corruptions)
    rows = [
        [
            _readable(line["name"]),
            parts.dot(line["accuracy"], low, 1),
            parts.figure(line["accuracy"]),
            parts.number(line["log_loss"]["value"]),
        ]
        for line in corruptions
    ]
    text = (
        f"The same {corruptions[0]['count']:,} test images, drawn by chance, as they are (none) and corrupted at "
        f"severity {JUDGED_SEVERITY} of {len(SEVERITIES)}, worst first."
    )
    headings = ("Corruption", f"{low:.2f} to 1", "Accuracy", "Log loss")
    return _section("Under corruption", text, parts.table(headings, rows, numeric=(2, 3)))


def _readable(feature: str) -> str:
    return parts.escape(feature.removesuffix("_name").replace("_", " "))


def _garments(metrics: Metrics) -> str:
    rows = [
        [parts.escape(name), parts.figure(held["group_accuracy"]), parts.figure(held["accuracy"])]
        for name, held in metrics["garments"]["per_garment"].items()
    ]
    overall = metrics["garments"]["accuracy"]
    text = (
        "How often the group of each garment is right, and how often the garment itself: "
        f"{parts.number(overall['value'])} over all {len(rows)}."
    )
    return _section("Garments", text, parts.table(("Garment", "Group right", "Garment right"), rows, numeric=(1, 2)))


def _gallery(mistakes: Sequence[Mistake]) -> str:
    if not mistakes:
        return ""
    figures = "".join(
        f'<figure><img src="{m.picture}" alt="{parts.escape(m.garment)}"><b>{parts.escape(m.garment)}</b> '
        f"({parts.escape(m.group)})<br>answered {parts.escape(m.answer)}, {m.confidence:.3f}"
        f"<small>{parts.escape(m.source_id)}</small></figure>"
        for m in mistakes
    )
    text = f"The {len(mistakes)} wrong answers that the model was surest of, with the confidence it stated."
    return _section("Worst mistakes", text, f'<div class="gallery">{figures}</div>')


def _foot(metrics: Metrics) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(metrics["versions"].items()))
    return (
        f'<p class="soft" style="margin-top:3em">{metrics["resamples"]:,} resamples an interval. Slices by TensorFlow '
        f"Model Analysis. {parts.escape(versions)}.</p>"
    )

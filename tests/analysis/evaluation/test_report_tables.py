"""Every figure of the report stands in its row, under its heading."""

from __future__ import annotations

import html
import re
from typing import Any

import numpy as np
import pytest

from analysis.evaluation.report import HEADLINES, png_data_uri, write_report
from analysis.evaluation.verdict import DEFAULT_RULES, judge
from tests.analysis.evaluation.evaluated_model import COUNT, TAXONOMY, answers
from tests.synthetic import images_and_garments


def table(page: str, heading: str) -> list[list[str]]:
    """Returns the cells' text of the first table of a section, row by row."""
    section = page[page.index(f"<h2>{heading}</h2>") :]
    rows = re.findall("<tr>(.*?)</tr>", section[: section.index("</table>")], re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[re.sub("<small>.*?</small>|<[^>]*>", "", cell).strip() for cell in row] for row in cells]


def number(estimate: dict[str, Any], sign: str = "") -> str:
    """Returns a figure as the page writes it, with its interval."""
    value, low, high = (
        "–" if x is None else f"{x:{sign}.4f}".replace("-", "−")
        for x in (estimate["value"], *estimate.get("interval", (None, None)))
    )
    return value if low == "–" else f"{value}<small>{low} to {high}</small>"


def body(page: str, heading: str) -> str:
    """Returns the content of a section."""
    return page[page.index(f"<h2>{heading}</h2>") :].partition("</section>")[0]


def figures(page: str, heading: str) -> list[list[str]]:
    """Returns the cells that hold numbers, with their intervals, row by row of the first table of a section."""
    rows = re.findall("<tr>(.*?)</tr>", body(page, heading).partition("</table>")[0], re.DOTALL)
    return [re.findall(r'<td class="n">(.*?)</td>', row, re.DOTALL) for row in rows[1:]]


def test_cards_name_their_figures(page, metrics):
    """Each headline figure has its own name."""
    cards = re.findall(r'<span class="soft">(.*?)</span><b>(.*?)</b>', body(page, "In short"))
    overall = metrics["overall"]
    assert dict(cards) == {name: number(overall[key]).partition("<")[0] for key, name in HEADLINES.items()}
    assert len({value for _, value in cards}) > 6
    assert "are 95% intervals" in body(page, "In short")


def test_ladder_stands_under_its_headings_on_a_scale_of_its_own(page, metrics):
    """The dots' scale begins at the lowest interval of all rungs but the first, whose accuracy needs no dot."""
    rungs = metrics["ladder"]
    headings, *rows = table(page, "Ladder")
    low = min(rung["accuracy"]["interval"][0] for rung in rungs[1:])
    assert rungs[0]["accuracy"]["value"] < low
    assert headings == ["", f"{low:.2f} to 1", "Accuracy", "Macro F1", f"F1, {rungs[-1]['hardest_group']}"]
    assert [row[0] for row in rows] == [rung["name"] for rung in rungs]
    names = ("accuracy", "macro_f1", "hardest_group_f1")
    assert figures(page, "Ladder") == [[number(rung[name]) for name in names] for rung in rungs]
    dots = [float(x) for x in re.findall(r'class="dot" style="left:([\d.]+)%"', body(page, "Ladder"))]
    ranges = re.findall(r'class="range" style="left:([\d.]+)%;width:([\d.]+)%"', body(page, "Ladder"))
    percent = [
        [100 * (x - low) / (1 - low) for x in (r["accuracy"]["value"], *r["accuracy"]["interval"])] for r in rungs[1:]
    ]
    assert dots == [pytest.approx(value, abs=0.06) for value, _, _ in percent]
    assert [(float(a), float(b)) for a, b in ranges] == [
        pytest.approx((left, right - left), abs=0.11) for _, left, right in percent
    ]


def test_garments_have_the_accuracy_of_their_group_first(page, metrics):
    """The two accuracies are each under its heading; the text gives that of all garments."""
    headings, *rows = table(page, "Garments")
    garments = metrics["garments"]["per_garment"]
    assert headings == ["Garment", "Group accuracy", "Garment accuracy"]
    assert [row[0] for row in rows] == list(garments)
    assert figures(page, "Garments") == [
        [number(g["group_accuracy"]), number(g["accuracy"])] for g in garments.values()
    ]
    assert any(g["group_accuracy"]["value"] != g["accuracy"]["value"] for g in garments.values())
    assert f"{metrics['garments']['accuracy']['value']:.4f} over all 10" in body(page, "Garments")


def test_confusion_matrix_has_the_true_group_down(page, metrics):
    """Each row is a true group with its counts and their shares of the row."""
    headings, *rows = table(page, "Confusion matrix")
    counts = np.array(metrics["confusion_matrix"])
    assert (counts != counts.T).any()
    assert headings[1:] == [row[0] for row in rows] == metrics["group_names"]
    assert [row[1:] for row in rows] == [[str(count) for count in row] for row in counts]
    shares = re.findall(r"<small>([\d.]+%)</small>", body(page, "Confusion matrix"))
    assert shares == [f"{share:.1%}" for share in (counts / counts.sum(axis=1, keepdims=True)).ravel()]
    colours = re.findall(r"var\(--(accent|bad)\)", body(page, "Confusion matrix"))
    assert np.array_equal(np.reshape(colours, counts.shape) == "accent", np.eye(len(counts), dtype=bool))


def test_every_group_has_its_colour_and_its_count(page, metrics):
    """The swatch is that of the taxonomy, and the count that of the test images."""
    found = re.findall(r'background:(#\w+)"></span>(.*?)<small>([\d,]+) images</small>', body(page, "Groups"))
    expected = zip(TAXONOMY.colours, TAXONOMY.groups, strict=True)
    assert found == [(colour, name, f"{metrics['groups'][name]['support']:,}") for colour, name in expected]


def test_weakest_slices_stand_above_all_slices(metrics):
    """The ten of the lowest accuracy come first, lowest on top; below them every slice in its own order."""
    values = [(5 * i) % 13 for i in range(13)]
    slices = [
        {
            "feature": "sleeve_name",
            "value": f"v{i}",
            "count": 1000 + i,
            "accuracy": {"value": 0.5 + i / 50, "interval": [0.45 + i / 50, 0.55 + i / 50]},
        }
        for i in values
    ]
    page = write_report(metrics | {"slices": slices}, judge(metrics, DEFAULT_RULES), [], TAXONOMY)
    headings, *rows = table(page, "Slices")
    assert headings == ["Slice", "0.45 to 1", "Accuracy", "Images"]
    assert [(row[0], row[2], row[3]) for row in rows] == [
        (f"sleeve: v{i}", f"{0.5 + i / 50:.4f}", f"1,0{i:02}") for i in range(10)
    ]
    assert "The 10 slices of the lowest accuracy of 13" in page
    assert re.findall("<tr><td>(v\\d+)</td>", page) == [f"v{i}" for i in values] and "<summary>sleeve</summary>" in page


def test_changes_stand_under_before_and_change(compared):
    """The earlier model's figure, the signed change with its interval, and the changes of every group."""
    page = write_report(compared, judge(compared, DEFAULT_RULES), [], TAXONOMY)
    headings, *rows = table(page, "Against the earlier model")
    baseline = compared["baseline"]
    assert "Changes from that model to this one" in page and headings == ["", "Before", "Change"]
    names = [name.replace("_", " ") for name in baseline["change"]]
    names += [f"{metric}, {group}" for group in TAXONOMY.groups for metric in ("Precision", "Recall", "F1")]
    assert [row[0] for row in rows] == names
    expected = [
        [number(baseline["overall"][name]).partition("<")[0], number(change, "+")]
        for name, change in baseline["change"].items()
    ]
    expected += [
        ["", number(baseline["groups"][group][key], "+")]
        for group in TAXONOMY.groups
        for key in ("precision", "recall", "f1")
    ]
    assert figures(page, "Against the earlier model") == expected
    assert f"compare with {compared['best_blessed']['models']} of them" in page


def test_rules_show_their_value_and_note(page, metrics):
    """A rule's figure is the judged one; what it does not define is a dash."""
    rules = {rule["rule"].replace("_", " "): rule for rule in judge(metrics, DEFAULT_RULES)["rules"]}
    rows = table(page, "Rules")[1:]
    assert len(rows) == len(rules) > 5
    for name, value, outcome in rows:
        rule = rules[html.unescape(name)]
        assert value == number({"value": rule["value"], "interval": [None, None]})
        assert outcome == ("did not apply" if not rule["applied"] else "passed" if rule["passed"] else "failed")
        assert f"<small>{html.escape(rule['note'])}</small>" in page


def test_gallery_names_the_true_garment_and_the_predicted_group(page):
    """Each picture has its own texts, and the number of pictures is that of the caption."""
    section = body(page, "Most confident errors")
    images, garments = images_and_garments(COUNT, 1)
    predictions, groups = answers(0), np.array(TAXONOMY.group_of)[garments]
    found = re.findall(
        r'src="(.*?)" alt="(.*?)"><b>(.*?)</b> \((.*?)\)<br>predicted (.*?), ([\d.]+)<small>test/(\w+)</small>', section
    )
    assert len(found) == 5 and "The 5 misclassified images" in section
    for picture, alt, garment, group, predicted, confidence, number_ in found:
        index = int(number_, 16)
        assert picture == png_data_uri(images[index]) and alt == garment == TAXONOMY.garments[garments[index]]
        assert (group, predicted) == (TAXONOMY.groups[groups[index]], TAXONOMY.groups[predictions.group[index]])
        assert confidence == f"{predictions.confidence[index]:.3f}"


def test_figures_of_a_group_stand_under_their_headings(page, metrics):
    """Every column of the groups' table holds the metric that its heading names."""
    headings, *rows = table(page, "Groups")
    names = {"Precision": "precision", "Recall": "recall", "F1": "f1", "AUC": "auc", "Set coverage": "coverage"}
    assert headings == ["Group", *names] and [row[0] for row in rows] == list(TAXONOMY.groups)
    for row in rows:
        block = metrics["groups"][row[0]]
        assert row[1:] == [f"{block[name]['value']:.4f}" for name in names.values()]
        assert block["precision"]["value"] != block["recall"]["value"]


def test_reliability_diagram_has_the_accuracy_upwards(page, metrics):
    """A dot of an overconfident bin lies right of and below the diagonal, at its confidence and accuracy."""
    dots = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', page)
    expected = [(40 + 300 * p["confidence"], 310 - 300 * p["accuracy"]) for p in metrics["reliability"]]
    assert [(float(x), float(y)) for x, y in dots] == [pytest.approx(point, abs=0.06) for point in expected]
    assert any(abs(p["confidence"] - p["accuracy"]) > 0.05 for p in metrics["reliability"])
    labels = re.findall(r'<text x="(\d+)" y="(\d+)" text-anchor="middle"[^>]*>(confidence|accuracy)</text>', page)
    assert {name: int(x) > 100 for x, _, name in labels} == {"confidence": True, "accuracy": False}


def test_rules_that_decided_come_first(page, metrics):
    """The failed rules lead the table, those that did not apply follow, and the box counts only those that did."""
    outcomes = [row[-1] for row in table(page, "Rules")[1:]]
    failed, unused = outcomes.count("failed"), outcomes.count("did not apply")
    assert failed and unused
    assert outcomes == ["failed"] * failed + ["passed"] * outcomes.count("passed") + ["did not apply"] * unused
    assert f"{outcomes.count('passed')} of {len(outcomes) - unused} rules passed, {unused} did not apply" in page

"""The report: one page that needs nothing else, says everything and escapes what it is given."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as sklearn_metrics

from analysis.evaluation import verdict
from analysis.evaluation.ladder import evaluate_ladder
from analysis.evaluation.report import most_confident_errors, png_data_uri, write_report
from analysis.evaluation.verdict import DEFAULT_RULES, judge
from tests.analysis.evaluation.evaluated_model import COUNT, TAXONOMY, answers
from tests.synthetic import images_and_garments


def test_page_needs_nothing_from_outside(page):
    """No script, no style sheet, font or image from anywhere else."""
    assert not re.search(r"<script|<link|@import|url\(|https?://", page)
    assert set(re.findall(r'src="([^"]{0,21})', page)) == {"data:image/png;base64"}


def test_page_is_well_formed(page):
    """Every element that is opened is closed, in order."""

    class Checker(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            if tag not in {"meta", "img", "br"}:
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []


def test_page_says_it_all(page, metrics):
    """Every group, garment, rung and rule, the verdict and the headline figure are on it."""
    rules = judge(metrics, DEFAULT_RULES)["rules"]
    names = [*TAXONOMY.groups, *TAXONOMY.garments, *(rung["name"] for rung in metrics["ladder"])]
    names += [rule["rule"].replace("_", " ") for rule in rules]
    names += [f"{metrics['overall']['accuracy']['value']:.4f}", "Not blessed", "No earlier model to compare with"]
    assert [name for name in names if name not in page] == []


def test_page_follows_light_and_dark_and_narrow_screens(page):
    """The reader's own colours and width."""
    assert "prefers-color-scheme:dark" in page and "max-width:560px" in page and 'name="viewport"' in page


def test_names_are_escaped(page):
    """A slice's value that looks like HTML is shown, not obeyed."""
    assert "&lt;b&gt;left&lt;/b&gt;" in page and "<b>left</b>" not in page


def test_corruptions_stand_worst_first(page):
    """With the severity, the number of images, and a figure with its interval a corruption."""
    section = page[page.index("<h2>Under corruption</h2>") :]
    section = section[: section.index("</section>")]
    assert "same 40 test images" in section and "severity 3 of 5" in section
    assert re.findall("(jpeg|none|shot noise)</td>", section) == ["shot noise", "jpeg", "none"]
    assert [f"{right / 40:.4f}<small>" in section for right in (21, 38, 39)] == [True] * 3
    assert section.count('class="dot"') == 3


def test_without_corruptions_there_is_no_section(metrics):
    """An Evaluator that corrupted nothing leaves a page that does not speak of it."""
    page = write_report(metrics | {"corruptions": []}, judge(metrics, DEFAULT_RULES), [], TAXONOMY)
    assert "<h2>Slices</h2>" in page and "corruption" not in page


def test_every_figure_that_a_rule_may_name_is_in_the_layout(metrics, compared):
    """The names that are checked beforehand are those of the figures that are there afterwards."""
    known = verdict.figures(metrics)
    assert set(known["overall"]) == set(verdict.OVERALL_FIGURES)
    assert set(known["group:One piece"]) == set(verdict.GROUP_FIGURES)
    assert set(known["garment:Coat"]) == set(verdict.GARMENT_FIGURES)
    assert set(known["shop_window:<b>left</b>"]) == set(known["corruption:jpeg"]) == set(verdict.SLICE_FIGURES)
    for block, names in (("baseline", verdict.OVERALL_CHANGES), ("best_blessed", verdict.OVERALL_FROM_BEST)):
        changes = compared[block]
        assert set(changes["change"]) == set(names)
        assert set(changes["groups"]["Bags"]) == set(verdict.GROUP_CHANGES)


def test_without_an_earlier_model_the_page_says_so_at_the_top(page, compared):
    """The sentence stands beside the verdict, in the colour of a warning; with an earlier model in the usual one."""
    assert '<div class="verdict bad"><b>No earlier model to compare with' in page
    beside = write_report(compared, judge(compared, DEFAULT_RULES), [], TAXONOMY)
    assert '<div class="verdict">Compared with the last one.</div>' in beside


def test_accuracy_without_near_duplicates_leaves_them_out(metrics, compared):
    """It is the accuracy of the examples whose feature says no, and its change that of the same examples."""
    _, garments = images_and_garments(COUNT, 1)
    groups, alone = np.array(TAXONOMY.group_of)[garments], np.arange(COUNT) % 2 == 1
    expected = [np.mean((answers(seed).group == groups)[alone]) for seed in (0, 1)]
    found = metrics["overall"]["accuracy_without_near_duplicates"]
    assert found["value"] == pytest.approx(expected[0]) != pytest.approx(metrics["overall"]["accuracy"]["value"])
    assert found["interval"][0] < expected[0] < found["interval"][1]
    baseline = compared["baseline"]
    assert baseline["overall"]["accuracy_without_near_duplicates"]["value"] == pytest.approx(expected[1])
    assert baseline["change"]["accuracy_without_near_duplicates"]["value"] == pytest.approx(expected[0] - expected[1])


def test_more_abstention_than_the_baseline_is_a_positive_change(compared):
    """The change is the share on which the model abstains less that of the earlier one, with an interval around it."""
    expected = [answers(seed).abstain.mean() for seed in (0, 1)]
    baseline = compared["baseline"]
    change = baseline["change"]["abstention"]
    assert baseline["overall"]["abstention"]["value"] == pytest.approx(expected[1])
    assert change["value"] == pytest.approx(expected[0] - expected[1]) != 0
    assert change["interval"][0] < change["value"] < change["interval"][1]


def test_each_group_is_compared_with_the_nearest_neighbour(metrics):
    """The difference in F1 is that of the model and of the rung of that name."""
    train, known = images_and_garments(300, 0)
    images, garments = images_and_garments(COUNT, 1)
    nearest = next(r for r in evaluate_ladder(train, known, images, TAXONOMY) if r.name == "1-nearest neighbour")
    truth = np.array(TAXONOMY.group_of)[garments]
    f1 = [sklearn_metrics.f1_score(truth, one, average=None) for one in (answers(0).group, nearest.predicted)]
    for index, name in enumerate(TAXONOMY.groups):
        found = metrics["groups"][name]["f1_over_nearest_neighbour"]["value"]
        assert found == pytest.approx(f1[0][index] - f1[1][index])


def test_mistakes_are_the_surest_wrong_answers():
    """All shown are wrong, surest first, and no right answer is among them."""
    images, garments = images_and_garments(COUNT, 1)
    groups = np.array(TAXONOMY.group_of)[garments]
    predictions = answers(0)
    ids = np.array([f"test/{i}" for i in range(COUNT)])
    misclassified = most_confident_errors(
        {"source_id": ids, "image": images, "garment": garments, "group": groups}, predictions, TAXONOMY, 7
    )
    wrong = predictions.group != groups
    assert [m.confidence for m in misclassified] == pytest.approx(
        sorted(predictions.confidence[wrong], reverse=True)[:7]
    )
    assert all(m.predicted_group != m.group for m in misclassified)


def test_png_holds_the_pixels():
    """Decoded again, the picture is the image."""
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    raw = base64.b64decode(png_data_uri(image).partition(",")[2])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(raw))), image)

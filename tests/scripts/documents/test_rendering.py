"""Templates become documents with the figures of the results."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from scripts.documents import rendering


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of templates."""
    monkeypatch.setattr(rendering, "TEMPLATES", tmp_path)
    return tmp_path


def test_a_template_names_figures_of_an_experiment(templates: Path) -> None:
    """The value is the mean over the seeds of the committed CSV."""
    expression = '{{ experiment("final_evaluation").value("full", "group_accuracy") | percent(2) }}'
    (templates / "page.md").write_text(f"`full` reaches {expression}.\n", encoding="utf-8")
    assert rendering.render("page.md") == "`full` reaches 98.76%.\n"


def test_a_figure_that_no_result_has_is_an_error(templates: Path) -> None:
    """A renamed figure fails at once, and never renders as nothing."""
    (templates / "page.md").write_text("{{ invented.figure }}\n", encoding="utf-8")
    with pytest.raises(jinja2.UndefinedError):
        rendering.render("page.md")


def test_an_estimate_shows_its_interval() -> None:
    """Digits and percent signs are the same for every document."""
    figure = {"value": 0.98553, "interval": [0.98312, 0.98787]}
    assert rendering.estimate(figure) == "0.986 [0.983, 0.988]"
    assert rendering.percent_estimate(figure) == "98.6% [98.3, 98.8]"
    assert rendering.thousands(10000) == "10,000"

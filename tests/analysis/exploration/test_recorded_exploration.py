"""What the exploration says and draws about synthetic images is what was recorded, and what a reader expects of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from analysis.data.near_duplicates import close_pairs
from analysis.exploration.embedding import Embedding
from analysis.exploration.neighbours import nearest
from analysis.exploration.report import ExplorationInputs, Explored, build_sections, explore, main_findings
from analysis.exploration.summary import summarize
from analysis.pages.section import Section
from tests.analysis.exploration.synthetic_data import make_data, make_out_of_fold
from tests.analysis.recorded import compare, describe

RECORDED = Path(__file__).with_name("recorded")
SECTIONS = ["classes", "distributions", "geometry", "near-duplicates", "label-quality", "difficulty", "data-needed"]


def inputs() -> ExplorationInputs:
    """Returns images with planted confusions, copies across the splits, and learning curves of a known power law."""
    data = make_data(1000, 500)
    data.images[1000:1030] = data.images[:30]
    data.garments[1000:1020] = data.garments[:20]
    rng = np.random.default_rng(0)
    seen = data.garments.copy()
    for garment, other, share in ((3, 0, 0.3), (6, 0, 0.2), (5, 8, 0.1), (1, 3, 0.05)):
        members = np.flatnonzero(data.garments == garment)
        seen[members[:: round(1 / share)]] = other
    rows = [
        (
            model,
            size,
            repeat,
            *(scale * size**-0.3 * (1 + 0.02 * rng.normal()) + 0.02 for scale in (factor, factor / 2)),
        )
        for model, factor in (("1-nearest neighbour", 1.5), ("small network", 1.0))
        for size in (100, 200, 400, 800, 1600, 3200, 6400, 12800)
        for repeat in range(3)
    ]
    curves = pd.DataFrame(rows, columns=["model", "images", "repeat", "garment_error", "group_error"])
    places = [rng.normal(size=(300, 2)).astype(np.float32) for _ in range(2)]
    return ExplorationInputs(
        data=data,
        neighbours=nearest(data.pixels, 1000),
        pairs=close_pairs(data.images, 0.08),
        out_of_fold=make_out_of_fold(data, seen, sharpness=6.0),
        curves=curves,
        embedding=Embedding(data.test_rows[:300], *places, "a small network"),
        trained_groups=np.where(np.arange(500) % 25 == 0, 0, data.groups[data.test_rows]),
    )


@pytest.fixture(scope="module")
def explored() -> tuple[ExplorationInputs, Explored]:
    """The inputs and all measurements."""
    with threadpool_limits(1):
        given = inputs()
        return given, explore(given, seed=0)


@pytest.fixture(scope="module")
def sections(explored: tuple[ExplorationInputs, Explored]) -> dict[str, Section]:
    """The sections by name, in the order of the page."""
    return {section.name: section for section in build_sections(*explored)}


def test_the_page_has_its_sections_in_order(sections: dict[str, Section]) -> None:
    """From the classes to what more data would bring."""
    assert list(sections) == SECTIONS


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_says_and_draws_what_was_recorded(name: str, sections: dict[str, Section]) -> None:
    """Prose, captions, tables, and the axes, legends, colours and values of figures."""
    compare(describe(sections[name]), RECORDED / f"{name}.txt")


def test_findings_and_summary_are_as_recorded(explored: tuple[ExplorationInputs, Explored]) -> None:
    """The five findings of the terminal, and the figures that the documents name."""
    compare("\n".join(main_findings(explored[1], explored[0].curves)) + "\n", RECORDED / "findings.txt")
    summary = json.loads(json.dumps(summarize(*explored)), parse_float=lambda text: float(f"{float(text):.4g}"))
    compare(json.dumps(summary, indent=1, sort_keys=True) + "\n", RECORDED / "summary.txt")

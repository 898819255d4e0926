"""The sections on classes and distributions build for any taxonomy and contain the measurements."""

from __future__ import annotations

import re

import numpy as np
import pytest

from analysis.exploration import classes, distribution_shift, distributions
from analysis.exploration.data import Data
from analysis.exploration.image_features import measure_features
from analysis.pages.section import Gallery, Listing, Picture, Section
from tests.analysis.exploration.synthetic_data import make_other_data, make_plain_data


def sections(data: Data) -> list[Section]:
    """Measures and builds both sections."""
    table = measure_features(data.images)
    return [
        classes.section(data, classes.measure(data)),
        distributions.section(data, table, distribution_shift.measure(data, table)),
    ]


@pytest.fixture(
    scope="module", params=[make_plain_data, make_other_data], ids=["the groups of the task", "other groups"]
)
def both(request: pytest.FixtureRequest) -> tuple[Data, list[Section]]:
    """The data and the two sections of a taxonomy."""
    data = request.param()
    return data, sections(data)


def test_every_block_has_a_caption_and_a_name_of_its_own(both: tuple[Data, list[Section]]) -> None:
    """Anchors are unique over both sections, no caption is empty, a decision follows."""
    _, sections = both
    names = [section.name for section in sections] + [block.name for section in sections for block in section.blocks]
    assert len(names) == len(set(names))
    assert all(block.caption for section in sections for block in section.blocks)
    assert all(section.decision.startswith("So we") for section in sections)


def test_figures_are_small_and_rows_are_images(both: tuple[Data, list[Section]]) -> None:
    """A figure stays under 150 KB, a gallery holds uint8 images with a note each or none, a table has rows."""
    for block in (block for section in both[1] for block in section.blocks):
        if isinstance(block, Picture):
            assert 100 < len(block.figure.to_json()) < 150_000
        elif isinstance(block, Gallery):
            assert all(row.images.dtype == np.uint8 and row.images.shape[1:] == (28, 28) for row in block.rows)
            assert all(len(row.notes) in (0, len(row.images)) for row in block.rows)
        else:
            assert isinstance(block, Listing) and len(block.table)


def test_prose_names_the_taxonomy_at_hand(both: tuple[Data, list[Section]]) -> None:
    """The hardest pair is named as the taxonomy names it, and no figure is missing."""
    data, sections = both
    for name in (data.taxonomy.groups[group] for group in classes.hardest_pair(data)):
        assert all(name in section.finding for section in sections)
    assert not any(re.search(r"\bnan", section.finding) for section in sections)


def test_groups_have_their_colours(both: tuple[Data, list[Section]]) -> None:
    """The boxes by garment have the colours of the taxonomy's groups and no others."""
    data, sections = both
    figure = next(block.figure for block in sections[1].blocks if block.name == "feature-by-garment")
    assert {trace.marker.color for trace in figure.data} == set(data.taxonomy.colours)


def test_a_garment_without_images_has_an_empty_row() -> None:
    """A taxonomy may contain garments that the data lack."""
    data = make_plain_data(200, 60)
    keep = data.garments != 9
    there = Data(
        data.images[keep], data.garments[keep], data.test[keep], data.clusters[keep], data.names[keep], data.taxonomy
    )
    section = classes.section(there, classes.measure(there))
    rows = next(block.rows for block in section.blocks if block.name == "typical-garments")
    assert len(rows[9].images) == 0 and len(rows[8].images) == classes.SHOWN

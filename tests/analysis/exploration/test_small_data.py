"""On small data the exploration says what is missing, and neither prints "nan" nor draws a conclusion from nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from analysis.data.near_duplicates import close_pairs
from analysis.exploration import difficulty, near_duplicates, near_duplicates_section, power_law_fits
from analysis.exploration.confused_pair import confusion_text, pair_blocks
from analysis.exploration.data import FEWEST_TEST, FEWEST_TRAINING, Data, require_enough
from analysis.exploration.intrinsic_dimension import dimensions_by_scale
from analysis.exploration.neighbours import Neighbours, nearest
from analysis.exploration.report import few_examples_text
from analysis.pages.section import Section
from pipeline.contract.errors import UserError
from tests.analysis.exploration.section_checks import check_section
from tests.analysis.exploration.synthetic_data import make_out_of_fold, make_plain_data, make_predictions


@pytest.fixture(scope="module")
def data() -> Data:
    """As few images as can be explored, with enough noise that none has a near-duplicate."""
    made = make_plain_data(FEWEST_TRAINING, FEWEST_TEST)
    noise = np.random.default_rng(0).integers(0, 90, made.images.shape)
    return dataclasses.replace(made, images=np.minimum(made.images + noise, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def neighbours(data: Data) -> Neighbours:
    """The nearest training images."""
    return nearest(data.pixels, FEWEST_TRAINING)


@pytest.mark.parametrize(("train", "test"), [(40, 20), (FEWEST_TRAINING - 1, 500), (500, FEWEST_TEST - 1)])
def test_too_few_images_are_refused(train: int, test: int) -> None:
    """Sixty images are no basis for a conclusion; the error names both numbers."""
    with pytest.raises(UserError, match="too few examples to explore") as caught:
        require_enough(make_plain_data(train, test))
    assert caught.value.received == f"{train} training and {test} test images"
    require_enough(make_plain_data(FEWEST_TRAINING, FEWEST_TEST))


@pytest.mark.parametrize(("train", "test", "few"), [(1000, 500, False), (999, 500, True), (1000, 499, True)])
def test_few_images_are_no_basis_for_conclusions(train: int, test: int, few: bool) -> None:
    """Both numbers count; the sentence names them."""
    text = few_examples_text(make_plain_data(train, test))
    assert (f"There are {train:,} training and {test:,} test images" in text) == few and bool(text) == few


def text_of(section: Section) -> str:
    """All that a reader reads of a section, tables included."""
    check_section(section)
    tables = [block.table.to_string() for block in section.blocks if hasattr(block, "table")]
    assert not any("nan" in table.lower().split() for table in tables)
    return "\n".join([section.finding, section.decision, *(block.caption for block in section.blocks), *tables])


def test_without_near_duplicates_there_is_no_effect(data: Data, neighbours: Neighbours) -> None:
    """The section says that no test image has one, and names no effect, no garment and nothing to remove."""
    pairs = close_pairs(data.images, 0.08)
    assert not len(pairs.first)
    found = near_duplicates.measure(
        data, neighbours, pairs, make_predictions(data), np.eye(10, dtype=np.float32)[data.garments]
    )
    text = text_of(near_duplicates_section.section(data, found))
    assert "No test image has a near-duplicate, so there is no effect to measure." in text
    assert "accuracy of" not in text and "of these test images are of" not in text


def test_without_errors_no_pair_is_confused(data: Data, neighbours: Neighbours) -> None:
    """Networks that make no error name no pair, and no feature separates errors from correct images."""
    networks = make_out_of_fold(data, sharpness=20.0)
    found = difficulty.measure(data, neighbours, networks, make_predictions(data), np.empty(0, np.int64))
    assert found.pair.confused == [] and list(pair_blocks(data, found.pair)) == []
    assert confusion_text(data, found.pair).startswith("**No confused pair.** The small networks confuse no two groups")
    text = text_of(difficulty.section(data, found))
    assert "separate confused from correct" not in text and "Of the 0" not in text


def test_few_sizes_are_no_learning_curve(data: Data) -> None:
    """One or two numbers of training images give no power law, whatever the errors; the errors are listed."""
    for sizes in ([400], [1000, 2000]):
        rows = [("small network", n, repeat, 0.25, 0.0) for n in sizes for repeat in range(2)]
        curves = pd.DataFrame(rows, columns=["model", "images", "repeat", "garment_error", "group_error"])
        fits = power_law_fits.fit_curves(curves)
        assert fits.empty
        text = text_of(power_law_fits.section(data, curves, fits))
        assert text.startswith("**Too few examples for a learning curve.**") and "25.0%" in text
        assert "ten times" not in text


def test_a_scale_of_few_images_has_no_dimension(data: Data, neighbours: Neighbours) -> None:
    """Only scales of at least 50 images are estimated."""
    assert dimensions_by_scale(data, neighbours, 0)["images"].tolist() == [50, 300]
    few = dataclasses.replace(data, test=np.arange(len(data)) >= 200)
    assert dimensions_by_scale(few, neighbours, 0)["images"].tolist() == [200]

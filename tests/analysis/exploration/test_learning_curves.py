"""Learning curves are measured on nested, fair draws, and their power laws are found again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import pytest

from analysis.evaluation.ladder import nearest_neighbour as ladder_nearest_neighbour
from analysis.exploration.learning_curves import (
    LEARNERS,
    Draw,
    curves,
    draw,
    epochs_for,
    nearest_neighbour,
    stratified_order,
    training_sizes,
)
from analysis.exploration.power_law_fits import fit_curves, fit_power_law, resample_means, section
from tests.analysis.exploration.section_checks import check_section
from tests.analysis.exploration.synthetic_data import make_data

SIZES = np.array([625.0, 1250, 2500, 5000, 10000, 20000, 40000])


def test_sizes_double_from_about_1_000_to_40_000() -> None:
    """The sizes for 60,000 training images are those that the figure shows."""
    assert training_sizes(60_000) == [1250, 2500, 5000, 10_000, 20_000, 40_000]
    assert training_sizes(300) == [200]


@pytest.mark.parametrize("size", [10, 95, 500, 990])
def test_every_prefix_of_a_draw_is_stratified(size: int) -> None:
    """In a prefix of any length each garment has its share, give or take one."""
    garments = np.random.default_rng(0).permutation(np.arange(1000) % 10)
    ordered = garments[stratified_order(garments, 0)]
    assert np.ptp(np.bincount(ordered[:size], minlength=10)) <= 2


def test_no_cluster_straddles_the_held_out_part() -> None:
    """The near-duplicates of a held-out image are never trained on."""
    data = make_data(600, 10)
    clusters = np.where(data.test, -1, np.arange(len(data)) // 4)
    data = type(data)(data.images, data.garments, data.test, clusters, data.names, data.taxonomy)
    row_of = {image.tobytes(): row for row, image in enumerate(data.images)}
    drawn = draw(data, 0)
    known, held_out = (
        {int(clusters[row_of[image.tobytes()]]) for image in images} for images in (drawn.images, drawn.held_out)
    )
    assert not known & held_out and -1 not in known | held_out


def test_nearest_neighbours_of_nested_sizes_are_the_ladders() -> None:
    """Keeping the nearest so far from size to size gives what a search from the start gives."""
    data = make_data(400, 10)
    drawn = draw(data, 0)
    groups = drawn.membership.argmax(axis=1)
    for size, found in zip((50, 120, 300), nearest_neighbour(drawn, (50, 120, 300)), strict=True):
        known, unknown = (x.reshape(len(x), -1) / np.float32(255) for x in (drawn.images[:size], drawn.held_out))
        expected = ladder_nearest_neighbour(known, drawn.garments[:size], unknown, data.taxonomy)
        assert (groups[found.argmax(axis=1)] == expected).all()


@pytest.mark.parametrize("floor", [0.0, 0.02])
def test_planted_power_laws_are_recovered(floor: float) -> None:
    """Exponent, floor and the error for ten times more images come out as they were planted."""
    law = fit_power_law(SIZES, floor + 2.0 * SIZES**-0.4)
    assert law.exponent == pytest.approx(0.4, abs=0.01)
    assert law.floor == pytest.approx(floor, abs=1e-3)
    assert law.error(400_000) == pytest.approx(floor + 2.0 * 400_000**-0.4, rel=0.02)


def test_many_laws_are_fitted_as_one_is() -> None:
    """A curve among others gets the law that it gets alone."""
    both = np.stack([0.01 + SIZES**-0.3, 3 * SIZES**-0.5])
    together = fit_power_law(SIZES, both)
    for row, errors in enumerate(both):
        assert fit_power_law(SIZES, errors).exponent == together.exponent[row]


def test_the_interval_for_ten_times_more_images_holds_the_planted_error() -> None:
    """Noisy repeats of a planted curve give an interval around what the curve has there."""
    fits = fit_curves(planted_curves())
    for _, row in fits.iterrows():
        assert row["tenfold_low"] <= row["tenfold"] <= row["tenfold_high"]
        true = 0.01 + 2.0 * 400_000**-0.4
        assert row["tenfold_low"] * 0.9 <= true <= row["tenfold_high"] * 1.1


def test_a_law_without_a_floor_and_one_of_the_larger_sizes_bound_the_prediction() -> None:
    """A floor of 0 predicts less; the larger half of the sizes alone decides where the small ones break the law."""
    law = 0.01 + 2.0 * SIZES**-0.4
    table = planted_curves()
    for target in ("garment", "group"):
        table[f"{target}_error"] = np.tile(np.repeat(law, 3), 2)
    table.loc[table["images"] < 5000, "garment_error"] *= 1.5
    fits = fit_curves(table).set_index(["model", "target"])
    true = 0.01 + 2.0 * 400_000**-0.4
    plain, broken = (fits.loc[("small network", target)] for target in ("group", "garment"))
    assert plain[["images", "error"]].tolist() == pytest.approx([40_000, law[-1]])
    assert [plain["floor"], plain["exponent"], plain["tenfold"]] == pytest.approx([0.01, 0.4, true], rel=0.02)
    assert plain["scale"] == pytest.approx(2.0, rel=0.05)
    without_floor = fit_power_law(SIZES, law, floor=False).error(400_000)
    assert plain["tenfold_without_floor"] == pytest.approx(without_floor) and without_floor < 0.9 * plain["tenfold"]
    assert broken["tenfold_from_larger"] == pytest.approx(true, rel=0.05)
    assert abs(broken["tenfold"] - true) > 0.1 * true
    for name in ("floor", "exponent", "tenfold"):
        assert plain[f"{name}_low"] == pytest.approx(plain[name]) == plain[f"{name}_high"], "equal repeats"


def test_the_fit_weighs_relative_deviations() -> None:
    """Of all exponents on the grid the fitted one has the least sum of squared relative deviations."""
    errors = SIZES**-0.5 * np.where(np.arange(7) % 2, 1.4, 0.7)
    exponents, losses = np.linspace(0.05, 2.0, 391), []
    for exponent in exponents:
        ratio = SIZES**-exponent / errors
        losses.append(((ratio * ratio.sum() / (ratio**2).sum() - 1) ** 2).sum())
    law = fit_power_law(SIZES, errors, floor=False)
    assert law.exponent == pytest.approx(exponents[np.argmin(losses)]) and law.floor == 0
    ratio = SIZES**-law.exponent / errors
    assert law.scale == pytest.approx(ratio.sum() / (ratio**2).sum())


def test_curves_of_two_sizes_have_no_law() -> None:
    """Three parameters need three sizes; the section then shows the measured errors alone."""
    table = planted_curves()
    assert fit_curves(table[table["images"] >= 20_000]).empty
    assert len(fit_curves(table[table["images"] >= 10_000])) == 4


@pytest.mark.parametrize("repeats", [2, 3, 10])
def test_resampled_means_spread_by_the_standard_error(repeats: int) -> None:
    """Their standard deviation is that of the repeats over the root of their number, also of two repeats."""
    errors = np.random.default_rng(1).normal(0.2, 0.02, (repeats, 3))
    drawn = resample_means(errors, 20_000, seed=0)
    assert drawn.std(axis=0) == pytest.approx(errors.std(axis=0, ddof=1) / np.sqrt(repeats), rel=0.03)
    assert drawn.mean(axis=0) == pytest.approx(errors.mean(axis=0), abs=1e-3)
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.05, "the sizes are resampled independently"


def test_few_images_take_more_epochs_than_many() -> None:
    """The number of epochs falls with the number of images and is at least one."""
    epochs = [epochs_for(int(size)) for size in SIZES]
    assert epochs == sorted(epochs, reverse=True) and epochs[-1] >= 1
    assert [epochs_for(size) for size in (100, 1_000, 10_000, 40_000, 10**6)] == [24, 10, 3, 2, 2]


def test_curves_of_tiny_data_are_complete_and_learnable() -> None:
    """Every model and repeat has its row, and the error on blobs that are easy to separate is low."""
    simple = {name: learner for name, learner in LEARNERS.items() if name != "small network"}
    reports: list[int] = []
    table = curves(make_data(400, 10), repeats=2, seed=0, report=lambda d, n, note: reports.append(d), learners=simple)
    assert len(table) == 4 and reports == [1, 2, 3, 4]
    assert table["garment_error"].between(0, 0.2).all() and table["group_error"].between(0, 0.3).all()
    assert table["repeat"].tolist() == [0, 0, 1, 1] and set(table["images"]) == {266}


def test_errors_are_of_the_held_out_images_by_garment_and_by_group() -> None:
    """A model that takes every pullover for a coat is right on the groups; each repeat draws anew."""
    seen: list[tuple[int, bytes]] = []

    def coats(drawn: Draw, sizes: Sequence[int]) -> Iterator[np.ndarray]:
        seen.append((drawn.seed, drawn.truth.tobytes()))
        for _ in sizes:
            yield np.eye(10, dtype=np.float32)[np.where(drawn.truth == 2, 4, drawn.truth)]

    table = curves(make_data(400, 10), repeats=2, seed=5, learners={"coats": coats})
    assert table["garment_error"].tolist() == pytest.approx([0.1, 0.1]) and (table["group_error"] == 0).all()
    assert [seed for seed, _ in seen] == [5, 6] and seen[0][1] != seen[1][1]


def test_a_draw_holds_out_a_tenth_of_the_training_images() -> None:
    """Nothing of the test split is in it, and no image is on both sides."""
    data = make_data(400, 10)
    drawn = draw(data, 0)
    train = {image.tobytes() for image in data.images[data.train_rows]}
    sides = [{image.tobytes() for image in images} for images in (drawn.images, drawn.held_out)]
    assert [len(side) for side in sides] == [360, 40] and sides[0] | sides[1] == train
    assert np.bincount(drawn.truth).tolist() == [4] * 10


def test_section_is_made_of_planted_curves() -> None:
    """The section can be drawn and says what ten times more images would bring."""
    table = planted_curves()
    curve_section = section(make_data(60, 20), table, fit_curves(table))
    check_section(curve_section)
    assert "400,000" in curve_section.finding


def planted_curves() -> pd.DataFrame:
    """Three repeats of two models with one law and a little noise."""
    random = np.random.default_rng(0)
    rows = [
        (model, int(size), repeat, *(factor * (0.01 + 2.0 * size**-0.4) * (1 + random.normal(0, 0.005, 2))))
        for model, factor in (("1-nearest neighbour", 1.0), ("small network", 1.0))
        for size in SIZES
        for repeat in range(3)
    ]
    return pd.DataFrame(rows, columns=["model", "images", "repeat", "garment_error", "group_error"])

"""Geometry: planted overlaps, purities and separability are found, and the section says so."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from analysis.exploration.embedding import Embedding
from analysis.exploration.garment_overlap import Geometry, measure, nearest_garments, purity, section
from analysis.exploration.neighbours import Neighbours, nearest
from tests.analysis.exploration.section_checks import check_section
from tests.analysis.exploration.synthetic_data import make_data

DATA = make_data(300, 100)
FEATURES = np.eye(10, dtype=np.float32)[DATA.garments]


@pytest.fixture(scope="module")
def neighbours() -> Neighbours:
    """The nearest training images by every fourth pixel."""
    return nearest(DATA.pixels[:, ::4], 300)


@pytest.fixture(scope="module")
def geometry(neighbours: Neighbours) -> Geometry:
    """Of synthetic images, with one model that is right and one that takes every One piece for Upper part."""
    truth = DATA.groups[DATA.test_rows]
    return measure(DATA, neighbours, FEATURES, {"confused": np.where(truth == 2, 0, truth), "right": truth})


def test_a_network_that_knows_the_garments_is_pure(neighbours: Neighbours) -> None:
    """With features that are the garments all ten neighbours share it; by pixels a mislabelled garment shows."""
    table = purity(DATA, neighbours, FEATURES)
    assert (table["network_garment"] == 1).all() and (table["network_group"] == 1).all()
    swapped = dataclasses.replace(DATA, garments=np.where(DATA.test & (DATA.garments == 1), 5, DATA.garments))
    assert purity(swapped, neighbours, FEATURES).set_index("garment")["pixels_garment"]["Sandal"] < 0.6


def test_rows_of_nearest_garments_are_shares(neighbours: Neighbours) -> None:
    """Each row sums to one, and a garment whose images look like another's lies nearest to that one."""
    relabelled = dataclasses.replace(DATA, garments=np.where(DATA.test & (DATA.garments == 3), 4, DATA.garments))
    before, after = nearest_garments(DATA, neighbours), nearest_garments(relabelled, neighbours)
    assert after.sum(axis=1) == pytest.approx(1) and after[4, 3] > before[4, 3] + 0.15


def test_shares_and_errors_are_means_over_the_test_images(neighbours: Neighbours) -> None:
    """Of the nearest garments, of the ten nearest by pixels, and by features that are wrong for one garment."""
    features = FEATURES.copy()
    features[DATA.test & (DATA.garments == 9)] = np.eye(10)[7]
    table, test = purity(DATA, neighbours, features).set_index("garment"), DATA.test_rows
    found = neighbours.index[test, :10]
    for kind, classes in (("garment", DATA.garments), ("group", DATA.groups)):
        shares = (classes[found] == classes[test, None]).mean(axis=1)
        for number, name in enumerate(DATA.taxonomy.garments):
            own = shares[DATA.garments[test] == number]
            assert table.loc[name, f"pixels_{kind}"] == pytest.approx(own.mean())
            assert table.loc[name, f"pixels_{kind}_error"] == pytest.approx(own.std(ddof=1) / np.sqrt(len(own)))
    assert table.loc["Ankle boot", ["network_garment", "network_group"]].tolist() == [0, 1]
    assert table["number"].tolist() == list(range(10))
    nearest_shares = nearest_garments(DATA, neighbours)
    first = DATA.garments[neighbours.index[:, 0]]
    assert nearest_shares[3] == pytest.approx(np.bincount(first[DATA.garments == 3], minlength=10) / 40)


def test_models_are_measured_by_group(geometry: Geometry) -> None:
    """The right model has no error; the other's all lie between the two groups, and the recall is of the lost group."""
    table = geometry.separability.set_index("model")
    assert table.loc["right", "accuracy"] == 1 and table.loc["confused", "accuracy"] == pytest.approx(0.9)
    assert table.loc["confused", ["worst_pair", "worst_share"]].tolist() == ["Upper part and One piece", 1.0]
    recalls = geometry.recalls.set_index(["model", "group"])["recall"]
    assert recalls["confused", "One piece"] == 0 and recalls["confused", "Upper part"] == 1
    upper, lost = 2 * 40 / (40 + 50), 0
    assert table.loc["confused", "macro_f1"] == pytest.approx((upper + lost + 3) / 5)
    assert table.loc["confused", "accuracy_low"] < 0.9 < table.loc["confused", "accuracy_high"]
    assert geometry.recalls["model"].tolist() == ["confused"] * 5 + ["right"] * 5


def test_every_garment_and_group_has_a_dimension(geometry: Geometry) -> None:
    """All images, groups and garments are there once, and each interval holds its estimate."""
    table = geometry.dimensions
    assert table["kind"].value_counts().to_dict() == {"garment": 10, "group": 5, "all": 1}
    assert (table["low"] < table["two_nearest"]).all() and (table["two_nearest"] < table["high"]).all()


def test_section_is_complete(geometry: Geometry) -> None:
    """Every block has a name of its own and a caption, and the maps show the sampled images."""
    places = np.random.default_rng(0).normal(size=(2, 100, 2)).astype(np.float32)
    geometry_section = section(DATA, geometry, Embedding(DATA.test_rows, *places, "a small network"))
    check_section(geometry_section)
    maps = [block for block in geometry_section.blocks if block.name.startswith("map-")]
    assert len(maps) == 2 and all((block.thumbnails == DATA.images[DATA.test_rows]).all() for block in maps)
    assert sorted(number for trace in maps[0].figure.data for number in trace.customdata) == list(range(100))

"""Leakage between splits, changed labels and blank images are found in the contents of examples, and only there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.data.anomalies import Anomaly, Kind
from analysis.data.content_checks import (
    FALSE_ALARM,
    Contents,
    find_blank_images,
    find_label_shift,
    find_leakage,
)
from analysis.data.fashion_mnist import Source, load
from analysis.data.near_duplicates import close_pairs, count_partners
from models.taxonomy import Taxonomy
from tests.synthetic import images_and_garments

GARMENTS = Taxonomy.load().garments
TROUSER, OTHERS = 1, (0, 2, 3, 4, 6)


def contents(count: int, seed: int, origin: str = "train") -> Contents:
    """Synthetic images without near-duplicates."""
    images, garments = images_and_garments(count, seed)
    names = np.array([f"{origin}/{row}" for row in range(count)], object)
    return Contents(images, garments, names, np.zeros(count, np.int64))


def shift(part: Contents, reference: Contents) -> list[Anomaly]:
    """The warnings about labels; each is a warning of the training split about garments."""
    found = find_label_shift("train", part, reference, GARMENTS, "the reference")
    assert all((a.split, a.feature, a.severity) == ("train", "garment", Kind.WARNING) for a in found)
    return found


def relabelled(part: Contents, share: float = 0.15) -> Contents:
    """A share of the trousers under the labels of upper parts."""
    rng = np.random.default_rng(0)
    garments = part.garments.copy()
    trousers = np.flatnonzero(garments == TROUSER)
    chosen = trousers[: round(share * len(trousers))]
    garments[chosen] = rng.choice(OTHERS, len(chosen))
    return replace(part, garments=garments)


def test_copies_of_test_images_in_training_are_errors() -> None:
    """Equal images in two splits are an error that names the first pairs; the other splits' own images are none."""
    train, validation, test = contents(600, 0), contents(60, 1), contents(200, 2, "test")
    train.images[100:300] = test.images
    validation.images[5] = test.images[3]
    found = find_leakage({"test": test, "train": train, "validation": validation})
    assert [(a.split, a.feature, a.severity) for a in found] == [
        ("test", "image", Kind.ERROR),
        ("validation", "image", Kind.ERROR),
    ]
    assert found[0].received == (
        "200 of 200: test/0 equals train/100, test/1 equals train/101, test/2 equals train/102 and 197 more"
    )
    assert found[1].received == "1 of 60: train/5 equals train/103"


def test_three_equal_images_are_all_named() -> None:
    """Only more than three are counted instead."""
    train, test = contents(100, 0), contents(50, 1, "test")
    train.images[10:13] = test.images[:3]
    (found,) = find_leakage({"train": train, "test": test})
    assert found.received == "3 of 50: test/0 equals train/10, test/1 equals train/11, test/2 equals train/12"


def test_equal_images_within_a_split_are_no_leakage() -> None:
    """An image that a split has twice is on one side."""
    train, test = contents(100, 0), contents(50, 1, "test")
    train.images[7] = train.images[8]
    assert find_leakage({"train": train, "test": test}) == []


@pytest.mark.parametrize(("near", "warned"), [(0, False), (20, False), (30, False), (60, True)])
def test_more_near_duplicates_than_among_training_images_are_a_warning(near: int, warned: bool) -> None:
    """A tenth of the images outside has a near-duplicate; at most as many test images may, three tenths may not."""
    train, validation, test = contents(500, 0), contents(100, 1), contents(200, 2, "test")
    for split, count in ((train, 30), (validation, 30), (test, near)):
        split.near_duplicates[:count] = 1
    found = find_leakage({"train": train, "validation": validation, "test": test})
    assert [(a.split, a.severity) for a in found] == [("test", Kind.WARNING)] * warned
    if warned:
        assert found[0].expected.startswith("10.0%") and found[0].received == "30.0% of 200"


def test_fewer_near_duplicates_are_no_warning() -> None:
    """Only leakage is looked for."""
    train, test = contents(500, 0), contents(200, 2, "test")
    train.near_duplicates[:] = 1
    assert find_leakage({"train": train, "test": test}) == []


def test_relabelled_trousers_are_a_warning() -> None:
    """30% of the trousers among upper parts: other shares, and labels that the nearest images contradict."""
    shares, disagreement = shift(relabelled(contents(3000, 0), 0.3), contents(3000, 1))
    assert shares.headline == "garments have other shares than in the reference"
    assert (shares.expected, shares.received) == ("10.0% Trouser", "7.0% Trouser")
    assert disagreement.headline == "labels disagree with the nearest images of the reference"
    assert disagreement.expected == "0.0% of the images nearest to Trouser under another garment"
    assert disagreement.received == "30.0% of 300"


def test_exchanged_labels_are_a_warning() -> None:
    """When two garments exchange labels, the shares stay; the nearest images still contradict both."""
    part = contents(3000, 0)
    garments = part.garments.copy()
    trousers, dresses = (np.flatnonzero(part.garments == garment)[:30] for garment in (1, 3))
    garments[trousers], garments[dresses] = 3, 1
    found = shift(replace(part, garments=garments), contents(3000, 1))
    assert [a.expected.removeprefix("0.0% of the images nearest to ") for a in found] == [
        "Trouser under another garment",
        "Dress under another garment",
    ]


def test_changed_labels_of_known_images_are_a_warning() -> None:
    """Images that the reference has, too, are compared with themselves, in any order; one change is enough."""
    reference = contents(500, 0)
    order = np.random.default_rng(1).permutation(500)
    same = Contents(reference.images[order], reference.garments[order], reference.names[order])
    assert shift(same, reference) == []
    row = int(np.flatnonzero(same.garments == TROUSER)[3])
    same.garments[row] = 3
    (changed,) = shift(same, reference)
    assert changed.headline == "images have another garment than in the reference"
    assert changed.received == f"1 of 500: 1 Trouser to Dress; for example {same.names[row]}"


def test_an_image_of_two_garments_is_no_warning() -> None:
    """A shop uses one image for two products; of a third garment it is a changed label."""
    once = contents(200, 0)
    coat, dress = replace(once, garments=once.garments.copy()), replace(once, garments=once.garments.copy())
    coat.garments[0], dress.garments[0] = 4, 3
    both = coat.join(dress)
    assert shift(both, both) == []
    both.garments[0] = 9
    assert [a.headline for a in shift(both, coat.join(dress))] == ["images have another garment than in the reference"]


def test_noise_that_the_reference_has_too_is_no_warning() -> None:
    """Labels may disagree with their neighbours as often as the reference's own, whose images are not their own."""
    parts = []
    for seed in (0, 1):
        part, rng = contents(2000, seed), np.random.default_rng(seed)
        noisy = np.where(rng.random(2000) < 0.2, rng.integers(0, 10, 2000), part.garments)
        parts.append(replace(part, garments=noisy))
    assert shift(*parts) == []


def test_random_splits_are_no_warning() -> None:
    """At the significance level, two random parts of the same images differ in one of a thousand checks."""
    whole = contents(1200, 3)
    flipped = np.random.default_rng(0).random(1200) < 0.15
    noisy = np.where(flipped, (whole.garments + 1) % 10, whole.garments)
    alarms = 0
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(1200)
        one, two = (Contents(whole.images[r], noisy[r], whole.names[r]) for r in (order[:900], order[900:]))
        alarms += bool(shift(one, two))
    assert alarms == 0 and FALSE_ALARM == 0.001


def test_small_differences_of_shares_are_no_warning() -> None:
    """In a large catalogue a difference below half a point is significant, and still not reported."""
    images = np.zeros((1, 28, 28), np.uint8)

    def large(bags: int) -> Contents:
        garments = np.repeat([0, 8], [200_000 - bags, bags])
        return Contents(np.broadcast_to(images, (200_000, 28, 28)), garments, np.empty(200_000, object))

    assert not any("shares" in a.headline for a in shift(large(20_900), large(20_000)))
    assert any("shares" in a.headline for a in shift(large(21_100), large(20_000)))


@pytest.mark.parametrize(("shirts", "warned"), [(272, False), (282, True)])
def test_the_shares_of_all_garments_are_one_check(shirts: int, warned: bool) -> None:
    """Ten garments are ten tests: p = 0.0005 for one of them is no warning, p = 0.00008 is."""
    images, names = np.broadcast_to(np.zeros((1, 28, 28), np.uint8), (2000, 28, 28)), np.empty(2000, object)
    reference = Contents(images, np.arange(2000) % 10, names)
    others = np.arange(2000 - shirts) % 9 + 1
    part = Contents(images, np.concatenate([np.zeros(shirts, np.int64), others]), names)
    found = [a.received for a in shift(part, reference) if "shares" in a.headline]
    assert found == [f"{shirts / 2000:.1%} T-shirt/top"] * warned


@pytest.mark.parametrize(("swapped", "warned"), [(11, False), (16, True)])
def test_the_neighbours_of_all_garments_are_one_check(swapped: int, warned: bool) -> None:
    """Of 300 images nearest to trousers 11 under another garment are p = 0.0005, and 16 are p = 0.00001."""
    part = contents(3000, 0)
    garments = part.garments.copy()
    garments[np.flatnonzero(part.garments == TROUSER)[:swapped]] = 3
    found = shift(replace(part, garments=garments), contents(3000, 1))
    headline = "labels disagree with the nearest images of the reference"
    assert [(a.headline, a.received) for a in found] == [(headline, f"{swapped / 300:.1%} of 300")] * warned


@pytest.mark.parametrize("level", [1, 128, 255])
def test_images_of_one_colour_are_errors(level: int) -> None:
    """Each image of one colour other than black counts; black ones are counted by the statistics."""
    part = contents(50, 0)
    part.images[9], part.images[4] = level, 0
    part.images[5, 3, 3], part.images[5, 3, 4] = 200, 0
    (found,) = find_blank_images("train", part, 0)
    assert (found.split, found.severity, found.received) == ("train", Kind.ERROR, "1: train/9")
    assert find_blank_images("train", part, 1) == []


@pytest.fixture(scope="module")
def official(real_data: Path) -> tuple[Contents, Contents]:
    """The official training and test images with their numbers of near-duplicates within RMSE 0.08."""
    splits = load(Source("idx", real_data))
    images = np.concatenate([splits["train"].images, splits["test"].images])
    counts = count_partners(70_000, close_pairs(images, 0.08), np.arange(70_000) < 60_000)
    names = np.array([f"{row}" for row in range(70_000)], object)
    garments = [splits[name].garments for name in ("train", "test")]
    rows = slice(0, 60_000), slice(60_000, None)
    one, two = (Contents(images[r], g, names[r], counts[r]) for r, g in zip(rows, garments, strict=True))
    return one, two


@pytest.mark.slow
def test_the_published_data_have_no_anomaly(official: tuple[Contents, Contents]) -> None:
    """No image is in both official splits, and near-duplicates and labels agree between them."""
    train, test = official
    assert find_leakage({"train": train, "test": test}) == [] and shift(train, test) == []
    assert find_blank_images("train", train, 0) == find_blank_images("test", test, 0) == []
    shares = [(part.near_duplicates > 0).mean() for part in (train, test)]
    assert shares == pytest.approx([0.1003, 0.0978], abs=1e-4)


@pytest.mark.slow
def test_faults_of_the_published_data_are_noticed(official: tuple[Contents, Contents]) -> None:
    """200 copied test images stop the run, 200 nearly equal ones are a warning, as are 15% relabelled trousers."""
    train, test = official
    copied = train.images.copy()
    copied[:200] = test.images[:200]
    near = test.near_duplicates.copy()
    near[:200] += 1
    found = find_leakage({"train": replace(train, images=copied), "test": replace(test, near_duplicates=near)})
    assert [a.severity for a in found] == [Kind.ERROR, Kind.WARNING]
    shares, disagreement = shift(relabelled(train), test)
    assert "8.5% Trouser" in shares.received and "nearest to Trouser" in disagreement.expected

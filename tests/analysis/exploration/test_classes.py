"""Classes: planted sizes are counted, planted pixels are found, and typical and isolated images are separated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.data.fashion_mnist import Source, load
from analysis.exploration import pixel_information
from analysis.exploration.classes import hardest_pair, measure, naive_classifiers, sizes
from analysis.exploration.typical_images import choose, isolation
from models.taxonomy import Taxonomy
from tests.analysis.exploration.synthetic_data import as_data, make_other_data, make_plain_data


def drawn_counts() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns uint8 [200, 28, 28] of noise, int64 [200], and their counts; pixel (3, 5) is bright in class 1 alone."""
    rng = np.random.default_rng(0)
    images, classes = rng.integers(0, 256, (200, 28, 28)).astype(np.uint8), rng.permutation(np.arange(200) % 2)
    images[:, 3, 5] = np.where(classes == 1, 200, 0)
    return images, classes, pixel_information.count_values(images, classes, 2)


def test_planted_sizes_are_counted() -> None:
    """Each garment has its images in the right split."""
    garments = np.array([0] * 5 + [3] * 7 + [9] * 2 + [3] * 4)
    table = sizes(as_data(np.zeros((18, 28, 28), np.uint8), garments, train=14)).set_index("garment")
    assert table.loc["Dress", ["train", "test"]].tolist() == [7, 4]
    assert table[["train", "test"]].sum().tolist() == [14, 4]
    assert table.loc["Dress", "group"] == "One piece"


def test_accuracy_hardly_falls_when_a_small_group_is_lost() -> None:
    """With 4 : 1 : 1 : 3 : 1, a model blind to One piece has accuracy 0.9, balanced accuracy 0.8, macro F1 7/9."""
    naive = naive_classifiers(np.array([4000, 1000, 1000, 3000, 1000]), Taxonomy.load(), (2, 0)).set_index("classifier")
    blind, majority = naive.loc["never One piece"], naive.loc["always Upper part"]
    assert (blind["accuracy"], blind["balanced accuracy"]) == pytest.approx((0.9, 0.8))
    assert blind["macro F1"] == pytest.approx((3 + 8 / 9) / 5)
    assert (majority["accuracy"], majority["macro F1"]) == pytest.approx((0.4, 4 / 35))
    assert naive.loc["half of One piece", "least recall"] == 0.5
    assert naive["accuracy"].is_monotonic_decreasing and len(naive) == 7
    # A blind spot for another group goes to the largest other one: Footwear is taken for Upper part.
    shoes = naive.loc["never Footwear"]
    assert (shoes["accuracy"], shoes["least recall"]) == (0.7, 0)
    assert shoes["macro F1"] == pytest.approx((3 + 8 / 11) / 5)
    assert naive.loc["never Upper part", "macro F1"] == pytest.approx((3 + 6 / 10) / 5)


def test_counts_give_numpys_moments() -> None:
    """Means, lower medians and variances from the counts are those of the images."""
    images, classes, table = drawn_counts()
    own = images[classes == 1].reshape(-1, 784)
    assert np.allclose(pixel_information.means(table)[1], own.mean(axis=0))
    assert np.allclose(pixel_information.variances(table)[1], own.var(axis=0))
    assert np.array_equal(pixel_information.medians(table)[1], np.sort(own, axis=0)[(len(own) - 1) // 2])


def test_an_informative_pixel_is_found() -> None:
    """A pixel that is bright in one of two equal classes alone tells one bit; noise tells far less."""
    _, _, table = drawn_counts()
    bits = pixel_information.information(pixel_information.binned(table)).reshape(28, 28)
    assert np.unravel_index(bits.argmax(), bits.shape) == (3, 5)
    assert bits[3, 5] == pytest.approx(1) and np.sort(bits.ravel())[-2] < 0.3


def test_information_is_scikit_learns() -> None:
    """The mutual information equals scikit-learn's, which counts in nats."""
    from sklearn.metrics import mutual_info_score

    images, classes, table = drawn_counts()
    expected = mutual_info_score(classes, images[:, 7, 9] // 16) / np.log(2)
    assert pixel_information.information(pixel_information.binned(table))[7 * 28 + 9] == pytest.approx(expected)


def test_silhouettes_and_the_pair_have_their_own_information() -> None:
    """A shade that names the class has no information as a silhouette; the pair leaves other groups out."""
    classes = np.arange(120) % 3
    images = np.zeros((120, 28, 28), np.uint8)
    images[:, 0, 0] = np.array([15, 16, 200])[classes]
    images[:, 0, 1] = np.array([20, 20, 200])[classes]
    grouped = pixel_information.count_values(images, classes, 3)
    shuffled = pixel_information.count_values(images, np.random.default_rng(0).permutation(classes), 3)
    table = pixel_information.count_values(images, np.arange(120) % 6, 6)
    found = pixel_information.measure_information(table, grouped, shuffled, (0, 1))
    three = np.log2(3)
    assert found.group[0, :2] == pytest.approx([three, np.log2(3) - 2 / 3])
    assert found.silhouette[0, :2] == pytest.approx([three - 2 / 3, 0])
    assert found.pair[0, :2] == pytest.approx([1, 0])
    assert (found.group_entropy, found.garment_entropy, found.pair_entropy) == pytest.approx((three, np.log2(6), 1))
    assert 0 < found.shuffled < 0.2 and found.group.shape == (28, 28)


def test_explained_variance_is_that_of_the_means() -> None:
    """Nothing is explained where classes are alike, everything where images are their class's mean."""
    classes = np.arange(40) % 2
    flat = np.repeat((classes * 200).astype(np.uint8), 784).reshape(-1, 28, 28)
    assert pixel_information.explained_variance(pixel_information.count_values(flat, classes, 2)) == pytest.approx(1)
    mixed = pixel_information.count_values(flat, np.arange(40) // 2 % 2, 2)
    assert pixel_information.explained_variance(mixed) == pytest.approx(0)


def test_merged_counts_are_those_of_the_coarser_classes() -> None:
    """Adding up the garments of a group gives what counting by group gives."""
    data = make_plain_data()
    table = pixel_information.count_values(data.images, data.garments, 10)
    merged = pixel_information.merge(table, data.taxonomy.group_of, 5)
    assert np.array_equal(merged, pixel_information.count_values(data.images, data.groups, 5))


def test_an_outlier_is_the_most_isolated_and_the_mean_is_typical() -> None:
    """A planted far image is the first of the extreme ones, a planted mean image the first of the typical ones."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(0.5, 0.05, (60, 784)).astype(np.float32)
    pixels[17], pixels[30] = 1.0, 0.5
    chosen = choose(pixels, np.arange(10, 60), 4)
    assert chosen.extreme[0] == 17 and chosen.typical[0] == 30
    assert np.isin(chosen.random, np.arange(10, 60)).all() and len(set(chosen.random)) == 4
    own = pixels[10:60]
    from_mean = ((own - own.mean(axis=0)) ** 2).sum(axis=1)
    distances = np.sort(np.sqrt(((own[:, None] - own[None]) ** 2).mean(axis=2)), axis=1)[:, 5]
    assert chosen.typical.tolist() == (10 + np.argsort(from_mean)[:4]).tolist()
    assert chosen.extreme.tolist() == (10 + np.argsort(-distances)[:4]).tolist()
    assert chosen.from_others == pytest.approx(np.sort(distances)[::-1][:4], abs=1e-3)
    few = choose(pixels, np.arange(3), 8)
    assert [len(few.typical), len(few.extreme), len(few.random)] == [3, 3, 3]


def test_isolation_is_the_distance_to_the_fifth_nearest_other() -> None:
    """It equals a direct sort of all distances, the image itself left out."""
    pixels = np.random.default_rng(1).random((30, 784)).astype(np.float32)
    distances = np.sqrt(((pixels[:, None] - pixels[None]) ** 2).mean(axis=2))
    assert np.allclose(isolation(pixels, np.arange(30)), np.sort(distances, axis=1)[:, 5], atol=1e-3)
    some = np.array([3, 8, 20, 21, 22, 25, 29])
    to_some = distances[:, some]
    to_some[some, np.arange(7)] = np.inf
    assert np.allclose(isolation(pixels, some), np.sort(to_some, axis=1)[:, 4], atol=1e-3)
    few = isolation(pixels[:4], np.arange(4))
    assert np.allclose(few, np.sort(distances[:4, :4], axis=1)[:, 3], atol=1e-3), "of three others the farthest"


def test_measuring_twice_gives_the_same() -> None:
    """Everything random is seeded."""
    one, two = measure(make_plain_data()), measure(make_plain_data())
    assert one.information.shuffled == two.information.shuffled
    assert np.array_equal(one.garment_samples[4].random, two.garment_samples[4].random)


def test_the_pair_is_two_groups_even_where_none_is_confused() -> None:
    """Where a linear model makes no mistake, the pair still is two groups, the smaller first."""
    data = make_other_data()
    small, large = hardest_pair(data)
    sizes_of = np.bincount(data.groups[data.train_rows])
    assert small != large and sizes_of[small] <= sizes_of[large]


@pytest.mark.slow
def test_real_groups_are_as_known(real_data: Path) -> None:
    """6,000 and 1,000 images for each garment; a linear model confuses One piece and Upper part most."""
    splits = load(Source("idx", real_data), verify_checksums=False)
    images = np.concatenate([splits["train"].images, splits["test"].images])
    data = as_data(images, np.concatenate([splits["train"].garments, splits["test"].garments]), 60_000)
    table = sizes(data)
    assert set(table["train"]) == {6000} and set(table["test"]) == {1000}
    assert [data.taxonomy.groups[group] for group in hardest_pair(data)] == ["One piece", "Upper part"]

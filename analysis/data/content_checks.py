"""Checks of the images and labels themselves: blank images, leakage between splits, and labels that have changed.

Statistics of single features cannot show these. Every comparison of two groups of images is Fisher's exact test at the
significance level `FALSE_ALARM`, divided by the number of tests of the check (Bonferroni).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.data.anomalies import Anomaly, Kind
from analysis.data.fashion_mnist import content_ids

Indices = npt.NDArray[np.int64]

FALSE_ALARM = 0.001
"""The probability that a check reports a difference between two random samples of the same images."""

SHARE_DIFFERENCE = 0.005
"""The least difference of a garment's share that is reported: in large catalogues smaller ones are significant, too."""

QUERIES, KNOWN = 5_000, 10_000
"""The most images whose nearest neighbours are searched, and among which: two seconds on two cores. With them, 15% of
the trousers under other labels are always noticed, 5% in half of all samples."""

NAMED = 3
"""The number of images that a message names."""


@dataclass(frozen=True)
class Contents:
    """The images of a split.

    Attributes:
        images: uint8 [N, 28, 28].
        garments: int64 [N].
        names: N names, the feature `source_id`.
        near_duplicates: int64 [N], the number of near-duplicates outside the test split; None where it is not used.
    """

    images: npt.NDArray[np.uint8]
    garments: Indices
    names: npt.NDArray[np.object_]
    near_duplicates: Indices | None = None

    def join(self, other: Contents) -> Contents:
        """Returns the images of both."""
        counts = self.near_duplicates, other.near_duplicates
        return Contents(
            np.concatenate([self.images, other.images]),
            np.concatenate([self.garments, other.garments]),
            np.concatenate([self.names, other.names]),
            None if counts[0] is None or counts[1] is None else np.concatenate([counts[0], counts[1]]),
        )


def is_blank(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Marks the images, uint8 [N, 28, 28], whose pixels are all equal, bool [N]."""
    flat = images.reshape(len(images), -1)
    return np.asarray((flat == flat[:, :1]).all(axis=1))


def find_blank_images(split: str, contents: Contents, most: int) -> list[Anomaly]:
    """Returns an anomaly for more than `most` images of one colour; the statistics already report all-black ones."""
    blank = np.flatnonzero(is_blank(contents.images) & (contents.images[:, 0, 0] > 0))
    if len(blank) <= most:
        return []
    received = f"{len(blank)}: {_some(contents.names[blank])}"
    return [Anomaly(split, "image", Kind.CUSTOM_VALIDATION, "image of one colour", f"at most {most}", received)]


def find_leakage(splits: Mapping[str, Contents]) -> list[Anomaly]:
    """Returns an anomaly for equal images in two splits, and a warning for too many near-duplicates.

    A random split gives test images as many near-duplicates among the training images as other training images have.
    So the share among the training images is the expected one. In Fashion-MNIST, at RMSE 0.08, it is 10.0%, and 9.8%
    of the test images have one; over random splits, the difference spreads as independent images would make it spread.

    Args:
        splits: The contents of "train" and "test", and of other splits, by name.
    """
    found = list(_equal_images(splits))
    outside, test = _training_images(splits), splits["test"]
    if outside.near_duplicates is None or test.near_duplicates is None:
        return found
    near, expected = test.near_duplicates > 0, outside.near_duplicates > 0
    if _p_value(near.sum(), len(near), expected.sum(), len(expected), "greater") < FALSE_ALARM:
        headline = "more near-duplicates in training than the training images have"
        limits = f"{expected.mean():.1%}, the share of the training images with a near-duplicate"
        received = f"{near.mean():.1%} of {len(near):,}"
        found.append(_warning("test", "image", headline, limits, received))
    return found


def find_label_shift(
    part: str, contents: Contents, reference: Contents, garments: tuple[str, ...], origin: str
) -> list[Anomaly]:
    """Returns warnings where garments or their labels differ from those of reference images.

    Images that the reference has, too, must have the same garment there. The labels of the others must agree with the
    garment of their nearest neighbour in the reference as often as the reference's labels do among themselves. An
    exact search in a random sample measures both.

    Args:
        part: The name of the split.
        contents: Its images.
        reference: Images whose labels are trusted.
        garments: The names of the garments.
        origin: What the reference is, for messages.
    """
    found = list(_share_differences(part, contents, reference, garments, origin))
    before = _garments_before(contents, reference)
    found += _changed_labels(part, contents, before, garments, origin)
    return found + list(_disagreements(part, contents, reference, before < 0, garments, origin))


def _garments_before(contents: Contents, reference: Contents) -> Indices:
    """Returns the garment of each image in the reference, -1 for an image that the reference does not have.

    Shops use an image for several products, so it may have several garments: then its own, if that is among them.
    """
    known: dict[str, set[int]] = {}
    for name, garment in zip(content_ids(reference.images), reference.garments.tolist(), strict=True):
        known.setdefault(name, set()).add(garment)
    pairs = zip(content_ids(contents.images), contents.garments.tolist(), strict=True)
    found = [own if own in (seen := known.get(name, {-1})) else min(seen) for name, own in pairs]
    return np.array(found, np.int64)


def _equal_images(splits: Mapping[str, Contents]) -> Iterator[Anomaly]:
    seen: dict[str, str] = {}
    for split, contents in sorted(splits.items(), key=lambda item: item[0] != "train"):
        digests = content_ids(contents.images)
        pairs = [(name, seen[digest]) for name, digest in zip(contents.names, digests, strict=True) if digest in seen]
        if pairs:
            received = f"{len(pairs)} of {len(digests)}: {_some([f'{name} equals {other}' for name, other in pairs])}"
            headline = "images that another split has, too"
            yield Anomaly(split, "image", Kind.CUSTOM_VALIDATION, headline, "none", received)
        for name, digest in zip(contents.names, digests, strict=True):
            seen.setdefault(digest, str(name))


def _training_images(splits: Mapping[str, Contents]) -> Contents:
    """Returns the images outside the test split."""
    outside = splits["train"]
    return outside.join(splits["validation"]) if "validation" in splits else outside


def _share_differences(
    part: str, contents: Contents, reference: Contents, garments: tuple[str, ...], origin: str
) -> Iterator[Anomaly]:
    counts, expected = (np.bincount(c.garments, minlength=len(garments)) for c in (contents, reference))
    sizes = counts.sum(), expected.sum()
    shares, usual = counts / sizes[0], expected / sizes[1]
    differing = [
        garment
        for garment in np.flatnonzero(np.abs(shares - usual) >= SHARE_DIFFERENCE)
        if _p_value(counts[garment], sizes[0], expected[garment], sizes[1]) < FALSE_ALARM / len(garments)
    ]
    if differing:
        headline = f"garments have other shares than in {origin}"
        limits, received = (", ".join(f"{s[g]:.1%} {garments[g]}" for g in differing) for s in (usual, shares))
        yield _warning(part, "garment", headline, limits, received)


def _changed_labels(
    part: str, contents: Contents, before: Indices, garments: tuple[str, ...], origin: str
) -> Iterator[Anomaly]:
    changed = np.flatnonzero((before >= 0) & (before != contents.garments))
    if len(changed):
        kinds = Counter(f"{garments[before[row]]} to {garments[contents.garments[row]]}" for row in changed)
        listed = _some([f"{count} {kind}" for kind, count in kinds.most_common()])
        headline = f"images have another garment than in {origin}"
        received = f"{len(changed)} of {(before >= 0).sum()}: {listed}; for example {contents.names[changed[0]]}"
        yield _warning(part, "garment", headline, "the same garment for the same image", received)


def _disagreements(
    part: str,
    contents: Contents,
    reference: Contents,
    new: npt.NDArray[np.bool_],
    garments: tuple[str, ...],
    origin: str,
) -> Iterator[Anomaly]:
    known = _sample(len(reference.images), KNOWN)
    queried = _sample(int(new.sum()), QUERIES)
    if len(known) < 2 or len(queried) == 0:
        return
    rows, own = np.flatnonzero(new)[queried], known[:QUERIES]
    truth = reference.garments[known]
    neighbour = truth[_nearest(contents.images[rows], reference.images[known])]
    # An image of the reference is not its own neighbour.
    usual = truth[_nearest(reference.images[own], reference.images[known], np.arange(len(own)))]
    differ, expected = contents.garments[rows] != neighbour, reference.garments[own] != usual
    for garment, name in enumerate(garments):
        near, among = neighbour == garment, usual == garment
        counts = differ[near].sum(), near.sum(), expected[among].sum(), among.sum()
        if _p_value(*counts, "greater") < FALSE_ALARM / len(garments):
            headline = f"labels disagree with the nearest images of {origin}"
            limits = f"{counts[2] / counts[3]:.1%} of the images nearest to {name} under another garment"
            yield _warning(part, "garment", headline, limits, f"{counts[0] / counts[1]:.1%} of {counts[1]:,}")


def _nearest(queries: npt.NDArray[np.uint8], known: npt.NDArray[np.uint8], excluded: Indices | None = None) -> Indices:
    """Returns the row of `known` nearest to each query, other than the excluded one, int64 [Q]."""
    import faiss

    flat, others = (images.reshape(len(images), -1).astype(np.float32) for images in (queries, known))
    _, index = faiss.knn(flat, others, 1 if excluded is None else 2)
    first: Indices = index[:, 0]
    return first if excluded is None else np.where(first == excluded, index[:, -1], first)


def _sample(count: int, most: int) -> Indices:
    return np.random.default_rng(0).permutation(count)[:most]


def _p_value(count: int, size: int, expected: int, expected_size: int, alternative: str = "two-sided") -> float:
    """Returns the p-value of Fisher's exact test that two groups have the same share."""
    from scipy.stats import fisher_exact

    table = [[count, size - count], [expected, expected_size - expected]]
    return float(fisher_exact(table, alternative=alternative).pvalue)


def _warning(split: str, feature: str, headline: str, expected: str, received: str) -> Anomaly:
    return Anomaly(split, feature, Kind.CUSTOM_VALIDATION, headline, expected, received, Kind.WARNING)


def _some(texts: npt.NDArray[np.object_] | list[str]) -> str:
    more = f" and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
    return ", ".join(map(str, texts[:NAMED])) + more

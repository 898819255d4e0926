"""ExampleGen: reads Fashion-MNIST or a catalogue and writes sharded tf.Examples in splits without near-duplicates."""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from catalogue.products import Catalogue, Dsn, catalogue_state, require_dsn
from catalogue.training_examples import read_catalogue
from pipeline.contract.artifacts import Examples, IngestionFailures
from pipeline.contract.component import Cache, ExternalPath, Output, component
from pipeline.contract.errors import UserError, suggest
from pipeline.contract.progress import Progress
from serving.fetching.fetch_policy import FetchPolicy

if TYPE_CHECKING:
    from analysis.data.near_duplicates import Pairs
    from catalogue.training_examples import CatalogueExamples

logger = logging.getLogger(__name__)

FASHION_MNIST_GARMENTS = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
"""The names of Fashion-MNIST's labels 0 to 9 (https://github.com/zalandoresearch/fashion-mnist#labels)."""
SPLITS = ("train", "validation", "test")
SECONDS_PER_DAY = 86_400

MAX_BLANK_SHARE = 0.05
"""The largest share of images of one colour. Fashion-MNIST has none; ExampleValidator names a few in a valid data set.
All of them would be near-duplicates of each other."""


def check_garments(garments: tuple[str, ...], source: str, verify_checksums: bool) -> None:
    """Raises UserError if a taxonomy gives the labels of Fashion-MNIST other names than the data set does.

    Fashion-MNIST holds labels as numbers, so another order of the names would silently exchange garments. A catalogue
    holds names, for which any order is right. IDX files that need not be the published ones may hold other garments.

    Args:
        garments: The names by label, from the taxonomy.
        source: ExampleGen's source of the images.
        verify_checksums: Whether only the published data set is accepted.
    """
    published = sorted(garments) == sorted(FASHION_MNIST_GARMENTS)
    if source != "fashion_mnist" or garments == FASHION_MNIST_GARMENTS or not (published or verify_checksums):
        return
    pairs = zip_longest(FASHION_MNIST_GARMENTS, garments)
    label, expected, received = next((n, wanted, got) for n, (wanted, got) in enumerate(pairs) if wanted != got)
    raise UserError(
        "The garments of the taxonomy are not in the order of Fashion-MNIST's labels."
        if published
        else "The garments of the taxonomy are not those of Fashion-MNIST.",
        expected=f"label {label} is {expected}; in all: {', '.join(FASHION_MNIST_GARMENTS)}"
        if expected
        else f"{label} garments: {', '.join(FASHION_MNIST_GARMENTS)}",
        received=f"label {label} is {received or 'missing'}",
        next_step="copy `garments` from models/fashion.toml into the taxonomy; groups may have any names and order",
    )


def _check_files_below(files_below: Path | None) -> None:
    if files_below is not None and not files_below.is_dir():
        raise UserError(
            "example_gen.files_below is no folder.",
            expected="the folder whose files a catalogue may name by file: URLs",
            received=str(files_below),
            next_step="correct example_gen.files_below, or leave it out",
        )


@component(outside=catalogue_state, checks=(_check_files_below,))
def example_gen(
    examples: Output[Examples],
    failures: Output[IngestionFailures],
    cache: Cache,
    progress: Progress,
    *,
    seed: int,
    garments: tuple[str, ...],
    source: Annotated[
        Literal["fashion_mnist", "catalogue"], Field(description="Where the images come from.")
    ] = "fashion_mnist",
    idx_dir: Annotated[
        ExternalPath | None,
        Field(description="Directory with four gzipped IDX files. Defaults to the Fashion-MNIST of this machine."),
    ] = None,
    verify_checksums: Annotated[bool, Field(description="Accept only the published data set.")] = True,
    dsn: Annotated[
        Dsn | None,
        Field(description="The catalogue's PostgreSQL, without a password. Defaults to `FASHION_CATALOGUE_DSN`."),
    ] = None,
    country: Annotated[str, Field(description="The country code of the catalogue's descriptions.")] = "us",
    image_index: Annotated[int, Field(ge=0, description="Which of a product's images to use; 0 is the first.")] = 0,
    allow_private: Annotated[
        bool, Field(description="Also fetch a catalogue's images from addresses outside the public internet.")
    ] = False,
    files_below: Annotated[
        Path | None, Field(description="Folder whose files a catalogue may name by `file:` URLs. Defaults to none.")
    ] = None,
    max_per_host: Annotated[
        int, Field(ge=1, le=32, description="The most images to fetch from one host at a time.")
    ] = FetchPolicy.max_per_host,
    attempt_seconds: Annotated[
        float, Field(gt=0, description="Time limit for one attempt to fetch an image, in seconds.")
    ] = FetchPolicy.attempt_seconds,
    max_age_days: Annotated[
        float, Field(ge=0, description="Age from which a cached image is checked for changes, in days.")
    ] = 30,
    max_failed_share: Annotated[
        float, Field(ge=0, le=1, description="The largest share of a catalogue's products that may fail.")
    ] = 0.1,
    max_products_per_image: Annotated[
        int, Field(ge=1, description="An image of more products than this counts as a placeholder.")
    ] = 100,
    test_share: Annotated[
        float, Field(gt=0, lt=1, description="Share of a catalogue's images in the test split.")
    ] = 0.1,
    validation_share: Annotated[
        float, Field(gt=0, lt=1, description="Share of the training images in the validation split.")
    ] = 0.1,
    # Chains of near-duplicates grow quickly with the bound: the largest cluster has 7 images at 0.05, 76 at 0.06, 672
    # at 0.07 and 2,304 at 0.08 (a third of all trousers, which could then never be in validation).
    near_duplicate_rmse: Annotated[
        float, Field(ge=0, le=0.1, description="Images within this RMSE stay in one split.")
    ] = 0.06,
    near_duplicate_slice_rmse: Annotated[
        float, Field(ge=0, le=0.1, description="Training images within this RMSE count as near-duplicates in slices.")
    ] = 0.08,
    shard_size: Annotated[int, Field(ge=1, description="The most examples in one file.")] = 10_000,
) -> None:
    """Reads Fashion-MNIST or a catalogue, checks it and writes examples in three splits."""
    if source == "catalogue":
        dsn = require_dsn(dsn)
        read = read_catalogue(
            Catalogue(dsn, country, image_index, garments),
            FetchPolicy(
                allow_private=allow_private,
                files_below=files_below,
                max_age_seconds=max_age_days * SECONDS_PER_DAY,
                max_per_host=max_per_host,
                attempt_seconds=attempt_seconds,
            ),
            cache,
            max_failed_share=max_failed_share,
            max_products_per_image=max_products_per_image,
            report=lambda done, total: progress(done, total, "images", "fetching"),
        )
        _record_catalogue(read, dsn, examples, failures)
        columns = read.columns
        shares = {"test": test_share, "validation": validation_share}
    else:
        with suggest("sh scripts/get_data.sh, or set FASHION_MNIST_DIR to a directory with the original files"):
            columns = _read_fashion_mnist(examples, idx_dir, verify_checksums)
            _check_contrast(columns)
        shares = {"validation": validation_share}
    progress(0, len(columns["image"]), "examples", "comparing images")
    with suggest("set a lower near_duplicate_rmse and near_duplicate_slice_rmse in [example_gen]"):
        pairs = _close_pairs(columns, max(near_duplicate_rmse, near_duplicate_slice_rmse))
    _cluster(columns, pairs.within(near_duplicate_rmse))
    for split, share in shares.items():
        _cut(columns, split, share, seed)
    _count_near_duplicates(columns, pairs.within(near_duplicate_slice_rmse))
    _write(columns, examples, shard_size, progress)


def _record_catalogue(read: CatalogueExamples, dsn: str, examples: Examples, failures: IngestionFailures) -> None:
    """Writes the list of failures, and records which catalogue was read and how many products it has."""
    from sql.connection import redact_dsn

    with failures.failures_file.open("w", encoding="utf-8") as file:
        for failure in read.failures:
            file.write(json.dumps(asdict(failure), ensure_ascii=False) + "\n")
    failures.properties.update(Counter(failure.reason for failure in read.failures))
    examples.properties["source"] = f"the catalogue {redact_dsn(dsn)}"
    for name in ("products", "without_garment", "without_image"):
        examples.properties[name] = read.counts[name]
    examples.properties["failed"] = len(read.failures)


def _read_fashion_mnist(examples: Examples, idx_dir: Path | None, verify: bool) -> dict[str, Any]:
    """Returns the columns of all images, train before test and each ordered by content.

    They are `image` uint8 [N, 28, 28], `garment` int64 [N], `source_id` and `split`, the official one, str [N].

    Args:
        examples: The artifact whose property `source` records what was read.
        idx_dir: A directory with IDX files, or None to find Fashion-MNIST.
        verify: Whether to accept only the published data set.

    Raises:
        DataError: The data are missing, damaged, or not the published ones.
    """
    import numpy as np

    from analysis.data import fashion_mnist

    source = fashion_mnist.locate(idx_dir)
    logger.info("Reading %s", source)
    official = fashion_mnist.load(source, verify)
    examples.properties["source"] = str(source)
    parts = [_ordered_by_content(origin, official[origin]) for origin in ("train", "test")]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _check_contrast(columns: dict[str, Any]) -> None:
    """Raises UserError for a data set in which many images show nothing."""
    from analysis.data.content_checks import is_blank

    blank = is_blank(columns["image"])
    if blank.mean() > MAX_BLANK_SHARE:
        black = int((columns["image"][blank, 0, 0] == 0).sum())
        raise UserError(
            "Too many images show nothing: all their pixels are equal.",
            expected=f"garments on a background; at most {MAX_BLANK_SHARE:.0%} of the images of one colour",
            received=f"{blank.sum():,} of {len(blank):,} images of one colour, {black:,} of them black; for example "
            f"{columns['source_id'][blank.argmax()]}",
        )


def _ordered_by_content(origin: str, split: Any) -> dict[str, Any]:
    import numpy as np

    from analysis.data.fashion_mnist import content_ids

    names = np.array(content_ids(split.images))
    # By name, and by garment for an image that occurs twice with two labels: independent of the order of the files.
    order = np.lexsort((split.garments, names))
    return {
        "image": split.images[order],
        "garment": split.garments[order],
        "source_id": np.array([f"{origin}/{name}" for name in names[order]]),
        "split": np.full(len(order), origin, dtype=object),
    }


def _close_pairs(columns: dict[str, Any], rmse: float) -> Pairs:
    from analysis.data.near_duplicates import close_pairs

    pairs = close_pairs(columns["image"], rmse)
    logger.info("%d pairs of images are within RMSE %g", len(pairs.first), rmse)
    return pairs


def _cluster(columns: dict[str, Any], pairs: Pairs) -> None:
    """Adds the column `cluster` from the images outside an official test split, on which nothing is decided."""
    from analysis.data.near_duplicates import cluster

    columns["cluster"] = cluster(len(columns["image"]), pairs.among(columns["split"] == "train"))


def _cut(columns: dict[str, Any], split: str, share: float, seed: int) -> None:
    """Moves a share of the training images to another split."""
    import numpy as np

    from analysis.data.near_duplicates import cut_validation

    rows = np.flatnonzero(columns["split"] == "train")
    names = columns["name"][rows] if "name" in columns else None
    held_out = cut_validation(columns["garment"][rows], columns["cluster"][rows], share, seed, names)
    columns["split"][rows[held_out]] = split


def _count_near_duplicates(columns: dict[str, Any], pairs: Pairs) -> None:
    """Adds the column `near_duplicate_count`: the number of an image's near-duplicates outside the test split."""
    from analysis.data.near_duplicates import count_partners

    columns["near_duplicate_count"] = count_partners(len(columns["image"]), pairs, columns["split"] != "test")


def _write(columns: dict[str, Any], examples: Examples, shard_size: int, progress: Progress) -> None:
    from analysis.data.examples import write_shards

    columns.pop("name", None)
    done, total = 0, len(columns["image"])
    for split in SPLITS:
        rows = _rows_of_split(columns, split)
        write_shards(examples.path / f"Split-{split}", rows, shard_size)
        examples.properties[split] = len(rows["garment"])
        done += len(rows["garment"])
        progress(done, total, "examples", f"wrote {split}")


def _rows_of_split(columns: dict[str, Any], split: str) -> dict[str, Any]:
    import numpy as np

    rows = {name: values[columns["split"] == split] for name, values in columns.items()}
    count, height, width = rows["image"].shape
    if not count:
        raise UserError(
            f"No image is left for the split {split!r}.",
            expected="images of every garment for three splits, about 20 of each at the default shares",
            received=f"{len(columns['image'])} images",
            next_step="add images, or set test_share and validation_share in [example_gen]",
        )
    return rows | {"height": np.full(count, height), "width": np.full(count, width)}

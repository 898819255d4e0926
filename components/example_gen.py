"""Ingestion: images from Fashion-MNIST or a catalogue, as sharded tf.Examples in splits that share no look-alikes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from catalogue.dsn import Dsn, given
from catalogue.images import Fetch
from catalogue.products import Catalogue, catalogue_state
from catalogue.source import read_catalogue
from pipeline.contract.artifacts import Examples, IngestionFailures
from pipeline.contract.component import Cache, ExternalPath, Output, component
from pipeline.contract.errors import UserError, suggest
from pipeline.contract.progress import Progress

if TYPE_CHECKING:
    from analysis.data.near_duplicates import Pairs

logger = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")


@component(outside=catalogue_state)
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
        ExternalPath | None, Field(description="Four gzipped IDX files of your own. Defaults to finding Fashion-MNIST.")
    ] = None,
    verify_checksums: Annotated[bool, Field(description="Refuse anything but the published data set.")] = True,
    dsn: Annotated[
        Dsn | None,
        Field(description="The catalogue's PostgreSQL, without a password. Defaults to `FASHION_CATALOGUE_DSN`."),
    ] = None,
    country: Annotated[str, Field(description="Whose descriptions of a catalogue are read.")] = "us",
    image_index: Annotated[int, Field(ge=0, description="Which of a product's images is read.")] = 0,
    allow_private: Annotated[
        bool, Field(description="Fetch a catalogue's images from addresses that the internet does not reach, too.")
    ] = False,
    files_below: Annotated[
        Path | None, Field(description="The folder whose files a catalogue may name by `file:` URLs. Defaults to none.")
    ] = None,
    fetches_per_host: Annotated[
        int, Field(ge=1, le=32, description="The most images fetched from one host at a time.")
    ] = 16,
    fetch_seconds: Annotated[
        float, Field(gt=0, description="The most seconds for one attempt to fetch an image.")
    ] = 10,
    trusted_days: Annotated[
        float, Field(ge=0, description="The age from which servers are asked whether a fetched image has changed.")
    ] = 30,
    most_failed: Annotated[
        float, Field(ge=0, le=1, description="The share of a catalogue's images that may fail before the run stops.")
    ] = 0.1,
    most_shared: Annotated[
        int, Field(ge=1, description="A picture that more products than this show is taken for a placeholder.")
    ] = 100,
    test_share: Annotated[
        float, Field(gt=0, lt=1, description="Share of a catalogue's images for the test; Fashion-MNIST has its own.")
    ] = 0.1,
    validation_share: Annotated[
        float, Field(gt=0, lt=1, description="Share of the training images to hold out.")
    ] = 0.1,
    # Chains of look-alikes grow quickly with the bound: the largest cluster has 7 images at 0.05, 76 at 0.06, 672 at
    # 0.07 and 2,304 at 0.08 (a third of all trousers, which could then never be in validation).
    near_duplicate_rmse: Annotated[
        float, Field(ge=0, le=0.1, description="Images closer than this stay together.")
    ] = 0.06,
    lookalike_rmse: Annotated[
        float, Field(ge=0, le=0.1, description="Training images closer than this are twins.")
    ] = 0.08,
    shard_size: Annotated[int, Field(ge=1, description="The most examples in one file.")] = 10_000,
) -> None:
    """Reads Fashion-MNIST or a catalogue, checks it and writes it as examples in three splits."""
    if source == "catalogue":
        catalogue = Catalogue(given(dsn), country, image_index, garments)
        fetch = Fetch(allow_private, files_below, fetches_per_host, fetch_seconds, trusted_days)
        columns = read_catalogue(catalogue, fetch, most_failed, most_shared, cache, examples, failures, progress)
        shares = {"test": test_share, "validation": validation_share}
    else:
        with suggest("sh scripts/get_data.sh, or set FASHION_MNIST_DIR to a directory with the original files"):
            columns = _read_fashion_mnist(examples, idx_dir, verify_checksums)
        shares = {"validation": validation_share}
    progress(0, len(columns["image"]), "examples", "comparing images")
    with suggest("set a lower near_duplicate_rmse and lookalike_rmse in [example_gen]"):
        pairs = _close_pairs(columns, max(near_duplicate_rmse, lookalike_rmse))
    _cluster(columns, pairs.within(near_duplicate_rmse))
    for split, share in shares.items():
        _cut(columns, split, share, seed)
    _count_twins(columns, pairs.within(lookalike_rmse))
    _write(columns, examples, shard_size, progress)


def _read_fashion_mnist(examples: Examples, idx_dir: Path | None, verify: bool) -> dict[str, Any]:
    """Returns the columns of all images, train before test and each ordered by content.

    They are `image` uint8 [N, 28, 28], `garment` int64 [N], `source_id` and `split`, the official one, str [N].

    Args:
        examples: Whose property `source` will say what was read.
        idx_dir: Files of the user's own.
        verify: Whether anything but the published data set is refused.

    Raises:
        DataError: The data are missing, damaged, or other ones.
    """
    import numpy as np

    from analysis.data import fashion_mnist

    source = fashion_mnist.locate(idx_dir)
    logger.info("Reading %s", source)
    official = fashion_mnist.load(source, verify)
    examples.properties["source"] = str(source)
    parts = [_ordered_by_content(origin, official[origin]) for origin in ("train", "test")]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _ordered_by_content(origin: str, split: Any) -> dict[str, Any]:
    import numpy as np

    from analysis.data.fashion_mnist import content_ids

    names = np.array(content_ids(split.images))
    # By name, and by garment for a picture that is there twice with two labels: no order of the files shows.
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
    """Adds the column `cluster`, among the images that are to be split: an official test split decides nothing."""
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


def _count_twins(columns: dict[str, Any], pairs: Pairs) -> None:
    """Adds the column `twins`: how many images outside of the test split each resembles."""
    from analysis.data.near_duplicates import count_partners

    columns["twins"] = count_partners(len(columns["image"]), pairs, columns["split"] != "test")


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

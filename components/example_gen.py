"""Ingestion: Fashion-MNIST from wherever it is, as sharded tf.Examples with a leak-free validation split."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from pipeline.artifacts import Examples
from pipeline.component import ExternalPath, Output, component
from pipeline.errors import UserError
from pipeline.progress import Progress

if TYPE_CHECKING:
    import numpy as np

    from analysis.fashion_mnist import LabelledImages
    from analysis.near_duplicates import Pairs

logger = logging.getLogger(__name__)


@component(libraries=("numpy", "protobuf", "pyarrow", "scipy", "tensorflow", "tensorflow-datasets", "tfx-bsl"))
def example_gen(
    examples: Output[Examples],
    progress: Progress,
    *,
    seed: int,
    idx_dir: Annotated[
        ExternalPath | None, Field(description="Four gzipped IDX files of your own. Defaults to finding Fashion-MNIST.")
    ] = None,
    verify_checksums: Annotated[bool, Field(description="Refuse anything but the published data set.")] = True,
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
    """Finds Fashion-MNIST, checks it and writes it as examples with a validation split."""
    from components.examples import write_shards

    with _as_user_error("sh scripts/get_data.sh, or set FASHION_MNIST_DIR to a directory with the original files"):
        official = _read_source(examples, idx_dir, verify_checksums)
    total = sum(len(split.images) for split in official.values())
    progress(0, total, "examples", "comparing images")
    with _as_user_error("set a lower near_duplicate_rmse and lookalike_rmse in [example_gen]"):
        columns = _describe(official, near_duplicate_rmse, lookalike_rmse)
    _mark_validation(columns, validation_share, seed)
    done = 0
    for split in ("train", "validation", "test"):
        rows = _rows_of_split(columns, split)
        write_shards(examples.path / f"Split-{split}", rows, shard_size)
        examples.properties[split] = len(rows["garment"])
        done += len(rows["garment"])
        progress(done, total, "examples", f"wrote {split}")


@contextmanager
def _as_user_error(next_step: str) -> Iterator[None]:
    from analysis.idx import DataError

    try:
        yield
    except DataError as error:
        raise UserError(error.headline, expected=error.expected, received=error.received, next_step=next_step) from None


def _read_source(examples: Examples, idx_dir: ExternalPath | None, verify: bool) -> dict[str, LabelledImages]:
    from analysis import fashion_mnist

    source = fashion_mnist.locate(idx_dir)
    logger.info("Reading %s", source)
    official = fashion_mnist.load(source, verify)
    examples.properties["source"] = str(source)
    return official


def _describe(official: dict[str, LabelledImages], cluster_rmse: float, twin_rmse: float) -> dict[str, Any]:
    """Returns the columns of all images, train before test and each ordered by content, with their near-duplicates."""
    import numpy as np

    from analysis.fashion_mnist import content_ids
    from analysis.near_duplicates import close_pairs

    parts = []
    for origin in ("train", "test"):
        names = np.array(content_ids(official[origin].images))
        # By name, and by garment for a picture that is there twice with two labels: no order of the files shows.
        order = np.lexsort((official[origin].garments, names))
        ids = [f"{origin}/{name}" for name in names[order]]
        parts.append((official[origin].images[order], official[origin].garments[order], ids))
    images, garments = (np.concatenate(arrays) for arrays in list(zip(*parts, strict=True))[:2])
    pairs = close_pairs(images, max(cluster_rmse, twin_rmse))
    trainable = np.arange(len(images)) < len(parts[0][0])
    logger.info("%d pairs of images are within RMSE %g", len(pairs.first), max(cluster_rmse, twin_rmse))
    return {"image": images, "garment": garments, "source_id": np.array(parts[0][2] + parts[1][2])} | _relatives(
        pairs, trainable, cluster_rmse, twin_rmse
    )


def _relatives(pairs: Pairs, trainable: np.ndarray, cluster_rmse: float, twin_rmse: float) -> dict[str, np.ndarray]:
    """Returns the columns `cluster` (among training images alone: the test split decides nothing) and `twins`."""
    from analysis.near_duplicates import cluster, count_twins

    count = len(trainable)
    return {
        "cluster": cluster(count, pairs.among(trainable).within(cluster_rmse)),
        "twins": count_twins(count, pairs.within(twin_rmse), trainable),
    }


def _mark_validation(columns: dict[str, Any], share: float, seed: int) -> None:
    """Adds the column `split`."""
    import numpy as np

    from analysis.validation_cut import cut_validation

    split = np.array([name.split("/")[0] for name in columns["source_id"]], dtype=object)
    trainable = np.flatnonzero(split == "train")
    held_out = cut_validation(columns["garment"][trainable], columns["cluster"][trainable], share, seed)
    split[trainable[held_out]] = "validation"
    columns["split"] = split


def _rows_of_split(columns: dict[str, Any], split: str) -> dict[str, Any]:
    import numpy as np

    rows = {name: values[columns["split"] == split] for name, values in columns.items()}
    count, height, width = rows["image"].shape
    return rows | {"height": np.full(count, height), "width": np.full(count, width)}

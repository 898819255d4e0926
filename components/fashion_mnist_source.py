"""ExampleGen's first source: Fashion-MNIST from wherever it is, or IDX files of the user's own."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from pipeline.contract.artifacts import Examples

logger = logging.getLogger(__name__)


def read_fashion_mnist(examples: Examples, idx_dir: Path | None, verify: bool) -> dict[str, Any]:
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
    parts = [_ordered(origin, official[origin]) for origin in ("train", "test")]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _ordered(origin: str, split: Any) -> dict[str, Any]:
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

"""Reading an Examples artifact as the exploration wants it: the official splits, the training images first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.data.examples import read_arrays
from models.taxonomy import Taxonomy
from pipeline.contract.artifacts import Examples

if TYPE_CHECKING:
    from analysis.exploration.data import Data

FEATURES = ("image", "garment", "cluster", "source_id")


def read_data(examples: Examples, taxonomy: Taxonomy) -> Data:
    """Returns all images; what was set aside for validation is a part of the official training split again.

    Raises:
        UserError: A file is damaged or lacks a feature.
    """
    import numpy as np

    from analysis.exploration.data import Data

    parts = [read_arrays(examples.split(split), FEATURES) for split in ("train", "validation", "test")]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in FEATURES}
    test = np.repeat([False, False, True], [len(part["garment"]) for part in parts])
    return Data(
        images=columns["image"],
        garments=columns["garment"],
        test=test,
        clusters=columns["cluster"],
        names=columns["source_id"].astype(np.str_),
        taxonomy=taxonomy,
    )

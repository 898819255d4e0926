"""Data maps: how sure networks are of the given group of an image, and how much that changes over the epochs.

Swayamdipta et al., "Dataset Cartography: Mapping and Diagnosing Datasets with Training Dynamics", 2020
(https://arxiv.org/abs/2009.10795). There the network is trained on the image that it is asked about; here it never is,
so that an image which is given wrongly stays hard instead of being learned by heart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.exploration.cross_validation import OutOfFold
from analysis.exploration.data import Data, Indices
from models.probabilities import softmax

Values = npt.NDArray[np.float64]

SURE = 0.9
"""An image is easy when its given group has at least this probability on average, hard below 1 - SURE."""
CHANGING = 0.15
"""It is ambiguous when the standard deviation over the epochs is at least this, whatever the mean."""
REGIONS = ("easy", "ambiguous", "hard", "between")


@dataclass(frozen=True)
class DataMap:
    """Where every training image lies, T of them.

    Attributes:
        confidence: float64 [T], the mean over the epochs of the probability of the given group.
        variability: float64 [T], its standard deviation over the epochs.
        region: int64 [T], index into `REGIONS`.
        by_garment: One row a garment: garment, group, then the share of its images in each of the regions.
    """

    confidence: Values
    variability: Values
    region: Indices
    by_garment: pd.DataFrame


def map_data(data: Data, out_of_fold: OutOfFold) -> DataMap:
    """Places every training image."""
    membership = np.array(data.taxonomy.membership())
    groups = data.groups[data.train_rows]
    place = np.arange(len(groups))
    held = np.stack([(softmax(logits) @ membership)[place, groups] for logits in out_of_fold.logits])
    confidence, variability = held.mean(axis=0), held.std(axis=0)
    region = regions(confidence, variability)
    return DataMap(confidence, variability, region, _by_garment(data, region))


def regions(confidence: Values, variability: Values) -> Indices:
    """Returns the region of each image, int64 [T], index into `REGIONS`."""
    conditions = [variability >= CHANGING, confidence >= SURE, confidence < 1 - SURE]
    return np.select(conditions, [1, 0, 2], default=3).astype(np.int64)


def _by_garment(data: Data, region: Indices) -> pd.DataFrame:
    taxonomy, garments = data.taxonomy, data.garments[data.train_rows]
    counts = np.bincount(garments * len(REGIONS) + region, minlength=len(taxonomy.garments) * len(REGIONS))
    table = counts.reshape(-1, len(REGIONS))
    shares = pd.DataFrame(table / np.maximum(table.sum(axis=1, keepdims=True), 1), columns=list(REGIONS))
    shares.insert(0, "garment", taxonomy.garments)
    shares.insert(1, "group", [taxonomy.groups[group] for group in taxonomy.group_of])
    return shares

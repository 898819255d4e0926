"""Two t-SNE maps of the same test images: by their pixels, and by the features of a network."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from analysis.evaluation.ladder import unit_pixels
from analysis.exploration.data import Data, Indices
from analysis.exploration.principal_components import principal_components

Floats = npt.NDArray[np.float32]

FILE = "embedding.npz"
EXAGGERATED, ITERATIONS = 125, 300
"""Iterations of the layout. openTSNE's defaults, 250 and 500, take twice as long and preserve no more: of the ten
neighbours of 6,000 images on the map, 72.8% have the same garment either way, and half are among the ten before."""

DIRECTIONS = 50
"""Principal components that the layout starts from, as usual (van der Maaten and Hinton 2008)."""


@dataclass(frozen=True)
class Embedding:
    """Maps of P test images.

    Attributes:
        rows: int64 [P], their rows in the data.
        pixels: float32 [P, 2], positions on the map by pixels, without unit.
        network: float32 [P, 2], positions on the map by the network's features.
        network_name: The network, such as "the trained model".
    """

    rows: Indices
    pixels: Floats
    network: Floats
    network_name: str

    def save(self, directory: Path) -> None:
        """Writes the arrays into one file of the directory."""
        np.savez(directory / FILE, **asdict(self))

    @classmethod
    def load(cls, directory: Path) -> Embedding:
        """Reads the file that `save` wrote."""
        with np.load(directory / FILE) as content:
            return cls(content["rows"], content["pixels"], content["network"], str(content["network_name"]))


def sample_rows(data: Data, count: int = 6000, seed: int = 0) -> Indices:
    """Returns ascending rows of at most `count` test images, int64, the same number of every garment if possible."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(data.test_rows)
    garments = data.garments[shuffled]
    share = count // max(len(np.unique(garments)), 1)
    return np.sort(np.concatenate([shuffled[garments == garment][:share] for garment in np.unique(garments)]))


def embed(data: Data, features: Floats, rows: Indices, network_name: str, seed: int) -> Embedding:
    """Computes both maps; rotates and mirrors the second so that it is as near to the first as possible.

    Args:
        data: The images.
        features: float32 [P, F], the network's features of the images in `rows`.
        rows: int64 [P], as `sample_rows` returns them.
        network_name: The network that computed the features.
        seed: Of the layout.
    """
    pixels = tsne(unit_pixels(data.images[rows]), seed)
    network = tsne(features, seed)
    return Embedding(rows, pixels, _aligned(network, pixels), network_name)


def tsne(values: Floats, seed: int) -> Floats:
    """Returns positions on a map, float32 [P, 2], by t-SNE.

    The implementation is openTSNE (Poličar et al. 2024, https://doi.org/10.18637/jss.v109.i03). The layout starts from
    the first two principal components, so that the global structure is that of the data and not of chance (Kobak and
    Berens 2019, https://doi.org/10.1038/s41467-019-13056-x).

    Args:
        values: float32 [P, F].
        seed: Of the layout.
    """
    from openTSNE import TSNE

    components = principal_components(values)
    reduced = components.project(values, min(DIRECTIONS, values.shape[1]))
    layout = TSNE(
        perplexity=min(30, (len(values) - 1) // 3),
        early_exaggeration_iter=EXAGGERATED,
        n_iter=ITERATIONS,
        neighbors="exact",
        negative_gradient_method="bh",
        n_jobs=2,
        random_state=seed,
    )
    return np.asarray(layout.fit(reduced), np.float32)


def _aligned(positions: Floats, target: Floats) -> Floats:
    """Returns the positions rotated and mirrored about their mean, at the least squared distance from the target."""
    from scipy.linalg import orthogonal_procrustes

    centred = positions - positions.mean(axis=0)
    rotation, _ = orthogonal_procrustes(centred, target - target.mean(axis=0))
    return (centred @ rotation).astype(np.float32)

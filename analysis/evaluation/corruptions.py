"""Sixteen corruptions of images at five severities, reproducible by seed, for the evaluation's robustness.

The set follows MNIST-C (Mu and Gilmer, "MNIST-C: A Robustness Benchmark for Computer Vision", 2019) and ImageNet-C
(Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", 2019), with
strengths chosen by eye for garments of 28x28: the first is barely visible, and in the last a person still recognises
the garment.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.evaluation import pixel_corruptions as pixel
from analysis.evaluation import spatial_corruptions as spatial

Images = npt.NDArray[np.uint8]

SEVERITIES = (1, 2, 3, 4, 5)
SHAPE = (28, 28)
CLEAN = "none"
"""The name of the uncorrupted images, beside the names of the corruptions."""

EVALUATED_SEVERITY = 3
"""The severity of the evaluation. At severity 1 the six recipes of the experiment `robustness` differ by at most 0.7
points on the mean of all corruptions; at severity 5 the best of them misclassifies one image in three."""


@dataclass(frozen=True)
class Corruption:
    """One kind of corruption.

    Attributes:
        apply: Takes images uint8 [N, 28, 28], a strength and a generator; returns numbers of the same shape.
        strengths: Of the severities 1 to 5.
        unit: The unit of a strength.
    """

    apply: Callable[[Images, float, np.random.Generator], npt.NDArray[np.number[Any]]]
    strengths: tuple[float, float, float, float, float]
    unit: str


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": Corruption(pixel.gaussian_noise, (0.04, 0.08, 0.14, 0.22, 0.32), "standard deviation, of white"),
    "shot_noise": Corruption(
        pixel.shot_noise, (1 / 200, 1 / 60, 1 / 20, 1 / 8, 1 / 4), "one over the photons of white"
    ),
    "impulse_noise": Corruption(pixel.impulse_noise, (0.01, 0.04, 0.10, 0.18, 0.30), "share of the pixels"),
    "gaussian_blur": Corruption(spatial.gaussian_blur, (0.5, 0.8, 1.2, 1.7, 2.4), "standard deviation in pixels"),
    "motion_blur": Corruption(spatial.motion_blur, (2, 4, 6, 9, 12), "length in pixels"),
    "shear": Corruption(spatial.shear, (0.1, 0.2, 0.35, 0.5, 0.7), "pixels a row"),
    "scale": Corruption(spatial.scale, (0.1, 0.2, 0.3, 0.4, 0.5), "share of the side that is lost"),
    "rotation": Corruption(spatial.rotation, (6, 14, 24, 36, 50), "degrees"),
    "brightness": Corruption(pixel.brightness, (0.08, 0.18, 0.3, 0.42, 0.55), "share of white"),
    "contrast": Corruption(pixel.contrast, (0.2, 0.4, 0.6, 0.75, 0.85), "share of the way to grey"),
    "inversion": Corruption(pixel.inversion, (0.1, 0.25, 0.7, 0.85, 1), "share of the negative"),
    "horizontal_flip": Corruption(spatial.horizontal_flip, (0.2, 0.4, 0.6, 0.8, 1), "share of the images"),
    "vertical_flip": Corruption(spatial.vertical_flip, (0.2, 0.4, 0.6, 0.8, 1), "share of the images"),
    "occlusion": Corruption(pixel.occlusion, (5, 7, 9, 11, 15), "pixels a side"),
    "pixelation": Corruption(spatial.pixelation, (1.4, 2, 2.8, 3.5, 4.2), "pixels a block"),
    "jpeg": Corruption(pixel.jpeg, (40, 70, 85, 92, 97), "100 minus the quality"),
}


def corrupt(images: Images, name: str, severity: int, seed: int) -> Images:
    """Returns corrupted copies of the images.

    The result for an image depends on its pixels, its row, the name, the severity and the seed, and not on the images
    after it. All severities use the same random numbers, so they differ in strength alone.

    Args:
        images: uint8 [N, 28, 28].
        name: One of `CORRUPTIONS`.
        severity: 1 (barely visible) to 5 (strong).
        seed: Not negative.

    Returns:
        uint8 [N, 28, 28].

    Raises:
        ValueError: The name or the severity is unknown, the seed is negative, or the images have another shape or type.
    """
    _check(images, name, severity, seed)
    corruption = CORRUPTIONS[name]
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    corrupted = corruption.apply(images, corruption.strengths[severity - 1], rng)
    return np.rint(corrupted).clip(0, 255).astype(np.uint8)


def clean_and_corrupted(images: Images, severity: int, seed: int) -> dict[str, Images]:
    """Returns the images uncorrupted, under `CLEAN`, and then under every corruption; each uint8 [N, 28, 28].

    Args:
        images: uint8 [N, 28, 28].
        severity: As `corrupt`'s.
        seed: As `corrupt`'s.

    Raises:
        ValueError: As from `corrupt`.
    """
    return {CLEAN: images} | {name: corrupt(images, name, severity, seed) for name in CORRUPTIONS}


def _check(images: Images, name: str, severity: int, seed: int) -> None:
    if name not in CORRUPTIONS:
        raise ValueError(f"No such corruption. Expected: one of {', '.join(CORRUPTIONS)}. Received: {name!r}")
    if not isinstance(severity, int | np.integer) or severity not in SEVERITIES:
        raise ValueError(f"No such severity. Expected: a whole number from 1 to 5. Received: {severity!r}")
    if seed < 0:
        raise ValueError(f"A seed is negative. Expected: 0 or more. Received: {seed}")
    check_images(images)


def check_images(images: Images) -> None:
    """Raises ValueError unless the images are uint8 [N, 28, 28]."""
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != SHAPE:
        received = f"{images.dtype} {list(images.shape)}"
        raise ValueError(f"Images have another shape or type. Expected: uint8 [N, 28, 28]. Received: {received}")

"""Corruptions that leave every pixel where it is: noise, light, a hidden part, and the losses of JPEG.

Each takes images uint8 [N, 28, 28], a strength whose unit its docstring gives, and a generator; it returns [N, 28, 28]
on the scale 0 to 255, neither rounded nor clipped. At most one array is drawn, its first axis being the images: so an
image's draw depends on its place in the batch alone, not on how many follow or on the strength.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.special import pdtr

Images = npt.NDArray[np.uint8]
Values = npt.NDArray[np.number[Any]]

QUANTILES = 1024
OCCLUDED = 128
"""Mid grey, which shows both on the dark background and on a bright garment."""


def gaussian_noise(images: Images, strength: float, rng: np.random.Generator) -> Values:
    """Adds normal noise whose standard deviation is the strength, as a share of white.

    Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", 2019,
    where it stands for poor light.
    """
    return images + 255 * strength * rng.standard_normal(images.shape, np.float32)


def shot_noise(images: Images, strength: float, rng: np.random.Generator) -> Values:
    """Counts photons, Poisson, of which white sends 1 / strength on average; black stays black.

    Hendrycks and Dietterich, 2019: the noise of light itself.
    """
    # Through a table of quantiles: drawing Poisson numbers directly uses up more or less of the random stream by the
    # value of a pixel, and an image's noise would depend on the images before it.
    means = np.arange(256) / 255 / strength
    most = int(means[-1] + 10 * np.sqrt(means[-1]) + 10)
    cumulated = pdtr(np.arange(most), means[:, None])
    chances = (np.arange(QUANTILES) + 0.5) / QUANTILES
    counts = np.stack([np.searchsorted(row, chances) for row in cumulated]).astype(np.float32)
    return 255 * np.float32(strength) * counts[images, rng.integers(0, QUANTILES, images.shape, np.uint16)]


def impulse_noise(images: Images, strength: float, rng: np.random.Generator) -> Values:
    """Turns a share of the pixels black or white, half of it each ("salt and pepper").

    Hendrycks and Dietterich, 2019: errors of single bits.
    """
    chance = rng.random(images.shape, np.float32)
    salted = np.where(chance > 1 - strength / 2, np.uint8(255), images)
    return np.where(chance < strength / 2, np.uint8(0), salted)


def brightness(images: Images, strength: float, rng: np.random.Generator) -> Values:
    """Adds the strength, a share of white, to every pixel, as Hendrycks and Dietterich, 2019, do to the HSV value."""
    return images + np.float32(255 * strength)


def contrast(images: Images, strength: float, rng: np.random.Generator) -> Values:
    """Moves pixels to the mean of their image by the strength, a share of the way.

    Hendrycks and Dietterich, 2019.
    """
    means = images.mean(axis=(1, 2), keepdims=True, dtype=np.float32)
    return images + np.float32(strength) * (means - images)


def inversion(images: Images, strength: float, rng: np.random.Generator) -> Values:
    """Blends the image with its negative, whose share is the strength: 0.5 would be plain grey, 1 is the negative."""
    return images + np.float32(strength) * (255 - 2 * images.astype(np.float32))


def occlusion(images: Images, strength: float, rng: np.random.Generator) -> Values:
    """Hides a grey square, of an odd number of pixels a side, centred somewhere in the middle quarter of the image.

    DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017, hide squares too.
    A stronger square covers a weaker one.
    """
    centres = rng.integers(7, 21, (len(images), 2))
    near = np.abs(np.arange(28) - centres[:, :, None]) <= strength / 2
    return np.where(near[:, 0, :, None] & near[:, 1, None, :], np.uint8(OCCLUDED), images)


def jpeg(images: Images, strength: float, rng: np.random.Generator) -> Values:
    """Compresses each image as JPEG and opens it again; the strength is 100 minus the quality.

    Hendrycks and Dietterich, 2019.
    """
    reopened = np.empty_like(images)
    for image, target in zip(images, reopened, strict=True):
        file = BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=100 - round(strength))
        target[:] = np.asarray(Image.open(file))
    return reopened

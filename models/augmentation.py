"""Changes training images in ways that leave the garment what it is, and mixes them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from models.resolution import shrink

Images = NDArray[np.uint8]
Targets = NDArray[np.float32]
FULL_SIDE = 28
SIZES = 7
"""Sizes between the smallest and the largest that `scale` draws from."""


@dataclass(frozen=True)
class Augmentation:
    """What is done to a batch of training images, in this order.

    The experiments `recipe` and `robustness` add each of the others to the defaults, `resolution` the sides.

    Attributes:
        flip: Whether half of the images are mirrored left to right. The experiment `recipe` could not tell it from
            nothing; `ablation` asks again at full length.
        shift: Pixels of the largest shift, onto black. The data set's images are cropped to the garment, so that more
            than one would cut it. The experiment `recipe` found neither none nor two ahead; `larger` and `ablation` ask
            for none at full length.
        scale: The largest relative change of size: 0.1 for nine to eleven tenths.
        erase: Share of the images in which a rectangle is filled with noise: Zhong et al., "Random Erasing Data
            Augmentation", 2020, algorithm 1.
        mixup: The alpha of the Beta distribution by which two images are blended; 0 for none. Zhang et al., "mixup:
            Beyond Empirical Risk Minimization", 2018.
        cutmix: The alpha by which a rectangle of one image is put into another; 0 for none. Yun et al., "CutMix", 2019.
        side: Pixels a side that the images are shrunk to in the first part of a training.
        side_until: That part, a share of the steps; after it the images are of full size: progressive resizing, Howard,
            "Training Imagenet in 3 hours for USD 25", fast.ai, 2018; Tan and Le, "EfficientNetV2", 2021, section 4,
            here without a regularisation that grows with the images. 1 for a network that works at `side` for good: it
            shrinks what it is given itself, in training and ever after.
    """

    flip: bool = True
    shift: int = 1
    scale: float = 0.0
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    side: int = FULL_SIDE
    side_until: float = 1.0

    def __post_init__(self) -> None:
        """Raises ValueError for a side that no network works at, or a part that is no share."""
        # Networks halve the resolution twice.
        if not 4 <= self.side <= FULL_SIDE or not 0 < self.side_until <= 1:
            raise ValueError(
                f"The images cannot be resized. Expected: a side of 4 to {FULL_SIDE} pixels, and side_until in (0, 1]. "
                f"Received: side {self.side}, side_until {self.side_until}."
            )

    @property
    def trained_side(self) -> int | None:
        """Pixels a side that the network is trained at; None where that changes on the way."""
        return None if self.side < FULL_SIDE and self.side_until < 1 else self.last_side

    @property
    def last_side(self) -> int:
        """Pixels a side that the trained network works at."""
        return FULL_SIDE if self.side_until < 1 else self.side

    def __call__(
        self, images: Images, targets: Targets, random: np.random.Generator, done: float = 1.0
    ) -> tuple[Images, Targets]:
        """Returns changed images uint8 [N, H, W] and their targets float32 [N, garments].

        Args:
            images: uint8 [N, H, W].
            targets: float32 [N, garments].
            random: Decides what is done to which.
            done: Share of the training's steps that is behind. Defaults to all.
        """
        if self.flip:
            images = flip(images, random)
        if self.shift:
            images = shift(images, self.shift, random)
        if self.scale:
            images = scale(images, self.scale, random)
        if self.erase:
            images = erase(images, self.erase, random)
        if self.mixup:
            images, targets = mixup(images, targets, self.mixup, random)
        if self.cutmix:
            images, targets = cutmix(images, targets, self.cutmix, random)
        if done < self.side_until < 1:
            images = shrink(images, self.side)
        return images, targets


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(flip=False, shift=0),
    "flip": Augmentation(shift=0),
    "flip_and_shift": Augmentation(),
    "flip_shift_erase": Augmentation(erase=0.25),
    "flip_shift_mixup": Augmentation(mixup=0.2),
}
"""By the names that the Trainer and the Tuner know."""


def flip(images: Images, random: np.random.Generator) -> Images:
    """Mirrors half of the images [N, H, W] left to right."""
    mirrored: NDArray[np.bool_] = np.asarray(random.random(len(images)) < 0.5)
    return np.where(mirrored[:, None, None], images[:, :, ::-1], images)


def shift(images: Images, pixels: int, random: np.random.Generator) -> Images:
    """Moves each image [N, H, W] by up to as many pixels either way, onto black."""
    count, height, width = images.shape
    ground = np.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels)))
    windows = np.lib.stride_tricks.sliding_window_view(ground, (height, width), axis=(1, 2))
    down, right = random.integers(0, 2 * pixels + 1, (2, count))
    shifted: Images = windows[np.arange(count), down, right]
    return shifted


def scale(images: Images, most: float, random: np.random.Generator) -> Images:
    """Makes each image [N, H, W] larger or smaller around its middle by up to `most`, each axis by itself."""
    count, height, width = images.shape
    rows = _interpolations(height, most)[random.integers(0, SIZES, count)]
    columns = _interpolations(width, most)[random.integers(0, SIZES, count)]
    resized = rows @ images.astype(np.float32) @ columns.transpose(0, 2, 1)
    return np.rint(resized).astype(np.uint8)


@cache
def _interpolations(pixels: int, most: float) -> NDArray[np.float32]:
    """Returns [SIZES, pixels, pixels]: matrices that resize a line of pixels linearly, black beyond its ends."""
    middle, places = (pixels - 1) / 2, np.arange(pixels)
    sources = middle + (places - middle) / np.linspace(1 - most, 1 + most, SIZES)[:, None]
    return np.maximum(0.0, 1.0 - np.abs(sources[:, :, None] - places)).astype(np.float32)


def erase(images: Images, share: float, random: np.random.Generator) -> Images:
    """Fills a rectangle of a fiftieth to a third of the area with noise, in a share of the images [N, H, W]."""
    chosen = random.random(len(images)) < share
    inside = _rectangles(images.shape, random.uniform(0.02, 1 / 3, len(images)), random) & chosen[:, None, None]
    noise = random.integers(0, 256, images.shape, dtype=np.uint8)
    return np.where(inside, noise, images)


def mixup(images: Images, targets: Targets, alpha: float, random: np.random.Generator) -> tuple[Images, Targets]:
    """Blends each image [N, H, W] with another of the batch; the targets [N, garments] are blended alike."""
    kept = random.beta(alpha, alpha, len(images)).astype(np.float32)
    partner = random.permutation(len(images))
    blended = kept[:, None, None] * images + (1 - kept)[:, None, None] * images[partner]
    return np.rint(blended).astype(np.uint8), _blend(targets, partner, kept)


def cutmix(images: Images, targets: Targets, alpha: float, random: np.random.Generator) -> tuple[Images, Targets]:
    """Puts a rectangle of another image of the batch into each [N, H, W]; the targets follow its area."""
    partner = random.permutation(len(images))
    inside = _rectangles(images.shape, 1 - random.beta(alpha, alpha, len(images)), random)
    kept = 1 - inside.mean(axis=(1, 2), dtype=np.float32)
    return np.where(inside, images[partner], images), _blend(targets, partner, kept)


def _blend(targets: Targets, partner: NDArray[np.int64], kept: NDArray[np.float32]) -> Targets:
    return kept[:, None] * targets + (1 - kept)[:, None] * targets[partner]


def _rectangles(shape: tuple[int, ...], areas: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.bool_]:
    """Returns bool [N, H, W]: a rectangle in each image, of about the given shares of it, cut at its edges."""
    count, height, width = shape
    inside = []
    for pixels in (height, width):
        length = np.sqrt(areas) * pixels
        start = random.uniform(0, pixels, count) - length / 2
        place = np.arange(pixels)
        inside.append((place >= start[:, None]) & (place < (start + length)[:, None]))
    rows, columns = inside
    return np.asarray(rows[:, :, None] & columns[:, None, :])

"""Augmentation of training images: flips, shifts, random erasing and mixup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.contract.image_limits import IMAGE_SIDE

Images = NDArray[np.uint8]
Targets = NDArray[np.float32]


@dataclass(frozen=True)
class Augmentation:
    """The changes to a batch of training images, in this order.

    Attributes:
        flip: Whether half of the images are flipped left to right. The difference is not significant in the experiment
            `recipe`; `ablation` repeats the comparison at twenty epochs.
        shift: Pixels of the largest shift, filled with black. The data set's images are cropped to the garment, so more
            than one pixel would cut it. In the experiment `recipe` neither 0 nor 2 pixels is better;
            `network_width` and `ablation` compare 0 with twenty epochs.
        erase: Share of the images in which a rectangle is filled with noise: Zhong et al., "Random Erasing Data
            Augmentation", 2020, algorithm 1.
        mixup: The alpha of the Beta distribution by which two images are blended; 0 for none. Zhang et al., "mixup:
            Beyond Empirical Risk Minimization", 2018.
    """

    flip: bool = True
    shift: int = 1
    erase: float = 0.0
    mixup: float = 0.0

    @property
    def training_side(self) -> int | None:
        """Pixels a side that the network is trained at; None where the side changes during the training."""
        return IMAGE_SIDE

    @property
    def final_side(self) -> int:
        """Pixels a side that the trained network works at."""
        return IMAGE_SIDE

    def __call__(
        self, images: Images, targets: Targets, random: np.random.Generator, done: float = 1.0
    ) -> tuple[Images, Targets]:
        """Returns changed images uint8 [N, H, W] and their targets float32 [N, garments].

        Args:
            images: uint8 [N, H, W].
            targets: float32 [N, garments].
            random: Source of the random numbers.
            done: Share of the training's steps that is done, for augmentations that change during the training.
        """
        if self.flip:
            images = flip(images, random)
        if self.shift:
            images = shift(images, self.shift, random)
        if self.erase:
            images = erase(images, self.erase, random)
        if self.mixup:
            images, targets = mixup(images, targets, self.mixup, random)
        return images, targets


AUGMENTATIONS: Mapping[str, Augmentation] = {
    "none": Augmentation(flip=False, shift=0),
    "flip": Augmentation(shift=0),
    "flip_and_shift": Augmentation(),
    "flip_shift_erase": Augmentation(erase=0.25),
    "flip_shift_mixup": Augmentation(mixup=0.2),
}
"""The augmentations that the Trainer and the Tuner offer, by name."""


def flip(images: Images, random: np.random.Generator) -> Images:
    """Flips half of the images [N, H, W] left to right."""
    flipped: NDArray[np.bool_] = np.asarray(random.random(len(images)) < 0.5)
    return np.where(flipped[:, None, None], images[:, :, ::-1], images)


def shift(images: Images, pixels: int, random: np.random.Generator) -> Images:
    """Shifts each image [N, H, W] by up to `pixels` in each direction, filled with black."""
    count, height, width = images.shape
    padded = np.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    down, right = random.integers(0, 2 * pixels + 1, (2, count))
    shifted: Images = windows[np.arange(count), down, right]
    return shifted


def erase(images: Images, share: float, random: np.random.Generator) -> Images:
    """Fills a rectangle of a fiftieth to a third of the area with noise, in a share of the images [N, H, W]."""
    chosen = random.random(len(images)) < share
    inside = rectangles(images.shape, random.uniform(0.02, 1 / 3, len(images)), random) & chosen[:, None, None]
    noise = random.integers(0, 256, images.shape, dtype=np.uint8)
    return np.where(inside, noise, images)


def mixup(images: Images, targets: Targets, alpha: float, random: np.random.Generator) -> tuple[Images, Targets]:
    """Blends each image [N, H, W] with another of the batch; the targets [N, garments] are blended alike."""
    own_share = random.beta(alpha, alpha, len(images)).astype(np.float32)
    partner = random.permutation(len(images))
    blended = own_share[:, None, None] * images + (1 - own_share)[:, None, None] * images[partner]
    return np.rint(blended).astype(np.uint8), mix_targets(targets, partner, own_share)


def mix_targets(targets: Targets, partner: NDArray[np.int64], own_share: NDArray[np.float32]) -> Targets:
    """Returns targets [N, garments] of which `own_share` [N] is each image's own and the rest its partner's."""
    return own_share[:, None] * targets + (1 - own_share)[:, None] * targets[partner]


def rectangles(shape: tuple[int, ...], areas: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.bool_]:
    """Returns bool [N, H, W]: a rectangle in each image, of about the given shares of it, clipped at its edges."""
    count, height, width = shape
    inside = []
    for pixels in (height, width):
        length = np.sqrt(areas) * pixels
        start = random.uniform(0, pixels, count) - length / 2
        positions = np.arange(pixels)
        inside.append((positions >= start[:, None]) & (positions < (start + length)[:, None]))
    rows, columns = inside
    return np.asarray(rows[:, :, None] & columns[:, None, :])

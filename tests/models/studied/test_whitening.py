"""The whitening first convolution."""

from __future__ import annotations

import numpy as np
import pytest

from models.studied.whitening import whitening_kernel
from tests.synthetic import images_and_garments


def test_answers_are_uncorrelated_and_equally_loud() -> None:
    """On the patches that it was made from, the filters' answers have the identity as covariance."""
    images, _ = images_and_garments(200, 0)
    filters = whitening_kernel(images, 3, 12).reshape(9, 12)
    windows = np.lib.stride_tricks.sliding_window_view(images / 127.5 - 1, (3, 3), axis=(1, 2))
    covariance = np.cov(windows.reshape(-1, 9) @ filters[:, :6], rowvar=False)
    # The smallest eigenvalue that is allowed for takes a little from the quietest.
    np.testing.assert_allclose(covariance, np.eye(6), atol=0.05)


def test_second_half_is_the_negative_of_the_first() -> None:
    """Each filter has a partner that answers where it does not."""
    images, _ = images_and_garments(50, 0)
    kernel = whitening_kernel(images, 5, 32)
    assert kernel.shape == (5, 5, 1, 32) and kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel[..., :16], -kernel[..., 16:])


@pytest.mark.parametrize("channels", [7, 20])
def test_impossible_numbers_of_filters_are_refused(channels: int) -> None:
    """An odd number, or more than there are directions, is said."""
    with pytest.raises(ValueError, match=r"even number of channels, at most 18. Received"):
        whitening_kernel(np.zeros((10, 28, 28), np.uint8), 3, channels)

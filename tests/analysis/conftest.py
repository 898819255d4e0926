"""The real data, for the tests that check known facts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from analysis.data.fashion_mnist import IDX_SHA256, PACKAGED


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The directory with Fashion-MNIST's four files; skips where they are not on this machine."""
    named = os.environ.get("FASHION_MNIST_DIR")
    for directory in [Path(named)] if named else PACKAGED:
        if all((directory / name).is_file() for name in IDX_SHA256):
            return directory
    pytest.skip("Fashion-MNIST's IDX files are not on this machine: sh scripts/get_data.sh")

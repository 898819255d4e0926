"""scripts/get_data.sh uses existing data, and refuses a wrong directory."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.synthetic import write_idx

SCRIPT = Path(__file__).parents[2] / "scripts/get_data.sh"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A directory with the script alone, as if freshly cloned."""
    (tmp_path / "checkout/scripts").mkdir(parents=True)
    shutil.copy(SCRIPT, tmp_path / "checkout/scripts")
    return tmp_path / "checkout"


def get_data(checkout: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the script with only these environment variables, and without apt-get."""
    for tool in ("sh", "dirname", "mkdir", "rm", "mv"):
        link = checkout / "bin" / tool
        link.parent.mkdir(exist_ok=True)
        if not link.exists():
            link.symlink_to(shutil.which(tool) or f"/bin/{tool}")
    environment = {"PATH": str(checkout / "bin"), "HOME": str(checkout)} | variables
    command = [str(checkout / "bin/sh"), str(checkout / "scripts/get_data.sh")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_named_directory_is_used(checkout: Path) -> None:
    """With FASHION_MNIST_DIR nothing is downloaded."""
    named = write_idx(checkout / "named", 10, 10)
    done = get_data(checkout, FASHION_MNIST_DIR=str(named))
    assert (done.returncode, done.stdout) == (0, f"Fashion-MNIST: using FASHION_MNIST_DIR={named}\n")


def test_a_wrong_directory_is_refused(checkout: Path) -> None:
    """The message states what was expected and the next step."""
    done = get_data(checkout, FASHION_MNIST_DIR="/nowhere")
    assert done.returncode == 1
    assert "does not hold Fashion-MNIST" in done.stderr and "Expected: train-images" in done.stderr


def test_unpacked_files_are_used(checkout: Path) -> None:
    """A second run downloads nothing."""
    unpacked = write_idx(checkout / ".data/usr/share/datasets/fashion-mnist", 10, 10)
    assert get_data(checkout).stdout == f"Fashion-MNIST: using {unpacked}\n"


def test_prepared_tfds_data_are_used(checkout: Path) -> None:
    """Data that TFDS has prepared are used."""
    prepared = checkout / "tfds/fashion_mnist/3.0.1"
    prepared.mkdir(parents=True)
    (prepared / "dataset_info.json").touch()
    done = get_data(checkout, TFDS_DATA_DIR=str(checkout / "tfds"))
    assert done.stdout == f"Fashion-MNIST: using prepared TFDS data in {prepared}\n"


def test_elsewhere_tfds_downloads(checkout: Path) -> None:
    """Without apt-get the script succeeds, and the first run downloads."""
    done = get_data(checkout)
    assert (done.returncode, done.stdout) == (0, "Fashion-MNIST: TFDS will download it at the first run\n")
    assert not os.path.lexists(checkout / ".data/apt")

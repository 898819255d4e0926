"""Tests of serving.client.image_sources: whatever a user names as an image becomes a payload, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.contract.image_limits import ImageLimits
from serving.bulk.sources import BulkError, find_files
from serving.client.image_sources import expand_folders, load_payload
from serving.images.encoding import ImageError
from tests.serving.images.test_encoding import COLOURS, NOISE, decoded, encoded


def test_the_limits_can_be_set(tmp_path: Path) -> None:
    """The caller sets the largest file and the most pixels."""
    content = encoded(COLOURS, "PNG")
    (tmp_path / "a.png").write_bytes(content)
    limits = ImageLimits(bytes=len(content), pixels=1200)
    assert load_payload(tmp_path / "a.png", limits=limits) == content
    with pytest.raises(ImageError, match="at most 100 bytes"):
        load_payload(tmp_path / "a.png", limits=ImageLimits(bytes=100))
    for source in (content, COLOURS):
        with pytest.raises(ImageError, match="at most 1,199 pixels\nReceived: 30 × 40"):
            load_payload(source, limits=ImageLimits(pixels=1199))


def test_pixels_of_the_network_are_not_encoded() -> None:
    """A uint8 array of 28 x 28 is the input of the network."""
    pixels = NOISE[:28, :28, 0]
    assert load_payload(pixels) is pixels
    assert np.array_equal(load_payload(pixels[:, :, None], name="a"), pixels)


@pytest.mark.parametrize("shape", [(40, 30), (40, 30, 1), (40, 30, 3), (40, 30, 4), (1, 1), (28, 28, 3)])
def test_other_arrays_become_png(shape: tuple[int, ...]) -> None:
    """Grey, colour and colour with opacity keep their pixels, also in a view of a larger array; colour in any size."""
    array = np.random.default_rng(1).integers(0, 256, shape, np.uint8)[::-1]
    sent = np.asarray(decoded(load_payload(array)))
    assert np.array_equal(sent.reshape(shape), array)


@pytest.mark.parametrize(
    "source",
    [np.zeros((28, 28)), np.zeros((3, 28, 28), np.uint8), np.zeros((0, 28), np.uint8), np.zeros(5, np.uint8), 7, None],
)
def test_other_arrays_and_types_are_refused(source: Any) -> None:
    """Another dtype, shape or type is an error, never a guess."""
    with pytest.raises(ImageError, match="it is no image.\nExpected: .*\nReceived: "):
        load_payload(source, name="it")


def test_unreadable_files(tmp_path: Path) -> None:
    """A missing file, a folder and a device are errors."""
    with pytest.raises(ImageError, match="none.png cannot be read.\n.*\nReceived: No such file"):
        load_payload(tmp_path / "none.png")
    with pytest.raises(ImageError, match="is not a regular file"):
        load_payload(tmp_path)
    with pytest.raises(ImageError, match="/dev/zero is not a regular file"):
        load_payload("/dev/zero")
    with pytest.raises(ImageError, match="cannot be read"):
        load_payload("a\0b")


def test_folders_become_their_images_sorted(tmp_path: Path) -> None:
    """The images in and below a folder are sorted; other files and URLs keep their positions."""
    (tmp_path / "sub").mkdir()
    for name in ("b.PNG", "a.jpg", "notes.txt", "sub/c.webp"):
        (tmp_path / name).write_bytes(b"")
    inside = [str(tmp_path / name) for name in ("a.jpg", "b.PNG", "sub/c.webp")]
    url = "https://shop.example/folder/1.png"
    assert expand_folders(["z.png", str(tmp_path), url]) == ["z.png", *inside, url]


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    """An empty folder is not silently ignored."""
    with pytest.raises(ImageError, match="contains no image"):
        expand_folders([str(tmp_path)])


def test_an_empty_name_is_not_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither alone nor among others: an unset variable must not send what happens to lie here."""
    (tmp_path / "a.jpg").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    for sources in ([""], ["a.jpg", ""]):
        with pytest.raises(ImageError, match="A source has no name"):
            expand_folders(sources)
    with pytest.raises(BulkError, match="A source has no name"):
        find_files("", tmp_path / "out")
    assert expand_folders(["."]) == ["a.jpg"]

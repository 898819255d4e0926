"""Tests of serving.fetching.image_cache: stored images survive kills and parallel writers, each once."""

from __future__ import annotations

import hashlib
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from serving.fetching.downloader import Validators
from serving.fetching.image_cache import VERSION, CachedImage, CacheError, ImageCache, url_key
from serving.images.fitting import fit_file
from tests.serving.fetching.shop import pixels

ROOT = Path(__file__).resolve().parents[3]


def cached_image(number: int, content: int | None = None) -> CachedImage:
    """Returns the image of URL `number`: a different one for every content."""
    content = number if content is None else content
    digest = hashlib.sha256(b"%d" % content).hexdigest()
    return CachedImage(key(number), digest, pixels(content), Validators(f'"{content}"', "yesterday"), 1.5)


def key(number: int) -> bytes:
    """Returns the key of URL `number`."""
    return url_key(httpx.URL(f"http://shop.example/{number}"))


def test_stored_images_are_found_after_reopening(tmp_path: Path) -> None:
    """Every field is restored, also in a folder that the cache created."""
    path = tmp_path / "new" / "images"
    with ImageCache(path) as cache:
        cache.store([cached_image(1), cached_image(2)])
    with ImageCache(path) as cache:
        found = cache.find(key(2))
        assert found is not None and cache.find(key(3)) is None
        np.testing.assert_array_equal(found.pixels, pixels(2))
        assert (found.sha256, found.validators, found.fetched_at) == (
            cached_image(2).sha256,
            cached_image(2).validators,
            1.5,
        )


def test_a_file_at_two_urls_is_stored_once(tmp_path: Path) -> None:
    """A URL that has another file now no longer points to the old one."""
    with ImageCache(tmp_path / "images") as cache:
        cache.store([cached_image(1, content=7), cached_image(2, content=7)])
        assert cache.count() == 1
        cache.store([cached_image(2, content=8)])
        digests = [found.sha256 for n in (1, 2) if (found := cache.find(key(n)))]
        assert digests == [cached_image(1, 7).sha256, cached_image(2, 8).sha256] and cache.count() == 2


def test_a_store_is_atomic(tmp_path: Path) -> None:
    """An invalid image prevents the others of the same call, and the next call works."""
    wrong = CachedImage(key(2), "00" * 32, pixels(2)[:1], Validators(), 0.0)
    with ImageCache(tmp_path / "images") as cache:
        with pytest.raises(CacheError, match="cannot be used.\nExpected: an image cache\nReceived: CHECK"):
            cache.store([cached_image(1), wrong])
        assert cache.count() == 0 and cache.find(key(1)) is None
        cache.store([cached_image(1)])
        assert cache.count() == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://shop.example/1", "http://anna:secret@shop.example/1", True),
        ("http://shop.example/1", "http://SHOP.example:80/1#top", True),
        ("http://shop.example/1", "https://shop.example/1", False),
        ("http://shop.example/1", "http://shop.example/1?size=2", False),
        ("http://shop.example/a", "http://shop.example/A", False),
    ],
)
def test_urls_with_the_same_request_have_the_same_key(one: str, other: str, same: bool) -> None:
    """Only the parts that are sent to the server count."""
    assert (url_key(httpx.URL(one)) == url_key(httpx.URL(other))) is same


@pytest.mark.parametrize("content", [b"<html>" * 1_000, b"SQLite format 3\0" + bytes(5_000)])
def test_another_file_is_refused_and_stays_unchanged(tmp_path: Path, content: bytes) -> None:
    """The error has a next step, and nothing is overwritten."""
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(CacheError, match="cannot be used.\nExpected: an image cache\nReceived: .*\nNext: name another"):
        ImageCache(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("version", [VERSION - 1, VERSION + 1])
def test_another_version_is_refused(version: int, tmp_path: Path) -> None:
    """Images of another fitting are neither mixed with ours nor deleted."""
    path = tmp_path / "images"
    ImageCache(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(CacheError, match=f"Expected: version {VERSION}\nReceived: version {version}\nNext: "):
        ImageCache(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """The error is the same as for any other unusable path."""
    with pytest.raises(CacheError, match="cannot be used"):
        ImageCache(tmp_path)


WRITER = """
import sys
from pathlib import Path
from serving.fetching.image_cache import ImageCache
from tests.serving.fetching.test_image_cache import cached_image
first, last = int(sys.argv[2]), int(sys.argv[3])
with ImageCache(Path(sys.argv[1])) as cache:
    for number in range(first, last):
        cache.store([cached_image(number)])
        print(number, flush=True)
"""


def writer(path: Path, first: int, last: int) -> subprocess.Popen[str]:
    """Starts a process that stores images one by one and prints their numbers."""
    command = [sys.executable, "-c", WRITER, str(path), str(first), str(last)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_processes_share_the_file(tmp_path: Path) -> None:
    """Four processes that create the file at once and share half of their images lose nothing."""
    path = tmp_path / "images"
    writers = [writer(path, first, first + 200) for first in (0, 100, 200, 300)]
    assert [process.communicate()[0].count("\n") for process in writers] == [200] * 4
    assert [process.returncode for process in writers] == [0] * 4
    assert_whole(path, 500)


def test_closing_does_not_remove_the_log_of_other_processes(tmp_path: Path) -> None:
    """Only the last process removes the write-ahead log; later stores of the others are not lost."""
    path = tmp_path / "images"
    with ImageCache(path) as cache:
        cache.store([cached_image(1)])
        for number in (2, 3):
            writer(path, number, number + 1).communicate()
            assert path.with_name("images-wal").exists()
            cache.store([cached_image(number + 10)])
    assert_whole(path, 5)


def test_a_killed_process_loses_no_stored_image(tmp_path: Path) -> None:
    """After SIGKILL during many stores, beside another writer, every reported image is in the file."""
    path = tmp_path / "images"
    with writer(path, 0, 100_000) as killed, writer(path, 200_000, 200_300) as other:
        assert killed.stdout is not None
        printed = [killed.stdout.readline() for _ in range(50)]
        killed.send_signal(signal.SIGKILL)
        printed += killed.stdout.readlines()
        other.communicate()
    assert other.returncode == 0
    numbers = {int(line) for line in printed if line.endswith("\n")} | set(range(200_000, 200_300))
    with ImageCache(path) as cache:
        for number in numbers:
            found = cache.find(key(number))
            assert found is not None and found.pixels.tobytes() == pixels(number).tobytes()
        # The last one may have been stored and not yet printed.
        assert len(numbers) <= cache.count() <= len(numbers) + 1
        count = cache.count()
    assert_whole(path, count)


def assert_whole(path: Path, count: int) -> None:
    """Checks the integrity of the file, that every URL has an image, and the number of URLs."""
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        assert db.execute("SELECT count(*) FROM url JOIN image ON image.id = url.image").fetchone() == (count,)


def test_the_version_is_that_of_the_fitting() -> None:
    """If fitting changes, this digest changes: increase `image_cache.VERSION`, and update the digest here."""
    rng = np.random.default_rng(0)
    digest = hashlib.sha256()
    for shape in ((60, 40), (40, 60), (10, 7), (300, 28)):
        file = BytesIO()
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(file, "PNG")
        digest.update(fit_file(file.getvalue()).tobytes())
    assert (VERSION, digest.hexdigest()[:16]) == (1, "2d40bfeeffe79d22")

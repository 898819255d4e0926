"""Tests of serving.fetching.image_cache: what was stored is there, once, whoever dies and whoever writes beside."""

from __future__ import annotations

import hashlib
import signal
import sqlite3
import subprocess
import sys
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


def kept(number: int, content: int | None = None) -> CachedImage:
    """What a URL of that number held: another picture for every content."""
    content = number if content is None else content
    digest = hashlib.sha256(b"%d" % content).hexdigest()
    return CachedImage(key(number), digest, pixels(content), Validators(f'"{content}"', "yesterday"), 1.5)


def key(number: int) -> bytes:
    """Of a URL."""
    return url_key(httpx.URL(f"http://shop.example/{number}"))


def test_what_is_stored_is_found_when_it_is_opened_again(tmp_path: Path) -> None:
    """Every field comes back, also in a folder that was not there."""
    path = tmp_path / "new" / "images"
    with ImageCache(path) as cache:
        cache.store([kept(1), kept(2)])
    with ImageCache(path) as cache:
        found = cache.find(key(2))
        assert found is not None and cache.find(key(3)) is None
        np.testing.assert_array_equal(found.pixels, pixels(2))
        assert (found.sha256, found.validators, found.fetched_at) == (kept(2).sha256, kept(2).validators, 1.5)


def test_a_file_behind_two_urls_is_kept_once(tmp_path: Path) -> None:
    """And a URL that holds another file now is another's no more."""
    with ImageCache(tmp_path / "images") as cache:
        cache.store([kept(1, content=7), kept(2, content=7)])
        assert cache.count() == 1
        cache.store([kept(2, content=8)])
        digests = [found.sha256 for n in (1, 2) if (found := cache.find(key(n)))]
        assert digests == [kept(1, 7).sha256, kept(2, 8).sha256] and cache.count() == 2


def test_all_of_a_store_or_nothing(tmp_path: Path) -> None:
    """Where one image is impossible the others of its store are not kept either, and the next store works."""
    wrong = CachedImage(key(2), "00" * 32, pixels(2)[:1], Validators(), 0.0)
    with ImageCache(tmp_path / "images") as cache:
        with pytest.raises(CacheError, match="cannot be used.\nExpected: an image cache\nReceived: CHECK"):
            cache.store([kept(1), wrong])
        assert cache.count() == 0 and cache.find(key(1)) is None
        cache.store([kept(1)])
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
def test_urls_that_ask_the_same_have_the_same_key(one: str, other: str, same: bool) -> None:
    """What is not sent to the server does not count; all else does."""
    assert (url_key(httpx.URL(one)) == url_key(httpx.URL(other))) is same


@pytest.mark.parametrize("content", [b"<html>" * 1_000, b"SQLite format 3\0" + bytes(5_000)])
def test_another_file_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    """The message says what to do, and nothing is overwritten."""
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(CacheError, match="cannot be used.\nExpected: an image cache\nReceived: .*\nNext: name another"):
        ImageCache(path)
    assert path.read_bytes() == content


def test_another_version_is_refused(tmp_path: Path) -> None:
    """Images that were fitted otherwise are not mixed with ours, nor thrown away unasked."""
    path = tmp_path / "images"
    ImageCache(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()
    with pytest.raises(CacheError, match=f"Expected: version {VERSION}\nReceived: version {VERSION + 1}\nNext: "):
        ImageCache(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """With a sentence, as all else."""
    with pytest.raises(CacheError, match="cannot be used"):
        ImageCache(tmp_path)


WRITER = """
import sys
from pathlib import Path
from serving.fetching.image_cache import ImageCache
from tests.serving.fetching.test_image_cache import kept
first, last = int(sys.argv[2]), int(sys.argv[3])
with ImageCache(Path(sys.argv[1])) as cache:
    for number in range(first, last):
        cache.store([kept(number)])
        print(number, flush=True)
"""


def writer(path: Path, first: int, last: int) -> subprocess.Popen[str]:
    """A process that stores images of some numbers, one by one, and says so."""
    command = [sys.executable, "-c", WRITER, str(path), str(first), str(last)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_processes_share_the_file(tmp_path: Path) -> None:
    """Four that begin at once on no file yet, with half of their images the same, lose nothing and break nothing."""
    path = tmp_path / "images"
    writers = [writer(path, first, first + 200) for first in (0, 100, 200, 300)]
    assert [process.communicate()[0].count("\n") for process in writers] == [200] * 4
    assert [process.returncode for process in writers] == [0] * 4
    assert_whole(path, 500)


def test_a_process_that_closes_leaves_the_others_their_log(tmp_path: Path) -> None:
    """Only the last one clears the write-ahead log away; what the others store afterwards is not lost with it."""
    path = tmp_path / "images"
    with ImageCache(path) as cache:
        cache.store([kept(1)])
        for number in (2, 3):
            writer(path, number, number + 1).communicate()
            assert path.with_name("images-wal").exists()
            cache.store([kept(number + 10)])
    assert_whole(path, 5)


def test_a_killed_process_loses_nothing_that_it_stored(tmp_path: Path) -> None:
    """SIGKILL in the middle of many stores, beside another that goes on: all that was said to be there is there."""
    path = tmp_path / "images"
    with writer(path, 0, 100_000) as killed, writer(path, 200_000, 200_300) as other:
        assert killed.stdout is not None
        said = [killed.stdout.readline() for _ in range(50)]
        killed.send_signal(signal.SIGKILL)
        said += killed.stdout.readlines()
        other.communicate()
    assert other.returncode == 0
    numbers = {int(line) for line in said if line.endswith("\n")} | set(range(200_000, 200_300))
    with ImageCache(path) as cache:
        for number in numbers:
            found = cache.find(key(number))
            assert found is not None and found.pixels.tobytes() == pixels(number).tobytes()
        # The last one may have been stored and not yet said.
        assert len(numbers) <= cache.count() <= len(numbers) + 1
        count = cache.count()
    assert_whole(path, count)


def assert_whole(path: Path, count: int) -> None:
    """SQLite finds nothing wrong, every URL has its image, and there are so many."""
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    assert db.execute("SELECT count(*) FROM url JOIN image ON image.id = url.image").fetchone() == (count,)
    db.close()


def test_the_version_is_that_of_the_fitting() -> None:
    """When fitted images change, this digest does: give `image_cache.VERSION` the next number, and the digest here."""
    rng = np.random.default_rng(0)
    digest = hashlib.sha256()
    for shape in ((60, 40), (40, 60), (10, 7), (300, 28)):
        file = BytesIO()
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(file, "PNG")
        digest.update(fit_file(file.getvalue()).tobytes())
    assert (VERSION, digest.hexdigest()[:16]) == (1, "2d40bfeeffe79d22")

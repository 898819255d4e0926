"""A cache of fetched images in one SQLite file: fitted pixels by the SHA-256 of their file, and their URLs.

A million images take one gigabyte in one file. The original files, thirty times as large, are not stored. Every `store`
is one transaction in SQLite's write-ahead log: what it stored survives a kill, and several processes may use the file
at once. Failures are not cached, so that the next run retries them.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from pipeline.contract.errors import UserError
from pipeline.contract.files import exclusive_lock
from pipeline.contract.image_limits import IMAGE_SIDE
from serving.fetching.downloader import Validators

VERSION = 1
"""The version of the tables and of `serving.images.fitting`: a change of either needs another number."""
SCHEMA = f"""
CREATE TABLE image (
    id INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE,
    pixels BLOB NOT NULL CHECK (length(pixels) = {IMAGE_SIDE * IMAGE_SIDE}));
CREATE TABLE url (
    sha256 BLOB PRIMARY KEY, image INTEGER NOT NULL REFERENCES image(id), fetched_at REAL NOT NULL,
    etag TEXT NOT NULL, last_modified TEXT NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""
LOCK_SECONDS = 60.0
"""How long to wait for the lock of another process."""
NEXT_STEP = "name another file, or delete this one to download all images again"


class CacheError(UserError):
    """The cache file cannot be used."""


@dataclass(frozen=True)
class CachedImage:
    """The image at a URL.

    Attributes:
        key: The key of the URL, from `url_key`.
        sha256: The SHA-256 of the file in hexadecimal digits.
        pixels: uint8 [28, 28], as `serving.images.fitting` returns them.
        validators: The validators of this version.
        fetched_at: The time when the server last confirmed this version, in seconds since 1970.
    """

    key: bytes
    sha256: str
    pixels: NDArray[np.uint8]
    validators: Validators
    fetched_at: float


def url_key(url: httpx.URL) -> bytes:
    """Returns the SHA-256 of a URL without user, password and fragment: the cache must not contain passwords."""
    return hashlib.sha256(str(url.copy_with(username=None, password=None, fragment=None)).encode()).digest()


class ImageCache:
    """An open cache file; for one thread at a time.

    Args:
        path: The file, which is created with its folders if it does not exist.

    Raises:
        CacheError: The file is no image cache, or has another version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._cache_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def __enter__(self) -> ImageCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def count(self) -> int:
        """Returns the number of distinct image files."""
        return int(self._one("SELECT count(*) FROM image")[0])

    def find(self, key: bytes) -> CachedImage | None:
        """Returns the image last fetched from a URL, or None.

        Raises:
            CacheError: The file is damaged.
        """
        row = self._one(
            "SELECT image.sha256, pixels, etag, last_modified, fetched_at FROM url JOIN image ON image.id = url.image"
            " WHERE url.sha256 = ?",
            key,
        )
        if row is None:
            return None
        pixels = np.frombuffer(row[1], np.uint8).reshape(IMAGE_SIDE, IMAGE_SIDE)
        return CachedImage(key, row[0].hex(), pixels, Validators(row[2], row[3]), row[4])

    def store(self, images: Iterable[CachedImage]) -> None:
        """Stores all images in one transaction; they replace the earlier images of the same URLs.

        Raises:
            CacheError: The disk is full, or the file is damaged.
        """
        with self._cache_errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for image in images:
                    self._put(image)
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _put(self, image: CachedImage) -> None:
        content = bytes.fromhex(image.sha256)
        # Not INSERT OR IGNORE, which would also ignore a wrong number of pixels.
        self._db.execute(
            "INSERT INTO image (sha256, pixels) VALUES (?, ?) ON CONFLICT (sha256) DO NOTHING",
            (content, image.pixels.tobytes()),
        )
        self._db.execute(
            "INSERT OR REPLACE INTO url (sha256, image, etag, last_modified, fetched_at)"
            " SELECT ?, id, ?, ?, ? FROM image WHERE sha256 = ?",
            (image.key, image.validators.etag, image.validators.last_modified, image.fetched_at, content),
        )

    def _prepare(self) -> None:
        # SQLite's busy time-out does not cover the change of the journal mode, so processes that open the file at once
        # take turns. The lock is on a separate file: closing the database file would drop SQLite's own locks on it
        # (https://www.sqlite.org/howtocorrupt.html, 2.2).
        with exclusive_lock(self._path.with_name(f"{self._path.name}-opening")):
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0 and not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                self._db.executescript(f"BEGIN; {SCHEMA} COMMIT;")
                version = VERSION
        if version != VERSION:
            raise CacheError(
                f"The image cache {self._path} has another version.",
                expected=f"version {VERSION}",
                received=f"version {version}",
                next_step=NEXT_STEP,
            )

    def _one(self, statement: str, *values: Any) -> Any:
        with self._cache_errors():
            return self._db.execute(statement, values).fetchone()

    @contextmanager
    def _cache_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise CacheError(
                f"{self._path} cannot be used.", expected="an image cache", received=str(error), next_step=NEXT_STEP
            ) from None

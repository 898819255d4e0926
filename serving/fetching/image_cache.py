"""Keeps what was downloaded, so that nothing is twice: one SQLite file of fitted images, by their files' SHA-256.

A million images are a gigabyte in one file, not a million files; the files themselves, thirty times as large, are not
kept. Every `store` is one transaction in SQLite's write-ahead log: a process that is killed loses none that returned,
and several may use the file at once. Failures are not kept: another run is how one asks whether they are mended.
"""

from __future__ import annotations

import fcntl
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

from serving.fetching.downloads import Validators
from serving.images.fitting import SIDE

VERSION = 1
"""Of the tables, and of what `serving.images.fitting` makes of a file: a change of either needs another number."""
SCHEMA = f"""
CREATE TABLE image (
    id INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE, pixels BLOB NOT NULL CHECK (length(pixels) = {SIDE * SIDE}));
CREATE TABLE url (
    sha256 BLOB PRIMARY KEY, image INTEGER NOT NULL REFERENCES image(id), fetched_at REAL NOT NULL,
    etag TEXT NOT NULL, last_modified TEXT NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""
PATIENCE_SECONDS = 60.0


class CacheError(Exception):
    """The file cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Kept:
    """What a URL held.

    Attributes:
        key: The URL's, from `url_key`.
        sha256: Of the file, in hexadecimal digits.
        pixels: uint8 [28, 28], as `serving.images.fitting` makes them.
        validators: What the server called this version.
        fetched_at: Seconds since 1970 when the server last said so.
    """

    key: bytes
    sha256: str
    pixels: NDArray[np.uint8]
    validators: Validators
    fetched_at: float


def url_key(url: httpx.URL) -> bytes:
    """Returns the SHA-256 of what a URL asks a server for: a URL may hold a password, and the file must not."""
    return hashlib.sha256(str(url.copy_with(username=None, password=None, fragment=None)).encode()).digest()


class ImageCache:
    """The open file; for one thread at a time.

    Args:
        path: Made where there is none yet, with its folders.

    Raises:
        CacheError: It is no such file, or one of another version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._told():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=PATIENCE_SECONDS, isolation_level=None, check_same_thread=False)
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
        """Returns the number of different files."""
        return int(self._one("SELECT count(*) FROM image")[0])

    def find(self, key: bytes) -> Kept | None:
        """Returns what a URL held when it was last asked for, or None.

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
        pixels = np.frombuffer(row[1], np.uint8).reshape(SIDE, SIDE)
        return Kept(key, row[0].hex(), pixels, Validators(row[2], row[3]), row[4])

    def store(self, found: Iterable[Kept]) -> None:
        """Keeps all or, when the process dies meanwhile, none of them; what the same URLs held before is forgotten.

        Raises:
            CacheError: The disk is full, or the file is damaged.
        """
        with self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for each in found:
                    self._put(each)
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _put(self, kept: Kept) -> None:
        content = bytes.fromhex(kept.sha256)
        # Not INSERT OR IGNORE, which would ignore pixels of a wrong number as well.
        self._db.execute(
            "INSERT INTO image (sha256, pixels) VALUES (?, ?) ON CONFLICT (sha256) DO NOTHING",
            (content, kept.pixels.tobytes()),
        )
        self._db.execute(
            "INSERT OR REPLACE INTO url (sha256, image, etag, last_modified, fetched_at)"
            " SELECT ?, id, ?, ?, ? FROM image WHERE sha256 = ?",
            (kept.key, kept.validators.etag, kept.validators.last_modified, kept.fetched_at, content),
        )

    def _prepare(self) -> None:
        # SQLite's own patience does not cover the change to the log, so two that begin at once take turns here. By a
        # file of their own: closing the database's would drop SQLite's locks on it, and with them what it then writes
        # (https://www.sqlite.org/howtocorrupt.html, 2.2).
        with self._path.with_name(f"{self._path.name}-opening").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0 and not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                self._db.executescript(f"BEGIN; {SCHEMA} COMMIT;")
                version = VERSION
        if version != VERSION:
            raise CacheError(
                f"{self._path} keeps images of another kind. Expected: version {VERSION}. Received: version {version}. "
                "Next: name another file, or delete this one to download all anew"
            )

    def _one(self, statement: str, *values: Any) -> Any:
        with self._told():
            return self._db.execute(statement, values).fetchone()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise CacheError(
                f"{self._path} cannot be used. Expected: a cache of images. Received: {error}. "
                "Next: name another file, or delete this one to download all anew"
            ) from None

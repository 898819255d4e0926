"""Tests of untrusted URLs: which are fetched, and how messages show them without passwords and control characters."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from serving.fetching.errors import excerpt, redact_url
from serving.fetching.image_cache import ImageCache
from serving.fetching.image_fetcher import Failed, Fetched
from tests.serving.fetching.shop import Shop, fetched, png, reasons
from tests.serving.web import Answer, Web, web

ROOT = Path(__file__).resolve().parents[3]


def test_private_addresses_are_refused_by_default(shop: Shop, image_server: Web) -> None:
    """No request reaches a private address unless the policy allows it."""
    assert reasons([f"{image_server.url}/fine/1"], allow_private=False) == ["private_address"]
    assert not shop.counts


def test_files_are_refused_by_default() -> None:
    """A catalogue cannot make us read local files."""
    assert reasons(["file:///etc/passwd", "FILE:/etc/passwd"]) == ["scheme_refused"] * 2


def test_files_are_read_below_one_folder_only(tmp_path: Path) -> None:
    """Neither dots nor links nor the name of another machine lead outside the folder."""
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a shoe.png").write_bytes(png(3))
    (tmp_path / "outside.png").write_bytes(png(4))
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    os.mkfifo(folder / "pipe.png")
    names = ["a%20shoe.png", "../outside.png", "%2e%2e/outside.png", "link.png", "none.png", "pipe.png"]
    urls = [f"file://{folder}/{name}" for name in names] + [f"file://elsewhere{folder}/a%20shoe.png"]
    refused = ["file_refused"] * 3
    expected = ["fetched", *refused, "unreadable", "unreadable", "file_refused"]
    assert reasons(urls, files_below=folder) == expected
    # The folder itself may be named in another way.
    (tmp_path / "catalogue").symlink_to(folder)
    assert reasons(urls, files_below=tmp_path / "catalogue") == expected
    assert reasons(urls, files_below=folder / ".." / "images") == expected


def test_an_invalid_url_is_a_failure() -> None:
    """No content of a catalogue ends the run."""
    urls: list[Any] = [
        "",
        "shoe.jpg",
        "http://",
        "http://[",
        "ftp://shop.example/",
        "http://a\nb/",
        None,
        "x" * 100_000,
    ]
    results = fetched(urls)
    assert {r.reason for r in results if isinstance(r, Failed)} <= {"bad_url", "scheme_refused", "unknown_host"}
    assert len(results) == len(urls) and all(len(r.message) < 600 for r in results if isinstance(r, Failed))


@pytest.mark.parametrize("host", ["xn--a", "xn--"])
def test_an_undecodable_host_is_a_bad_url(image_server: Web, host: str) -> None:
    """It affects its own product only, as a URL, as a redirect and as a `file:` URL."""
    with web(lambda _: Answer(302, headers={"Location": f"http://{host}/x.jpg"})) as leading:
        urls = [f"http://{host}/x.jpg", leading.url, f"file://{host}/x.jpg", f"{image_server.url}/fine/1"]
        assert reasons(urls, files_below=ROOT) == ["bad_url", "bad_url", "bad_url", "fetched"]


MALFORMED = [
    "http://bob:s3/cret@127.0.0.1/x.jpg",
    "http://bob:s3?cret@127.0.0.1/x.jpg",
    "http://bob:s3#cret@127.0.0.1/x.jpg",
    "http://bob:99999/s3cret@127.0.0.1/x.jpg",
    "http://bob:s3cret\\@127.0.0.1/x.jpg",
    "http://bob:s3@cret@[::1/x.jpg",
    "bob:s3cret@host/x.jpg",
    "http:/bob:s3cret@host/x",
    "http:bob:s3cret@host",
    "HTTP:\\\\bob:s3cret@h/x",
    " http://bob:s3cret@host/x",
    "https:///bob:s3cret@host/x",
    "ftp://bob:s3cret@host/x",
    "file://bob:s3cret@host/x",
    f"http://bob:s3{'x' * 500}cret@host:bad/x.jpg",
]


@pytest.mark.parametrize("url", MALFORMED)
@pytest.mark.parametrize("files_below", [None, ROOT])
def test_passwords_in_malformed_urls_are_hidden(url: str, files_below: Path | None) -> None:
    """No part of them appears in the URL or in the parser's error."""
    (result,) = fetched([url], files_below=files_below, retries=0, attempt_seconds=1.0, allow_private=False)
    assert isinstance(result, Failed)
    for text in (result.message.replace(str(files_below), ""), redact_url(url)):
        assert not re.search("s3|cret|bob", text), text


@pytest.mark.parametrize(
    "url",
    ["http://shop.example/a@2x.jpg", "https://shop.example:8080/w:30/a@2x.jpg?b=@", "http://[::1]:80", "ftp://a/b"],
)
def test_valid_urls_are_shown_completely(url: str) -> None:
    """An @ in a path does not end a password."""
    assert redact_url(url) == url
    assert redact_url(url.replace("http://", "http://anna:s3c@ret@")) == url


def test_long_texts_are_cut() -> None:
    """A message shows 200 characters of a text; dots say that there are more."""
    assert excerpt("x" * 200) == "x" * 200 and excerpt("x" * 201) == "x" * 200 + "..."
    assert excerpt("\x1b" * 200) == r"\x1b" * 50 + "..."


@pytest.mark.parametrize(("port", "shown"), [("65535", "http://h:65535/a@2x"), ("65536", "2x"), ("", "http://h:/a@2x")])
def test_a_port_that_does_not_exist_may_be_a_password(port: str, shown: str) -> None:
    """Beyond the highest port the text before the last @ is hidden."""
    assert redact_url(f"http://h:{port}/a@2x") == shown


def test_messages_are_printable() -> None:
    """Control characters, line feeds and direction marks of URLs and server texts are escaped."""
    head = b"HTTP/1.1 404 \xff\x1b[31mred\x9b\r\nContent-Length: 0\r\n\r\n"
    with web(lambda _: Answer(parts=[head])) as image_server:
        urls = [
            "http://a/\x1b[2J\x1b]0;pwned\x07\n2026-11-27 ERROR fake line",
            "http://a\u202e/\u2028\x85",
            "file:///\x1b[2J\n",
            "\ud800",
            image_server.url,
        ]
        results = fetched([*urls, image_server.url + "/\u202e"], files_below=ROOT)
    for result in results:
        assert isinstance(result, Failed) and result.message.isprintable(), result
    assert all(redact_url(url).isprintable() for url in urls)
    assert "fake line" in results[0].message and r"\x1b[31mred" in results[4].message


def test_passwords_are_neither_sent_nor_shown_nor_stored(image_server: Web, tmp_path: Path) -> None:
    """Requests, messages and the cache file contain no password."""
    urls = [f"http://anna:s3cret@127.0.0.1:{image_server.port}/{kind}/1" for kind in ("fine", "gone", "loop", "page")]
    with ImageCache(tmp_path / "images") as cache:
        results = fetched([*urls, "ftp://anna:s3cret@shop.example/"], cache=cache)
    assert isinstance(results[0], Fetched)
    assert not any("s3cret" in r.message for r in results if isinstance(r, Failed))
    assert not any("authorization" in request.headers for request in image_server.requests)
    assert not any(b"s3cret" in path.read_bytes() for path in tmp_path.iterdir())

"""Downloads what a URL holds, and never what only this machine can reach: every redirect is checked like the first.

with Downloader() as downloader:
    answer = downloader.get("https://shop.example/shoe.jpg", most_bytes=20_000_000, timeout_seconds=10)
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from ssl import SSLContext

import httpcore
import httpx

from serving.client.errors import seconds_asked
from serving.fetching.addresses import Dialler
from serving.fetching.errors import DownloadError, DownloadReason, Status, printable, shown

MOST_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
MOST_DRAINED = 65_536
"""Bytes of an answer's body that are read for nothing but to use its connection again."""
IDLE_SECONDS = 15.0
USER_AGENT = "grouped-fashion"


@dataclass(frozen=True)
class Validators:
    """What a server calls a version of a file (RFC 9110, 8.8); empty where it does not.

    Attributes:
        etag: With its quotes.
        last_modified: A date, as the server writes it.
    """

    etag: str = ""
    last_modified: str = ""


@dataclass(frozen=True)
class Answer:
    """What a server says.

    Attributes:
        content: The file; None when the version that was named is still the newest.
        validators: What the server calls this version.
    """

    content: bytes | None
    validators: Validators


def download(url: str, most_bytes: int, *, allow_private: bool = False, timeout_seconds: float = 10.0) -> bytes:
    """Returns what a URL holds.

    Args:
        url: With the scheme http or https.
        most_bytes: The most that is read.
        allow_private: Also from addresses that the internet does not reach: this machine, its network.
        timeout_seconds: The most that all of it may take.

    Raises:
        DownloadError: The scheme or an address is refused, or nothing of the right size comes in time.
    """
    with Downloader(allow_private) as downloader:
        content = downloader.get(url, most_bytes, timeout_seconds).content
    assert content is not None, "Only a version that was named can be the newest still"
    return content


def parsed(url: str) -> httpx.URL:
    """Returns a URL in its parts.

    Raises:
        DownloadError: It is no URL, or one of another scheme than http and https, or without a host.
    """
    try:
        parts = httpx.URL(url)
        # Decoded when it is asked for: `xn--a` fails only here.
        host = parts.host
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        # httpx quotes what it stumbles over, and in a torn URL that is a piece of the password.
        received = "one that cannot be read" if "@" in str(url) else printable(error)
        raise DownloadError(
            f"{shown(url)} is no URL. Expected: http or https. Received: {received}", "bad_url"
        ) from None
    if parts.scheme not in ("http", "https") or not host:
        received = f"{parts.scheme}://" if host or parts.scheme == "file" else "no host"
        raise DownloadError(
            f"{shown(url)} is not fetched. Expected: http:// or https:// and a host. Received: {received}",
            "scheme_refused" if parts.scheme else "bad_url",
        )
    return parts


class Downloader:
    """Downloads one file after the other, over a connection that is kept; for one thread at a time.

    Args:
        allow_private: Also from addresses that the internet does not reach.
    """

    def __init__(self, allow_private: bool = False) -> None:
        self._dialler = Dialler(allow_private)
        # Two connections: to the host that is asked, and to where it redirects. No proxy: it would resolve the name
        # anew, and reach what must not be reached.
        self._pool = httpcore.ConnectionPool(
            _certificates(), max_connections=2, keepalive_expiry=IDLE_SECONDS, network_backend=self._dialler
        )

    def __enter__(self) -> Downloader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._pool.close()

    def cut(self) -> None:
        """Ends a download that is under way in another thread; it fails there."""
        self._dialler.cut()

    def get(self, url: str, most_bytes: int, timeout_seconds: float, known: Validators | None = None) -> Answer:
        """Returns what a URL holds, or that this has not changed.

        Args:
            url: With the scheme http or https.
            most_bytes: The most that is read.
            timeout_seconds: The most that all of it may take, with its redirects.
            known: The version that is already there; of it the server sends no content.

        Raises:
            DownloadError: The scheme or an address is refused, or nothing of the right size comes in time.
        """
        self._dialler.deadline = time.monotonic() + timeout_seconds
        target = parsed(url)
        for hop in range(MOST_REDIRECTS + 1):
            try:
                with self._answer(target, known or Validators()) as response:
                    if response.status not in REDIRECTS:
                        return self._read(response, most_bytes, known)
                    self._drain(response)
                    target = parsed(_joined(target, _location(response)))
            except DownloadError as error:
                # A host that redirects has answered, wherever it leads.
                error.silent = error.silent and not hop
                raise
        raise DownloadError(
            f"{shown(url)} is redirected too often. Expected: at most {MOST_REDIRECTS} times. Received: more",
            "too_many_redirects",
        )

    @contextmanager
    def _answer(self, url: httpx.URL, known: Validators) -> Iterator[httpcore.Response]:
        """Without user and password: they are not ours to send on, least of all after a redirect."""
        self._dialler.shown = shown(url)
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        headers: dict[str | bytes, str | bytes] = {
            "Host": url.netloc,
            "User-Agent": USER_AGENT,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
        }
        headers |= {"If-None-Match": known.etag.encode("latin-1")} if known.etag else {}
        headers |= {"If-Modified-Since": known.last_modified.encode("latin-1")} if known.last_modified else {}
        with self._told("cannot be reached. Expected: an answer", "unreachable", silent=True):
            response = self._pool.handle_request(httpcore.Request("GET", target, headers=headers))
        try:
            yield response
        finally:
            response.close()

    def _read(self, response: httpcore.Response, most_bytes: int, known: Validators | None) -> Answer:
        validators = Validators(_header(response, b"etag"), _header(response, b"last-modified"))
        if response.status == httpx.codes.NOT_MODIFIED and known:
            return Answer(None, validators)
        if response.status != httpx.codes.OK:
            self._drain(response)
            raise self._refusal(response)
        content = bytearray()
        with self._told("breaks off. Expected: the whole file", "broken_off"):
            # Raw: what an encoding would blow up stays small, and is then no image.
            for chunk in response.iter_stream():
                content += chunk
                if len(content) > most_bytes:
                    message = f"is too large. Expected: at most {most_bytes:,} bytes. Received: more"
                    raise DownloadError(f"{self._dialler.shown} {message}", "too_large")
        return Answer(bytes(content), validators)

    def _refusal(self, response: httpcore.Response) -> DownloadError:
        phrase = response.extensions.get("reason_phrase", b"").decode("latin-1")
        status = f"{response.status} {phrase}".strip()
        return DownloadError(
            f"{self._dialler.shown} gives no file. Expected: status 200. Received: {printable(status)}",
            Status(f"http_{response.status}"),
            again=response.status == httpx.codes.TOO_MANY_REQUESTS or response.status >= 500,
            after_seconds=seconds_asked(_header(response, b"retry-after")),
        )

    def _drain(self, response: httpcore.Response) -> None:
        length = _header(response, b"content-length")
        if length.isdecimal() and int(length) <= MOST_DRAINED:
            with self._told("breaks off. Expected: the whole answer", "broken_off"):
                response.read()

    @contextmanager
    def _told(self, problem: str, reason: DownloadReason, silent: bool = False) -> Iterator[None]:
        try:
            yield
        except httpcore.TimeoutException:
            message = f"{self._dialler.shown} takes too long. Expected: an answer in time. Received: none"
            raise DownloadError(message, "timed_out", again=True, silent=silent) from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            message = f"{self._dialler.shown} {problem}. Received: {printable(error) or 'none'}"
            raise DownloadError(message, reason, again=True, silent=silent) from None


def _header(response: httpcore.Response, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in response.headers if key.lower() == name), "")


def _location(response: httpcore.Response) -> str:
    """As browsers read it: what is not ASCII, as it should be, is mostly UTF-8."""
    raw = _header(response, b"location")
    try:
        return raw.encode("latin-1").decode()
    except UnicodeDecodeError:
        return raw


def _joined(url: httpx.URL, location: str) -> str:
    try:
        return str(url.join(location))
    except (httpx.InvalidURL, ValueError):
        # As it is, for the check that follows to refuse by name.
        return location


@cache
def _certificates() -> SSLContext:
    return httpx.create_ssl_context(trust_env=False)

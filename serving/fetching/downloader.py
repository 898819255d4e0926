"""HTTP downloads that check every redirect, so that untrusted URLs never reach private addresses.

with Downloader() as downloader:
    response = downloader.get("https://shop.example/shoe.jpg", max_bytes=20_000_000, timeout_seconds=10)
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

from pipeline.contract.retries import parse_retry_after
from serving.fetching.errors import DownloadError, DownloadReason, Status, excerpt, redact_url
from serving.fetching.public_addresses import PublicNetworkBackend

MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
MAX_DRAINED = 65_536
"""The most bytes of an unused body that are read to keep its connection."""
IDLE_SECONDS = 15.0
USER_AGENT = "grouped-fashion"


@dataclass(frozen=True)
class Validators:
    """The validators of a file's version (RFC 9110, 8.8); empty where the server sends none.

    Attributes:
        etag: The ETag with its quotes.
        last_modified: The date as the server writes it.
    """

    etag: str = ""
    last_modified: str = ""


@dataclass(frozen=True)
class Download:
    """The answer to a download.

    Attributes:
        content: The file; None if the known version is still current (304).
        validators: The validators of this version.
    """

    content: bytes | None
    validators: Validators


def download(url: str, max_bytes: int, *, allow_private: bool = False, timeout_seconds: float = 10.0) -> bytes:
    """Returns the file at a URL.

    Args:
        url: A URL with the scheme http or https.
        max_bytes: The largest file.
        allow_private: Whether the URL may lead to an address outside the public internet. Defaults to False.
        timeout_seconds: The time limit for the whole download. Defaults to 10.

    Raises:
        DownloadError: The scheme or an address is refused, the file is too large, or it does not arrive in time.
    """
    with Downloader(allow_private) as downloader:
        content = downloader.get(url, max_bytes, timeout_seconds).content
    assert content is not None, "Only a request with a known version can be answered with 304"
    return content


def parse_url(url: str) -> httpx.URL:
    """Returns the parts of an http or https URL.

    Raises:
        DownloadError: It is no URL, has another scheme than http and https, or no host.
    """
    try:
        parts = httpx.URL(url)
        # httpx decodes the host lazily: `xn--a` fails only here.
        host = parts.host
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        # httpx quotes the part that it cannot parse, which in a malformed URL may be a piece of the password.
        received = "one that cannot be read" if "@" in str(url) else excerpt(error)
        raise DownloadError(
            f"{redact_url(url)} is no URL.", "bad_url", expected="http or https", received=received
        ) from None
    if parts.scheme not in ("http", "https") or not host:
        raise DownloadError(
            f"{redact_url(url)} is not fetched.",
            "scheme_refused" if parts.scheme else "bad_url",
            expected="http:// or https:// and a host",
            received=f"{parts.scheme}://" if host or parts.scheme == "file" else "no host",
        )
    return parts


class Downloader:
    """Downloads files one after another over a persistent connection; for one thread at a time.

    Args:
        allow_private: Whether URLs may lead to addresses outside the public internet. Defaults to False.
    """

    def __init__(self, allow_private: bool = False) -> None:
        self._backend = PublicNetworkBackend(allow_private)
        # Two connections: to the host itself, and to where it redirects. No proxy: it would resolve the name again,
        # and could reach private addresses.
        self._pool = httpcore.ConnectionPool(
            _ssl_context(), max_connections=2, keepalive_expiry=IDLE_SECONDS, network_backend=self._backend
        )

    def __enter__(self) -> Downloader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._pool.close()

    def abort(self) -> None:
        """Ends the download of another thread; it fails there."""
        self._backend.abort()

    def get(self, url: str, max_bytes: int, timeout_seconds: float, known: Validators | None = None) -> Download:
        """Returns the file at a URL, or that it has not changed.

        Args:
            url: A URL with the scheme http or https.
            max_bytes: The largest file.
            timeout_seconds: The time limit for the download with its redirects.
            known: The version that the caller has; if it is current, the server sends no content.

        Raises:
            DownloadError: The scheme or an address is refused, the file is too large, or it does not arrive in time.
        """
        self._backend.deadline = time.monotonic() + timeout_seconds
        target = parse_url(url)
        for hop in range(MAX_REDIRECTS + 1):
            try:
                with self._send(target, known or Validators()) as response:
                    if response.status not in REDIRECTS:
                        return self._read(response, max_bytes, known)
                    self._drain(response)
                    target = parse_url(_join(target, _location(response)))
            except DownloadError as error:
                # The first host answered with a redirect, whatever happens at the next one.
                error.unanswered = error.unanswered and not hop
                raise
        raise DownloadError(
            f"{redact_url(url)} is redirected too often.",
            "too_many_redirects",
            expected=f"at most {MAX_REDIRECTS} times",
            received="more",
        )

    @contextmanager
    def _send(self, url: httpx.URL, known: Validators) -> Iterator[httpcore.Response]:
        """Sends a request without user and password, which a redirect must not pass on to another host."""
        self._backend.redacted_url = redact_url(url)
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        headers: dict[str | bytes, str | bytes] = {
            "Host": url.netloc,
            "User-Agent": USER_AGENT,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
        }
        headers |= {"If-None-Match": known.etag.encode("latin-1")} if known.etag else {}
        headers |= {"If-Modified-Since": known.last_modified.encode("latin-1")} if known.last_modified else {}
        with self._download_errors("cannot be reached.", "unreachable", expected="an answer", unanswered=True):
            response = self._pool.handle_request(httpcore.Request("GET", target, headers=headers))
        try:
            yield response
        finally:
            response.close()

    def _read(self, response: httpcore.Response, max_bytes: int, known: Validators | None) -> Download:
        validators = Validators(_header(response, b"etag"), _header(response, b"last-modified"))
        if response.status == httpx.codes.NOT_MODIFIED and known:
            return Download(None, validators)
        if response.status != httpx.codes.OK:
            self._drain(response)
            raise self._status_error(response)
        content = bytearray()
        with self._download_errors("breaks off.", "broken_off", expected="the whole file"):
            # Not decompressed: a compressed bomb stays small, and is then no image.
            for chunk in response.iter_stream():
                content += chunk
                if len(content) > max_bytes:
                    expected = f"at most {max_bytes:,} bytes"
                    headline = f"{self._backend.redacted_url} is too large."
                    raise DownloadError(headline, "too_large", expected=expected, received="more")
        return Download(bytes(content), validators)

    def _status_error(self, response: httpcore.Response) -> DownloadError:
        phrase = response.extensions.get("reason_phrase", b"").decode("latin-1")
        status = f"{response.status} {phrase}".strip()
        return DownloadError(
            f"{self._backend.redacted_url} gives no file.",
            Status(f"http_{response.status}"),
            retryable=response.status == httpx.codes.TOO_MANY_REQUESTS or response.status >= 500,
            retry_after=parse_retry_after(_header(response, b"retry-after")),
            expected="status 200",
            received=excerpt(status),
        )

    def _drain(self, response: httpcore.Response) -> None:
        length = _header(response, b"content-length")
        if length.isdecimal() and int(length) <= MAX_DRAINED:
            with self._download_errors("breaks off.", "broken_off", expected="the whole answer"):
                response.read()

    @contextmanager
    def _download_errors(
        self, problem: str, reason: DownloadReason, *, expected: str, unanswered: bool = False
    ) -> Iterator[None]:
        """Raises a DownloadError for the time-outs, network errors and protocol errors of the block."""
        try:
            yield
        except httpcore.TimeoutException:
            raise DownloadError(
                f"{self._backend.redacted_url} takes too long.",
                "timed_out",
                retryable=True,
                unanswered=unanswered,
                expected="an answer in time",
                received="none",
            ) from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise DownloadError(
                f"{self._backend.redacted_url} {problem}",
                reason,
                retryable=True,
                unanswered=unanswered,
                expected=expected,
                received=excerpt(error) or "none",
            ) from None


def _header(response: httpcore.Response, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in response.headers if key.lower() == name), "")


def _location(response: httpcore.Response) -> str:
    """Returns the target of a redirect as browsers read it: non-ASCII bytes are invalid, but mostly UTF-8."""
    raw = _header(response, b"location")
    try:
        return raw.encode("latin-1").decode()
    except UnicodeDecodeError:
        return raw


def _join(url: httpx.URL, location: str) -> str:
    try:
        return str(url.join(location))
    except (httpx.InvalidURL, ValueError):
        # Unchanged: `parse_url` then raises the error about it.
        return location


@cache
def _ssl_context() -> SSLContext:
    return httpx.create_ssl_context(trust_env=False)

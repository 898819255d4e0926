"""Downloads a file that a user names by URL, and never one that only this machine can reach.

The address that was checked is the one that is connected to: a name that resolves to something else a moment later
(DNS rebinding) changes nothing, and every redirect is checked like the first address.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

MOST_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address."""
USER_AGENT = "grouped-fashion"


class DownloadError(ValueError):
    """A URL gives no file; the message says why."""


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
    import httpx

    deadline = time.monotonic() + timeout_seconds
    # No proxy: it would resolve the name anew, and reach what must not be reached.
    with httpx.Client(trust_env=False, headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}) as client:
        target = _parsed(url)
        for _ in range(MOST_REDIRECTS + 1):
            with _answer(client, target, allow_private, deadline) as response:
                if response.status_code not in REDIRECTS:
                    return _body(response, target, most_bytes, deadline)
                target = _parsed(str(target.join(response.headers.get("location", ""))))
    raise DownloadError(f"{url} is redirected too often. Expected: at most {MOST_REDIRECTS} times. Received: more")


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is one of the internet's, whatever form it is written in."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


def _parsed(url: str) -> httpx.URL:
    import httpx

    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise DownloadError(f"{url} is no URL. Expected: http or https. Received: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        received = f"{parsed.scheme}://" if parsed.host or parsed.scheme == "file" else "no host"
        raise DownloadError(f"{url} is not fetched. Expected: http:// or https:// and a host. Received: {received}")
    return parsed


def _addresses(url: httpx.URL, allow_private: bool) -> list[str]:
    """Where a host is; empty never, and refused as a whole when one of its addresses is not the internet's."""
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(url.raw_host.decode(), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DownloadError(f"{url} has an unknown host. Expected: a name that resolves. Received: {reason}") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    hidden = [a for a in addresses if not is_public(ip_address(a))]
    if hidden and not allow_private:
        raise DownloadError(
            f"{url} is not fetched. Expected: a public address, or --allow-private. Received: {hidden[0]}"
        )
    return addresses


@contextmanager
def _answer(client: httpx.Client, url: httpx.URL, allow_private: bool, deadline: float) -> Iterator[httpx.Response]:
    """Asks the addresses of a URL's host, one after the other until one can be connected to."""
    import httpx

    response, reason = None, ""
    for address in _addresses(url, allow_private):
        request = client.build_request(
            "GET",
            # Without user and password: they are not ours to send on, least of all after a redirect.
            url.copy_with(host=address, username=None, password=None),
            headers={"Host": url.netloc.decode()},
            # The certificate must be that of the name, not of the address.
            extensions={"sni_hostname": url.raw_host.decode()},
            timeout=_left(url, deadline),
        )
        try:
            response = client.send(request, stream=True, follow_redirects=False)
            break
        except httpx.TimeoutException:
            raise _late(url) from None
        except httpx.TransportError as error:
            reason = str(error)
    if response is None:
        raise DownloadError(f"{url} cannot be reached. Expected: an answer. Received: {reason or 'none'}")
    try:
        yield response
    finally:
        response.close()


def _body(response: httpx.Response, url: httpx.URL, most_bytes: int, deadline: float) -> bytes:
    import httpx

    if response.status_code != httpx.codes.OK:
        status = f"{response.status_code} {response.reason_phrase}".strip()
        raise DownloadError(f"{url} gives no file. Expected: status 200. Received: {status}")
    content = bytearray()
    try:
        # Raw: what an encoding would blow up stays small, and is then no image.
        for chunk in response.iter_raw():
            content += chunk
            if len(content) > most_bytes:
                raise DownloadError(f"{url} is too large. Expected: at most {most_bytes:,} bytes. Received: more")
            _left(url, deadline)
    except httpx.TimeoutException:
        raise _late(url) from None
    except httpx.TransportError as error:
        raise DownloadError(f"{url} breaks off. Expected: the whole file. Received: {error}") from None
    return bytes(content)


def _left(url: httpx.URL, deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise _late(url)
    return left


def _late(url: httpx.URL) -> DownloadError:
    return DownloadError(f"{url} takes too long. Expected: an answer in time. Received: none")

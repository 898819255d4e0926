"""A network backend for httpcore that connects to public internet addresses only, within a deadline.

It connects to the address that it checked, so a name that resolves differently a moment later (DNS rebinding) has no
effect. The connection keeps the host name, which certificates and connection reuse need.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from ssl import SSLContext
from typing import Any

import httpcore

from serving.fetching.errors import DownloadError

NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address."""
UNICAST = IPv6Network("2000::/3")
"""All IPv6 addresses that IANA assigns (RFC 4291, 2.4). Outside are IPv4-compatible and IPv4-translated addresses
(RFC 4291, 2.5.5.1, and RFC 2765), site-local ones (RFC 3879), SRv6's (RFC 9602), and a network's own NAT64 (RFC 8215),
where the position of the IPv4 address is unknown to others."""
SPECIAL = (IPv6Network("3fff::/20"), IPv4Network("192.88.99.0/24"))
"""Not public, although Python 3.11 says so: documentation (RFC 9637), and the relays of 6to4 (RFC 7526)."""
COMPATIBLE = IPv6Network("::/96")
"""RFC 4291, 2.5.5.1: the last 32 bits are an IPv4 address, except for :: and ::1."""
CLOSED = tuple(
    map(
        ip_network,
        (
            "169.254.0.0/16",  # link-local (RFC 3927), and the metadata of AWS, Azure, Google Cloud, OpenStack
            "fe80::/10",  # link-local (RFC 4291)
            "fd00:ec2::/32",  # AWS over IPv6
            "fd20:ce::254/128",  # Google Cloud over IPv6
            "100.100.100.200/32",  # Alibaba Cloud
            "168.63.129.16/32",  # Azure's platform, which is a public address
            "192.0.0.192/32",  # Oracle Cloud
        ),
    )
)
"""Link-local addresses and the metadata services of clouds, which give credentials to any program on the machine."""


def is_closed(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is link-local or a cloud's metadata service, in whatever form it is written."""
    inner = _embedded(address)
    return any(each in network for network in CLOSED for each in (address, inner) if each is not None)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address belongs to the public internet, in whatever form it is written."""
    if is_closed(address):
        return False
    if isinstance(address, IPv6Address):
        inner = _embedded(address)
        if inner is not None and address not in COMPATIBLE:
            return is_public(inner)
        if address not in UNICAST:
            return False
    return address.is_global and not address.is_multicast and not any(address in network for network in SPECIAL)


def _embedded(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """Returns the IPv4 address to which an IPv6 address leads, where the form of the address says so."""
    if isinstance(address, IPv4Address):
        return None
    if address in NAT64 or address in COMPATIBLE:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]


class PublicNetworkBackend(httpcore.NetworkBackend):
    """Opens httpcore's connections: to checked addresses only, with one deadline for all their operations.

    Args:
        allow_private: Whether to connect also to addresses outside the public internet: this machine, its network.
            Link-local addresses and the metadata services of clouds stay closed.

    Attributes:
        redacted_url: The URL that is being fetched, for messages.
        deadline: By `time.monotonic`. A read ends then, even if bytes keep arriving slowly. Only the system's name
            resolver has time-outs of its own.
    """

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._sockets: list[socket.socket] = []
        self._aborted = False
        self.redacted_url, self.deadline = "", 0.0

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connects to the first address of a host that answers.

        Raises:
            DownloadError: The name is unknown, or one of its addresses is not public.
            httpcore.ConnectError: No address answers.
        """
        addresses = self._resolve(host, port)
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                stream = httpcore.SyncBackend().connect_tcp(
                    address, port, self.remaining() / left, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if left == 1:
                    raise
                continue
            return self.with_deadline(stream)
        raise AssertionError("unreachable: the last address is returned or raises")

    def remaining(self) -> float:
        """Returns the seconds to the deadline.

        Raises:
            httpcore.ReadTimeout: The deadline has passed, or `abort` was called.
        """
        remaining = self.deadline - time.monotonic()
        if remaining <= 0 or self._aborted:
            raise httpcore.ReadTimeout("The deadline has passed")
        return remaining

    def with_deadline(self, stream: httpcore.NetworkStream) -> httpcore.NetworkStream:
        """Returns a connection that observes the deadline, and that `abort` ends."""
        self._sockets = [s for s in self._sockets if s.fileno() >= 0] + [stream.get_extra_info("socket")]
        return _DeadlineStream(stream, self)

    def abort(self) -> None:
        """Ends the reads and writes of another thread, and prevents any later ones."""
        self._aborted = True
        for each in self._sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                # It is closed already.
                continue

    def _resolve(self, host: str, port: int) -> list[str]:
        """Returns a host's addresses, at least one; refuses them all if one of them is not public."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise DownloadError(
                f"{self.redacted_url} has an unknown host.",
                "unknown_host",
                retryable=isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN,
                unanswered=True,
                expected="a name that resolves",
                received=str(reason),
            ) from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if closed := [a for a in addresses if is_closed(ip_address(a))]:
            raise DownloadError(
                f"{self.redacted_url} is not fetched.",
                "private_address",
                expected="an address that is neither link-local nor a cloud's metadata service; none is permitted",
                received=closed[0],
            )
        private = [a for a in addresses if not is_public(ip_address(a))]
        if private and not self._allow_private:
            raise DownloadError(
                f"{self.redacted_url} is not fetched.",
                "private_address",
                expected="a public address, or permission for others (--allow-private, or in a run "
                "--set example_gen.allow_private=true)",
                received=private[0],
            )
        return addresses


class _DeadlineStream(httpcore.NetworkStream):
    """A connection whose operations all end at its backend's deadline."""

    def __init__(self, stream: httpcore.NetworkStream, backend: PublicNetworkBackend) -> None:
        self._stream, self._backend = stream, backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._backend.remaining())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._backend.remaining())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return self._backend.with_deadline(
            self._stream.start_tls(ssl_context, server_hostname, self._backend.remaining())
        )

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

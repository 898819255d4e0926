"""Connects to hosts by name, and never to an address that only this machine can reach.

The address that was checked is the one that is connected to: a name that resolves to something else a moment later
(DNS rebinding) changes nothing. The connection keeps the name, so certificates and kept connections are the name's.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from ssl import SSLContext
from typing import Any

import httpcore

from serving.fetching.errors import DownloadError

NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address."""
UNICAST = IPv6Network("2000::/3")
"""RFC 4291, 2.4, and IANA: nothing else of IPv6 is given out. Outside are IPv4-compatible and IPv4-translated addresses
(RFC 4291, 2.5.5.1, and RFC 2765), site-local ones (RFC 3879), SRv6's (RFC 9602), and the NAT64 of a network's own
(RFC 8215), in which no one outside knows where the IPv4 address stands."""
SPECIAL = (IPv6Network("3fff::/20"), IPv4Network("192.88.99.0/24"))
"""Not the internet's, though Python 3.11 takes them for it: documentation (RFC 9637), and 6to4's relays (RFC 7526)."""


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is one of the internet's, whatever form it is written in."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address not in UNICAST:
            return False
    return address.is_global and not address.is_multicast and not any(address in network for network in SPECIAL)


class Dialler(httpcore.NetworkBackend):
    """Gives httpcore its connections: to checked addresses only, and none of them later than a deadline.

    Args:
        allow_private: Also to addresses that the internet does not reach: this machine, its network.

    Attributes:
        shown: The URL that is being fetched, as messages show it.
        deadline: By `time.monotonic`; a read that is under way then ends, however much drips in meanwhile. Only the
            system's resolver of names keeps its own time.
    """

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._sockets: list[socket.socket] = []
        self._ended = False
        self.shown, self.deadline = "", 0.0

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
            DownloadError: The name is unknown, or one of its addresses is not the internet's.
            httpcore.ConnectError: No address answers.
        """
        addresses = self._addresses(host, port)
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                stream = httpcore.SyncBackend().connect_tcp(
                    address, port, self.left() / left, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if left == 1:
                    raise
                continue
            return self.punctual(stream)
        raise AssertionError("unreachable: the last address is returned or raises")

    def left(self) -> float:
        """Returns the seconds to the deadline.

        Raises:
            httpcore.ReadTimeout: There are none.
        """
        left = self.deadline - time.monotonic()
        if left <= 0 or self._ended:
            raise httpcore.ReadTimeout("The deadline has passed")
        return left

    def punctual(self, stream: httpcore.NetworkStream) -> httpcore.NetworkStream:
        """Returns a connection that keeps the deadline, and that `cut` ends."""
        self._sockets = [s for s in self._sockets if s.fileno() >= 0] + [stream.get_extra_info("socket")]
        return _Punctual(stream, self)

    def cut(self) -> None:
        """Ends what is being read or waited for in another thread, and everything that would follow."""
        self._ended = True
        for each in self._sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                # It is closed already.
                continue

    def _addresses(self, host: str, port: int) -> list[str]:
        """Where a host is; never empty, and refused as a whole when one of its addresses is not the internet's."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            message = f"{self.shown} has an unknown host. Expected: a name that resolves. Received: {reason}"
            again = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
            raise DownloadError(message, "unknown_host", again, silent=True) from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        hidden = [a for a in addresses if not is_public(ip_address(a))]
        if hidden and not self._allow_private:
            raise DownloadError(
                f"{self.shown} is not fetched. Expected: a public address, or leave for others (--allow-private, or in "
                f"a run --set example_gen.allow_private=true). Received: {hidden[0]}",
                "private_address",
            )
        return addresses


class _Punctual(httpcore.NetworkStream):
    """A connection whose every step ends at its dialler's deadline."""

    def __init__(self, stream: httpcore.NetworkStream, dialler: Dialler) -> None:
        self._stream, self._dialler = stream, dialler

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._dialler.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._dialler.left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return self._dialler.punctual(self._stream.start_tls(ssl_context, server_hostname, self._dialler.left()))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

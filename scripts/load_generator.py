"""A load generator that costs little: many clients on one thread, each with a connection of its own.

`python -m scripts.load_generator HOST PORT CLIENTS SECONDS` reads the request, whole, from standard input, and prints JSON:
answers, failures, seconds, and the latencies' percentiles. A request costs it about 0.03 ms, so that on two cores the
server is what is measured.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from dataclasses import dataclass, field

WAIT_SECONDS = 30.0


@dataclass
class Client:
    """A connection with one request under way."""

    connection: socket.socket
    begun: float = 0.0
    received: bytearray = field(default_factory=bytearray)
    expected: int = 0


@dataclass
class Result:
    """What a load came to."""

    answers: int = 0
    failures: list[str] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def to_json(self) -> dict[str, object]:
        """Returns the counts, the rate and the percentiles."""
        ordered = sorted(self.milliseconds) or [float("nan")]
        return {
            "answers": self.answers,
            "failed": len(self.failures),
            "failures": self.failures[:5],
            "seconds": self.seconds,
            "per_second": self.answers / self.seconds,
            **{f"p{q}": ordered[int(q / 100 * (len(ordered) - 1))] for q in (50, 90, 99)},
            "max": ordered[-1],
        }


def generate(host: str, port: int, request: bytes, clients: int, seconds: float) -> Result:
    """Sends a request over and over, each client the next as soon as the last is answered.

    Args:
        host: Where the server listens.
        port: Its port.
        request: The bytes of an HTTP/1.1 request.
        clients: How many connections.
        seconds: For how long.
    """
    poll, held, result = select.epoll(), {}, Result()
    for _ in range(clients):
        client = Client(socket.create_connection((host, port), timeout=WAIT_SECONDS))
        client.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        held[client.connection.fileno()] = client
        poll.register(client.connection.fileno(), select.EPOLLIN)
    begun = looked = time.perf_counter()
    for client in held.values():
        _send(client, request)
    while (now := time.perf_counter()) - begun < seconds and held:
        for number, _ in poll.poll(1.0):
            client = held[number]
            if not _receive(client, result):
                poll.unregister(number)
                client.connection.close()
                del held[number]
            elif not client.expected:
                _send(client, request)
        if now - looked > 1:
            looked = now
            if any(now - client.begun > WAIT_SECONDS for client in held.values()):
                result.failures.append(f"no answer within {WAIT_SECONDS:g} s")
                break
    result.seconds = time.perf_counter() - begun
    for client in held.values():
        client.connection.close()
    return result


def _send(client: Client, request: bytes) -> None:
    client.begun = time.perf_counter()
    client.connection.sendall(request)


def _receive(client: Client, result: Result) -> bool:
    """Reads what is there; notes an answer that is complete. False when the connection has ended."""
    try:
        data = client.connection.recv(65536)
    except OSError as error:
        result.failures.append(repr(error))
        return False
    if not data:
        result.failures.append("the connection was closed")
        return False
    client.received += data
    if not client.expected:
        client.expected = _length(client.received)
    if client.expected and len(client.received) >= client.expected:
        result.answers += 1
        result.milliseconds.append(1000 * (time.perf_counter() - client.begun))
        if not client.received.startswith(b"HTTP/1.1 200"):
            result.answers -= 1
            result.failures.append(bytes(client.received[-300:]).decode(errors="replace"))
        client.received.clear()
        client.expected = 0
    return True


def _length(received: bytearray) -> int:
    """How many bytes the answer has, its head included; 0 while that has not come."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return 0
    for line in bytes(received[:end]).lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return end + 4 + int(line.partition(b":")[2])
    raise ValueError("An answer has no Content-Length.")


def main() -> None:
    """Runs a load as the command line says."""
    host, port, clients, seconds = sys.argv[1:5]
    result = generate(host, int(port), sys.stdin.buffer.read(), int(clients), float(seconds))
    print(json.dumps(result.to_json()))


if __name__ == "__main__":
    main()

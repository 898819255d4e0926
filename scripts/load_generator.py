"""A load generator with little overhead: many clients on one thread, each with its own connection.

`python -m scripts.load_generator HOST PORT CLIENTS SECONDS` reads one whole request from standard input and prints
JSON: answers, failures, seconds, its own CPU seconds, and percentiles of the latency. A request costs less than 0.1 ms
of CPU, so that on two cores the server is the bottleneck.
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
    """A connection with one pending request."""

    connection: socket.socket
    started: float = 0.0
    received: bytearray = field(default_factory=bytearray)
    expected: int = 0


@dataclass
class Result:
    """The answers and failures of a load, its duration, and the CPU time of the load generator (user and system)."""

    answers: int = 0
    failures: list[str] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def to_json(self) -> dict[str, object]:
        """Returns the counts, the rate and the percentiles."""
        ordered = sorted(self.milliseconds) or [float("nan")]
        return {
            "answers": self.answers,
            "failed": len(self.failures),
            "failures": self.failures[:5],
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "per_second": self.answers / self.seconds,
            **{f"p{q}": ordered[int(q / 100 * (len(ordered) - 1))] for q in (50, 90, 99)},
            "max": ordered[-1],
        }


def generate(host: str, port: int, request: bytes, clients: int, seconds: float) -> Result:
    """Repeats a request; each client sends the next one as soon as the last is answered.

    Args:
        host: The server's host.
        port: The server's port.
        request: The bytes of an HTTP/1.1 request.
        clients: The number of connections.
        seconds: The duration.
    """
    poll, connected, result = select.epoll(), {}, Result()
    for _ in range(clients):
        client = Client(socket.create_connection((host, port), timeout=WAIT_SECONDS))
        client.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected[client.connection.fileno()] = client
        poll.register(client.connection.fileno(), select.EPOLLIN)
    start = checked = time.perf_counter()
    cpu_start = time.process_time()
    for client in connected.values():
        _send(client, request)
    while (now := time.perf_counter()) - start < seconds and connected:
        for number, _ in poll.poll(1.0):
            client = connected[number]
            if not _receive(client, result):
                poll.unregister(number)
                client.connection.close()
                del connected[number]
            elif not client.expected:
                _send(client, request)
        if now - checked > 1:
            checked = now
            if any(now - client.started > WAIT_SECONDS for client in connected.values()):
                result.failures.append(f"no answer within {WAIT_SECONDS:g} s")
                break
    result.seconds = time.perf_counter() - start
    result.cpu_seconds = time.process_time() - cpu_start
    for client in connected.values():
        client.connection.close()
    return result


def _send(client: Client, request: bytes) -> None:
    client.started = time.perf_counter()
    client.connection.sendall(request)


def _receive(client: Client, result: Result) -> bool:
    """Reads what has arrived and records a complete answer; returns False when the connection has ended."""
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
        result.milliseconds.append(1000 * (time.perf_counter() - client.started))
        if not client.received.startswith(b"HTTP/1.1 200"):
            result.answers -= 1
            result.failures.append(bytes(client.received[-300:]).decode(errors="replace"))
        client.received.clear()
        client.expected = 0
    return True


def _length(received: bytearray) -> int:
    """Returns the bytes of the answer with its head; 0 until the head is complete."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return 0
    for line in bytes(received[:end]).lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return end + 4 + int(line.partition(b":")[2])
    raise ValueError("An answer has no Content-Length.")


def main() -> None:
    """Runs the load that the command line describes."""
    host, port, clients, seconds = sys.argv[1:5]
    result = generate(host, int(port), sys.stdin.buffer.read(), int(clients), float(seconds))
    print(json.dumps(result.to_json()))


if __name__ == "__main__":
    main()

"""Facts about TensorFlow Serving, one line of `cases.jsonl` each, and the deviations of the embedded server."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

FILE = Path(__file__).with_name("cases.jsonl")

MAIN: Final = "main"
"""The server for all requests that need no special flags; `--url` replaces it."""
IN_PROCESS: Final = "process"
"""No server: the scenario calls the embedded server's modules, because no request can provoke the behaviour."""


@dataclass(frozen=True)
class Case:
    """A fact about TensorFlow Serving.

    Attributes:
        id: Its name.
        kind: "rest" and "grpc" are one request and its answer, "scenario" a function registered for the id.
        server: The name of the server that gets the requests, see `server_pool.py`.
        request: The request.
        expect: The expected answer.
        source: The file of TensorFlow Serving's repository that states the fact.
        setup: The models and files that the server needs, where that matters.
        parsed: The meaning of the request's path, where that is the point.
        inferred: True when the fact was concluded from the source rather than asserted by a test or document.
        note: Further remarks.
    """

    id: str
    kind: str
    server: str
    request: dict[str, Any]
    expect: dict[str, Any]
    source: str
    setup: dict[str, Any] = field(default_factory=dict)
    parsed: dict[str, Any] = field(default_factory=dict)
    inferred: bool = False
    note: str = ""

    def __str__(self) -> str:
        return self.id

    @property
    def basis(self) -> str:
        """The kind of evidence for the fact: "test", "documentation", "source" or "inferred"."""
        if self.inferred:
            return "inferred"
        if "_test." in self.source:
            return "test"
        return "documentation" if ".md" in self.source else "source"


@functools.cache
def load_cases() -> tuple[Case, ...]:
    """Reads all cases."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return tuple(Case(**json.loads(line)) for line in lines)


@dataclass(frozen=True)
class Deviation:
    """A case that the embedded server deliberately answers otherwise than TensorFlow Serving.

    Attributes:
        expect: Its expected answer.
        difference: The difference in words.
        reason: Why the difference does not matter to a client.
    """

    expect: Mapping[str, Any]
    difference: str
    reason: str


DEVIATIONS: Final[Mapping[str, Deviation]] = {
    "grpc-45": Deviation(
        expect={"default_port": 8500, "listens": "127.0.0.1", "unix_socket": None, "reflection": "UNIMPLEMENTED"},
        difference="Without `--bind_address=0.0.0.0` the server listens on loopback only; no `--grpc_socket_path`.",
        reason="A local client sees no difference; the flag admits remote ones.",
    ),
}

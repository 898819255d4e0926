"""The cases: one line of `cases.jsonl` each, with what is asked, what is answered, and where that is written down."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

FILE = Path(__file__).with_name("cases.jsonl")

MAIN: Final = "main"
"""The server that all requests without special flags go to; the one that may be somebody else's."""
IN_PROCESS: Final = "process"
"""Not a server: the embedded server's own modules, where no request can provoke what is to be seen."""


@dataclass(frozen=True)
class Case:
    """A fact about the real server.

    Attributes:
        id: Its name.
        kind: "rest" and "grpc" are one request and its answer; "scenario" is played by the function of that name.
        server: Which server it is asked of, see `servers.py`.
        request: What is sent.
        expect: What is answered.
        source: Where the real server's source says so.
        given: What is served, where that matters.
        parsed: What the path of the request means, where that is the point.
        inferred: Whether that was concluded from the source rather than asserted by a test or document of the server's.
        note: What else there is to know.
    """

    id: str
    kind: str
    server: str
    request: dict[str, Any]
    expect: dict[str, Any]
    source: str
    given: dict[str, Any] = field(default_factory=dict)
    parsed: dict[str, Any] = field(default_factory=dict)
    inferred: bool = False
    note: str = ""

    def __str__(self) -> str:
        return self.id


@functools.cache
def load_cases() -> tuple[Case, ...]:
    """Reads all cases."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return tuple(Case(**json.loads(line)) for line in lines)

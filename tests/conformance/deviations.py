"""Where the embedded server answers otherwise than TensorFlow Serving, and why no client would care."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Deviation:
    """A case that the embedded server answers in its own way.

    Attributes:
        expect: What it answers; this is what the suite asserts of it.
        difference: The difference in words.
        reason: Why a client would not care.
    """

    expect: Mapping[str, Any]
    difference: str
    reason: str


DEVIATIONS: Final[Mapping[str, Deviation]] = {
    "grpc-45": Deviation(
        expect={"default_port": 8500, "listens": "127.0.0.1", "unix_socket": None, "reflection": "UNIMPLEMENTED"},
        difference="Without `--bind_address=0.0.0.0` the ports are open to this machine only; no `--grpc_socket_path`.",
        reason="A client on this machine sees none of it, and one elsewhere is let in by that flag.",
    ),
}

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
    "row-36": Deviation(
        expect={
            "status": 200,
            "tensors": {"a": {"shape": [2], "values": [1, 3]}, "b": {"shape": [2], "values": [5, 6]}},
        },
        difference="If an instance has a name twice, the first value counts. TensorFlow Serving appends both and so "
        "gives later instances the values of others.",
        reason="Each instance gets its own values.",
    ),
    "err-67": Deviation(
        expect={"status": 400, "error_contains": "JSON Parse error: A string is not UTF-8"},
        difference="A string in a request must be UTF-8.",
        reason='Other bytes are sent as `{"b64": ...}`, which both servers accept.',
    ),
    "err-68": Deviation(
        expect={"status": 400, "error_contains": "Lists are nested too deeply"},
        difference="A tensor has at most 64 dimensions, NumPy's limit, instead of 254.",
        reason="None: no operation takes that many.",
    ),
    "resp-40": Deviation(
        expect={"status": 200, "json": {"predictions": [{"b64": "/w=="}]}},
        difference='A string output that is not UTF-8 is written as `{"b64": ...}`, whatever its name.',
        reason="The response is valid JSON; TensorFlow Serving's is not.",
    ),
    "grpc-67": Deviation(
        expect={"code": "INVALID_ARGUMENT", "details_exact": "tensor parsing error: x"},
        difference="A tensor whose values do not come as `tensor_content` has at most 16,777,216 elements.",
        reason="A request of a few bytes cannot fill the memory; 21,000 images fit.",
    ),
    "http-35": Deviation(
        expect={"status": 413, "error_contains": "The request body is too large"},
        difference="A body has at most 32 MiB, also after decompression (`--rest_api_max_body_bytes`).",
        reason="A larger request gets 413 with the limit in the error.",
    ),
    "http-36": Deviation(
        expect={"counted_as": ""},
        difference="`request_count` has requests for unknown models under an empty name.",
        reason="Clients cannot fill the metrics with names of their own.",
    ),
    "http-37": Deviation(
        expect={"counted": True},
        difference="`request_example_counts` and `request_example_count_total` also count the rows of predict "
        "requests.",
        reason="Dashboards see images, not only requests.",
    ),
    "life-98": Deviation(
        expect={"codes": ["OK", "OK"], "error_contains": ""},
        difference="Requests of different shapes never share a batch, unless they are padded.",
        reason="Both requests are answered; TensorFlow Serving fails both.",
    ),
    "life-99": Deviation(
        expect={"codes": ["OK", "INVALID_ARGUMENT"], "error_contains": "negative"},
        difference="If a batch fails, each of its requests runs again alone.",
        reason="A bad request fails no other request.",
    ),
    "life-104": Deviation(
        expect={},
        difference="At the start, an unknown flag, two equal ports, or `--enable_per_model_batching_parameters` "
        "without `--enable_batching` stops the server, and `--port=0` serves REST alone. TensorFlow Serving ignores "
        "the first three (with equal ports, it has no REST interface) and refuses the last.",
        reason="A mistake in a command shows at once.",
    ),
    "life-105": Deviation(
        expect={"served_after": [2]},
        difference="If the base path of a model is missing, the other models still get new versions.",
        reason="One broken model does not stop the others.",
    ),
}

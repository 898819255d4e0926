"""REST requests, sent byte for byte as a case states them, and the checks of their answers."""

from __future__ import annotations

import gzip
import http.client
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np

TIMEOUT = 120.0


@dataclass(frozen=True)
class Answer:
    """The answer to a request.

    Attributes:
        status: The HTTP status.
        headers: The headers, names in lower case.
        body: The body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """The body as JSON, in which NaN and Infinity are allowed."""
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The message of an error."""
        message: str = self.json["error"]
        return message


def send(url: str, request: Mapping[str, Any]) -> Answer:
    """Sends the request of a case.

    Args:
        url: The server's URL, without a final slash.
        request: `method` and `path`; `headers`; and one of `body` (JSON), `text` (a string, or a list of strings and of
            {"repeat": ..., "times": ...}), `hex` (bytes), `gzip` (JSON that is compressed) or `gzip_text` (a text that
            is compressed, without its last bytes if `cut` says how many).
    """
    # http.client alone sends paths and methods as they are: clients built upon it or beside it normalise them.
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT)
    try:
        body = _body(request)
        headers = {"Accept-Encoding": "identity", **request.get("headers", {})}
        connection.request(request["method"], parts.path + request["path"], body, headers)
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


def get(url: str, path: str) -> Answer:
    """Sends a GET."""
    return send(url, {"method": "GET", "path": path})


def predict(url: str, model: str, instances: Sequence[Any], key: str = "instances") -> Answer:
    """Sends a predict request; `key` is "inputs" for the columnar format."""
    return send(url, {"method": "POST", "path": f"/v1/models/{model}:predict", "body": {key: instances}})


def _body(request: Mapping[str, Any]) -> bytes | None:
    if "body" in request:
        return json.dumps(request["body"]).encode()
    if "gzip" in request:
        return gzip.compress(json.dumps(request["gzip"]).encode())
    if "hex" in request:
        return bytes.fromhex(request["hex"])
    if "gzip_text" in request:
        whole = gzip.compress(_joined(request["gzip_text"]))
        return whole[: len(whole) - request.get("cut", 0)]
    return _joined(request["text"]) if "text" in request else None


def _joined(text: str | Sequence[Any]) -> bytes:
    pieces = [text] if isinstance(text, str) else text
    return "".join(p if isinstance(p, str) else p["repeat"] * p["times"] for p in pieces).encode()


def check(answer: Answer, expect: Mapping[str, Any]) -> None:
    """Asserts everything that the case expects; an unknown key is an error."""
    assert answer.status == expect.get("status", answer.status), answer.text[:500]
    for key, wanted in expect.items():
        if key not in ("status", "format"):
            CHECKS[key](answer, wanted)
    if answer.status >= 400 and "error_exact" in expect:
        assert answer.headers["content-type"].split(";")[0] == "application/json"


def _check_contains(answer: Answer, wanted: str) -> None:
    assert wanted in answer.error


def _check_json(answer: Answer, wanted: Any) -> None:
    assert answer.json == wanted


def _check_exact(answer: Answer, wanted: str) -> None:
    assert answer.error == wanted
    assert answer.json.keys() == {"error"}


def _check_headers(answer: Answer, wanted: Mapping[str, str]) -> None:
    assert {name: answer.headers.get(name.lower()) for name in wanted} == dict(wanted)


def _check_absent(answer: Answer, wanted: Sequence[str]) -> None:
    assert not {name.lower() for name in wanted} & answer.headers.keys()


def _check_content_type(answer: Answer, wanted: str) -> None:
    assert answer.headers["content-type"].split(";")[0] == wanted


def _check_text(answer: Answer, wanted: str) -> None:
    assert answer.text == wanted


def _check_hex(answer: Answer, wanted: str) -> None:
    assert answer.body == bytes.fromhex(wanted)


def _check_empty(answer: Answer, wanted: bool) -> None:
    assert (answer.body == b"") is wanted


def _check_not_json(answer: Answer, wanted: bool) -> None:
    assert answer.body and answer.body.lstrip().startswith(b"<") is wanted


def _check_has(answer: Answer, wanted: str) -> None:
    assert set(answer.json) == {wanted}


def _check_part(answer: Answer, wanted: Mapping[str, Any]) -> None:
    assert {name: answer.json.get(name) for name in wanted} == dict(wanted)


def _check_numbers(answer: Answer, wanted: Any) -> None:
    """Compares the digits, not the values."""
    (numbers,) = json.loads(answer.body, parse_float=str, parse_int=str).values()
    assert numbers == wanted


def _check_tensors(answer: Answer, wanted: Mapping[str, Mapping[str, Any]]) -> None:
    """Compares the tensors that an echoing model returns: shapes, then values in the precision of the input's type."""
    ((form, received),) = answer.json.items()
    columns = _columns(received, list(wanted), by_row=form == "predictions")
    for name, tensor in wanted.items():
        assert _shape(columns[name]) == tensor["shape"], name
        if "values" in tensor:
            assert _flat(columns[name]) == [_as_type(value, tensor.get("dtype")) for value in tensor["values"]], name


def _columns(received: Any, names: Sequence[str], by_row: bool) -> dict[str, Any]:
    if len(names) == 1:
        return {names[0]: received}
    return {name: [row[name] for row in received] for name in names} if by_row else dict(received)


def _shape(value: Any) -> list[int]:
    if not isinstance(value, list):
        return []
    return [len(value), *(_shape(value[0]) if value else [])]


def _flat(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [leaf for item in value for leaf in _flat(item)]
    return [_comparable(value)]


def _as_type(value: Any, dtype: str | None) -> Any:
    number = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}.get(value, value)
    return _comparable(float(np.float32(number)) if dtype == "DT_FLOAT" else number)


def _comparable(value: Any) -> Any:
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


CHECKS: Mapping[str, Callable[[Answer, Any], None]] = {
    "body_empty": _check_empty,
    "body_hex": _check_hex,
    "body_text": _check_text,
    "content_type": _check_content_type,
    "error_contains": _check_contains,
    "error_exact": _check_exact,
    "headers": _check_headers,
    "headers_absent": _check_absent,
    "json": _check_json,
    "json_has": _check_has,
    "json_part": _check_part,
    "not_json": _check_not_json,
    "numbers_as_text": _check_numbers,
    "tensors": _check_tensors,
}

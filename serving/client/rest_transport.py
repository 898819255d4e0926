"""TensorFlow Serving's REST interface as a client uses it (https://www.tensorflow.org/tfx/serving/api_rest)."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from serving.client.errors import (
    ClientError,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    Unreachable,
    seconds_asked,
)

ONLY_OUTPUT = "output"
"""REST does not name the output of a signature that has one; ours have seven."""


class RestTransport:
    """Sends requests over HTTP, on connections that are used again.

    Args:
        url: Of the server, such as `http://127.0.0.1:8501`; a path before `/v1` may follow.
        model: The model's name.
        version: The version asked; the newest, or the label's, when None.
        label: The label asked.
    """

    def __init__(self, url: str, model: str, version: int | None, label: str | None) -> None:
        suffix = f"/versions/{version}" if version is not None else f"/labels/{label}" if label else ""
        self._url = url.rstrip("/")
        self._model = f"/v1/models/{model}{suffix}"
        self.version = version
        # This machine's own servers are not behind the proxy that the environment may name.
        self._http = httpx.Client(trust_env=not _is_local(httpx.URL(url).host))

    def call(
        self, signature: str, inputs: Mapping[str, NDArray[Any]], seconds: float
    ) -> tuple[dict[str, NDArray[Any]], int | None]:
        """Returns the outputs by name and the version, where it is known.

        Raises:
            ClientError: There is no answer.
        """
        body: dict[str, Any] = {"signature_name": signature}
        plain = {name: _plain(values) for name, values in inputs.items()}
        if len(plain) == 1 and all(values.ndim for values in inputs.values()):
            body["instances"] = next(iter(plain.values()))
        else:
            body["inputs"] = plain
        answer = self._ask("POST", f"{self._model}:predict", seconds, body)
        return _outputs(answer), self.version

    def status(self, seconds: float) -> list[tuple[int, str, str]]:
        """Returns version, state and error of every version that the server knows."""
        found = self._ask("GET", self._model, seconds).get("model_version_status", [])
        return [(int(v["version"]), v["state"], v.get("status", {}).get("error_message", "")) for v in found]

    def metadata(self, seconds: float) -> dict[str, Any]:
        """Returns the signatures by name."""
        metadata = self._ask("GET", f"{self._model}/metadata", seconds)["metadata"]
        return dict(metadata["signature_def"]["signature_def"])

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _ask(self, method: str, path: str, seconds: float, body: Any = None) -> dict[str, Any]:
        content = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        try:
            response = self._response(method, self._url + path, content, seconds)
        except httpx.TimeoutException:
            raise DeadlineExceeded(f"{self._url} gives no answer within {seconds:.3g} seconds.") from None
        except httpx.TransportError as error:
            raise Unreachable(f"{self._url} cannot be reached. Received: {error}") from None
        if response.status_code != httpx.codes.OK:
            raise _error(response)
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ClientError(f"{self._url} speaks another language. Expected: JSON. Received: {response.text[:80]!r}")
        return answer

    def _response(self, method: str, url: str, content: bytes | None, seconds: float) -> httpx.Response:
        """Whole, or late: httpx's own timeout starts anew with every part that comes."""
        deadline = time.monotonic() + seconds
        with self._http.stream(method, url, content=content, timeout=seconds) as response:
            body = bytearray()
            for part in response.iter_bytes():
                body += part
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("late")
        # The body is no longer packed, nor in chunks.
        gone = ("content-encoding", "content-length", "transfer-encoding")
        headers = [(name, value) for name, value in response.headers.multi_items() if name not in gone]
        return httpx.Response(response.status_code, headers=headers, content=bytes(body))


def _error(response: httpx.Response) -> ClientError:
    try:
        message = str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        message = response.text[:200].strip() or response.reason_phrase
    match response.status_code:
        case 429 | 503:
            return Overloaded(message, seconds_asked(response.headers.get("retry-after", "")))
        case 404:
            return NotFound(message)
        case 504:
            return DeadlineExceeded(message)
        case status if 400 <= status < 500:
            return InvalidRequest(message)
    return ClientError(f"The server failed with status {response.status_code}: {message}")


def _plain(values: NDArray[Any]) -> Any:
    """Numbers as lists; strings as `{"b64": ...}`, which holds any bytes."""
    if values.dtype.kind not in "OSU":
        return values.tolist()
    return _with_b64(values.tolist())


def _with_b64(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_b64(part) for part in value]
    content = value.encode() if isinstance(value, str) else value
    return {"b64": base64.b64encode(content).decode()}


def _outputs(answer: dict[str, Any]) -> dict[str, NDArray[Any]]:
    rows = answer.get("predictions")
    if isinstance(rows, list) and rows and isinstance(rows[0], dict) and "b64" not in rows[0]:
        return {name: _array([row[name] for row in rows]) for name in rows[0]}
    found = answer.get("outputs", rows)
    if isinstance(found, dict) and "b64" not in found:
        return {name: _array(values) for name, values in found.items()}
    if found is None:
        raise ClientError(f"The answer has no outputs. Expected: predictions. Received: {', '.join(answer)}")
    return {ONLY_OUTPUT: _array(found)}


def _array(values: Any) -> NDArray[Any]:
    """Strings become bytes, as they are over gRPC."""
    array = np.array(values)
    if array.dtype.kind not in "OU":
        return array
    flat = [_bytes(value) for value in np.array(values, dtype=object).reshape(-1)]
    strings = np.empty(len(flat), dtype=object)
    strings[:] = flat
    return strings.reshape(array.shape)


def _bytes(value: Any) -> Any:
    if isinstance(value, dict):
        return base64.b64decode(value["b64"])
    return value.encode() if isinstance(value, str) else value


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

"""The client's side of TensorFlow Serving's REST interface (https://www.tensorflow.org/tfx/serving/api_rest)."""

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

from pipeline.contract.retries import parse_retry_after
from serving.client.errors import (
    ClientError,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    Unreachable,
)

ONLY_OUTPUT = "output"
"""The name given to the output of a signature with one output, which REST leaves without a name."""


class RestTransport:
    """Sends requests over HTTP on persistent connections.

    Args:
        url: The server's URL, such as `http://127.0.0.1:8501`; a path before `/v1` may follow.
        model: The model's name.
        version: The version to use; the newest, or the label's, when None.
        label: The version label to use.
    """

    def __init__(self, url: str, model: str, version: int | None, label: str | None) -> None:
        suffix = f"/versions/{version}" if version is not None else f"/labels/{label}" if label else ""
        self._url = url.rstrip("/")
        self._model = f"/v1/models/{model}{suffix}"
        self.version = version
        # A proxy named in the environment does not reach this machine's own servers.
        self._http = httpx.Client(trust_env=not _is_local(httpx.URL(url).host))

    def call(
        self, signature: str, inputs: Mapping[str, NDArray[Any]], seconds: float
    ) -> tuple[dict[str, NDArray[Any]], int | None]:
        """Returns the outputs by name and the version, where it is known.

        Raises:
            ClientError: The request failed.
        """
        body: dict[str, Any] = {"signature_name": signature}
        plain = {name: _plain(values) for name, values in inputs.items()}
        if len(plain) == 1 and all(values.ndim for values in inputs.values()):
            body["instances"] = next(iter(plain.values()))
        else:
            body["inputs"] = plain
        answer = self._send("POST", f"{self._model}:predict", seconds, body)
        return _outputs(answer), self.version

    def status(self, seconds: float) -> list[tuple[int, str, str]]:
        """Returns version, state and error of every version that the server knows."""
        found = self._send("GET", self._model, seconds).get("model_version_status", [])
        return [(int(v["version"]), v["state"], v.get("status", {}).get("error_message", "")) for v in found]

    def metadata(self, seconds: float) -> dict[str, Any]:
        """Returns the signatures by name."""
        metadata = self._send("GET", f"{self._model}/metadata", seconds)["metadata"]
        return dict(metadata["signature_def"]["signature_def"])

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _send(self, method: str, path: str, seconds: float, body: Any = None) -> dict[str, Any]:
        content = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        try:
            response = self._response(method, self._url + path, content, seconds)
        except httpx.TimeoutException:
            raise DeadlineExceeded(f"{self._url} did not answer within {seconds:.3g} seconds.") from None
        except httpx.TransportError as error:
            raise Unreachable(
                f"{self._url} cannot be reached.", expected="a running server", received=str(error)
            ) from None
        if response.status_code != httpx.codes.OK:
            raise _error(response, self._url)
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ClientError(
                f"{self._url} does not answer in JSON.", expected="JSON", received=repr(response.text[:80])
            )
        return answer

    def _response(self, method: str, url: str, content: bytes | None, seconds: float) -> httpx.Response:
        """Returns the complete response within the deadline: httpx's own time-out restarts with every chunk."""
        deadline = time.monotonic() + seconds
        with self._http.stream(method, url, content=content, timeout=seconds) as response:
            body = bytearray()
            for part in response.iter_bytes():
                body += part
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("The deadline has passed")
        # The body is decompressed and no longer in chunks.
        obsolete = ("content-encoding", "content-length", "transfer-encoding")
        headers = [(name, value) for name, value in response.headers.multi_items() if name not in obsolete]
        return httpx.Response(response.status_code, headers=headers, content=bytes(body))


def _error(response: httpx.Response, url: str) -> ClientError:
    try:
        message = str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        message = response.text[:200].strip() or response.reason_phrase
    match response.status_code:
        case 429 | 503:
            retry_after = parse_retry_after(response.headers.get("retry-after", ""))
            return Overloaded(f"{url} is overloaded.", retry_after, received=message)
        case 404:
            return NotFound(f"{url} has no such model.", received=message)
        case 504:
            return DeadlineExceeded(f"{url} did not answer in time.", received=message)
        case status if 400 <= status < 500:
            return InvalidRequest(message)
    return ClientError(f"{url} failed with status {response.status_code}.", received=message)


def _plain(values: NDArray[Any]) -> Any:
    """Returns numbers as lists, and strings as `{"b64": ...}`, which can hold any bytes."""
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
        raise ClientError("The answer has no outputs.", expected="predictions", received=", ".join(answer))
    return {ONLY_OUTPUT: _array(found)}


def _array(values: Any) -> NDArray[Any]:
    """Returns an array whose strings are bytes, as they are over gRPC."""
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

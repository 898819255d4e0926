"""TensorFlow Serving's REST interface (https://www.tensorflow.org/tfx/serving/api_rest) as an ASGI application."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar, cast
from urllib.parse import unquote

from google.protobuf import json_format
from google.protobuf.message import Message
from grpc import StatusCode
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.embedded.batching import STOPPING
from serving.embedded.errors import HTTP_STATUS, OVERLOADED, ServingError, invalid
from serving.embedded.json_requests import read_examples, read_inputs, read_signature_name
from serving.embedded.json_responses import write_classifications, write_outputs, write_regressions
from serving.embedded.json_text import dumps, parse
from serving.embedded.load_limits import Allowance
from serving.embedded.methods import check_predict
from serving.embedded.prediction import Predictor, Target, model_status, signature_definitions
from serving.embedded.request_log import predict_log
from serving.embedded.servable import Servable
from serving.embedded.signatures import DEFAULT_SIGNATURE
from serving.embedded.tensor_protos import as_proto

log = logging.getLogger("serving")

API_PREFIX = "/v1/"
METHODS: Final = {"GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"}
CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}
LARGE_BODY = 2**18
"""Size in bytes from which a body is parsed in a thread: it would block the event loop for more than 2 ms."""
RETRY_AFTER_SECONDS = "1"

Result = TypeVar("Result")
Api = Literal["predict", "classify", "regress", "status", "metadata"]

_VERSION_OR_LABEL: Final = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_POST: Final = re.compile(
    rf"/v1/models/(?P<model>[^/:]+){_VERSION_OR_LABEL}:(?P<api>classify|regress|predict)", re.IGNORECASE | re.ASCII
)
_GET: Final = re.compile(
    rf"/v1/models(?:/(?P<model>[^/:]+))?{_VERSION_OR_LABEL}(?:/(?P<api>metadata))?", re.IGNORECASE | re.ASCII
)
_ORIGIN: Final = re.compile(b"https?://")
_PATTERNS: Final = {"POST": _POST, "GET": _GET}
_PREDICTIONS: Final = ("classify", "regress", "predict")
_MAX_VERSION: Final = 2**63 - 1
_MAX_DIGITS: Final = 1000


class BodilessError(ServingError):
    """An error whose REST response has a status and no body, as in TensorFlow Serving."""


@dataclass(frozen=True)
class Route:
    """The target of a request, from its path.

    Attributes:
        model: The name of the model.
        version: The version in the path, if any.
        label: The version's label in the path, if any; never both.
        api: The method to call.
    """

    model: str
    version: int | None
    label: str | None
    api: Api


@dataclass(frozen=True)
class RestOptions:
    """Limits and options of the REST interface; the server's flags explain each field."""

    timeout_seconds: float
    max_body_bytes: int
    cors: bool
    metrics_path: str | None


class RestApi:
    """Answers paths below /v1/ and the metrics; passes all other requests to another application."""

    def __init__(self, predictor: Predictor, options: RestOptions, others: ASGIApp) -> None:
        """Keeps its parameters.

        Args:
            predictor: Runs the models.
            options: Limits and options.
            others: The application for all other paths.
        """
        self._predictor, self._options, self._others = predictor, options, others
        # One thread, because parsers hold Python's lock: further ones would only take it from the event loop.
        self._large_bodies = ThreadPoolExecutor(1, "large-body")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            return await self._others(scope, receive, send)
        path = _raw_path(scope)
        if scope["method"] not in METHODS:
            response: Response = _html(501, "Not Implemented")
        elif (metrics := self._options.metrics_path) and path.partition("?")[0] == metrics:
            response = self._metrics(path)
        elif path[: len(API_PREFIX)].lower() == API_PREFIX:
            response = await self._answer(scope["method"], path, scope, receive)
        else:
            return await self._others(scope, receive, send)
        return await response(scope, receive, send)

    async def _answer(self, method: str, path: str, scope: Scope, receive: Receive) -> Response:
        headers = CORS if self._options.cors else {}
        if method == "OPTIONS":
            origin = dict(scope["headers"]).get(b"origin", b"")
            return Response(status_code=200 if _ORIGIN.search(origin) else 400, headers=headers)
        try:
            body = await self._dispatch(method, path, scope, receive)
        except BodilessError:
            return Response(status_code=400, headers=headers, media_type="application/json")
        except _TooLargeError as error:
            return _error(413, str(error), {**headers, "Connection": "close"})
        except ServingError as error:
            if error.code in OVERLOADED:
                headers = {**headers, "Retry-After": RETRY_AFTER_SECONDS}
            return _error(HTTP_STATUS[error.code], error.message, headers)
        except _DisconnectedError:
            return Response(status_code=499)
        except asyncio.CancelledError:  # the client has gone, or the server ends before the answer
            return _error(503, STOPPING, {**headers, "Connection": "close"})
        except Exception:  # a bug is reported to the client, and never ends the server
            log.exception("%s %s could not be answered", method, path)
            return _error(500, "The server has failed; its log says where.", headers)
        return Response(body, headers=headers, media_type="application/json")

    async def _dispatch(self, method: str, path: str, scope: Scope, receive: Receive) -> bytes:
        deadline = time.monotonic() + self._options.timeout_seconds
        with self._predictor.memory.request() as allowance:
            body = await self._body(scope, receive, allowance)
            route = parse_path(method, path)
            answer = getattr(self, f"_{route.api}")
            with self._predictor.count_request(route.model, "" if method == "GET" else route.api, "REST"):
                result: bytes = await answer(route, body, deadline)
                return result

    async def _predict(self, route: Route, body: bytes, deadline: float) -> bytes:
        document = await self._parsed(body)
        name = read_signature_name(document) or DEFAULT_SIGNATURE
        with self._predictor.lifecycle.find(route.model, route.version, route.label) as servable:
            signature = servable.signatures.get(name)
            if signature is None:
                raise invalid(f'Serving signature name: "{name}" not found in signature def')
            has_booleans = b"true" in body or b"false" in body
            inputs, form = await self._work(body, read_inputs, document, signature.inputs, has_booleans)
            check_predict(servable, signature)
            outputs = await self._predictor.run(servable, signature, inputs, list(signature.outputs), deadline)
            self._predictor.log(servable, lambda: _record(servable, name, inputs, outputs))
            return write_outputs(outputs, form)

    async def _classify(self, route: Route, body: bytes, deadline: float) -> bytes:
        name, examples = read_examples(await self._parsed(body))
        target = Target(route.model, route.version, route.label, name)
        with self._predictor.lifecycle.find(route.model, route.version, route.label) as servable:
            return write_classifications(await self._predictor.classify(servable, target, examples, deadline))

    async def _regress(self, route: Route, body: bytes, deadline: float) -> bytes:
        name, examples = read_examples(await self._parsed(body))
        target = Target(route.model, route.version, route.label, name)
        with self._predictor.lifecycle.find(route.model, route.version, route.label) as servable:
            return write_regressions(await self._predictor.regress(servable, target, examples, deadline))

    async def _status(self, route: Route, body: bytes, deadline: float) -> bytes:
        return _as_json(model_status(self._predictor.lifecycle, route.model, route.version))

    async def _metadata(self, route: Route, body: bytes, deadline: float) -> bytes:
        with self._predictor.lifecycle.find(route.model, route.version, route.label) as servable:
            return _metadata_json(servable)

    async def _parsed(self, body: bytes) -> dict[str, Any]:
        return await self._work(body, parse, body)

    async def _work(self, body: bytes, function: Callable[..., Result], *arguments: Any) -> Result:
        """Calls a function on a body or its content, for a large one in the thread for that."""
        if len(body) < LARGE_BODY:
            return function(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._large_bodies, function, *arguments)

    async def _body(self, scope: Scope, receive: Receive, allowance: Allowance) -> bytes:
        headers = dict(scope["headers"])
        limit = self._options.max_body_bytes
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            raise _TooLargeError(limit)
        body = await _read_chunks(receive, limit, allowance)  # `http_limits` bounds how long it may take
        if b"gzip" not in headers.get(b"content-encoding", b""):
            return body
        content = _decompress(body, limit)
        allowance.add(len(content))
        return content

    def _metrics(self, path: str) -> Response:
        wanted = self._options.metrics_path
        if path != wanted:
            return PlainTextResponse(f"Unexpected path: {path}. Should be {wanted}", 400)
        return PlainTextResponse(self._predictor.metrics.text())


class _TooLargeError(Exception):
    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The request body is too large. Expected: at most {limit} bytes. Send fewer instances in a request, or "
            "start the server with a larger --rest_api_max_body_bytes."
        )


class _DisconnectedError(Exception):
    """The client has closed the connection."""


def parse_path(method: str, raw_path: str) -> Route:
    """Parses a path below /v1/.

    Follows ParseModelInfo of tensorflow_serving/model_servers/http_rest_api_util.cc and ProcessRequest of
    http_rest_api_handler.cc, with their quirks: the patterns ignore case but their groups are compared with case, and a
    query string is part of the path.

    Args:
        method: The HTTP method.
        raw_path: The path as the client sent it, percent-encoded, with its query string.

    Raises:
        ServingError: The path does not exist for that method.
        BodilessError: The version is beyond 64 bits.
    """
    pattern = _PATTERNS.get(method)
    match = pattern.fullmatch(raw_path) if pattern else None
    if match is None:
        raise _malformed(method, raw_path)
    version = _version(match["version"])
    api = match["api"]
    if method == "GET":
        # Any other spelling of metadata returns the status.
        api = "metadata" if api == "metadata" else "status"
    elif api not in _PREDICTIONS:
        raise _malformed(method, raw_path)
    if not match["model"]:
        raise invalid("Missing model name in request.")
    label = match["label"]
    return Route(unquote(match["model"]), version, None if label is None else unquote(label), cast(Api, api))


def _version(digits: str | None) -> int | None:
    if digits is None:
        return None
    # Python refuses to read numbers of thousands of digits.
    version = int(digits) if len(digits) <= _MAX_DIGITS else _MAX_VERSION + 1
    if version > _MAX_VERSION:
        raise BodilessError(StatusCode.INVALID_ARGUMENT, f"Failed to convert version: {digits} to numeric.")
    return version


def _malformed(method: str, raw_path: str) -> ServingError:
    return invalid(f"Malformed request: {method} {raw_path}")


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers 404, as TensorFlow Serving does outside its interface."""
    await _html(404, "Not Found")(scope, receive, send)


async def _read_chunks(receive: Receive, limit: int, allowance: Allowance) -> bytes:
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise _DisconnectedError
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise _TooLargeError(limit)
        allowance.add(len(chunks[-1]))
        more = message.get("more_body", False)
    return b"".join(chunks)


def _raw_path(scope: Scope) -> str:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return (raw + b"?" + query if query else raw).decode("latin-1")


def _decompress(body: bytes, limit: int) -> bytes:
    """Decompresses a gzip body; an invalid one is empty, as in TensorFlow Serving."""
    decompressor = zlib.decompressobj(wbits=31)
    try:
        content = decompressor.decompress(body, limit + 1)
    except zlib.error:
        return b""
    if len(content) > limit:
        raise _TooLargeError(limit)
    return content if decompressor.eof else b""


def _error(code: int, message: str, headers: Mapping[str, str]) -> Response:
    return Response(dumps({"error": message}, False), code, headers, "application/json")


def _html(code: int, title: str) -> Response:
    return HTMLResponse(f"<html><head><title>{code} {title}</title></head><body><h1>{title}</h1></body></html>", code)


def _as_json(message: Message) -> bytes:
    fields = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return json.dumps(fields, indent=1).encode()


def _metadata_json(servable: Servable) -> bytes:
    definitions = signature_definitions(servable)
    fields = json_format.MessageToDict(
        definitions, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    spec = {"name": servable.model, "signature_name": "", "version": str(servable.version)}
    return json.dumps({"model_spec": spec, "metadata": {"signature_def": fields}}, indent=1).encode()


def _record(servable: Servable, signature: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Message:
    record = predict_log(None, None)
    for spec in (record.predict_log.request.model_spec, record.predict_log.response.model_spec):
        spec.name, spec.signature_name, spec.version.value = servable.model, signature, servable.version
    for name, array in inputs.items():
        record.predict_log.request.inputs[name].CopyFrom(as_proto(array, as_content=True))
    for name, array in outputs.items():
        record.predict_log.response.outputs[name].CopyFrom(as_proto(array))
    return record

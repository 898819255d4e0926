"""REST paths with the quirks of TensorFlow Serving; statuses, headers and limits of the application in process."""

from __future__ import annotations

import asyncio
import gzip
import json
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from grpc import StatusCode

from serving.embedded.batching import BatchScheduler
from serving.embedded.errors import HTTP_STATUS, OVERLOADED, ServingError
from serving.embedded.metrics import Metrics
from serving.embedded.prediction import Predictor
from serving.embedded.rest import BodilessError, RestApi, RestOptions, Route, not_found, parse_path
from tests.serving.embedded.test_grpc_services import failing

ODD = "!#$%&'()*+,/:;=?@[]"
ENCODED = "%21%23%24%25%26%27%28%29%2A%2B%2C%2F%3A%3B%3D%3F%40%5B%5D"


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("GET", "/v1/models/m", Route("m", None, None, "status")),
        ("GET", "/v1/models/m/versions/99", Route("m", 99, None, "status")),
        ("GET", "/v1/models/m/labels/latest/metadata", Route("m", None, "latest", "metadata")),
        ("GET", "/v1/models/m/METADATA", Route("m", None, None, "status")),
        ("GET", "/v1/models/m?x=1", Route("m?x=1", None, None, "status")),
        ("GET", "/V1/Models/m/VERSIONS/9", Route("m", 9, None, "status")),
        ("POST", f"/v1/models/m{ENCODED}:predict", Route(f"m{ODD}", None, None, "predict")),
        ("POST", f"/v1/models/m/labels/x{ENCODED}:regress", Route("m", None, f"x{ODD}", "regress")),
        ("POST", "/v1/models/m/versions/99:classify", Route("m", 99, None, "classify")),
        ("POST", f"/v1/models/m/versions/{2**63 - 1}:predict", Route("m", 2**63 - 1, None, "predict")),
    ],
)
def test_routes(method: str, path: str, route: Route) -> None:
    """A path has the model, its version or label, and the method; names are decoded after the split."""
    assert parse_path(method, path) == route


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models/"),
        ("GET", "/v1/models/debug/model_name"),
        ("GET", "/v1/models/m:predict"),
        ("GET", "/v1/models/m/version/50:predict"),
        ("POST", "/v1/models/m"),
        ("POST", "/v1/models/m/metadata"),
        ("POST", "/v1/models/m/versions/HELLO:regress"),
        ("POST", "/v1/models/m/versions/٣:regress"),
        ("POST", "/v1/models/m/label/some_label:regress"),
        ("POST", "/v1/models/m/versions/1/labels/x:predict"),
        ("POST", "/v1/models/m:PREDICT"),
        ("POST", "/v1/models/m:predict?x=1"),
        ("POST", "/v1/models/m:predict\n"),
        ("PUT", "/v1/models/m"),
    ],
)
def test_malformed(method: str, path: str) -> None:
    """Any other path is refused, with the method and the path in the error."""
    with pytest.raises(ServingError) as refused:
        parse_path(method, path)
    assert HTTP_STATUS[refused.value.code] == 400
    assert refused.value.message == f"Malformed request: {method} {path}"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/versions/5", "/v1/models/labels/x/metadata"])
def test_no_model(path: str) -> None:
    """The server does not list its models."""
    with pytest.raises(ServingError, match=r"^Missing model name in request\.$"):
        parse_path("GET", path)


@pytest.mark.parametrize("version", [str(2**63), "18446744073709551615", "9" * 10_000])
def test_version_beyond_64_bits(version: str) -> None:
    """A version beyond 64 bits is refused without a body."""
    with pytest.raises(BodilessError, match="^Failed to convert version: 9|^Failed to convert version: 18446") as error:
        parse_path("POST", f"/v1/models/m/versions/{version}:regress")
    assert HTTP_STATUS[error.value.code] == 400


STATUS, PREDICT = "/v1/models/m", "/v1/models/m:predict"
CORS = {"access-control-allow-origin": "*", "access-control-allow-methods": "POST, GET"}


def send(
    method: str, path: str, lifecycle: Any = None, body: Any = None, headers: Any = None, **options: Any
) -> httpx.Response:
    """The answer of the application; its body may have 100 bytes, and its lifecycle has no models by default."""
    settings = {"timeout_seconds": 60.0, "max_body_bytes": 100, "cors": False, "metrics_path": "/metrics"} | options
    found = lifecycle or failing(ServingError(StatusCode.NOT_FOUND, "none"))

    async def answer() -> httpx.Response:
        predictor = Predictor(found, Metrics(), 1, BatchScheduler(1))
        transport = httpx.ASGITransport(RestApi(predictor, RestOptions(**settings), not_found))
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            response = await client.request(method, path, content=body, headers=headers)
        assert predictor.memory.held == 0
        predictor.close()
        return response

    return asyncio.run(answer())


@pytest.mark.parametrize("code", [code for code in HTTP_STATUS if code is not StatusCode.OK])
@pytest.mark.parametrize("cors", [False, True])
def test_an_error_has_its_status_and_message(code: StatusCode, cors: bool) -> None:
    """Only an overloaded server asks for a pause of a second; scripts of other pages may read the error with CORS."""
    answer = send("GET", STATUS, failing(ServingError(code, "why")), cors=cors)
    assert (answer.status_code, answer.json()) == (HTTP_STATUS[code], {"error": "why"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers.get("retry-after") == ("1" if code in OVERLOADED else None)
    assert all(answer.headers.get(name) == (value if cors else None) for name, value in CORS.items())


def test_a_bug_is_in_the_log_and_not_in_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    """The client learns that the server has failed, and the log has the request and the stack trace."""
    answer = send("GET", STATUS, failing(KeyError("secret")))
    assert (answer.status_code, answer.json()) == (500, {"error": "The server has failed; its log says where."})
    assert f"GET {STATUS} could not be answered" in caplog.text and "KeyError: 'secret'" in caplog.text


def test_what_lies_outside_the_interface() -> None:
    """Other paths are not found, unknown methods not implemented, and the metrics have a path without a query."""
    assert [send("GET", path).status_code for path in ("/", "/v2/models/m", "/v1", "/metrics/x")] == [404] * 4
    assert [send(method, STATUS).status_code for method in ("TRACE", "PUT", "HEAD")] == [501, 400, 400]
    metrics = send("GET", "/metrics")
    assert metrics.status_code == 200 and "# TYPE :tensorflow:serving:request_count counter" in metrics.text
    assert metrics.headers["content-type"].startswith("text/plain")
    query = send("GET", "/metrics?x=1")
    assert (query.status_code, query.text) == (400, "Unexpected path: /metrics?x=1. Should be /metrics")
    assert send("GET", "/metrics", metrics_path=None).status_code == 404


@pytest.mark.parametrize(
    ("origin", "status"), [("https://shop.example", 200), ("http://x", 200), ("x", 400), ("", 400)]
)
def test_a_browser_asks_before_it_sends(origin: str, status: int) -> None:
    """OPTIONS with an origin is answered without a body; the headers that permit the request need the flag."""
    headers = {"Origin": origin} if origin else {}
    for cors in (False, True):
        answer = send("OPTIONS", PREDICT, headers=headers, cors=cors)
        assert (answer.status_code, answer.content) == (status, b"")
        assert (answer.headers.get("access-control-allow-headers") == "Content-Type") is cors


def chunks(*parts: bytes) -> Any:
    """A body that is sent in chunks, without its length."""

    async def send_parts() -> Any:
        for part in parts:
            yield part

    return send_parts()


BODIES = {
    "with its length": lambda size: (b"x" * size, {}),
    "in chunks": lambda size: (chunks(b"x" * 60, b"x" * (size - 60)), {}),
    "compressed": lambda size: (gzip.compress(b"x" * size), {"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("kind", BODIES)
def test_a_body_has_at_most_the_limit(kind: str) -> None:
    """The limit is inclusive, however the body arrives; beyond it the connection ends, and the error has the remedy."""
    body, headers = BODIES[kind](100)
    read = send("POST", PREDICT, body=body, headers=headers)
    assert read.status_code == 400 and "JSON Parse error: Invalid value" in read.json()["error"]
    body, headers = BODIES[kind](101)
    refused = send("POST", PREDICT, body=body, headers=headers)
    assert refused.status_code == 413 and refused.headers["connection"] == "close"
    assert "Expected: at most 100 bytes" in refused.json()["error"]
    assert "--rest_api_max_body_bytes" in refused.json()["error"]


@pytest.mark.parametrize(
    ("path", "version", "label"),
    [("/v1/models/m", None, None), ("/v1/models/m/versions/7", 7, None), ("/v1/models/m/labels/new", None, "new")],
)
def test_requests_reach_the_version_of_their_path(path: str, version: int | None, label: str | None) -> None:
    """For every method: prediction, classification, regression and metadata by version or label, status by version."""
    asked: list[Any] = []

    def find(*target: Any) -> Any:
        asked.append(target)
        raise ServingError(StatusCode.NOT_FOUND, "none")

    lifecycle: Any = SimpleNamespace(names=lambda: ["m"], find=find, statuses=find)
    body = json.dumps({"instances": [1], "examples": [{"x": 1.0}]})
    for api in ("predict", "classify", "regress"):
        assert send("POST", f"{path}:{api}", lifecycle, body).status_code == 404
    assert send("GET", f"{path}/metadata", lifecycle).status_code == 404
    assert asked == [("m", version, label)] * 4
    assert send("GET", path, lifecycle).status_code == 404 and asked[4] == ("m", version)

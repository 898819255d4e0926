"""The embedded server as a process of its own, with requests over HTTP and gRPC."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from prometheus_client.parser import text_string_to_metric_families
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.engines.engine import BATCHING
from serving.engines.server_process import ServerProcess
from serving.requests.prediction_log import read_logs
from serving.versions import push, rollback
from tests.serving.embedded.conftest import Start
from tests.waiting import wait_until

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 28, 28), np.uint8)
ROW = json.dumps({"instances": IMAGES[:1].tolist()})
PREDICT = "/v1/models/fashion:predict"


def send(
    server: ServerProcess, method: str, path: str, body: str | bytes | None = None
) -> tuple[int, Any, dict[str, str]]:
    """Sends a request; returns the status, the document (the text if it is not JSON) and the headers."""
    url = urlsplit(server.rest_url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=60)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    try:
        return answer.status, json.loads(text), dict(answer.getheaders())
    except ValueError:
        return answer.status, text, dict(answer.getheaders())


def states(server: ServerProcess) -> dict[int, str]:
    """Returns the state of every version."""
    _, document, _ = send(server, "GET", "/v1/models/fashion")
    return {int(each["version"]): each["state"] for each in document["model_version_status"]}


class Load:
    """Clients that send predict requests without a pause until the block ends.

    Attributes:
        errors: The failures.
        answers: The distinct answers.
        count: The number of answers.
    """

    def __init__(self, server: ServerProcess, clients: int) -> None:
        self.errors: list[str] = []
        self.answers: set[str] = set()
        self.count = 0
        self._stop = threading.Event()
        self._url = urlsplit(server.rest_url)
        self._threads = [threading.Thread(target=self._send) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        connection = http.client.HTTPConnection(self._url.hostname or "", self._url.port, timeout=60)
        while not self._stop.is_set():
            try:
                connection.request("POST", PREDICT, ROW)
                answer = connection.getresponse()
                text = answer.read()
            except OSError as error:
                self.errors.append(repr(error))
                connection.close()
                continue
            self.count += 1
            if answer.status != 200:
                self.errors.append(text.decode())
            self.answers.add(text.decode())
        connection.close()


def test_predictions_equal_the_models(server: ServerProcess, small: Path) -> None:
    """REST and gRPC return the SavedModel's own outputs, to the last bit of every probability."""
    expected = tf.saved_model.load(str(small)).signatures["serving_default"](image=tf.constant(IMAGES))
    _, document, _ = send(server, "POST", PREDICT, json.dumps({"instances": IMAGES.tolist()}))
    with grpc.insecure_channel(server.grpc_address) as channel:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "fashion"
        request.inputs["image"].CopyFrom(tf.make_tensor_proto(IMAGES))
        answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=60)
    assert answer.model_spec.signature_name == "serving_default" and answer.model_spec.version.value == 1
    for name, values in expected.items():
        rest = np.array([row[name] for row in document["predictions"]])
        rpc = tf.make_ndarray(answer.outputs[name])
        if values.dtype == tf.float32:
            np.testing.assert_allclose(rest, values, atol=1e-6)
            np.testing.assert_array_equal(rest.astype(np.float32), rpc)
        else:
            np.testing.assert_array_equal(rest.astype(rpc.dtype.type if rpc.dtype.kind != "O" else "S"), rpc)
            np.testing.assert_array_equal(rpc, values.numpy())


@pytest.mark.parametrize(
    ("body", "text"),
    [
        pytest.param(json.dumps({"instances": [[1, 2]]}), "wrong shape", id="shape"),
        pytest.param(
            json.dumps({"instances": (IMAGES[:1] + 0.5).tolist()}),
            "not of expected type: uint8",
            id="type",
        ),
        *(
            pytest.param(
                json.dumps({"instances": [[[value] * 28] * 28]}),
                f"JSON Value: {json.dumps(value)} Type: {value} is not of expected type: uint8",
                id=f"only {value}",
            )
            for value in (True, False)
        ),
        pytest.param(json.dumps({"instances": [{"picture": 1}]}), "does not have named input: picture", id="name"),
        pytest.param(
            json.dumps({"instances": IMAGES[:1].tolist(), "signature_name": "none"}),
            'signature name: "none" not found',
            id="signature",
        ),
        pytest.param(
            json.dumps({"signature_name": "serving_bytes", "instances": [{"b64": "AAAA"}]}), "mage", id="file"
        ),
        pytest.param(
            json.dumps({"signature_name": "serving_bytes", "instances": [{"b64": "%"}]}), "base64", id="base64"
        ),
        pytest.param("{", "JSON Parse error", id="JSON"),
    ],
)
def test_invalid_requests_get_400_with_a_reason(server: ServerProcess, body: str, text: str) -> None:
    """Wrong shapes, types, names and files are the client's fault, with a reason, and never a 500."""
    status, document, _ = send(server, "POST", PREDICT, body)
    assert status == 400 and text in document["error"], document


def test_a_broken_image_does_not_fail_its_batch(server: ServerProcess) -> None:
    """Of requests that share a batch, only the one with the broken file fails."""
    with Load(server, 4) as load:
        for _ in range(20):
            body = json.dumps({"signature_name": "serving_bytes", "instances": [{"b64": "AAAA"}]})
            assert send(server, "POST", PREDICT, body)[0] == 400
    assert load.count > 20 and not load.errors


def test_long_headers_are_accepted(server: ServerProcess) -> None:
    """Proxies add headers, and cookies are long: 60,000 bytes stay below the limit, also in many packets."""
    url = urlsplit(server.rest_url)
    with socket.create_connection((url.hostname or "", url.port or 0), timeout=60) as connection:
        connection.sendall(b"GET /v1/models/fashion HTTP/1.1\r\nHost: x\r\n")
        for number in range(60):
            connection.sendall(f"X-{number}: {'x' * 990}\r\n".encode())
        connection.sendall(b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_a_body_over_the_limit_is_refused_unread(server: ServerProcess) -> None:
    """A body whose stated length exceeds the limit is refused before the client sends it."""
    url = urlsplit(server.rest_url)
    with socket.create_connection((url.hostname or "", url.port or 0), timeout=60) as connection:
        connection.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {2**33}\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_a_compressed_body_is_limited_by_its_full_size(server: ServerProcess) -> None:
    """A few kilobytes that decompress to 64 MiB are refused."""
    import gzip

    url = urlsplit(server.rest_url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=60)
    connection.request("POST", PREDICT, gzip.compress(b" " * 2**26), {"Content-Encoding": "gzip"})
    assert connection.getresponse().status == 413
    connection.close()


def test_a_compressed_body_is_read_whole_or_not_at_all(server: ServerProcess) -> None:
    """A gzip body that ends early may have lost instances: it counts as empty, also when what is there is JSON."""
    import gzip

    def answer(body: bytes) -> tuple[int, str]:
        url = urlsplit(server.rest_url)
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=60)
        connection.request("POST", PREDICT, body, {"Content-Encoding": "gzip"})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, text

    whole = gzip.compress(ROW.encode())
    assert answer(whole)[0] == 200
    for torn in (whole[:-1], whole[:-8], whole[:100], b"", b"no gzip"):
        status, text = answer(torn)
        assert status == 400 and "The document is empty" in text


def test_a_body_of_exactly_the_limit_is_accepted(start: Start, base: Path) -> None:
    """The limit is the largest size that is allowed."""
    server = start(base, f"--rest_api_max_body_bytes={len(ROW)}")
    assert send(server, "POST", PREDICT, ROW)[0] == 200
    status, document, headers = send(server, "POST", PREDICT, ROW + " ")
    assert status == 413 and f"at most {len(ROW)} bytes" in document["error"] and headers["connection"] == "close"


def test_prometheus_can_parse_the_metrics(server: ServerProcess) -> None:
    """Requests, latencies and queueing are counted under TensorFlow Serving's names."""
    send(server, "POST", PREDICT, ROW)
    status, text, _ = send(server, "GET", "/monitoring/prometheus/metrics")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    counts = {s.labels["status"]: s.value for s in families[":tensorflow:serving:request_count"].samples}
    assert status == 200 and counts["OK"] >= 1
    for name in ("request_latency", "runtime_latency", "batching_session:queuing_latency"):
        assert any(s.value for s in families[f":tensorflow:serving:{name}"].samples if s.name.endswith("_count")), name


def test_versions_are_swapped_under_load_without_errors(start: Start, small: Path, other: Path, tmp_path: Path) -> None:
    """A push and a rollback take effect while clients send requests, and no request fails."""
    base = tmp_path / "fashion"
    push(small, base)
    server = start(base, batching=BATCHING)
    with Load(server, 8) as load:
        push(other, base)
        wait_until(lambda: states(server) == {1: "END", 2: "AVAILABLE"}, "version 2 is available")
        rollback(base)
        wait_until(lambda: states(server) == {1: "END", 2: "END", 3: "AVAILABLE"}, "version 3 is available")
    # The last digits differ with the size of the batch, the models much more.
    assert not load.errors, load.errors[:3]
    assert len(load.answers) >= 2


def test_a_broken_version_is_reported_and_never_served(start: Start, small: Path, tmp_path: Path) -> None:
    """A version that cannot be loaded never serves; the status has the reason, and the version before stays."""
    base = tmp_path / "fashion"
    push(small, base)
    server = start(base, "--max_num_load_retries=1", "--load_retry_interval_micros=200000")
    shutil.copytree(base / "1", tmp_path / "broken")
    (tmp_path / "broken" / "saved_model.pb").write_bytes(b"no protocol buffer")
    (tmp_path / "broken").rename(base / "2")
    wait_until(lambda: states(server) == {1: "AVAILABLE", 2: "END"}, "version 2 has failed")
    # The first load and the retry of the flag, after a pause of 0.2 s.
    assert server.log.read_text().count("Version 2 of fashion failed to load") == 2
    _, document, _ = send(server, "GET", "/v1/models/fashion/versions/2")
    reason = document["model_version_status"][0]["status"]
    assert reason["error_code"] != "OK" and "saved_model.pb" in reason["error_message"]
    assert send(server, "POST", PREDICT, ROW)[0] == 200
    assert send(server, "POST", "/v1/models/fashion/versions/2:predict", ROW)[0] == 404
    # Half of a push, as a killed process leaves it: the name is not a version.
    shutil.copytree(base / "1", base / ".pushing-3")
    (base / ".pushing-3" / "saved_model.pb").unlink()
    push(small, base)  # the same bytes as version 1, so no new version; it also removes the rest of the push
    assert states(server)[1] == "AVAILABLE"


def test_labels_select_versions(start: Start, small: Path, other: Path, tmp_path: Path) -> None:
    """`stable` and `canary` answer with their versions, and a reload over gRPC moves a label."""
    base = tmp_path / "fashion"
    push(small, base)
    push(other, base)
    config = """model_config_list {{ config {{
        name: "fashion" base_path: "{base}" model_platform: "tensorflow"
        model_version_policy {{ all {{}} }}
        version_labels {{ key: "stable" value: 1 }} version_labels {{ key: "canary" value: {canary} }}
    }} }}"""
    (tmp_path / "models.config").write_text(config.format(base=base, canary=2))
    flags = [f"--model_config_file={tmp_path / 'models.config'}", "--allow_version_labels_for_unavailable_models=true"]
    server = start(base, *flags)

    def answer(label: str) -> Any:
        return send(server, "POST", f"/v1/models/fashion/labels/{label}:predict", ROW)[1]

    assert answer("stable") != answer("canary") == send(server, "POST", PREDICT, ROW)[1]
    with grpc.insecure_channel(server.grpc_address) as channel:
        request = model_management_pb2.ReloadConfigRequest()
        text_format.Parse(config.format(base=base, canary=1), request.config)
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        assert stub.HandleReloadConfigRequest(request, timeout=60).status.error_code == 0
        status = stub.GetModelStatus(
            get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "fashion"}), timeout=60
        )
    assert [each.version for each in status.model_version_status] == [2, 1]
    assert answer("stable") == answer("canary")


def test_an_overloaded_server_refuses_requests_with_503(start: Start, small: Path, tmp_path: Path) -> None:
    """With a queue of one, some of many requests get 503 with the header Retry-After."""
    base = tmp_path / "fashion"
    push(small, base)
    (tmp_path / "batching.config").write_text(
        "max_batch_size { value: 1 } max_enqueued_batches { value: 1 } num_batch_threads { value: 1 }"
    )
    server = start(base, batching=tmp_path / "batching.config")
    answers = []

    def send_requests() -> None:
        answers.extend(send(server, "POST", PREDICT, ROW) for _ in range(20))

    threads = [threading.Thread(target=send_requests) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [(document["error"], headers) for status, document, headers in answers if status != 200]
    assert {status for status, _, _ in answers} == {200, 503}
    assert all("queue" in error and headers["retry-after"] == "1" for error, headers in refused)


def test_a_request_that_waits_too_long_gets_429_with_retry_after(start: Start, small: Path, tmp_path: Path) -> None:
    """A request that is still queued at its time-out gets 429 with the header Retry-After."""
    base = tmp_path / "fashion"
    push(small, base)
    (tmp_path / "batching.config").write_text("batch_timeout_micros { value: 60000000 }")
    server = start(base, "--rest_api_timeout_in_ms=2000", batching=tmp_path / "batching.config")
    status, document, headers = send(server, "POST", PREDICT, ROW)
    assert status == 429 and "waiting in batching queue" in document["error"] and headers["retry-after"] == "1"


def test_a_sample_of_the_requests_is_logged(start: Start, small: Path, tmp_path: Path) -> None:
    """With a rate of 1, the rotated logs have every request and response as a PredictionLog."""
    base = tmp_path / "fashion"
    push(small, base)
    server = start(
        base,
        f"--request_log_prefix={tmp_path / 'logs' / 'fashion'}",
        "--request_log_sampling_rate=1",
        "--request_log_max_bytes=5000",
        "--request_log_max_files=100",
    )
    for image in IMAGES[:10]:
        assert send(server, "POST", PREDICT, json.dumps({"instances": [image.tolist()]}))[0] == 200
    server.stop()
    files = sorted((tmp_path / "logs").iterdir())
    logs = [log for file in files for log in read_logs(file)]
    assert len(files) > 1 and len(logs) == 10
    logged = np.concatenate([tf.make_ndarray(log.predict_log.request.inputs["image"]) for log in logs])
    np.testing.assert_array_equal(logged, IMAGES[:10])
    assert all("group_probabilities" in log.predict_log.response.outputs for log in logs)
    assert {log.log_metadata.model_spec.version.value for log in logs} == {1}


def test_running_requests_finish_before_the_server_stops(start: Start, small: Path, tmp_path: Path) -> None:
    """SIGTERM stops the server with exit status 0, after it has answered the running requests."""
    base = tmp_path / "fashion"
    push(small, base)
    server = start(base)
    url = urlsplit(server.rest_url)
    with socket.create_connection((url.hostname or "", url.port or 0), timeout=60) as connection:
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(ROW)}\r\n\r\n"
        connection.sendall(head.encode() + ROW[:100].encode())
        wait_until(lambda: send(server, "GET", "/v1/models/fashion")[0] == 200, "the server answers")
        server.process.send_signal(signal.SIGTERM)
        connection.sendall(ROW[100:].encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    assert server.process.wait(120) == 0


def test_a_taken_port_is_the_last_line_of_the_log(start: Start, base: Path, tmp_path: Path) -> None:
    """A server whose REST port is taken exits with status 1 and one line that names the port."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        running = start(base, f"--rest_api_port={port}", wait=False)
        assert running.process.wait(120) == 1
    assert running.last_line() == (
        f"The REST port cannot be opened. Expected: 127.0.0.1:{port} free. Received: Address already in use."
    )

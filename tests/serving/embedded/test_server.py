"""The embedded server as its users meet it: a process of its own, asked over HTTP and gRPC."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
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

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 28, 28), np.uint8)
ROW = json.dumps({"instances": IMAGES[:1].tolist()})
PREDICT = "/v1/models/fashion:predict"


def ask(
    server: ServerProcess, method: str, path: str, body: str | bytes | None = None
) -> tuple[int, Any, dict[str, str]]:
    """Returns the status, the document (the text when it is no JSON) and the headers of an answer."""
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
    _, document, _ = ask(server, "GET", "/v1/models/fashion")
    return {int(each["version"]): each["state"] for each in document["model_version_status"]}


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


class Load:
    """Clients that ask without a pause, until they are stopped; what went wrong is kept."""

    def __init__(self, server: ServerProcess, clients: int) -> None:
        self.wrong: list[str] = []
        self.versions: set[str] = set()
        self.asked = 0
        self._stop = threading.Event()
        self._url = urlsplit(server.rest_url)
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection(self._url.hostname or "", self._url.port, timeout=60)
        while not self._stop.is_set():
            try:
                connection.request("POST", PREDICT, ROW)
                answer = connection.getresponse()
                text = answer.read()
            except OSError as error:
                self.wrong.append(repr(error))
                connection.close()
                continue
            self.asked += 1
            if answer.status != 200:
                self.wrong.append(text.decode())
            self.versions.add(text.decode())
        connection.close()


def test_a_prediction_is_the_models(server: ServerProcess, small: Path) -> None:
    """REST and gRPC answer what the SavedModel answers in this process, to the last bit of every probability."""
    expected = tf.saved_model.load(str(small)).signatures["serving_default"](image=tf.constant(IMAGES))
    _, document, _ = ask(server, "POST", PREDICT, json.dumps({"instances": IMAGES.tolist()}))
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


def test_requests_that_cannot_be_answered_say_why(server: ServerProcess) -> None:
    """Wrong shapes, types, ranges, names and files are the caller's fault, in a sentence, and never a 500."""
    wrong = {
        json.dumps({"instances": [[1, 2]]}): "wrong shape",
        json.dumps({"instances": (IMAGES[:1].astype(int) + 200).tolist()}): "not of expected type: uint8",
        json.dumps({"instances": [{"picture": 1}]}): "does not have named input: picture",
        json.dumps({"instances": IMAGES[:1].tolist(), "signature_name": "none"}): 'signature name: "none" not found',
        json.dumps({"signature_name": "serving_bytes", "instances": [{"b64": "AAAA"}]}): "mage",
        json.dumps({"signature_name": "serving_bytes", "instances": [{"b64": "%"}]}): "base64",
        "{": "JSON Parse error",
    }
    for body, text in wrong.items():
        status, document, _ = ask(server, "POST", PREDICT, body)
        assert status == 400 and text in document["error"], document


def test_a_bad_image_does_not_fail_its_neighbours(server: ServerProcess) -> None:
    """Of requests that share a batch, only the one with the broken file fails."""
    with Load(server, 4) as load:
        for _ in range(20):
            body = json.dumps({"signature_name": "serving_bytes", "instances": [{"b64": "AAAA"}]})
            assert ask(server, "POST", PREDICT, body)[0] == 400
    assert load.asked > 20 and not load.wrong


def test_a_body_over_the_limit_is_refused_unread(server: ServerProcess) -> None:
    """A body that says that it is too large is answered before it is sent."""
    url = urlsplit(server.rest_url)
    with socket.create_connection((url.hostname or "", url.port or 0), timeout=30) as connection:
        connection.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {2**33}\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_a_packed_body_is_bounded_when_it_is_unpacked(server: ServerProcess) -> None:
    """A few kilobytes that unpack to a gigabyte are refused."""
    import gzip

    url = urlsplit(server.rest_url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=60)
    connection.request("POST", PREDICT, gzip.compress(b" " * 2**26), {"Content-Encoding": "gzip"})
    assert connection.getresponse().status == 413
    connection.close()


def test_metrics_are_what_prometheus_reads(server: ServerProcess) -> None:
    """Requests, latencies and queueing are counted under TensorFlow Serving's names."""
    ask(server, "POST", PREDICT, ROW)
    status, text, _ = ask(server, "GET", "/monitoring/prometheus/metrics")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    counts = {s.labels["status"]: s.value for s in families[":tensorflow:serving:request_count"].samples}
    assert status == 200 and counts["OK"] >= 1
    for name in ("request_latency", "runtime_latency", "batching_session:queuing_latency"):
        assert any(s.value for s in families[f":tensorflow:serving:{name}"].samples if s.name.endswith("_count")), name


def test_versions_are_swapped_under_load_without_a_failure(
    start: Start, small: Path, other: Path, tmp_path: Path
) -> None:
    """A push and a rollback are served while clients ask, and no request fails; the old version is drained and gone."""
    base = tmp_path / "fashion"
    push(small, base)
    server = start(base, batching=BATCHING)
    with Load(server, 8) as load:
        push(other, base)
        until(lambda: states(server) == {1: "END", 2: "AVAILABLE"})
        rollback(base)
        until(lambda: states(server) == {1: "END", 2: "END", 3: "AVAILABLE"})
    # The last digits differ with the size of the batch, the models much more.
    assert not load.wrong, load.wrong[:3]
    assert len(load.versions) >= 2


def test_a_broken_version_is_refused_and_said(start: Start, small: Path, tmp_path: Path) -> None:
    """A version that cannot be loaded never serves; the status tells why, and the one before goes on."""
    base = tmp_path / "fashion"
    push(small, base)
    server = start(base, "--max_num_load_retries=0")
    shutil.copytree(base / "1", tmp_path / "broken")
    (tmp_path / "broken" / "saved_model.pb").write_bytes(b"no protocol buffer")
    (tmp_path / "broken").rename(base / "2")
    until(lambda: states(server) == {1: "AVAILABLE", 2: "END"})
    _, document, _ = ask(server, "GET", "/v1/models/fashion/versions/2")
    reason = document["model_version_status"][0]["status"]
    assert reason["error_code"] != "OK" and "saved_model.pb" in reason["error_message"]
    assert ask(server, "POST", PREDICT, ROW)[0] == 200
    assert ask(server, "POST", "/v1/models/fashion/versions/2:predict", ROW)[0] == 404
    # Half of a push, as a kill leaves it: the name is no version.
    shutil.copytree(base / "1", base / ".pushing-3")
    (base / ".pushing-3" / "saved_model.pb").unlink()
    push(small, base)  # holds the same bytes as 1, so nothing new; and clears the rest of the push away
    assert states(server)[1] == "AVAILABLE"


def test_labels_route(start: Start, small: Path, other: Path, tmp_path: Path) -> None:
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
    server = start(base, f"--model_config_file={tmp_path / 'models.config'}")

    def answer(label: str) -> Any:
        return ask(server, "POST", f"/v1/models/fashion/labels/{label}:predict", ROW)[1]

    assert answer("stable") != answer("canary") == ask(server, "POST", PREDICT, ROW)[1]
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


def test_an_overloaded_server_says_so_at_once(start: Start, small: Path, tmp_path: Path) -> None:
    """With a queue of one, some of many requests are refused with 503 and a hint when to come again."""
    base = tmp_path / "fashion"
    push(small, base)
    (tmp_path / "batching.config").write_text(
        "max_batch_size { value: 1 } max_enqueued_batches { value: 1 } num_batch_threads { value: 1 }"
    )
    server = start(base, batching=tmp_path / "batching.config")
    answers = []

    def ask_often() -> None:
        answers.extend(ask(server, "POST", PREDICT, ROW) for _ in range(20))

    threads = [threading.Thread(target=ask_often) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [(document["error"], headers) for status, document, headers in answers if status != 200]
    assert {status for status, _, _ in answers} == {200, 503}
    assert all("queue" in error and headers["retry-after"] == "1" for error, headers in refused)


def test_a_request_that_waits_too_long_is_told_when_to_come_again(start: Start, small: Path, tmp_path: Path) -> None:
    """What is still in the queue when its time is over is refused with 429, and the hint that goes with an overload."""
    base = tmp_path / "fashion"
    push(small, base)
    (tmp_path / "batching.config").write_text("batch_timeout_micros { value: 60000000 }")
    server = start(base, "--rest_api_timeout_in_ms=300", batching=tmp_path / "batching.config")
    status, document, headers = ask(server, "POST", PREDICT, ROW)
    assert status == 429 and "waiting in batching queue" in document["error"] and headers["retry-after"] == "1"


def test_a_sample_of_the_requests_is_logged(start: Start, small: Path, tmp_path: Path) -> None:
    """With a rate of 1, every request and answer is in the rotated log, from REST and gRPC, in PredictionLog's form."""
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
        assert ask(server, "POST", PREDICT, json.dumps({"instances": [image.tolist()]}))[0] == 200
    server.stop()
    files = sorted((tmp_path / "logs").iterdir())
    logs = [log for file in files for log in read_logs(file)]
    assert len(files) > 1 and len(logs) == 10
    logged = np.concatenate([tf.make_ndarray(log.predict_log.request.inputs["image"]) for log in logs])
    np.testing.assert_array_equal(logged, IMAGES[:10])
    assert all("group_probabilities" in log.predict_log.response.outputs for log in logs)
    assert {log.log_metadata.model_spec.version.value for log in logs} == {1}


def test_what_is_under_way_is_answered_before_the_end(start: Start, small: Path, tmp_path: Path) -> None:
    """SIGTERM ends the server with status 0, after the answers that it owed."""
    base = tmp_path / "fashion"
    push(small, base)
    server = start(base)
    url = urlsplit(server.rest_url)
    with socket.create_connection((url.hostname or "", url.port or 0), timeout=60) as connection:
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(ROW)}\r\n\r\n"
        connection.sendall(head.encode() + ROW[:100].encode())
        until(lambda: ask(server, "GET", "/v1/models/fashion")[0] == 200)
        server.process.send_signal(signal.SIGTERM)
        connection.sendall(ROW[100:].encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    assert server.process.wait(30) == 0


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--prot=1"], "Did you mean '--port'?"),
        (["--port=x"], "a value of type int"),
        ([], "--model_base_path or --model_config_file"),
    ],
)
def test_a_wrong_flag_is_said_in_a_sentence(flags: list[str], text: str) -> None:
    """A mistake in the flags names the flag and what was expected."""
    from serving.embedded.flags import FlagError, parse_flags

    with pytest.raises(FlagError, match=text.replace("?", r"\?")):
        parse_flags(flags)

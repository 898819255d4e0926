"""Compares the embedded server with the bare SavedModel: `make bench-serving`. Prints a table and JSON.

Both sides of a ratio are measured in turns in the same run, on this machine; nothing is asserted. The script takes
about three minutes. `--only overload` measures what `docs/decisions/0027-overload.md` reports, on servers of its own.
`scripts/bench_memory.py` measures the memory over an hour and more.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from pipeline.runner.workspace import Workspace
from scripts.bench import report, row
from scripts.bench_overload import overload
from serving.engines.engine import BATCHING, MONITORING, Flags, choose, free_port
from serving.engines.server_process import ServerProcess
from serving.requests.warmup import push_warm
from serving.versions import push, rollback, versions

ROOT = Path(__file__).resolve().parent.parent
BATCH_SIZES = (1, 8, 16, 32, 64, 128, 256)
ROUNDS = 10
CLIENTS = 64


def main() -> None:
    """Runs the measurements chosen on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["latency", "throughput", "swap", "start", "overload"], action="append")
    parser.add_argument("--workspace", type=Path, default=Path("workspace"), help="the workspace with the model")
    parser.add_argument("--engine", default="embedded", help="embedded, tensorflow_model_server, docker or auto")
    parser.add_argument("--json", type=Path, default=Path("workspace/bench-serving.json"))
    options = parser.parse_args()
    chosen = options.only or ["latency", "throughput", "swap", "start"]
    model = newest_model(options.workspace)
    with tempfile.TemporaryDirectory(prefix="fashion-bench-") as scratch:
        rows = _measure(chosen, model, Path(scratch), options)
    report(rows, options.json)


def _measure(chosen: Sequence[str], model: Path, scratch: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    images = np.random.default_rng(0).integers(0, 256, (512, 28, 28), np.uint8)
    base = scratch / "fashion"
    push_warm(model, base, images, singles=8, batch=32)
    rows: list[dict[str, Any]] = []
    if "start" in chosen:
        rows += _start(base, scratch, options.engine, images)
    if "overload" in chosen:
        rows += overload(lambda: _serve(base, scratch / "overload.log", options.engine), images)
    if not set(chosen) - {"start", "overload"}:
        return rows
    bare = Bare(model)
    with _serve(base, scratch / "server.log", options.engine) as server:
        server.wait_until_ready(120)
        if "latency" in chosen:
            rows += _latency(server, bare, images)
        if "throughput" in chosen:
            rows += _throughput(server, bare, images)
        if "swap" in chosen:
            rows += _swap(server, model, base, images)
    return rows


class Bare:
    """The SavedModel's signature in this process, without a server."""

    def __init__(self, path: Path) -> None:
        """Loads the SavedModel."""
        import tensorflow as tf

        self._tensorflow = tf
        self._call = tf.saved_model.load(str(path)).signatures["serving_default"]

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the predictions as NumPy arrays."""
        return {name: tensor.numpy() for name, tensor in self._call(image=self._tensorflow.constant(images)).items()}


def newest_model(workspace: Path) -> Path:
    """Returns the directory of the newest pushed version in a workspace."""
    pushed = versions(Workspace(workspace).serving)
    if not pushed:
        raise SystemExit(f"There is no pushed version in {workspace}. Next: make run, or --workspace")
    return pushed[-1].path


def _serve(base: Path, log: Path, engine: str) -> ServerProcess:
    flags = Flags(base, "fashion", free_port(), free_port(), BATCHING, MONITORING)
    return choose(engine).start(flags, log)


def _latency(server: ServerProcess, bare: Bare, images: np.ndarray) -> list[dict[str, Any]]:
    """Measures one image at a time: the bare model, REST and gRPC in turns."""
    ways = {
        "bare": lambda: bare(images[:1]),
        "REST": _rest_call(server, images[:1]),
        "gRPC": _grpc_call(server, images[:1]),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for call in ways.values():
        _times(call, 100)
    for _ in range(ROUNDS):
        for name, call in ways.items():
            seconds[name] += _times(call, 200)
    p50 = {name: 1000 * float(np.percentile(values, 50)) for name, values in seconds.items()}
    p99 = {name: 1000 * float(np.percentile(values, 99)) for name, values in seconds.items()}
    rows = []
    for name in ways:
        rows += [
            row(f"one image, {name}, p50", p50[name], "ms", ""),
            row(f"one image, {name}, p99", p99[name], "ms", ""),
        ]
    for name, median, tail in (("REST", 1.3, 6.0), ("gRPC", 1.4, 5.0)):
        rows.append(row(f"{name} to bare, p50", p50[name] / p50["bare"], "times", f"at most {median:g}"))
        rows.append(row(f"{name} to bare, p99", p99[name] / p99["bare"], "times", f"at most {tail:g}"))
    return rows


def _throughput(server: ServerProcess, bare: Bare, images: np.ndarray) -> list[dict[str, Any]]:
    """Measures 64 clients with one image each, in turns with the bare model at its best batch size."""
    rates: dict[int, list[float]] = {size: [] for size in BATCH_SIZES}
    served: list[float] = []
    tails: list[float] = []
    shares: list[float] = []
    costs: list[float] = []
    for size in BATCH_SIZES:
        bare(images[:size])
    generate_load(server, images, 3)
    for _ in range(3):
        for size in BATCH_SIZES:
            batch = images[:size]
            count = max(3, 1024 // size)
            rates[size].append(size * count / sum(_times(lambda batch=batch: bare(batch), count)))
        cpu_start = cpu_seconds(server.process.pid)
        result = generate_load(server, images, 8)
        costs.append(1000 * (cpu_seconds(server.process.pid) - cpu_start) / max(result["answers"], 1))
        if result["failed"]:
            raise SystemExit(f"{result['failed']} requests failed: {result['failures']}")
        served.append(result["per_second"])
        tails.append(result["p99"])
        shares.append(result["cpu_seconds"] / (result["seconds"] * len(os.sched_getaffinity(0))))
    best = max(rates, key=lambda size: statistics.median(rates[size]))
    bare_rate, rate = statistics.median(rates[best]), statistics.median(served)
    return [
        row(f"bare, best batch size ({best})", bare_rate, "images/s", "", [min(rates[best]), max(rates[best])]),
        row(f"{CLIENTS} clients over REST", rate, "images/s", "", [min(served), max(served)]),
        row(f"{CLIENTS} clients over REST, p99", statistics.median(tails), "ms", "", [min(tails), max(tails)]),
        row(f"{CLIENTS} clients to bare", rate / bare_rate, "of 1", "at least 0.7"),
        row("CPU time of a request in the server", statistics.median(costs), "ms", "", [min(costs), max(costs)]),
        row("load generator's share of the CPU", statistics.median(shares), "of 1", "", [min(shares), max(shares)]),
    ]


def _swap(server: ServerProcess, model: Path, base: Path, images: np.ndarray) -> list[dict[str, Any]]:
    """Measures how soon a push and a rollback answer, on an idle and on a busy server, and the latency meanwhile."""
    quiet = _times(_rest_call(server, images[:1]), 500)
    during: list[float] = []
    rows = []

    def ask() -> None:
        during.extend(_times(_rest_call(server, images[:1]), 20))

    for state, meanwhile in (("quiet", lambda: time.sleep(0.01)), ("busy", ask)):
        for name, change in (("push", lambda: _push_other(model, base)), ("rollback", lambda: rollback(base))):
            seconds = [_until_available(server, change().number, meanwhile) for _ in range(3)]
            wanted = "within 1" if name == "rollback" else ""
            answers = f"a {name} answers after, {state} server"
            rows.append(row(answers, statistics.median(seconds), "s", wanted, [min(seconds), max(seconds)]))
    return [
        *rows,
        row("one image over REST while versions change, p50", 1000 * float(np.percentile(during, 50)), "ms", ""),
        row("the same to quiet, p50", float(np.percentile(during, 50) / np.percentile(quiet, 50)), "times", ""),
        row("the same to quiet, p99", float(np.percentile(during, 99) / np.percentile(quiet, 99)), "times", ""),
    ]


def _until_available(server: ServerProcess, number: int, meanwhile: Callable[[], None]) -> float:
    start = time.perf_counter()
    while number not in _available(server):
        meanwhile()
    return time.perf_counter() - start


def _start(base: Path, scratch: Path, engine: str, images: np.ndarray) -> list[dict[str, Any]]:
    """Measures the time from the end of the imports to readiness, and the latency of the first request."""
    ready, first, median, total = [], [], [], []
    for attempt in range(3):
        log = scratch / f"start-{attempt}.log"
        start = time.perf_counter()
        with _serve(base, log, engine) as server:
            server.wait_until_ready(120)
            total.append(time.perf_counter() - start)
            call = _rest_call(server, images[:1])
            seconds = _times(call, 200)
            first.append(seconds[0])
            median.append(statistics.median(seconds))
            if found := re.search(r"Ready ([0-9.]+) s after the imports", log.read_text(encoding="utf-8")):
                ready.append(float(found[1]))
    ratio = [a / b for a, b in zip(first, median, strict=True)]
    rows = [row("from the command to ready", statistics.median(total), "s", "", [min(total), max(total)])]
    if ready:
        rows.append(
            row("from the imports to ready", statistics.median(ready), "s", "under 3", [min(ready), max(ready)])
        )
    rows.append(
        row("first request to the median", statistics.median(ratio), "times", "at most 2", [min(ratio), max(ratio)])
    )
    return rows


def _push_other(model: Path, base: Path) -> Any:
    """Pushes the model with one more file: a push of the same bytes is not a new version."""
    with tempfile.TemporaryDirectory() as directory:
        note = Path(directory) / "note"
        note.write_text(f"{time.time_ns()}", encoding="utf-8")
        warmup = next(path for path in sorted(base.iterdir()) if path.name.isdecimal()) / "assets.extra"
        return push(model, base, {"note": note, "tf_serving_warmup_requests": warmup / "tf_serving_warmup_requests"})


def generate_load(server: ServerProcess, images: np.ndarray, seconds: float) -> dict[str, Any]:
    """Sends requests of one image from 64 clients without a pause; returns the counts and percentiles."""
    url = urlsplit(server.rest_url)
    arguments = map(str, (url.hostname, url.port, CLIENTS, seconds))
    command = [sys.executable, "-m", "scripts.load_generator", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, input=_request(images[:1]), stdout=subprocess.PIPE)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def cpu_seconds(process: int) -> float:
    """Returns the CPU time of a process, user and system, in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _request(images: np.ndarray) -> bytes:
    body = json.dumps({"instances": images.tolist()}, separators=(",", ":")).encode()
    head = "POST /v1/models/fashion:predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _rest_call(server: ServerProcess, images: np.ndarray) -> Callable[[], object]:
    """Returns a minimal client: it sends the bytes of one request and reads those of the answer."""
    import http.client

    url = urlsplit(server.rest_url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=60)
    body = _request(images).partition(b"\r\n\r\n")[2]

    def call() -> bytes:
        try:
            connection.request("POST", "/v1/models/fashion:predict", body)
            answer = connection.getresponse()
        except ConnectionError:  # the server closes connections that were idle for seconds
            connection.close()
            connection.request("POST", "/v1/models/fashion:predict", body)
            answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise SystemExit(text.decode())
        return text

    return call


def _grpc_call(server: ServerProcess, images: np.ndarray) -> Callable[[], object]:
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(server.grpc_address))
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "fashion"
    request.inputs["image"].CopyFrom(tf.make_tensor_proto(images))
    return lambda: stub.Predict(request, timeout=60)


def _available(server: ServerProcess) -> set[int]:
    import http.client

    url = urlsplit(server.rest_url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=60)
    connection.request("GET", "/v1/models/fashion")
    statuses = json.loads(connection.getresponse().read())["model_version_status"]
    connection.close()
    return {int(each["version"]) for each in statuses if each["state"] == "AVAILABLE"}


def _times(call: Callable[[], object], count: int) -> list[float]:
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    main()

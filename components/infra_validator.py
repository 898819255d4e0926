"""InfraValidator: serves the exported model from a real server, sends requests and checks scores and latency."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from analysis.data.examples import read_arrays
from pipeline.contract.artifacts import Examples, InfraBlessing, Model
from pipeline.contract.component import Input, Output, component
from pipeline.contract.errors import suggest
from pipeline.contract.files import write_json

if TYPE_CHECKING:
    import numpy as np

    from serving.engines.engine import Engine
    from serving.engines.server_process import ServerProcess
    from serving.requests.prediction_log import Answers
    from serving.requests.server_probe import FailedRequest, Latency, Reply

Rules = list[dict[str, Any]]
Replies = Mapping[tuple[str, str], Sequence["Reply"]]
"""The replies by transport and signature."""

REQUEST_SECONDS = 30.0
"""Time-out of one request: TensorFlow Serving's own default."""
TIMED_REQUESTS = 100
"""Requests in the latency measurement of a transport: the fewest with a 99th percentile."""


def _choose_engine(engine: str) -> Engine:
    from serving.engines.engine import choose

    with suggest("fashion run --set infra_validator.engine=auto"):
        return choose(engine)


def _check_engine(engine: str) -> None:
    if engine != "auto":
        _choose_engine(engine)


@component(checks=(_check_engine,))
def infra_validator(
    model: Input[Model],
    examples: Input[Examples],
    blessing: Output[InfraBlessing],
    *,
    engine: Annotated[
        Literal["auto", "embedded", "tensorflow_model_server", "docker"],
        Field(description="The server; `auto` takes the first available of binary, Docker image and ours."),
    ] = "auto",
    requests: Annotated[
        int,
        Field(ge=1, le=1000, description="Requests to each signature, with one validation image each."),
    ] = 32,
    tolerance: Annotated[
        float,
        Field(ge=0, le=0.1, description="The largest difference from the probabilities of this process."),
    ] = 1e-5,
    latency_bound_ms: Annotated[
        float,
        Field(
            gt=0,
            le=60000,
            description="Bound on the 99th percentile of the latency, in milliseconds.",
        ),
    ] = 1000.0,
    timeout_seconds: Annotated[
        float,
        Field(gt=0, le=3600, description="Time limit for start, loading and all requests, in seconds."),
    ] = 180.0,
    warmup_requests: int,
    warmup_batch: int,
) -> None:
    """Serves the export as the Pusher would push it, calls all signatures over REST and gRPC, and compares scores."""
    chosen = _choose_engine(engine)
    columns = read_arrays(examples.split("validation"), ("image", "source_id"))
    images, source_ids = columns["image"][:requests], columns["source_id"][:requests].tolist()
    with tempfile.TemporaryDirectory(prefix="fashion-serving-") as directory:
        base = Path(directory) / "fashion"
        fault = _push_candidate(model, base, columns["image"], warmup_requests, warmup_batch)
        log = blessing.path / "server.log"
        probe = _Probe(fault=fault) if fault else _serve_and_probe(chosen, model, base, log, images, timeout_seconds)
    rules = [rule("a server loads it", "", "seconds", probe.seconds, timeout_seconds, probe.fault)]
    failed: list[FailedRequest] = []
    if probe.replies:
        # Only now, after a server survived the export: one that hangs or crashes would take this process with it.
        compared, failed = same_scores(model, images, source_ids, probe.replies, tolerance)
        rules += [*compared, *as_trained(model, images, probe.replies.get(("gRPC", "serving_default"), []), tolerance)]
        rules += [fast_enough(transport, latency, latency_bound_ms) for transport, latency in probe.latencies.items()]
    write_verdict(blessing, rules, failed)
    blessing.properties.update(engine=chosen.name, engine_version=chosen.version(), requests=len(images))
    for transport, latency in probe.latencies.items():
        if not latency.fault:
            name = transport.lower()
            blessing.properties[f"{name}_median_ms"] = round(latency.median, 2)
            blessing.properties[f"{name}_p99_ms"] = round(latency.p99, 2)


@dataclass
class _Probe:
    """The measurements of a served model.

    Attributes:
        seconds: The time until the server was ready.
        replies: The replies by transport and signature.
        latencies: The latency by transport.
        fault: Why the measurements are incomplete; empty when they are complete.
    """

    seconds: float = math.nan
    replies: dict[tuple[str, str], list[Reply]] = field(default_factory=dict)
    latencies: dict[str, Latency] = field(default_factory=dict)
    fault: str = ""


def _push_candidate(model: Model, base: Path, images: np.ndarray, singles: int, batch: int) -> str:
    """Pushes the version into a separate base directory, as the Pusher will; returns what prevents it, or nothing."""
    from serving.requests.warmup import push_warm
    from serving.versions import VersionError

    try:
        # The server replays the warm-up requests: an export that hangs or crashes would take this process with it.
        push_warm(model.saved_model, base, images, singles=singles, batch=batch, replay=False)
    except VersionError as error:
        return error.one_line
    return ""


def _serve_and_probe(
    engine: Engine, model: Model, base: Path, log: Path, images: np.ndarray, timeout_seconds: float
) -> _Probe:
    """Starts a server, sends it all requests and stops it."""
    from serving.engines.engine import BATCHING, MONITORING, Flags, free_port
    from serving.engines.server_process import NotServingError
    from serving.requests.prediction_log import MODEL_NAME, signatures_of

    once = ("--max_num_load_retries=0",)
    flags = Flags(base, MODEL_NAME, free_port(), free_port(), BATCHING, MONITORING, once)
    probe = _Probe()
    start = time.monotonic()
    try:
        with engine.start(flags, log) as server:
            server.wait_until_ready(timeout_seconds)
            probe.seconds = time.monotonic() - start
            _send_all_requests(server, signatures_of(model.saved_model), images, start + timeout_seconds, probe)
            server.check()
    except NotServingError as error:
        probe.fault = error.one_line
    return probe


def _send_all_requests(
    server: ServerProcess, signatures: Sequence[str], images: np.ndarray, deadline: float, probe: _Probe
) -> None:
    """Calls every signature and measures the latency over both transports."""
    from serving.client import Client
    from serving.requests.server_probe import measure_latency, send_requests

    for transport, address in (("REST", server.rest_url), ("gRPC", f"grpc://{server.grpc_address}")):
        # Without retries: a failure here would fail a client there.
        with Client(address, timeout_seconds=REQUEST_SECONDS, retries=0) as client:
            for signature in signatures:
                probe.replies[transport, signature] = send_requests(client.call, signature, images, deadline)
            probe.latencies[transport] = measure_latency(client.call, images, TIMED_REQUESTS, deadline)


def same_scores(
    model: Model, images: np.ndarray, source_ids: list[str], replies: Replies, tolerance: float
) -> tuple[Rules, list[FailedRequest]]:
    """Returns one rule for each transport and signature, and the requests that break them."""
    from serving.requests.server_probe import find_failures, largest_difference

    expected, obstacle = _local_scores(model, images, replies)
    rules: Rules = []
    failed: list[FailedRequest] = []
    for (transport, signature), received in replies.items():
        broken = find_failures(transport, signature, source_ids, received, expected, tolerance)
        note = _describe_failures(broken, len(received)) or obstacle
        value = largest_difference(received, expected)
        rules.append(rule(f"same scores over {transport}", signature, "largest difference", value, tolerance, note))
        failed += broken
    return rules, failed


def as_trained(model: Model, images: np.ndarray, replies: Sequence[Reply], tolerance: float) -> Rules:
    """Returns the rule that the export scores as the trained network; none where the model has no `model.keras`."""
    from serving.requests.prediction_log import short_message
    from serving.requests.server_probe import largest_difference

    if not model.keras_file.exists():
        return []
    try:
        value = largest_difference(replies, {"garment_probabilities": _network_scores(model, images)})
        note = "" if value <= tolerance else "The export and model.keras disagree" + _describe_difference(value)
    except Exception as error:  # whatever a damaged file makes Keras raise
        value, note = float("nan"), f"model.keras cannot be evaluated: {short_message(error)}"
    return [rule("same scores as the trained network", "serving_default", "largest difference", value, tolerance, note)]


def fast_enough(transport: str, latency: Latency, bound: float) -> dict[str, Any]:
    """Returns the rule on the latency of requests with one image."""
    late = f"The 99th percentile over {transport} is {latency.p99:.3g} ms, the bound {bound:g} ms."
    note = latency.fault or ("" if latency.p99 <= bound else late)
    return rule(f"fast enough over {transport}", "serving_default", "99th percentile, ms", latency.p99, bound, note)


def rule(name: str, slice_name: str, metric: str, value: float, bound: float, note: str) -> dict[str, Any]:
    """Returns a rule in the form of the verdict; a note means that it is broken."""
    return {
        "rule": name,
        "slice": slice_name,
        "metric": metric,
        "value": value if value == value else None,  # NaN is no JSON
        "bound": bound,
        "passed": not note,
        "note": note,
    }


def write_verdict(blessing: InfraBlessing, rules: Rules, failed: list[FailedRequest]) -> None:
    """Writes `verdict.json` and the marker file."""
    broken = [f"{rule['slice']}: {rule['note']}".removeprefix(": ") for rule in rules if not rule["passed"]]
    verdict = {
        "blessed": not broken,
        "rules": rules,
        "reason": " ".join(broken),
        "failures": [failure.to_json() for failure in failed],
    }
    write_json(blessing.verdict_file, verdict)
    (blessing.path / ("INFRA_NOT_BLESSED" if broken else "INFRA_BLESSED")).touch()
    blessing.properties["blessed"] = not broken


def _local_scores(model: Model, images: np.ndarray, replies: Replies) -> tuple[Answers, str]:
    """Returns the scores of this process, or why there are none."""
    from serving.requests.prediction_log import RequestError, answer, load, predict_request

    served = [reply for (_, signature), some in replies.items() if signature == "serving_default" for reply in some]
    if any(reply.fault for reply in served):
        return {}, "There is nothing to compare with."  # an export that hangs or crashes a server would do so here
    try:
        return answer(load(model.saved_model), predict_request("serving_default", images)), ""
    except RequestError as error:
        return {}, f"The model fails in this process. {error.one_line}"


def _network_scores(model: Model, images: np.ndarray) -> np.ndarray:
    import keras
    import numpy as np

    from models.calibration import Calibration

    # A GPU multiplies with fewer bits than a server's CPU.
    with keras.device("cpu"):
        network = keras.saving.load_model(model.keras_file, compile=False)
        logits = np.asarray(network.predict(images, batch_size=len(images), verbose=0))
    return Calibration.from_json(model.calibration()).garment_probabilities(logits)


def _describe_failures(broken: list[FailedRequest], requests: int) -> str:
    if not broken:
        return ""
    return f"{len(broken)} of {requests} requests, first {broken[0].source_id}: {broken[0].reason}"


def _describe_difference(difference: float) -> str:
    if difference != difference:
        return ": there is no score to compare."
    return f", the largest difference is {difference:.3g}."

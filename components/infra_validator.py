"""InfraValidator: what will be served is loaded and asked by a real server, before anyone depends on it."""

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
"""What came back, by transport and signature."""

REQUEST_SECONDS = 30.0
"""The most that one request may take: as long as TensorFlow Serving waits itself, by default."""
TIMED = 100
"""How many requests a transport is timed with: the least that have a 99th percentile."""


@component
def infra_validator(
    model: Input[Model],
    examples: Input[Examples],
    blessing: Output[InfraBlessing],
    *,
    engine: Annotated[
        Literal["auto", "embedded", "tensorflow_model_server", "docker"],
        Field(description="What serves the model here; `auto` takes the real server, its image, or ours."),
    ] = "auto",
    requests: Annotated[
        int,
        Field(ge=1, le=1000, description="How many validation images each signature is asked about, one a request."),
    ] = 32,
    tolerance: Annotated[
        float, Field(ge=0, le=0.1, description="How far a probability may be from the one scored in this process.")
    ] = 1e-5,
    latency_bound_ms: Annotated[
        float, Field(gt=0, le=60000, description="The most that 99 of 100 requests of one image may take.")
    ] = 1000.0,
    timeout_seconds: Annotated[
        float, Field(gt=0, le=3600, description="How long the server may take to start, load and answer everything.")
    ] = 180.0,
    warmup_requests: int,
    warmup_batch: int,
) -> None:
    """Serves the export as it would be pushed, asks all signatures over REST and gRPC, and compares the scores."""
    chosen = _choose(engine)
    columns = read_arrays(examples.split("validation"), ("image", "source_id"))
    images, source_ids = columns["image"][:requests], columns["source_id"][:requests].tolist()
    with tempfile.TemporaryDirectory(prefix="fashion-serving-") as place:
        base = Path(place) / "fashion"
        fault = _assemble(model, base, columns["image"], warmup_requests, warmup_batch)
        log = blessing.path / "server.log"
        asked = _Asked(fault=fault) if fault else _serve(chosen, model, base, log, images, timeout_seconds)
    rules = [rule("a server loads it", "", "seconds", asked.seconds, timeout_seconds, asked.fault)]
    failed: list[FailedRequest] = []
    if asked.replies:
        # Only now: an export that hangs or crashes would take this process with it.
        compared, failed = same_scores(model, images, source_ids, asked.replies, tolerance)
        rules += [*compared, *as_trained(model, images, asked.replies.get(("gRPC", "serving_default"), []), tolerance)]
        rules += [fast_enough(transport, latency, latency_bound_ms) for transport, latency in asked.latencies.items()]
    write_verdict(blessing, rules, failed)
    blessing.properties.update(engine=chosen.name, engine_version=chosen.version(), requests=len(images))
    for transport, latency in asked.latencies.items():
        if not latency.fault:
            name = transport.lower()
            blessing.properties[f"{name}_median_ms"] = round(latency.median, 2)
            blessing.properties[f"{name}_p99_ms"] = round(latency.p99, 2)


@dataclass
class _Asked:
    """What the server let us see.

    Attributes:
        seconds: How long it took until it was ready.
        replies: What came back, by transport and signature.
        latencies: How long it takes to answer, by transport.
        fault: Why there is no more; empty when this is all.
    """

    seconds: float = math.nan
    replies: dict[tuple[str, str], list[Reply]] = field(default_factory=dict)
    latencies: dict[str, Latency] = field(default_factory=dict)
    fault: str = ""


def _choose(name: str) -> Engine:
    from serving.engines.engine import choose

    with suggest("fashion run --set infra_validator.engine=auto"):
        return choose(name)


def _assemble(model: Model, base: Path, images: np.ndarray, singles: int, batch: int) -> str:
    """Pushes the version into a base directory of its own, as the Pusher will; returns why not, or nothing."""
    from serving.requests.warmup import push_warm
    from serving.versions import VersionError

    try:
        # The server replays the warm-up requests: an export that hangs or crashes would take this process with it.
        push_warm(model.saved_model, base, images, singles=singles, batch=batch, replay=False)
    except VersionError as error:
        return error.one_line
    return ""


def _serve(engine: Engine, model: Model, base: Path, log: Path, images: np.ndarray, timeout_seconds: float) -> _Asked:
    """Starts a server, asks it everything and ends it."""
    from serving.engines.engine import BATCHING, MONITORING, Flags, free_port
    from serving.engines.server_process import NotServingError
    from serving.requests.prediction_log import MODEL_NAME, signatures_of

    once = ("--max_num_load_retries=0",)
    flags = Flags(base, MODEL_NAME, free_port(), free_port(), BATCHING, MONITORING, once)
    asked = _Asked()
    begun = time.monotonic()
    try:
        with engine.start(flags, log) as server:
            server.wait_until_ready(timeout_seconds)
            asked.seconds = time.monotonic() - begun
            _question(server, signatures_of(model.saved_model), images, begun + timeout_seconds, asked)
            server.check()
    except NotServingError as error:
        asked.fault = error.one_line
    return asked


def _question(
    server: ServerProcess, signatures: Sequence[str], images: np.ndarray, deadline: float, asked: _Asked
) -> None:
    """Asks everything over both transports."""
    from serving.client import Client
    from serving.requests.server_probe import measure_latency, send_requests

    for transport, address in (("REST", server.rest_url), ("gRPC", f"grpc://{server.grpc_address}")):
        # No second try: what fails once here fails somebody there.
        with Client(address, timeout_seconds=REQUEST_SECONDS, retries=0) as client:
            for signature in signatures:
                asked.replies[transport, signature] = send_requests(client.call, signature, images, deadline)
            asked.latencies[transport] = measure_latency(client.call, images, TIMED, deadline)


def same_scores(
    model: Model, images: np.ndarray, source_ids: list[str], replies: Replies, tolerance: float
) -> tuple[Rules, list[FailedRequest]]:
    """Returns a rule a transport and signature, and the requests that break them."""
    from serving.requests.server_probe import find_failures, largest_difference

    expected, unknown = _scores_here(model, images, replies)
    rules: Rules = []
    failed: list[FailedRequest] = []
    for (transport, signature), asked in replies.items():
        broken = find_failures(transport, signature, source_ids, asked, expected, tolerance)
        note = _count(broken, len(asked)) or unknown
        value = largest_difference(asked, expected)
        rules.append(rule(f"same scores over {transport}", signature, "largest difference", value, tolerance, note))
        failed += broken
    return rules, failed


def as_trained(model: Model, images: np.ndarray, asked: Sequence[Reply], tolerance: float) -> Rules:
    """Returns the rule that the export scores as the network that was trained, where the model comes with that."""
    from serving.requests.prediction_log import short_message
    from serving.requests.server_probe import largest_difference

    if not model.keras_file.exists():
        return []
    try:
        value = largest_difference(asked, {"garment_probabilities": _network_scores(model, images)})
        note = "" if value <= tolerance else "The export and model.keras do not agree" + _by(value)
    except Exception as error:  # whatever a damaged file makes Keras raise
        value, note = float("nan"), f"model.keras cannot be asked: {short_message(error)}"
    return [rule("same scores as the trained network", "serving_default", "largest difference", value, tolerance, note)]


def fast_enough(transport: str, latency: Latency, bound: float) -> dict[str, Any]:
    """Returns the rule that requests of one image are answered in time."""
    late = f"The 99th percentile over {transport} is {latency.p99:.3g} ms, the bound {bound:g} ms."
    note = latency.fault or ("" if latency.p99 <= bound else late)
    return rule(f"fast enough over {transport}", "serving_default", "99th percentile, ms", latency.p99, bound, note)


def rule(name: str, slice_name: str, metric: str, value: float, bound: float, note: str) -> dict[str, Any]:
    """Returns a rule as the verdict lists it; it is broken when there is a note."""
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


def _scores_here(model: Model, images: np.ndarray, replies: Replies) -> tuple[Answers, str]:
    """What this process scores, or why it does not."""
    from serving.requests.prediction_log import RequestError, answer, load, predict_request

    asked = [reply for (_, signature), all_of in replies.items() if signature == "serving_default" for reply in all_of]
    if any(reply.fault for reply in asked):
        return {}, "There is nothing to compare with."  # what hangs or crashes a server would do so here
    try:
        return answer(load(model.saved_model), predict_request("serving_default", images)), ""
    except RequestError as error:
        return {}, f"This process gets no scores. {error.one_line}"


def _network_scores(model: Model, images: np.ndarray) -> np.ndarray:
    import keras
    import numpy as np

    from models.calibration import Calibration

    # A graphics card multiplies with fewer bits than a server's processor.
    with keras.device("cpu"):
        network = keras.saving.load_model(model.keras_file, compile=False)
        logits = np.asarray(network.predict(images, batch_size=len(images), verbose=0))
    return Calibration.from_json(model.calibration()).garment_probabilities(logits)


def _count(broken: list[FailedRequest], asked: int) -> str:
    if not broken:
        return ""
    return f"{len(broken)} of {asked} requests, {broken[0].source_id} the first: {broken[0].reason}"


def _by(difference: float) -> str:
    if difference != difference:
        return ": there is no score to compare."
    return f", the largest difference is {difference:.3g}."

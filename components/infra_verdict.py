"""The InfraValidator's rules: each has a value, a bound and, when it is broken, a note that says why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.contract.artifacts import InfraBlessing, Model

if TYPE_CHECKING:
    import numpy as np

    from serving.requests.comparison import Failure
    from serving.requests.inquiry import Latency, Reply
    from serving.requests.prediction_log import Answers

Rules = list[dict[str, Any]]
Replies = Mapping[tuple[str, str], Sequence["Reply"]]
"""What came back, by transport and signature."""


def same_scores(
    model: Model, images: np.ndarray, source_ids: list[str], replies: Replies, tolerance: float
) -> tuple[Rules, list[Failure]]:
    """Returns a rule a transport and signature, and the requests that break them."""
    from serving.requests.comparison import failures, largest_difference

    expected, unknown = _scores_here(model, images, replies)
    rules: Rules = []
    failed: list[Failure] = []
    for (transport, signature), asked in replies.items():
        broken = failures(transport, signature, source_ids, asked, expected, tolerance)
        note = _count(broken, len(asked)) or unknown
        value = largest_difference(asked, expected)
        rules.append(rule(f"same scores over {transport}", signature, "largest difference", value, tolerance, note))
        failed += broken
    return rules, failed


def as_trained(model: Model, images: np.ndarray, asked: Sequence[Reply], tolerance: float) -> Rules:
    """Returns the rule that the export scores as the network that was trained, where the model comes with that."""
    from serving.requests.comparison import largest_difference
    from serving.requests.prediction_log import first_line

    if not (model.path / "model.keras").exists():
        return []
    try:
        value = largest_difference(asked, {"garment_probabilities": _network_scores(model, images)})
        note = "" if value <= tolerance else "The export and model.keras do not agree" + _by(value)
    except Exception as error:  # whatever a damaged file makes Keras raise
        value, note = float("nan"), f"model.keras cannot be asked: {first_line(error)}"
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


def write_verdict(blessing: InfraBlessing, rules: Rules, failed: list[Failure]) -> None:
    """Writes `verdict.json` and the marker file."""
    broken = [f"{rule['slice']}: {rule['note']}".removeprefix(": ") for rule in rules if not rule["passed"]]
    verdict = {
        "blessed": not broken,
        "rules": rules,
        "reason": " ".join(broken),
        "failures": [failure.to_json() for failure in failed],
    }
    blessing.write_json("verdict.json", verdict)
    (blessing.path / ("INFRA_NOT_BLESSED" if broken else "INFRA_BLESSED")).touch()
    blessing.properties["blessed"] = not broken


def _scores_here(model: Model, images: np.ndarray, replies: Replies) -> tuple[Answers, str]:
    """What this process scores, or why it does not."""
    from serving.requests.prediction_log import RequestError, answer, first_line, load, predict_request

    asked = [reply for (_, signature), all_of in replies.items() if signature == "serving_default" for reply in all_of]
    if any(reply.fault for reply in asked):
        return {}, "There is nothing to compare with."  # what hangs or crashes a server would do so here
    try:
        return answer(load(model.saved_model), predict_request("serving_default", images)), ""
    except RequestError as error:
        return {}, f"This process gets no scores. {first_line(error)}"


def _network_scores(model: Model, images: np.ndarray) -> np.ndarray:
    import keras
    import numpy as np

    from models.calibration import Calibration

    # A graphics card multiplies with fewer bits than a server's processor.
    with keras.device("cpu"):
        network = keras.saving.load_model(model.path / "model.keras", compile=False)
        logits = np.asarray(network.predict(images, batch_size=len(images), verbose=0))
    return Calibration.from_json(model.read_json("calibration.json")).garment_probabilities(logits)


def _count(broken: list[Failure], asked: int) -> str:
    if not broken:
        return ""
    return f"{len(broken)} of {asked} requests, {broken[0].source_id} the first: {broken[0].reason}"


def _by(difference: float) -> str:
    if difference != difference:
        return ": there is no score to compare."
    return f", the largest difference is {difference:.3g}."

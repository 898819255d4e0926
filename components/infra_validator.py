"""InfraValidator: what will be served is loaded and asked as a server does it, before anyone depends on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from components.examples import read_arrays
from pipeline.artifacts import Examples, InfraBlessing, Model
from pipeline.component import Input, Output, component

if TYPE_CHECKING:
    import numpy as np

    from serving.check import Outcome
    from serving.comparison import Failure

Rules = list[dict[str, Any]]


@component(
    libraries=(
        "keras",
        "numpy",
        "pillow",
        "protobuf",
        "pyarrow",
        "scipy",
        "tensorflow",
        "tensorflow-serving-api",
        "tfx-bsl",
    )
)
def infra_validator(
    model: Input[Model],
    examples: Input[Examples],
    blessing: Output[InfraBlessing],
    *,
    requests: Annotated[
        int,
        Field(ge=1, le=1000, description="How many validation images each signature is asked about, one a request."),
    ] = 32,
    tolerance: Annotated[
        float, Field(ge=0, le=0.1, description="How far a probability may be from the one scored in this process.")
    ] = 1e-5,
    timeout_seconds: Annotated[
        float, Field(gt=0, le=3600, description="How long the fresh process may take to start, load and answer.")
    ] = 180.0,
) -> None:
    """Loads the export in a fresh process, asks all its signatures and compares with the scores in this one."""
    from serving.check import ask
    from serving.requests import all_requests

    columns = read_arrays(examples.split("validation"), ("image", "source_id"))
    images, source_ids = columns["image"][:requests], columns["source_id"][:requests].tolist()
    outcome = ask(model.saved_model, all_requests(images), timeout_seconds)
    rules = [_rule("loads in a fresh process", "", "seconds", outcome.load_seconds, timeout_seconds, outcome.fault)]
    failed: list[Failure] = []
    if not outcome.fault:
        # Only now: an export that hangs or crashes while it loads would take this process with it.
        compared, failed = _compare_signatures(model, images, source_ids, outcome, tolerance)
        rules += [*compared, *_compare_network(model, images, outcome, tolerance)]
    _write_verdict(blessing, rules, failed)
    blessing.properties["blessed"] = blessing.blessed
    blessing.properties["requests"] = len(images)
    if outcome.milliseconds is not None:
        blessing.properties["milliseconds"] = round(outcome.milliseconds, 2)


def _compare_signatures(
    model: Model, images: np.ndarray, source_ids: list[str], outcome: Outcome, tolerance: float
) -> tuple[Rules, list[Failure]]:
    """A rule a signature, and the requests that break it."""
    from serving.comparison import failures, largest_difference
    from serving.requests import INPUTS, RequestError, answer, load, predict_request

    try:
        expected = answer(load(model.saved_model), predict_request("serving_default", images))
    except RequestError:
        expected = {}  # then the fresh process has failed at the same, and says why
    rules: Rules = []
    failed: list[Failure] = []
    for index, signature in enumerate(INPUTS):
        part = slice(index * len(images), (index + 1) * len(images))
        answers = outcome.answers[part]
        broken = failures(signature, source_ids, answers, outcome.faults[part], expected, tolerance)
        note = _count(broken, len(images))
        value = largest_difference(answers, expected)
        rules.append(_rule("same scores in a fresh process", signature, "largest difference", value, tolerance, note))
        failed += broken
    return rules, failed


def _compare_network(model: Model, images: np.ndarray, outcome: Outcome, tolerance: float) -> Rules:
    """The rule that the export scores as the network that was trained, where the model comes with that."""
    from serving.comparison import largest_difference
    from serving.requests import first_line

    if not (model.path / "model.keras").exists():
        return []
    try:
        expected = {"garment_probabilities": _network_scores(model, images)}
        value = largest_difference(outcome.answers[: len(images)], expected)
        note = "" if value <= tolerance else "The export and model.keras do not agree" + _by(value)
    except Exception as error:  # whatever a damaged file makes Keras raise
        value, note = None, f"model.keras cannot be asked: {first_line(error)}"
    return [
        _rule("same scores as the trained network", "serving_default", "largest difference", value, tolerance, note)
    ]


def _network_scores(model: Model, images: np.ndarray) -> np.ndarray:
    import keras
    import numpy as np

    from models.calibration import softmax

    # A graphics card multiplies with fewer bits than a server's processor.
    with keras.device("cpu"):
        network = keras.saving.load_model(model.path / "model.keras", compile=False)
        logits = np.asarray(network.predict(images, batch_size=len(images), verbose=0))
    return softmax(logits / model.read_json("calibration.json")["temperature"])


def _count(broken: list[Failure], asked: int) -> str:
    if not broken:
        return ""
    return f"{len(broken)} of {asked} requests, {broken[0].source_id} the first: {broken[0].reason}"


def _by(difference: float) -> str:
    return (
        f", the largest difference is {difference:.3g}."
        if difference == difference
        else ": there is no score to compare."
    )


def _rule(rule: str, slice_name: str, metric: str, value: float | None, bound: float, note: str) -> dict[str, Any]:
    # NaN is no JSON.
    shown = value if value is not None and value == value else None
    return {
        "rule": rule,
        "slice": slice_name,
        "metric": metric,
        "value": shown,
        "bound": bound,
        "passed": not note,
        "note": note,
    }


def _write_verdict(blessing: InfraBlessing, rules: Rules, failed: list[Failure]) -> None:
    broken = [f"{rule['slice']}: {rule['note']}".removeprefix(": ") for rule in rules if not rule["passed"]]
    verdict = {
        "blessed": not broken,
        "rules": rules,
        "reason": " ".join(broken),
        "failures": [failure.to_json() for failure in failed],
    }
    blessing.write_json("verdict.json", verdict)
    (blessing.path / ("INFRA_NOT_BLESSED" if broken else "INFRA_BLESSED")).touch()

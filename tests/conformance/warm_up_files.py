"""Writes the warm-up files of the cases: valid ones, one with too many records, and broken ones."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, inference_pb2, predict_pb2, prediction_log_pb2, regression_pb2

MAX_RECORDS = 1000
"""The most records that a server accepts in one file."""


def write_files(folder: Path) -> None:
    """Writes every file that a case needs into `folder`, named after its content."""
    folder.mkdir()
    digits = [_predict("counter", "push", delta=digit) for digit in (1.0, 2.0, 3.0)]
    increment = _predict("counter", "incr_counter")
    _write(folder / "in_order", [log.SerializeToString() for log in digits])
    _write(folder / "one", [increment.SerializeToString()])
    _write(folder / "most", [increment.SerializeToString()] * MAX_RECORDS)
    _write(folder / "too_many", [increment.SerializeToString()] * (MAX_RECORDS + 1))
    _write(folder / "every_kind", [log.SerializeToString() for log in _every_kind()])
    _write(folder / "no_log", [b"this is no PredictionLog"])
    _write(folder / "without_log", [b"", prediction_log_pb2.PredictionLog(log_metadata={}).SerializeToString()])
    for name, kind in (("session_run", "session_run_log"), ("streamed", "predict_streamed_log")):
        unsupported = prediction_log_pb2.PredictionLog()
        getattr(unsupported, kind).SetInParent()
        _write(folder / name, [unsupported.SerializeToString()])
    regress = prediction_log_pb2.PredictionLog()
    _name(regress.regress_log.request.model_spec, "half_plus_two", "nope")
    _add_example(regress.regress_log.request.input)
    _write(folder / "wrong_regress", [regress.SerializeToString()])
    filtered = _predict("half_plus_two", "serving_default", x=1.0)
    filtered.predict_log.request.output_filter.append("nope")
    _write(folder / "wrong_output", [filtered.SerializeToString()])
    _write(folder / "failing_run", [_predict("refusing", "serving_default", x=1.0).SerializeToString()])
    (folder / "empty").write_bytes(b"")
    (folder / "no_framing").write_bytes(b"".join(log.SerializeToString() for log in digits))


def _write(file: Path, records: Iterable[bytes]) -> None:
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record)


def _predict(model: str, signature: str, **inputs: float) -> Any:
    request = predict_pb2.PredictRequest()
    _name(request.model_spec, model, signature)
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto([value], tf.float32))
    return prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))


def _every_kind() -> Iterable[Any]:
    """Yields one record of each kind, for the model `half_plus_two`."""
    yield _predict("half_plus_two", "serving_default", x=1.0)
    for kind, request in (
        ("classify", classification_pb2.ClassificationRequest()),
        ("regress", regression_pb2.RegressionRequest()),
    ):
        _name(request.model_spec, "half_plus_two", f"{kind}_x_to_y")
        _add_example(request.input)
        log = prediction_log_pb2.PredictionLog()
        getattr(log, f"{kind}_log").request.CopyFrom(request)
        yield log
    both = inference_pb2.MultiInferenceRequest()
    for kind in ("classify", "regress"):
        task = both.tasks.add(method_name=f"tensorflow/serving/{kind}")
        _name(task.model_spec, "half_plus_two", f"{kind}_x_to_y")
    _add_example(both.input)
    log = prediction_log_pb2.PredictionLog()
    log.multi_inference_log.request.CopyFrom(both)
    yield log


def _name(spec: Any, model: str, signature: str) -> None:
    spec.name, spec.signature_name = model, signature


def _add_example(content: Any) -> None:
    example = content.example_list.examples.add()
    example.features.feature["x"].float_list.value.append(1.0)

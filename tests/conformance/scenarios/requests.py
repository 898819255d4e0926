"""Scenarios of several requests, or with checks of their own, on the server `main`."""

from __future__ import annotations

import base64
import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow.core.example import example_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, inference_pb2, predict_pb2, regression_pb2

from serving.embedded.flags import ServerFlags
from tests.conformance import grpc_calls, rest_calls
from tests.conformance.cases import MAIN
from tests.conformance.scenarios.registry import Run, scenario

MEGABYTES = 8
LONG = 3000
INIT_OP = "__saved_model_init_op"
METRICS = "/monitoring/prometheus/metrics"
SERIES = re.compile(r"^([a-zA-Z_:][\w:]*)\{(.*)\} (\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@scenario("clsreg-07")
def _examples_are_merged_with_their_context(run: Run) -> None:
    answer = rest_calls.send(run.server.url, run.case.request)
    assert answer.status == run.expect["status"], answer.text
    features = [_features(result[0][0]) for result in answer.json["results"]]
    for each in features:
        assert {name: each[name] for name in run.expect["context"]} == run.expect["context"]
    facts = run.expect["examples_facts"]
    assert features[1]["names"] == {"bytes": facts["names_b64_mixed"]}
    assert features[1]["intboolmix"] == facts["intboolmix"]
    assert features[0]["ratings"] == {"float": facts["ratings_nonfinite"]}
    assert features[0]["age"] == {"int64": [20]} and features[2]["ratings"] == {"float": ["-Infinity"]}


def _features(text: str) -> dict[str, dict[str, list[Any]]]:
    """Returns the features of the example that the model's class carries."""
    padded = text + "=" * (-len(text) % 4)
    example = example_pb2.Example.FromString(base64.urlsafe_b64decode(padded))
    return {name: _values(feature) for name, feature in example.features.feature.items()}


def _values(feature: Any) -> dict[str, list[Any]]:
    kind = feature.WhichOneof("kind")
    values = list(getattr(feature, kind).value)
    if kind == "bytes_list":
        return {"bytes": [value.decode() for value in values]}
    return {kind.removesuffix("_list"): [_json_number(value) for value in values]}


def _json_number(number: float) -> Any:
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else ("Infinity" if number > 0 else "-Infinity")


@scenario("errbody-02")
def _errors_are_printed_prettily(run: Run) -> None:
    answer = rest_calls.send(run.server.url, run.case.request)
    pattern = re.escape(run.expect["body_text"]).replace(re.escape("..."), r'(?:[^"\\]|\\.)+')
    assert answer.status >= 400 and re.fullmatch(pattern, answer.text)


@scenario("grpc-18")
def _signatures_without_inputs_work(run: Run) -> None:
    target = run.server.grpc
    # A server that was running before may have counted already.
    grpc_calls.predict(target, "counter", "reset_counter")
    grpc_calls.check(target, run.case.request, run.expect)
    counts = [
        grpc_calls.predict(target, "counter", name, **inputs)["output"].float_val[0] for name, inputs in _COUNTING
    ]
    assert counts == [1, 0, 1, 4]


_COUNTING: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("incr_counter", {}),
    ("reset_counter", {}),
    ("incr_counter", {}),
    ("incr_counter_by", {"delta": [3.0]}),
)


@scenario("grpc-22")
def _long_messages_are_cut(run: Run) -> None:
    request = grpc_calls.predict_request("half_plus_two", x=[1.0], **{"n" * LONG: [1.0]})
    details = grpc_calls.refused(run.server.grpc, "Predict", request).details()
    length, ending = run.expect["kept_characters"], run.expect["ending"]
    assert details.endswith(ending) and len(details) == length + len(ending)


@scenario("grpc-23")
def _a_deadline_ends_the_call(run: Run) -> None:
    request = grpc_calls.predict_request("slow", x=[2.0])
    error = grpc_calls.refused(run.server.grpc, "Predict", request, timeout=0.3)
    assert error.code().name == run.expect["code"]


@scenario("grpc-24")
def _an_input_with_a_default_may_be_left_out(run: Run) -> None:
    outputs = grpc_calls.predict(run.server.grpc, "with_default", a=[2.0])
    assert list(outputs["y"].float_val) == run.expect["sum"]
    answer = rest_calls.predict(run.server.url, "with_default", {"a": [2.0]}, "inputs")
    assert answer.status == run.expect["rest_status"] and "b" in answer.error


@scenario("grpc-38")
def _regress_answers_values(run: Run) -> None:
    request = regression_pb2.RegressionRequest()
    grpc_calls.fill_spec(request.model_spec, run.case.request["message"]["model_spec"])
    example = request.input.example_list.examples.add()
    example.features.feature["x"].float_list.value.append(2.0)
    answer = grpc_calls.call(run.server.grpc, "Regress", request)
    assert [regression.value for regression in answer.result.regressions] == run.expect["values"]


@scenario("grpc-41", "grpc-42")
def _tasks_of_one_request_must_fit_together(run: Run) -> None:
    request = inference_pb2.MultiInferenceRequest()
    for model, signature in run.case.request["tasks"]:
        task = request.tasks.add(method_name="tensorflow/serving/regress")
        task.model_spec.name, task.model_spec.signature_name = model, signature
    example = request.input.example_list.examples.add()
    example.features.feature["x"].float_list.value.append(2.0)
    error = grpc_calls.refused(run.server.grpc, "MultiInference", request)
    assert error.code().name == run.expect["code"]
    grpc_calls.check_details(error.details(), run.expect)


@scenario("grpc-44")
def _health_checks_use_short_names(run: Run) -> None:
    names = health_pb2.HealthCheckResponse.ServingStatus
    with grpc.insecure_channel(run.server.grpc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("PredictionService", "ModelService"):
            status = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=grpc_calls.TIMEOUT).status
            assert names.Name(status) == run.expect["status"]


@scenario("grpc-45")
def _large_messages_pass_and_reflection_is_not_there(run: Run) -> None:
    values = [1.0] * (MEGABYTES * 2**20 // 4)
    assert len(grpc_calls.predict(run.server.grpc, "half_plus_two", x=values)["y"].float_val) == len(values)
    with grpc.insecure_channel(run.server.grpc) as channel:
        reflect = channel.unary_unary("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        with pytest.raises(grpc.RpcError) as refusal:
            reflect(b"", timeout=grpc_calls.TIMEOUT)
    assert refusal.value.code().name == run.expect["reflection"]
    if run.pool.embedded:
        flags = {item.name: item.default for item in dataclasses.fields(ServerFlags)}
        assert flags["port"] == run.expect["default_port"] and flags["bind_address"] == run.expect["listens"]
        assert next((name for name in flags if name == "grpc_socket_path"), None) == run.expect["unix_socket"]


@scenario("life-34")
def _labels_choose_the_version(run: Run) -> None:
    resolved = {}
    for label in ("A", "B", ""):
        request = grpc_calls.predict_request("two_versions", x=[1.0])
        grpc_calls.fill_spec(request.model_spec, {"version_label": label} if label else {})
        answer = grpc_calls.call(run.server.grpc, "Predict", request)
        resolved[label or "none"] = answer.model_spec.version.value
    assert resolved == run.expect["resolves"]


@scenario("life-39")
def _labels_may_hold_almost_anything(run: Run) -> None:
    for label, status in run.expect["status_of"].items():
        request = {"method": "POST", "path": f"/v1/models/two_versions/labels/{label}:predict"}
        assert rest_calls.send(run.server.url, request | {"body": {"instances": [1.0]}}).status == status, label


@scenario("status-11")
def _metadata_is_that_of_the_file(run: Run) -> None:
    answer = rest_calls.send(run.server.url, run.case.request)
    assert answer.status == run.expect["status"] and answer.json["model_spec"] == run.expect["model_spec"]
    file = run.pool.models / "default" / "123" / "saved_model.pb"
    definitions = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs[0].signature_def
    wanted = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in definitions.items():
        wanted.signature_def[name].CopyFrom(definition)
    assert answer.json["metadata"].keys() == {"signature_def"}
    written = json_format.MessageToDict(
        wanted, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    assert _without_empty(answer.json["metadata"]["signature_def"]) == _without_empty(written)


def _without_empty(value: Any) -> Any:
    """Drops empty maps and lists: which of them are printed depends on the age of the server's schema."""
    if isinstance(value, dict):
        return {key: _without_empty(item) for key, item in value.items() if item not in ({}, [])}
    return value


@scenario("status-14")
def _the_metadata_lists_the_initializer(run: Run) -> None:
    answer = rest_calls.send(run.server.url, run.case.request)
    outputs = answer.json["metadata"]["signature_def"]["signature_def"][INIT_OP]["outputs"]
    assert [output["dtype"] for output in outputs.values()] == run.expect["dtypes"]


@scenario(
    "httpcode-cancelled",
    "httpcode-failed_precondition",
    "httpcode-not_found",
    "httpcode-out_of_range",
    "httpcode-permission_denied",
    "httpcode-resource_exhausted",
)
def _a_run_that_fails_has_the_status_of_its_code(run: Run) -> None:
    name = run.case.setup["status"]
    answer = rest_calls.predict(run.server.url, "statuses", [name])
    assert answer.status == run.expect["status"], answer.text
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "statuses"
    grpc_calls.fill_tensor(request.inputs["status"], {"dtype": "DT_STRING", "tensor_shape": [1], "string_val": [name]})
    assert grpc_calls.refused(run.server.grpc, "Predict", request).code().name == name


@scenario("httpcode-unimplemented")
def _a_type_that_json_cannot_hold_is_not_implemented(run: Run) -> None:
    answer = rest_calls.predict(run.server.url, "echo_default_half", [1.0], "inputs")
    assert answer.status == run.expect["status"], answer.text


@scenario("http-19")
def _metrics_have_their_names_labels_and_buckets(run: Run) -> None:
    assert run.case.server == MAIN
    rest_calls.predict(run.server.url, "half_plus_two", [1.0])
    grpc_calls.predict(run.server.grpc, "half_plus_two", x=[1.0])
    text = rest_calls.get(run.server.url, METRICS).text
    series = [(name, dict(LABEL.findall(labels))) for name, labels, _ in SERIES.findall(text)]
    for name, labels in run.expect["metrics"].items():
        assert re.search(rf"^# TYPE {re.escape(name)} \w+$", text, re.MULTILINE), name
        of_it = {name, *(name + part for part in ("_bucket", "_sum", "_count"))}
        found = [set(each) - {"le"} for key, each in series if key in of_it]
        assert all(each == set(labels) for each in found), name
        assert found or name not in run.expect["seen"], name
    for label, values in run.expect["label_values"].items():
        assert set(values) <= {each[label] for _, each in series if label in each}, label
    _check_buckets(series, run.expect["buckets"])


@scenario("http-36")
def _requests_for_unknown_models_are_counted(run: Run) -> None:
    name = "a_name_of_the_client"
    rest_calls.predict(run.server.url, name, [1.0])
    text = rest_calls.get(run.server.url, METRICS).text
    counted = {
        labels["model_name"]
        for key, labels in ((key, dict(LABEL.findall(labels))) for key, labels, _ in SERIES.findall(text))
        if key == ":tensorflow:serving:request_count" and labels["status"] == "NOT_FOUND"
    }
    assert run.expect["counted_as"] in counted and (name in counted) is (name == run.expect["counted_as"])


@scenario("http-37")
def _examples_of_predict(run: Run) -> None:
    def count() -> float:
        text = rest_calls.get(run.server.url, METRICS).text
        series = [(key, dict(LABEL.findall(labels)), number) for key, labels, number in SERIES.findall(text)]
        name = ":tensorflow:serving:request_example_count_total"
        return sum(float(number) for key, labels, number in series if (key, labels.get("model")) == (name, model))

    model = "saved_model_half_plus_three"
    before = count()
    assert rest_calls.predict(run.server.url, model, [1.0, 2.0]).status == 200
    assert count() - before == (2 if run.expect["counted"] else 0)


def _check_buckets(series: list[tuple[str, dict[str, str]]], wanted: Mapping[str, float]) -> None:
    bounds: dict[tuple[str, ...], list[float]] = {}
    for name, labels in series:
        if name == ":tensorflow:serving:request_latency_bucket":
            rest_of_them = tuple(value for label, value in labels.items() if label != "le")
            bounds.setdefault(rest_of_them, []).append(float(labels["le"]))
    exact = [wanted["first"] * wanted["factor"] ** power for power in range(int(wanted["count"]))]
    for each in bounds.values():
        assert each[-1] == math.inf and each[:-1] == pytest.approx(exact, rel=1e-4)

"""Scenarios about reload requests and batching, on the server `batching` with one thread for all batches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf import text_format
from tensorflow_serving.apis import model_management_pb2

from tests.conformance import grpc_calls, rest_calls
from tests.conformance.scenarios.polling import await_end, served, statuses
from tests.conformance.scenarios.registry import Run, scenario
from tests.conformance.server import Entry, Server, add_versions, add_warm_up_file, configuration_text
from tests.waiting import wait_until

PARAMETERS = "batching_params.pbtxt"
ATTEMPTS = 5
"""How often two requests are sent at once until they share a batch."""


def reload_request(server: Server, **entries: Entry) -> Any:
    """Returns a reload request with the models that the server always serves and these."""
    request = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(configuration_text({**server.entries, **entries}), request.config)
    return request


def reload(server: Server, **entries: Entry) -> Any:
    """Sends `reload_request`; returns when the models answer."""
    return grpc_calls.call(server.grpc, "HandleReloadConfigRequest", reload_request(server, **entries))


@contextlib.contextmanager
def _batched(run: Run, model: str, parameters: str | None, source: str) -> Iterator[Entry]:
    """Adds a model with batching parameters of its own until the block ends."""
    base = add_versions(run.pool.models, run.server, model, ["1.prepared"], source)
    if parameters is not None:
        (base / "1.prepared" / PARAMETERS).write_text(parameters)
    (base / "1.prepared").rename(base / "1")
    yield Entry(base)
    reload(run.server)


@contextlib.contextmanager
def _loaded(run: Run, model: str, parameters: str | None, source: str) -> Iterator[None]:
    with _batched(run, model, parameters, source) as entry:
        reload(run.server, **{model: entry})
        yield


@scenario("grpc-46")
def _a_reload_returns_when_the_new_model_answers(run: Run) -> None:
    server = run.server
    old = Entry(add_versions(run.pool.models, server, "grpc_46_a", ["1"]))
    new = Entry(add_versions(run.pool.models, server, "grpc_46_b", ["1"]))
    reload(server, grpc_46_a=old)
    grpc_calls.predict(server.grpc, "grpc_46_a", x=[1.0])
    answer = reload(server, grpc_46_b=new)
    assert answer.status.error_code == run.expect["response_status"]["error_code"]
    assert list(grpc_calls.predict(server.grpc, "grpc_46_b", x=[1.0])["y"].float_val) == [2.5]
    await_end(server, "grpc_46_a", 1)
    reload(server)


@scenario("grpc-48")
def _the_platform_of_a_model_stays(run: Run) -> None:
    server = run.server
    request = reload_request(server, first=Entry(server.folder / "first", platform="not_tensorflow"))
    error = grpc_calls.refused(server.grpc, "HandleReloadConfigRequest", request)
    assert error.code().name == run.expect["code"]
    grpc_calls.check_details(error.details(), run.expect)


@scenario("life-36")
def _a_label_may_precede_its_version(run: Run) -> None:
    server = run.server
    base = add_versions(run.pool.models, server, "life_36", ["1"])
    reload(server, life_36=Entry(base))
    answer = reload(server, life_36=Entry(base, labels={"ahead": 2}))
    assert answer.status.error_code == grpc.StatusCode[run.expect["code"]].value[0]
    path = "/v1/models/life_36/labels/ahead:predict"
    answer = rest_calls.send(server.url, {"method": "POST", "path": path, "body": {"instances": [1.0]}})
    assert answer.status == 404, answer.text
    reload(server)


@scenario("life-41")
def _parameters_are_wrapped_values(run: Run) -> None:
    with _loaded(run, "life_41", run.case.setup["parameters"], "sizes"):
        assert _sizes(run, "life_41", [1.0]) == run.expect["sizes"]


@scenario("life-44", "life-45", "life-91")
def _rows_run_in_batches_of_the_allowed_sizes(run: Run) -> None:
    name = run.case.id.replace("-", "_")
    with _loaded(run, name, run.case.setup["parameters"], "sizes"):
        outputs = grpc_calls.predict(run.server.grpc, name, x=run.case.request["x"])
        assert list(outputs["y"].float_val) == run.case.request["x"]
        assert list(outputs["size"].int_val) == run.expect["sizes"]


def _sizes(run: Run, model: str, x: Sequence[float]) -> list[int]:
    return list(grpc_calls.predict(run.server.grpc, model, x=x)["size"].int_val)


@scenario("life-47", "life-48", "life-90", "life-92", "life-93", "life-94", "life-95")
def _sizes_that_contradict_each_other_fail_the_load(run: Run) -> None:
    name = run.case.id.replace("-", "_")
    with _batched(run, name, run.case.setup["parameters"], "sizes") as entry:
        grpc_calls.refused(run.server.grpc, "HandleReloadConfigRequest", reload_request(run.server, **{name: entry}))
        status = wait_until(lambda: statuses(run.server, name).get(1), f"{name} has a status")["status"]
        assert served(run.server, name) == []
    assert status["error_code"] == run.expect["code"]
    assert run.expect["error_contains"] in status["error_message"]


@scenario("life-53")
def _a_batched_output_needs_a_batch_dimension(run: Run) -> None:
    with _loaded(run, "life_53", "max_batch_size { value: 4 }", "total"):
        request = grpc_calls.predict_request("life_53", x=[1.0])
        error = grpc_calls.refused(run.server.grpc, "Predict", request)
    assert error.code().name == run.expect["code"]
    assert run.expect["error_contains"] in error.details()


@scenario("life-100", "life-101", "life-102", "life-103")
def _a_batched_request_is_checked(run: Run) -> None:
    name = run.case.id.replace("-", "_")
    with _loaded(run, name, run.case.setup["parameters"], run.case.setup["model"]):
        error = grpc_calls.refused(run.server.grpc, "Predict", grpc_calls.build("Predict", run.case.request["message"]))
    assert error.code().name == run.expect["code"]
    grpc_calls.check_details(error.details(), run.expect)


def _together(run: Run, *inputs: Mapping[str, Any]) -> list[Any]:
    """Sends requests to the case's model at the same time; returns the outputs or the error of each."""
    name = run.case.id.replace("-", "_")

    def send(tensor: Mapping[str, Any]) -> Any:
        request = grpc_calls.build("Predict", {"model_spec": {"name": name}, "inputs": {"x": tensor}})
        try:
            return grpc_calls.call(run.server.grpc, "Predict", request).outputs
        except grpc.RpcError as error:
            return error

    with ThreadPoolExecutor(len(inputs)) as pool:
        return list(pool.map(send, inputs))


def _rows(*rows: Sequence[float]) -> dict[str, Any]:
    numbers = [number for row in rows for number in row]
    return {"dtype": "DT_FLOAT", "tensor_shape": [len(rows), len(rows[0])], "float_val": numbers}


def _tensor(outputs: Any) -> list[list[float]]:
    rows, columns = (dimension.size for dimension in outputs["y"].tensor_shape.dim)
    values = list(outputs["y"].float_val)
    return [values[row * columns : (row + 1) * columns] for row in range(rows)]


@scenario("life-96")
def _batches_are_padded_from_their_last_request(run: Run) -> None:
    first, second = [1.0, 2.0], [10.0, 20.0]
    with _loaded(run, "life_96", run.case.setup["parameters"], "positions"):
        answers: list[Any] = []
        for _ in range(ATTEMPTS):
            answers = _together(run, _rows(*([x] for x in first)), _rows(*([x] for x in second)))
            if sum(min(answer["row"].int_val) for answer in answers) > 0:
                break  # both ran in one batch
    last = first if min(answers[0]["row"].int_val) > 0 else second
    assert {answer["total"].float_val[0] for answer in answers} == {sum(first + second) + 4 * last[0]}


@scenario("life-97")
def _requests_of_different_shapes_are_padded(run: Run) -> None:
    with _loaded(run, "life_97", run.case.setup["parameters"], "positions"):
        for _ in range(ATTEMPTS):
            long, short = map(_tensor, _together(run, _rows([1.0, 2.0, 3.0]), _rows([7.0])))
            if len(short[0]) > 1:
                break  # both ran in one batch
    assert long == run.expect["long"] and short == run.expect["short"]


@scenario("life-98", "life-99")
def _requests_of_one_batch_fail_together(run: Run) -> None:
    pair = (_rows([1.0]), _rows([7.0, 8.0])) if run.case.id == "life-98" else (_rows([1.0]), _rows([-1.0]))
    with _loaded(run, run.case.id.replace("-", "_"), run.case.setup["parameters"], "positions"):
        answers = _together(run, *pair)
    errors = [answer if isinstance(answer, grpc.RpcError) else None for answer in answers]
    assert [error.code().name if error else "OK" for error in errors] == run.expect["codes"]
    assert all(run.expect["error_contains"] in error.details() for error in errors if error)


@scenario("grpc-91")
def _a_reload_reports_metrics(run: Run) -> None:
    request = reload_request(run.server)
    request.metric_names.extend(run.case.request["metric_names"])
    answer = grpc_calls.call(run.server.grpc, "HandleReloadConfigRequest", request)
    assert {metric.name: metric.int64_value_increase for metric in answer.metric} == run.expect["metrics"]


@contextlib.contextmanager
def _busy(server: Server, model: str) -> Iterator[None]:
    """Keeps the one thread for batches busy until the block ends."""
    begun, end = (server.folder / f"{model}.{name}" for name in ("begun", "end"))
    request = grpc_calls.predict_request(model, "until_file")
    for name, path in (("begun", begun), ("end", end)):
        text = {"dtype": "DT_STRING", "tensor_shape": [1], "string_val": [str(path)]}
        grpc_calls.fill_tensor(request.inputs[name], text)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(grpc_calls.call, server.grpc, "Predict", request)
        try:
            wait_until(lambda: running.done() or begun.exists(), "the thread is busy")
            yield
        finally:
            end.touch()
        running.result()


def _predict_while_busy(run: Run, model: str, parameters: str) -> rest_calls.Answer:
    """Returns the answer to a request whose time-out ends before the one thread for batches is free."""
    with _loaded(run, model, parameters, "slow"), _busy(run.server, model):
        return rest_calls.predict(run.server.url, model, [0.0])


@scenario("life-54")
def _a_request_may_wait_too_long(run: Run) -> None:
    answer = _predict_while_busy(run, "life_54", "max_batch_size { value: 1 } num_batch_threads { value: 1 }")
    assert answer.status == run.expect["http_status"], answer.text
    assert run.expect["error_contains"] in answer.error


@scenario("life-55", "httpcode-unavailable")
def _a_full_queue_refuses(run: Run) -> None:
    server, name = run.server, run.case.id.replace("-", "_")
    parameters = "max_batch_size { value: 1 } max_enqueued_batches { value: 1 }"
    with _loaded(run, name, parameters, "slow"), ThreadPoolExecutor(2) as pool:
        with _busy(server, name):
            # One of the two waits in the queue, so the other one is refused, and everything after it.
            pair = [pool.submit(grpc_calls.predict, server.grpc, name, x=[0.0]) for _ in range(2)]
            wait_until(lambda: any(request.done() for request in pair), "one of two requests is refused")
            answer = rest_calls.predict(server.url, name, [0.0])
        assert [request.exception() is None for request in pair].count(True) == 1
    assert answer.status == run.expect["http_status"], answer.text
    assert run.expect["error_contains"] in answer.error


@scenario("life-56")
def _each_model_has_its_own_parameters(run: Run) -> None:
    with _loaded(run, "life_56_batched", run.case.setup["parameters"], "sizes"):
        assert _sizes(run, "life_56_batched", [1.0]) == run.expect["with_file"]
    with _loaded(run, "life_56_plain", None, "sizes"):
        assert _sizes(run, "life_56_plain", [1.0]) == run.expect["without_file"]
    answer = _predict_while_busy(run, "life_56_threads", "max_batch_size { value: 1 }")
    assert answer.status == run.expect["status_when_the_only_thread_is_busy"], answer.text


@scenario("life-66")
def _warm_up_requests_can_be_run_again_and_again(run: Run) -> None:
    server = run.server
    base = add_versions(run.pool.models, server, "life_66", ["1.prepared"], "counter")
    add_warm_up_file(run.pool.models / "warm-up" / "one", base / "1.prepared")
    (base / "1.prepared").rename(base / "1")
    reload(server, life_66=Entry(base))
    outputs = grpc_calls.predict(server.grpc, "life_66", "get_counter")
    assert outputs["output"].float_val[0] == run.expect["each_record_runs"]
    reload(server)

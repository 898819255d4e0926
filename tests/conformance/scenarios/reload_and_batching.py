"""Scenarios on the server `batching`, which is configured by requests and has one thread for all batches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf import text_format
from tensorflow_serving.apis import model_management_pb2

from tests.conformance import grpc_calls, rest
from tests.conformance.configuration import Entry, configuration_text, put_warm_up
from tests.conformance.polling import served, statuses
from tests.conformance.scenario import Play, scenario
from tests.conformance.server import Server, place, wait_for

PARAMETERS = "batching_params.pbtxt"
PLENTY = 6


def reload_request(server: Server, **entries: Entry) -> Any:
    """Returns the request that configures a server anew, with the model that it always serves and these."""
    request = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(configuration_text({**server.entries, **entries}), request.config)
    return request


def reload(server: Server, **entries: Entry) -> Any:
    """Configures a server anew."""
    return grpc_calls.call(server.grpc, "HandleReloadConfigRequest", reload_request(server, **entries))


@contextlib.contextmanager
def _batched(play: Play, model: str, parameters: str | None, source: str) -> Iterator[Entry]:
    """Makes a model with batching parameters of its own, and removes it again."""
    base = place(play.pool.models, play.server, model, ["1.prepared"], source)
    if parameters is not None:
        (base / "1.prepared" / PARAMETERS).write_text(parameters)
    (base / "1.prepared").rename(base / "1")
    yield Entry(base)
    reload(play.server)


@contextlib.contextmanager
def _loaded(play: Play, model: str, parameters: str | None, source: str) -> Iterator[None]:
    with _batched(play, model, parameters, source) as entry:
        reload(play.server, **{model: entry})
        yield


@scenario("grpc-46")
def _a_reload_returns_when_the_new_model_answers(play: Play) -> None:
    server = play.server
    old = Entry(place(play.pool.models, server, "grpc_46_a", ["1"]))
    new = Entry(place(play.pool.models, server, "grpc_46_b", ["1"]))
    reload(server, grpc_46_a=old)
    assert rest.predict(server.url, "grpc_46_a", [1.0]).status == 200
    answer = reload(server, grpc_46_b=new)
    assert answer.status.error_code == play.expect["response_status"]["error_code"]
    assert rest.predict(server.url, "grpc_46_b", [1.0]).json == {"predictions": [2.5]}
    wait_for(lambda: statuses(server, "grpc_46_a")[1]["state"] == "END")
    reload(server)


@scenario("grpc-48")
def _the_platform_of_a_model_stays(play: Play) -> None:
    server = play.server
    request = reload_request(server, first=Entry(server.folder / "first", platform="not_tensorflow"))
    error = grpc_calls.refused(server.grpc, "HandleReloadConfigRequest", request)
    assert error.code().name == play.expect["code"]
    grpc_calls.check_details(error.details(), play.expect)


@scenario("life-36")
def _a_new_label_may_be_ahead_of_its_version(play: Play) -> None:
    server = play.server
    base = place(play.pool.models, server, "life_36", ["1"])
    reload(server, life_36=Entry(base))
    answer = reload(server, life_36=Entry(base, labels={"ahead": 2}))
    assert answer.status.error_code == grpc.StatusCode[play.expect["code"]].value[0]
    path = "/v1/models/life_36/labels/ahead:predict"
    asked = rest.send(server.url, {"method": "POST", "path": path, "body": {"instances": [1.0]}})
    assert asked.status == 404, asked.text
    reload(server)


@scenario("life-41")
def _parameters_are_wrapped_values(play: Play) -> None:
    with _loaded(play, "life_41", play.case.given["parameters"], "sizes"):
        assert _sizes(play, "life_41", [1.0]) == play.expect["sizes"]


@scenario("life-44", "life-45")
def _rows_are_run_in_batches_of_the_sizes_allowed(play: Play) -> None:
    name = play.case.id.replace("-", "_")
    with _loaded(play, name, play.case.given["parameters"], "sizes"):
        outputs = grpc_calls.predict(play.server.grpc, name, x=play.case.request["x"])
        assert list(outputs["y"].float_val) == play.case.request["x"]
        assert list(outputs["size"].int_val) == play.expect["sizes"]


def _sizes(play: Play, model: str, x: Sequence[float]) -> list[int]:
    return list(grpc_calls.predict(play.server.grpc, model, x=x)["size"].int_val)


@scenario("life-47", "life-48")
def _sizes_that_contradict_each_other_fail_the_load(play: Play) -> None:
    name = play.case.id.replace("-", "_")
    with _batched(play, name, play.case.given["parameters"], "sizes") as entry:
        grpc_calls.refused(play.server.grpc, "HandleReloadConfigRequest", reload_request(play.server, **{name: entry}))
        status = wait_for(lambda: statuses(play.server, name).get(1))["status"]
        assert served(play.server, name) == []
    assert status["error_code"] == play.expect["code"]
    assert play.expect["error_contains"] in status["error_message"]


@scenario("life-53")
def _a_batched_output_needs_a_batch_dimension(play: Play) -> None:
    with _loaded(play, "life_53", "max_batch_size { value: 4 }", "total"):
        request = grpc_calls.predict_request("life_53", x=[1.0])
        error = grpc_calls.refused(play.server.grpc, "Predict", request)
    assert error.code().name == play.expect["code"]
    assert play.expect["error_contains"] in error.details()


@contextlib.contextmanager
def _occupied(server: Server, model: str, seconds: float) -> Iterator[None]:
    """Keeps the one thread for batches busy."""
    request = grpc_calls.predict_request(model, x=[seconds])
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(grpc_calls.call, server.grpc, "Predict", request)
        wait_for(lambda: running.done() or _has_to_wait(server, model))
        yield
        running.result()


def _has_to_wait(server: Server, model: str) -> bool:
    """Whether a request that takes no time does not end soon, because something else is running."""
    request = grpc_calls.predict_request(model, x=[0.0])
    try:
        grpc_calls.call(server.grpc, "Predict", request, timeout=0.5)
    except grpc.RpcError as error:
        return error.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)
    return False


def _asked_while_occupied(play: Play, model: str, parameters: str) -> rest.Answer:
    """Returns the answer to a request that finds the one thread for batches busy for longer than it may wait."""
    with _loaded(play, model, parameters, "slow"), _occupied(play.server, model, 4.0):
        return rest.predict(play.server.url, model, [0.0])


@scenario("life-54")
def _a_request_may_wait_too_long(play: Play) -> None:
    answer = _asked_while_occupied(play, "life_54", "max_batch_size { value: 1 } num_batch_threads { value: 1 }")
    assert answer.status == play.expect["http_status"], answer.text
    assert play.expect["error_contains"] in answer.error


@scenario("life-55", "httpcode-unavailable")
def _a_full_queue_refuses(play: Play) -> None:
    name = play.case.id.replace("-", "_")
    parameters = "max_batch_size { value: 1 } max_enqueued_batches { value: 1 }"
    with _loaded(play, name, parameters, "slow"), ThreadPoolExecutor(PLENTY) as pool:
        asked = [pool.submit(rest.predict, play.server.url, name, [0.5]) for _ in range(PLENTY)]
        answers = [each.result() for each in asked]
    refused = [answer for answer in answers if answer.status == play.expect["http_status"]]
    assert refused and any(answer.status == 200 for answer in answers)
    assert all(play.expect["error_contains"] in answer.error for answer in refused)


@scenario("life-56")
def _each_model_has_its_own_parameters(play: Play) -> None:
    with _loaded(play, "life_56_batched", play.case.given["parameters"], "sizes"):
        assert _sizes(play, "life_56_batched", [1.0]) == play.expect["with_file"]
    with _loaded(play, "life_56_plain", None, "sizes"):
        assert _sizes(play, "life_56_plain", [1.0]) == play.expect["without_file"]
    answer = _asked_while_occupied(play, "life_56_threads", "max_batch_size { value: 1 }")
    assert answer.status == play.expect["status_when_the_only_thread_is_busy"], answer.text


@scenario("life-66")
def _warm_up_requests_can_be_run_again_and_again(play: Play) -> None:
    server = play.server
    base = place(play.pool.models, server, "life_66", ["1.prepared"], "counter")
    put_warm_up(play.pool.models / "warm-up" / "one", base / "1.prepared")
    (base / "1.prepared").rename(base / "1")
    reload(server, life_66=Entry(base))
    outputs = grpc_calls.predict(server.grpc, "life_66", "get_counter")
    assert outputs["output"].float_val[0] == play.expect["each_record_runs"]
    reload(server)

"""Scenarios about versions and configuration files on disk: on servers that poll, read once, or cannot start."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.apis import model_management_pb2

from tests.conformance import grpc_calls, rest_calls
from tests.conformance.scenarios.registry import Run, scenario
from tests.conformance.server import (
    READY_SECONDS,
    Entry,
    Server,
    add_versions,
    add_warm_up_file,
    configuration_text,
    write_configuration,
)
from tests.waiting import wait_until


def statuses(server: Server, model: str) -> dict[int, dict[str, Any]]:
    """Returns the status of each version; nothing for an unknown model."""
    answer = rest_calls.get(server.url, f"/v1/models/{model}")
    if answer.status != 200:
        return {}
    return {int(item["version"]): item for item in answer.json["model_version_status"]}


def served(server: Server, model: str) -> list[int]:
    """Returns the versions that are available, the lowest first."""
    return sorted(v for v, item in statuses(server, model).items() if item["state"] == "AVAILABLE")


def await_served(server: Server, model: str, versions: Sequence[int]) -> None:
    """Waits until exactly these versions are available."""
    wait_until(lambda: served(server, model) == sorted(versions), f"{model} serves the versions {versions}")


def await_end(server: Server, model: str, version: int) -> None:
    """Waits until a version is unloaded or has failed to load."""
    wait_until(
        lambda: statuses(server, model).get(version, {}).get("state") == "END", f"version {version} of {model} ends"
    )


@contextlib.contextmanager
def configured(server: Server, **entries: Entry) -> Iterator[None]:
    """Adds models to a server's configuration file until the block ends."""
    server.entries.update(entries)
    write_configuration(server.folder, server.entries)
    yield
    for name in entries:
        del server.entries[name]
    write_configuration(server.folder, server.entries)


def _name(run: Run) -> str:
    return run.case.id.replace("-", "_")


@scenario("life-01", "life-03", "life-06", "life-10", "life-25")
def _versions_are_the_numeric_folders_that_the_policy_selects(run: Run) -> None:
    server, setup, wanted = run.server, run.case.setup, run.expect["served"]
    base = add_versions(run.pool.models, server, _name(run), [d for d in setup["dirs"] if d.isdigit()])
    for other in (d for d in setup["dirs"] if not d.isdigit()):
        (base / other).mkdir()
    with configured(server, **{_name(run): Entry(base, setup.get("policy", ""))}):
        await_served(server, _name(run), wanted)
        answer = rest_calls.predict(server.url, _name(run), [1.0])
        assert answer.json == {"predictions": [2.5]}
        latest = grpc_calls.call(server.grpc, "Predict", grpc_calls.predict_request(_name(run), x=[1.0]))
        assert latest.model_spec.version.value == max(wanted)


@scenario("life-11", "life-15")
def _versions_whose_folders_disappear_are_unloaded(run: Run) -> None:
    server, setup, request = run.server, run.case.setup, run.case.request
    base = add_versions(run.pool.models, server, _name(run), setup["dirs"])
    with configured(server, **{_name(run): Entry(base, setup.get("policy", ""))}):
        await_served(server, _name(run), [int(d) for d in setup["dirs"]])
        for old, new in request.get("rename", {}).items():
            (base / old).rename(base / new)
        for gone in request["delete"]:
            shutil.rmtree(base / gone)
        await_served(server, _name(run), run.expect["served_after"])
        gone = {int(d) for d in setup["dirs"]} - set(run.expect["served_after"])
        for version in gone:
            await_end(server, _name(run), version)


@scenario("life-13")
def _a_base_path_that_disappears_unloads_nothing(run: Run) -> None:
    server = run.server
    base = add_versions(run.pool.models, server, _name(run), ["1"])
    with configured(server, **{_name(run): Entry(base)}):
        await_served(server, _name(run), [1])
        away = base.rename(base.with_name("life_13_away"))
        wait_until(lambda: f"{run.expect['error_contains']} {base}" in server.output(), "the log reports the base path")
        assert served(server, _name(run)) == [1]
        assert rest_calls.predict(server.url, _name(run), [1.0]).status == 200
        away.rename(base)


@scenario("life-16")
def _without_polling_versions_are_read_once(run: Run) -> None:
    no_polling, polling = run.server, run.pool.get("polling")
    # The polling server notices its new version in the time in which this one must not.
    base = add_versions(run.pool.models, polling, _name(run), ["3"])
    with configured(polling, **{_name(run): Entry(base)}):
        await_served(polling, _name(run), [3])
        add_versions(run.pool.models, no_polling, "half_plus_two", ["4"])
        add_versions(run.pool.models, polling, _name(run), ["4"])
        await_served(polling, _name(run), [4])
    assert served(no_polling, "half_plus_two") == run.expect["served_after"]


@scenario("life-26")
def _the_configuration_file_is_read_again(run: Run) -> None:
    server = run.server
    two, three = (add_versions(run.pool.models, server, f"{_name(run)}_{n}", ["1"], m) for n, m in _TWO_AND_THREE)
    with configured(server, half_plus_two=Entry(two)):
        await_served(server, "half_plus_two", [1])
    with configured(server, half_plus_three=Entry(three)):
        await_served(server, run.expect["served"], [1])
        await_served(server, "half_plus_two", [])
        assert rest_calls.predict(server.url, "half_plus_three", [1.0]).json == {"predictions": [3.5]}


_TWO_AND_THREE = (("two", "half_plus_two"), ("three", "saved_model_half_plus_three"))


@scenario("life-27")
def _the_configuration_file_is_read_once_by_default(run: Run) -> None:
    no_polling, polling = run.server, run.pool.get("polling")
    base = add_versions(run.pool.models, polling, _name(run), ["1"])
    entries = dict(no_polling.entries)
    try:
        write_configuration(no_polling.folder, {"half_plus_three": Entry(base)})
        with configured(polling, **{_name(run): Entry(base)}):
            await_served(polling, _name(run), [1])
    finally:
        write_configuration(no_polling.folder, entries)
    assert served(no_polling, run.expect["served"]) and not statuses(no_polling, "half_plus_three")


@scenario("life-29")
def _all_models_of_the_file_are_served(run: Run) -> None:
    server = run.server
    bases = [add_versions(run.pool.models, server, f"{_name(run)}_{n}", ["1"], m) for n, m in _TWO_AND_THREE]
    entries = dict(zip(run.expect["served"], map(Entry, bases), strict=True))
    with configured(server, **entries):
        for model in run.expect["served"]:
            await_served(server, model, [1])


@scenario("life-32")
def _another_base_path_means_other_versions(run: Run) -> None:
    server = run.server
    old = add_versions(run.pool.models, server, "life_32_old", ["1"])
    new = add_versions(run.pool.models, server, "life_32_new", ["7"])
    with configured(server, life_32=Entry(old)):
        await_served(server, "life_32", [1])
    with configured(server, life_32=Entry(new)):
        await_served(server, "life_32", run.expect["served"])


@scenario("life-35")
def _a_label_needs_a_version_that_is_loaded(run: Run) -> None:
    server = run.server
    base = add_versions(run.pool.models, server, "life_35", ["123", "124"])
    with configured(server, life_35=Entry(base, "all {}")):
        await_served(server, "life_35", [123, 124])
        labelled = {**server.entries, "life_35": Entry(base, "all {}", {"absent": 125})}
        request = model_management_pb2.ReloadConfigRequest()
        text_format.Parse(configuration_text(labelled), request.config)
        error = _reload_error(server, request)
    assert error.code().name == run.expect["code"]
    assert error.details() == run.expect["details"]


@scenario("life-84")
def _a_version_and_its_label_need_two_steps(run: Run) -> None:
    server = run.server
    base = add_versions(run.pool.models, server, "life_84", run.case.setup["dirs"])
    with configured(server, life_84=Entry(base)):
        await_served(server, "life_84", run.expect["served"])
        request = model_management_pb2.ReloadConfigRequest()
        labelled = {**server.entries, "life_84": Entry(base, "all {}", {"stable": 1})}
        text_format.Parse(configuration_text(labelled), request.config)
        error = _reload_error(server, request)
        assert served(server, "life_84") == run.expect["served"]
    assert error.code().name == run.expect["code"]
    assert error.details() == run.expect["details"]


@scenario("life-105")
def _a_missing_base_path_and_the_versions_of_other_models(run: Run) -> None:
    server, wanted = run.server, run.expect["served_after"]
    base = add_versions(run.pool.models, server, "life_105", ["1"])
    other = add_versions(run.pool.models, server, "life_105_other", ["1"])
    with configured(server, life_105=Entry(base), life_105_other=Entry(other)):
        await_served(server, "life_105", [1])
        away = other.rename(other.with_name("life_105_away"))
        add_versions(run.pool.models, server, "life_105", ["2"])
        if 2 in wanted:
            await_served(server, "life_105", wanted)
        else:
            before = server.output().count(str(other))
            wait_until(lambda: server.output().count(str(other)) > before + 1, "the server has polled again")
            assert served(server, "life_105") == wanted
        away.rename(other)


def _reload_error(server: Server, request: Any) -> Any:
    return grpc_calls.refused(server.grpc, "HandleReloadConfigRequest", request)


@scenario("life-57")
def _warm_up_replays_every_record_in_order(run: Run) -> None:
    server = run.server
    assert _count_after(run, server, "in_order") == run.expect["count_of_digits"]
    assert _count_after(run, server, "most") == run.expect["max_records"]
    status = _status_of_failed_load(run, server, "too_many", "counter")
    assert status["error_code"] == run.expect["code_of_more"]


@scenario("life-59", "life-87")
def _a_warm_up_file_without_requests_replays_nothing(run: Run) -> None:
    file = run.case.setup.get("file", "empty")
    assert _count_after(run, run.server, file) == run.expect["requests_replayed"]


@scenario("life-60", "life-62", "life-63", "life-85", "life-86", "life-88", "life-89")
def _a_broken_warm_up_file_fails_the_load(run: Run) -> None:
    file, model = run.case.setup["file"], run.case.setup["model"]
    status = _status_of_failed_load(run, run.server, file, model)
    assert status["error_code"] == run.expect["code"]
    assert run.expect["error_contains"] in status["error_message"]


@scenario("life-68")
def _warm_up_can_be_switched_off(run: Run) -> None:
    outputs = grpc_calls.predict(run.server.grpc, "counter", "get_counter")
    assert _first(outputs["output"]) == run.expect["requests_replayed"]


@scenario("grpc-21")
def _tensors_are_typed_fields_or_content_as_the_flag_says(run: Run) -> None:
    typed = grpc_calls.predict(run.pool.get("main").grpc, "half_plus_two", x=[2.0])["y"]
    assert list(typed.float_val) == run.expect["float_val"] and not typed.tensor_content
    content = grpc_calls.predict(run.server.grpc, "half_plus_two", x=[2.0])["y"]
    assert _first(content) == run.expect["float_val"][0]
    assert content.tensor_content and not content.float_val


def _first(tensor: Any) -> float:
    import numpy as np

    return float(np.frombuffer(tensor.tensor_content, np.float32)[0]) if tensor.tensor_content else tensor.float_val[0]


def _add_warmed_model(run: Run, server: Server, file: str, model: str) -> tuple[str, Path]:
    name = f"{_name(run)}_{file}"
    base = add_versions(run.pool.models, server, name, ["1.prepared"], model)
    add_warm_up_file(run.pool.models / "warm-up" / file, base / "1.prepared")
    (base / "1.prepared").rename(base / "1")
    return name, base


def _count_after(run: Run, server: Server, file: str) -> float:
    """Loads a counter with a warm-up file and returns its count when it becomes available."""
    name, base = _add_warmed_model(run, server, file, "counter")
    with configured(server, **{name: Entry(base)}):
        await_served(server, name, [1])
        return float(grpc_calls.predict(server.grpc, name, "get_counter")["output"].float_val[0])


def _status_of_failed_load(run: Run, server: Server, file: str, model: str) -> dict[str, str]:
    name, base = _add_warmed_model(run, server, file, model)
    with configured(server, **{name: Entry(base)}):
        await_end(server, name, 1)
        status: dict[str, str] = statuses(server, name)[1]["status"]
        return status


@scenario("status-07")
def _unloaded_versions_stay_in_the_status(run: Run) -> None:
    server = run.server
    base = add_versions(run.pool.models, server, "status_07", ["1"])
    with configured(server, status_07=Entry(base)):
        await_served(server, "status_07", [1])
        add_versions(run.pool.models, server, "status_07", ["2"])
        await_end(server, "status_07", 1)
        rest_calls.check(rest_calls.get(server.url, "/v1/models/status_07"), run.expect)


@scenario("status-08")
def _a_broken_version_is_reported_and_the_old_one_stays(run: Run) -> None:
    server = run.server
    base = add_versions(run.pool.models, server, "status_08", ["1", "2.prepared"])
    (base / "2.prepared" / "saved_model.pb").write_bytes(b"this is no graph")
    with configured(server, status_08=Entry(base)):
        await_served(server, "status_08", [1])
        (base / "2.prepared").rename(base / "2")
        await_end(server, "status_08", 2)
        found = statuses(server, "status_08")
    assert found[2]["status"]["error_code"] in run.expect["error_codes"] and found[2]["status"]["error_message"]
    assert {version: item["state"] for version, item in found.items()} == {2: "END", 1: "AVAILABLE"}


@scenario("life-12")
def _the_ports_open_when_there_is_something_to_serve(run: Run) -> None:
    server = run.server
    wait_until(
        lambda: all(part in server.output() for part in run.expect["log"]), "the log reports no version", READY_SECONDS
    )
    assert server.is_closed()
    base = add_versions(run.pool.models, server, "model", ["1.prepared"])
    (base / "1.prepared").rename(base / "1")
    wait_until(server.is_listening, "the server is listening", READY_SECONDS)
    assert rest_calls.predict(server.url, "model", [1.0]).json == {"predictions": [2.5]}


@scenario("life-30", "life-33", "life-69", "life-80", "life-81", "life-82", "life-83")
def _a_server_that_cannot_serve_ends(run: Run) -> None:
    server = run.server
    assert server.wait_for_exit() != 0
    for part in run.expect["log"]:
        assert part in server.output()

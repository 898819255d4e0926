"""Scenarios on the servers that look at the disk: `polling` again and again, `still` once."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.apis import model_management_pb2

from tests.conformance import grpc_calls, rest
from tests.conformance.configuration import Entry, configuration_text, put_warm_up, write_configuration
from tests.conformance.scenario import Play, scenario
from tests.conformance.server import Server, place, wait_for


def statuses(server: Server, model: str) -> dict[int, dict[str, Any]]:
    """Returns what the status says of each version; nothing of a model that is not known."""
    answer = rest.get(server.url, f"/v1/models/{model}")
    if answer.status != 200:
        return {}
    return {int(item["version"]): item for item in answer.json["model_version_status"]}


def served(server: Server, model: str) -> list[int]:
    """Returns the versions that are available, the lowest first."""
    return sorted(v for v, item in statuses(server, model).items() if item["state"] == "AVAILABLE")


def await_served(server: Server, model: str, versions: Sequence[int]) -> None:
    """Waits until just these versions are available."""
    wait_for(lambda: served(server, model) == sorted(versions))


@contextlib.contextmanager
def configured(server: Server, **entries: Entry) -> Iterator[None]:
    """Adds models to the configuration file of a server for a while."""
    server.entries.update(entries)
    write_configuration(server.folder, server.entries)
    yield
    for name in entries:
        del server.entries[name]
    write_configuration(server.folder, server.entries)


def _name(play: Play) -> str:
    return play.case.id.replace("-", "_")


@scenario("life-01", "life-03", "life-06", "life-10", "life-25")
def _versions_are_the_numeric_folders_that_the_policy_wants(play: Play) -> None:
    server, given, wanted = play.server, play.case.given, play.expect["served"]
    base = place(play.pool.models, server, _name(play), [d for d in given["dirs"] if d.isdigit()])
    for other in (d for d in given["dirs"] if not d.isdigit()):
        (base / other).mkdir()
    with configured(server, **{_name(play): Entry(base, given.get("policy", ""))}):
        await_served(server, _name(play), wanted)
        answer = rest.predict(server.url, _name(play), [1.0])
        assert answer.json == {"predictions": [2.5]}
        latest = grpc_calls.call(server.grpc, "Predict", grpc_calls.predict_request(_name(play), x=[1.0]))
        assert latest.model_spec.version.value == max(wanted)


@scenario("life-11", "life-15")
def _versions_whose_folders_go_are_unloaded(play: Play) -> None:
    server, given, request = play.server, play.case.given, play.case.request
    base = place(play.pool.models, server, _name(play), given["dirs"])
    with configured(server, **{_name(play): Entry(base, given.get("policy", ""))}):
        await_served(server, _name(play), [int(d) for d in given["dirs"]])
        for old, new in request.get("rename", {}).items():
            (base / old).rename(base / new)
        for gone in request["delete"]:
            shutil.rmtree(base / gone)
        await_served(server, _name(play), play.expect["served_after"])
        gone = {int(d) for d in given["dirs"]} - set(play.expect["served_after"])
        wait_for(lambda: all(statuses(server, _name(play))[version]["state"] == "END" for version in gone))


@scenario("life-13")
def _a_base_path_that_goes_unloads_nothing(play: Play) -> None:
    server = play.server
    base = place(play.pool.models, server, _name(play), ["1"])
    with configured(server, **{_name(play): Entry(base)}):
        await_served(server, _name(play), [1])
        away = base.rename(base.with_name("life_13_away"))
        wait_for(lambda: f"{play.expect['error_contains']} {base}" in server.said())
        assert served(server, _name(play)) == [1]
        assert rest.predict(server.url, _name(play), [1.0]).status == 200
        away.rename(base)


@scenario("life-16")
def _a_server_told_so_looks_once(play: Play) -> None:
    still, polling = play.server, play.pool.get("polling")
    # The other server notices its new version in the time in which this one must not.
    base = place(play.pool.models, polling, _name(play), ["3"])
    with configured(polling, **{_name(play): Entry(base)}):
        await_served(polling, _name(play), [3])
        place(play.pool.models, still, "half_plus_two", ["4"])
        place(play.pool.models, polling, _name(play), ["4"])
        await_served(polling, _name(play), [4])
    assert served(still, "half_plus_two") == play.expect["served_after"]


@scenario("life-26")
def _the_configuration_file_is_read_again(play: Play) -> None:
    server = play.server
    two, three = (place(play.pool.models, server, f"{_name(play)}_{n}", ["1"], m) for n, m in _TWO_AND_THREE)
    with configured(server, half_plus_two=Entry(two)):
        await_served(server, "half_plus_two", [1])
    with configured(server, half_plus_three=Entry(three)):
        await_served(server, play.expect["served"], [1])
        await_served(server, "half_plus_two", [])
        assert rest.predict(server.url, "half_plus_three", [1.0]).json == {"predictions": [3.5]}


_TWO_AND_THREE = (("two", "half_plus_two"), ("three", "saved_model_half_plus_three"))


@scenario("life-27")
def _the_configuration_file_is_read_once_by_default(play: Play) -> None:
    still, polling = play.server, play.pool.get("polling")
    base = place(play.pool.models, polling, _name(play), ["1"])
    entries = dict(still.entries)
    try:
        write_configuration(still.folder, {"half_plus_three": Entry(base)})
        with configured(polling, **{_name(play): Entry(base)}):
            await_served(polling, _name(play), [1])
    finally:
        write_configuration(still.folder, entries)
    assert served(still, play.expect["served"]) and not statuses(still, "half_plus_three")


@scenario("life-29")
def _all_models_of_the_file_are_served(play: Play) -> None:
    server = play.server
    bases = [place(play.pool.models, server, f"{_name(play)}_{n}", ["1"], m) for n, m in _TWO_AND_THREE]
    entries = dict(zip(play.expect["served"], map(Entry, bases), strict=True))
    with configured(server, **entries):
        for model in play.expect["served"]:
            await_served(server, model, [1])


@scenario("life-32")
def _another_base_path_means_other_versions(play: Play) -> None:
    server = play.server
    old = place(play.pool.models, server, "life_32_old", ["1"])
    new = place(play.pool.models, server, "life_32_new", ["7"])
    with configured(server, life_32=Entry(old)):
        await_served(server, "life_32", [1])
    with configured(server, life_32=Entry(new)):
        await_served(server, "life_32", play.expect["served"])


@scenario("life-35")
def _a_label_needs_a_version_that_is_loaded(play: Play) -> None:
    server = play.server
    base = place(play.pool.models, server, "life_35", ["123", "124"])
    with configured(server, life_35=Entry(base, "all {}")):
        await_served(server, "life_35", [123, 124])
        labelled = {**server.entries, "life_35": Entry(base, "all {}", {"absent": 125})}
        request = model_management_pb2.ReloadConfigRequest()
        text_format.Parse(configuration_text(labelled), request.config)
        error = _reload_error(server, request)
    assert error.code().name == play.expect["code"]
    assert error.details() == play.expect["details"]


def _reload_error(server: Server, request: Any) -> Any:
    return grpc_calls.refused(server.grpc, "HandleReloadConfigRequest", request)


@scenario("life-57")
def _warm_up_replays_every_record_in_order(play: Play) -> None:
    server = play.server
    assert _count_after(play, server, "in_order") == play.expect["count_of_digits"]
    assert _count_after(play, server, "most") == play.expect["max_records"]
    status = _status_of_broken(play, server, "too_many", "counter")
    assert status["error_code"] == play.expect["code_of_more"]


@scenario("life-59")
def _an_empty_warm_up_file_is_none(play: Play) -> None:
    assert _count_after(play, play.server, "empty") == play.expect["requests_replayed"]


@scenario("life-60", "life-62", "life-63")
def _a_broken_warm_up_file_fails_the_load(play: Play) -> None:
    file, model = play.case.given["file"], play.case.given["model"]
    status = _status_of_broken(play, play.server, file, model)
    assert status["error_code"] == play.expect["code"]
    assert play.expect["error_contains"] in status["error_message"]


@scenario("life-68")
def _warm_up_can_be_switched_off(play: Play) -> None:
    outputs = grpc_calls.predict(play.server.grpc, "counter", "get_counter")
    assert _first(outputs["output"]) == play.expect["requests_replayed"]


@scenario("grpc-21")
def _tensors_are_typed_fields_or_content_as_the_flag_says(play: Play) -> None:
    typed = grpc_calls.predict(play.pool.get("main").grpc, "half_plus_two", x=[2.0])["y"]
    assert list(typed.float_val) == play.expect["float_val"] and not typed.tensor_content
    content = grpc_calls.predict(play.server.grpc, "half_plus_two", x=[2.0])["y"]
    assert _first(content) == play.expect["float_val"][0]
    assert content.tensor_content and not content.float_val


def _first(tensor: Any) -> float:
    import numpy as np

    return float(np.frombuffer(tensor.tensor_content, np.float32)[0]) if tensor.tensor_content else tensor.float_val[0]


def _warmed(play: Play, server: Server, file: str, model: str) -> tuple[str, Path]:
    name = f"{_name(play)}_{file}"
    base = place(play.pool.models, server, name, ["1.prepared"], model)
    put_warm_up(play.pool.models / "warm-up" / file, base / "1.prepared")
    (base / "1.prepared").rename(base / "1")
    return name, base


def _count_after(play: Play, server: Server, file: str) -> float:
    """Loads a counter with a warm-up file and returns what it has counted when it becomes available."""
    name, base = _warmed(play, server, file, "counter")
    with configured(server, **{name: Entry(base)}):
        await_served(server, name, [1])
        return float(grpc_calls.predict(server.grpc, name, "get_counter")["output"].float_val[0])


def _status_of_broken(play: Play, server: Server, file: str, model: str) -> dict[str, str]:
    name, base = _warmed(play, server, file, model)
    with configured(server, **{name: Entry(base)}):
        wait_for(lambda: statuses(server, name).get(1, {}).get("state") == "END")
        status: dict[str, str] = statuses(server, name)[1]["status"]
        return status


@scenario("status-07")
def _unloaded_versions_stay_in_the_status(play: Play) -> None:
    server = play.server
    base = place(play.pool.models, server, "status_07", ["1"])
    with configured(server, status_07=Entry(base)):
        await_served(server, "status_07", [1])
        place(play.pool.models, server, "status_07", ["2"])
        wait_for(lambda: statuses(server, "status_07").get(1, {}).get("state") == "END")
        rest.check(rest.get(server.url, "/v1/models/status_07"), play.expect)


@scenario("status-08")
def _a_broken_version_is_told_and_the_old_one_stays(play: Play) -> None:
    server = play.server
    base = place(play.pool.models, server, "status_08", ["1", "2.prepared"])
    (base / "2.prepared" / "saved_model.pb").write_bytes(b"this is no graph")
    with configured(server, status_08=Entry(base)):
        await_served(server, "status_08", [1])
        (base / "2.prepared").rename(base / "2")
        wait_for(lambda: statuses(server, "status_08").get(2, {}).get("state") == "END")
        found = statuses(server, "status_08")
    assert found[2]["status"]["error_code"] in play.expect["error_codes"] and found[2]["status"]["error_message"]
    assert {version: item["state"] for version, item in found.items()} == {2: "END", 1: "AVAILABLE"}

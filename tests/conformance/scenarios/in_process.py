"""Scenarios that call the embedded server's modules, for facts that no request can provoke or no answer shows.

They are skipped for any other server.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from grpc import StatusCode
from tensorflow_serving.apis import get_model_status_pb2, prediction_log_pb2
from tensorflow_serving.config import logging_config_pb2

from serving.embedded.config_files import ALL, Batching, ModelSource
from serving.embedded.errors import HTTP_STATUS, ServingError
from serving.embedded.flags import FlagError, ServerFlags, parse_flags
from serving.embedded.json_requests import Format
from serving.embedded.json_responses import write_classifications, write_outputs
from serving.embedded.metrics import Counter, exposition
from serving.embedded.servable import Servable
from serving.embedded.version_lifecycle import Lifecycle, Options, State, Version, next_action
from tests.conformance.scenarios.registry import Run, scenario
from tests.waiting import wait_until

COMPUTED = {"4 x CPUs": 4 * (os.cpu_count() or 1), "CPU count": os.cpu_count() or 1}


@scenario("httpcode-aborted", "httpcode-internal")
def _codes_map_to_statuses(run: Run) -> None:
    assert HTTP_STATUS[StatusCode[run.case.setup["status"]]] == run.expect["status"]


@scenario("life-17")
def _flags_have_their_defaults(run: Run) -> None:
    wanted = {name: COMPUTED.get(str(value), value) for name, value in run.expect["defaults"].items()}
    flags = ServerFlags(model_base_path="/models")
    assert {name: getattr(flags, name) for name in wanted} == wanted


@scenario("life-42")
def _batching_has_its_defaults(run: Run) -> None:
    wanted = {name: COMPUTED.get(str(value), value) for name, value in run.expect["defaults"].items()}
    assert {name: getattr(Batching(), name) for name in wanted} == wanted


@scenario("clsreg-21")
def _no_classifications_are_an_error(run: Run) -> None:
    with pytest.raises(ServingError, match=run.expect["error_contains"]) as refusal:
        write_classifications([])
    assert HTTP_STATUS[refusal.value.code] == run.expect["status"]


@scenario("resp-08")
def _no_outputs_are_an_error(run: Run) -> None:
    with pytest.raises(ServingError) as refusal:
        write_outputs({}, Format.ROW)
    assert refusal.value.message == run.expect["error_exact"]
    assert HTTP_STATUS[refusal.value.code] == run.expect["status"]


@scenario("http-18")
def _names_and_values_are_made_fit_for_prometheus(run: Run) -> None:
    counter = Counter("0/path-total_count", "A count.", ("name", "my-name+1"))
    counter.add('"abc\\"', "abc")
    text = exposition([counter])
    for part in run.expect["lines_contain"]:
        assert part in text


@scenario("life-71")
def _logs_are_configured_and_written_by_these_messages(run: Run) -> None:
    config = logging_config_pb2.LoggingConfig.DESCRIPTOR
    assert set(run.expect["fields"]) <= set(config.fields_by_name)
    for message, names in run.expect["of_messages"].items():
        assert set(names) <= set(config.fields_by_name[message].message_type.fields_by_name)
    assert run.expect["log_record_field"] in prediction_log_pb2.PredictionLog.DESCRIPTOR.fields_by_name


@scenario("life-104")
def _flags_that_the_embedded_server_treats_otherwise(run: Run) -> None:
    base = "--model_base_path=/models/m"
    assert parse_flags([base, "--port=0", "--rest_api_port=8501"]).port == 0
    for wrong in (["--no_such_flag=1"], ["--enable_per_model_batching_parameters"], ["--port=1", "--rest_api_port=1"]):
        with pytest.raises(FlagError):
            parse_flags([base, *wrong])


@scenario("status-09")
def _states_have_their_names(run: Run) -> None:
    assert [state.name for state in State] == run.expect["states"]
    assert set(get_model_status_pb2.ModelVersionStatus.State.keys()) == set(run.expect["states"])


@scenario("life-22", "life-23")
def _the_policy_keeps_a_model_answering(run: Run) -> None:
    setup = run.case.setup
    versions = [Version(n, Path(str(n)), State.AVAILABLE, aspired=n in setup["aspired"]) for n in setup["serving"]]
    versions += [Version(n, Path(str(n))) for n in setup["aspired"] if n not in setup["serving"]]
    step = next_action(versions)
    assert step and [step[0], step[1].number] == run.expect["action"]


@scenario("life-24")
def _a_version_goes_through_its_states(run: Run) -> None:
    seen: list[str] = []
    first, second = run.case.setup["versions"]

    def record_state() -> None:
        state = lifecycle.statuses("m", first)[0].state.name
        seen.extend([state] if state not in seen else [])

    def load(model: str, number: int, path: Path) -> Servable:
        record_state()
        return Servable(model, number, path)

    lifecycle = Lifecycle(load, Options())
    path = run.pool.folder / "life_24"
    for number in (first, second):
        shutil.copytree(run.pool.models / "half_plus_two" / "123", path / str(number))
    # Of two new versions the higher one is loaded first, so that the other is seen before its load and in it.
    lifecycle.start([ModelSource("m", path, ALL)])
    record_state()
    with lifecycle.find("m", first):
        shutil.rmtree(path / str(first))
        wait_until(lambda: lifecycle.statuses("m", first)[0].state is not State.AVAILABLE, "the version is removed")
        record_state()
    wait_until(lambda: lifecycle.statuses("m", first)[0].state is not State.UNLOADING, "the version is unloaded")
    record_state()
    lifecycle.stop()
    assert seen == run.expect["states"]

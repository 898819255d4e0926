"""What each server of the suite serves, and its flags."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.conformance.configuration import Entry, put_warm_up, write_configuration
from tests.conformance.server import Server, place


def _main(models: Path, server: Server) -> Mapping[str, str]:
    return {
        "model_config_file": str(models / "models.config"),
        "monitoring_config_file": str(models / "monitoring.config"),
        "enable_grpc_healthcheck_service": "true",
    }


def _polling(models: Path, server: Server) -> Mapping[str, str]:
    base = place(models, server, "first", ["1"])
    server.entries["first"] = Entry(base)
    return {
        "model_config_file": str(write_configuration(server.folder, server.entries)),
        "model_config_file_poll_wait_seconds": "1",
        "file_system_poll_wait_seconds": "1",
    }


def _still(models: Path, server: Server) -> Mapping[str, str]:
    server.entries["half_plus_two"] = Entry(place(models, server, "half_plus_two", ["3"]))
    counter = place(models, server, "counter", ["1"], "counter")
    put_warm_up(models / "warm-up" / "one", counter / "1")
    server.entries["counter"] = Entry(counter)
    return {
        "model_config_file": str(write_configuration(server.folder, server.entries)),
        "file_system_poll_wait_seconds": "0",
        "enable_model_warmup": "false",
        "rest_api_enable_cors_support": "true",
        "enable_serialization_as_tensor_content": "true",
    }


def _batching(models: Path, server: Server) -> Mapping[str, str]:
    # One thread for all models: what occupies it makes everybody else wait.
    (server.folder / "batching.config").write_text("num_batch_threads { value: 1 }\n")
    server.entries["first"] = Entry(place(models, server, "first", ["1"]))
    server.entries["slow"] = Entry(models / "slow")
    return {
        "model_config_file": str(write_configuration(server.folder, server.entries)),
        "enable_batching": "true",
        "enable_per_model_batching_parameters": "true",
        "batching_parameters_file": str(server.folder / "batching.config"),
        "num_request_iterations_for_warmup": "3",
        "allow_version_labels_for_unavailable_models": "true",
        "rest_api_timeout_in_ms": "1000",
    }


def _empty(models: Path, server: Server) -> Mapping[str, str]:
    base = server.folder / "model"
    (base / "non_numerical_child").mkdir(parents=True)
    return {"model_name": "model", "model_base_path": str(base)}


def _broken(models: Path, server: Server) -> Mapping[str, str]:
    base = place(models, server, "model", ["1"])
    (base / "1" / "saved_model.pb").write_bytes(b"this is no graph")
    return {"model_name": "model", "model_base_path": str(base)}


def _platform(models: Path, server: Server) -> Mapping[str, str]:
    server.entries["model"] = Entry(place(models, server, "model", ["1"]), platform="not_tensorflow")
    return {"model_config_file": str(write_configuration(server.folder, server.entries))}


def _logging(models: Path, server: Server) -> Mapping[str, str]:
    logs = f'type: "file" filename_prefix: "{server.folder}/requests"'
    text = f"logging_config {{ sampling_config {{ sampling_rate: 1 }} log_collector_config {{ {logs} }} }}"
    server.entries["model"] = Entry(place(models, server, "model", ["1"]), more=text)
    return {"model_config_file": str(write_configuration(server.folder, server.entries))}


ANSWERING = ("main", "polling", "still", "batching")
PREPARATIONS: Mapping[str, Callable[[Path, Server], Mapping[str, str]]] = {
    "main": _main,
    "polling": _polling,
    "still": _still,
    "batching": _batching,
    "empty": _empty,
    "broken": _broken,
    "platform": _platform,
    "logging": _logging,
}

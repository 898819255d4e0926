"""The servers of the suite by name, with the flags and files of each, started when the first case needs them.

Starting one costs ten seconds of imports, so cases share them: `main` serves every model without special flags,
`polling` reads its configuration repeatedly, `no_polling` reads everything once, `batching` batches and is configured
by requests. The others test the start itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from serving.engines.engine import free_port
from tests.conformance.server import (
    READY_SECONDS,
    Entry,
    Server,
    add_versions,
    add_warm_up_file,
    write_configuration,
)
from tests.waiting import wait_until

ENGINES = ("embedded", "tensorflow_model_server")
AT_ONCE = 2


class Pool:
    """The servers of a run of the suite."""

    def __init__(self, engine: str, models: Path, folder: Path, other: Server | None = None) -> None:
        """Keeps its parameters; no server is started yet.

        Args:
            engine: The program that serves, one of `ENGINES`.
            models: The folder of the suite's models, see `models.py`.
            folder: The folder for files of the servers.
            other: A running server to use as `main`. Defaults to none.
        """
        self.engine, self.models, self.folder = engine, models, folder
        self.embedded = engine == "embedded" and other is None
        self._starting: dict[str, Future[Server]] = {}
        self._started: list[Server] = []
        self._threads = ThreadPoolExecutor(AT_ONCE)
        if other:
            self._starting["main"] = Future()
            self._starting["main"].set_result(other)

    def expect(self, names: Iterable[str]) -> None:
        """Starts servers in the background, two at a time, in this order."""
        for name in names:
            if name not in self._starting:
                self._starting[name] = self._threads.submit(self._start, name)

    def get(self, name: str) -> Server:
        """Returns a server that listens if it is one of `ANSWERING`; the others cannot."""
        self.expect([name])
        return self._starting[name].result()

    def stop(self) -> None:
        """Stops all servers that were started."""
        self._threads.shutdown(cancel_futures=True)
        for server in self._started:
            server.stop()

    def _start(self, name: str) -> Server:
        url, grpc = f"http://127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        folder = self.folder / name
        folder.mkdir()
        server = Server(url, grpc, folder, folder / "log.txt")
        flags = {
            "port": grpc.rpartition(":")[2],
            "rest_api_port": url.rpartition(":")[2],
            "max_num_load_retries": "0",
            "load_retry_interval_micros": "0",
            **SETUPS[name](self.models, server),
        }
        command = [*self._program(), *(f"--{flag}={value}" for flag, value in flags.items())]
        with server.log.open("wb") as log:
            server.process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, "PYTHONUNBUFFERED": "1"}
            )
        self._started.append(server)
        if name in ANSWERING:
            wait_until(server.is_listening, f"server {name} is listening", READY_SECONDS)
        return server

    def _program(self) -> list[str]:
        return [sys.executable, "-m", "serving.embedded"] if self.engine == "embedded" else [self.engine]


def _main(models: Path, server: Server) -> Mapping[str, str]:
    return {
        "model_config_file": str(models / "models.config"),
        "monitoring_config_file": str(models / "monitoring.config"),
        "enable_grpc_healthcheck_service": "true",
        "allow_version_labels_for_unavailable_models": "true",
    }


def _polling(models: Path, server: Server) -> Mapping[str, str]:
    base = add_versions(models, server, "first", ["1"])
    server.entries["first"] = Entry(base)
    return {
        "model_config_file": str(write_configuration(server.folder, server.entries)),
        "model_config_file_poll_wait_seconds": "1",
        "file_system_poll_wait_seconds": "1",
        "monitoring_config_file": _monitoring(server, 'enable: true path: "/v1/metrics"'),
    }


def _monitoring(server: Server, text: str) -> str:
    file = server.folder / "monitoring.config"
    file.write_text(f"prometheus_config {{ {text} }}\n")
    return str(file)


def _no_polling(models: Path, server: Server) -> Mapping[str, str]:
    server.entries["half_plus_two"] = Entry(add_versions(models, server, "half_plus_two", ["3"]))
    counter = add_versions(models, server, "counter", ["1"], "counter")
    add_warm_up_file(models / "warm-up" / "one", counter / "1")
    server.entries["counter"] = Entry(counter)
    server.entries["odd_method"] = Entry(models / "odd_method")
    return {
        "model_config_file": str(write_configuration(server.folder, server.entries)),
        "file_system_poll_wait_seconds": "0",
        "enable_model_warmup": "false",
        "rest_api_enable_cors_support": "true",
        "enable_serialization_as_tensor_content": "true",
        "enable_signature_method_name_check": "true",
    }


def _batching(models: Path, server: Server) -> Mapping[str, str]:
    # One thread for all models: a request that keeps it busy makes all others wait.
    (server.folder / "batching.config").write_text("num_batch_threads { value: 1 }\n")
    server.entries["first"] = Entry(add_versions(models, server, "first", ["1"]))
    server.entries["slow"] = Entry(models / "slow")
    return {
        "model_config_file": str(write_configuration(server.folder, server.entries)),
        "enable_batching": "true",
        "enable_per_model_batching_parameters": "true",
        "batching_parameters_file": str(server.folder / "batching.config"),
        "num_request_iterations_for_warmup": "3",
        "allow_version_labels_for_unavailable_models": "true",
        "rest_api_timeout_in_ms": "3000",
        "monitoring_config_file": _monitoring(server, "enable: true"),
    }


def _empty(models: Path, server: Server) -> Mapping[str, str]:
    base = server.folder / "model"
    (base / "non_numerical_child").mkdir(parents=True)
    return {"model_name": "model", "model_base_path": str(base)}


def _broken(models: Path, server: Server) -> Mapping[str, str]:
    base = add_versions(models, server, "model", ["1"])
    (base / "1" / "saved_model.pb").write_bytes(b"this is no graph")
    return {"model_name": "model", "model_base_path": str(base)}


def _platform(models: Path, server: Server) -> Mapping[str, str]:
    server.entries["model"] = Entry(add_versions(models, server, "model", ["1"]), platform="not_tensorflow")
    return {"model_config_file": str(write_configuration(server.folder, server.entries))}


def _logging(models: Path, server: Server) -> Mapping[str, str]:
    logs = f'type: "file" filename_prefix: "{server.folder}/requests"'
    text = f"logging_config {{ sampling_config {{ sampling_rate: 1 }} log_collector_config {{ {logs} }} }}"
    server.entries["model"] = Entry(add_versions(models, server, "model", ["1"]), more=text)
    return {"model_config_file": str(write_configuration(server.folder, server.entries))}


def _labels(models: Path, server: Server) -> Mapping[str, str]:
    server.entries["model"] = Entry(add_versions(models, server, "model", ["1"]), labels={"stable": 1})
    return {"model_config_file": str(write_configuration(server.folder, server.entries))}


def _unreadable(models: Path, server: Server) -> Mapping[str, str]:
    file = server.folder / "models.config"
    file.write_text("model_config_list { config")
    return {"model_config_file": str(file)}


def _unbatched(models: Path, server: Server) -> Mapping[str, str]:
    (server.folder / "batching.config").write_text("num_batch_threads { value: 1 }\n")
    return {
        "model_base_path": str(models / "half_plus_two"),
        "batching_parameters_file": str(server.folder / "batching.config"),
    }


def _threads(models: Path, server: Server) -> Mapping[str, str]:
    kinds = ("session", "intra_op", "inter_op")
    return {
        "model_base_path": str(models / "half_plus_two"),
        **{f"tensorflow_{kind}_parallelism": "1" for kind in kinds},
    }


ANSWERING = ("main", "polling", "no_polling", "batching")
SETUPS: Mapping[str, Callable[[Path, Server], Mapping[str, str]]] = {
    "main": _main,
    "polling": _polling,
    "no_polling": _no_polling,
    "batching": _batching,
    "empty": _empty,
    "broken": _broken,
    "platform": _platform,
    "logging": _logging,
    "labels": _labels,
    "unreadable": _unreadable,
    "unbatched": _unbatched,
    "threads": _threads,
}

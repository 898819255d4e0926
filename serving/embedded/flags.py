"""The flags of `python -m serving.embedded`: TensorFlow Serving's names and defaults, and a few additions.

Source of names and defaults: tensorflow_serving/model_servers/main.cc and server.h.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from pipeline.contract.errors import UserError
from pipeline.contract.suggestions import nearest


class FlagError(UserError):
    """A flag is unknown or has an impossible value."""


def _flag(default: Any, text: str, ours: bool = False) -> Any:
    return field(default=default, metadata={"text": text, "ours": ours})


@dataclass(frozen=True)
class ServerFlags:
    """The values of all flags; every field is the flag of that name, described in its metadata."""

    port: int = _flag(8500, "TCP port of gRPC; 0 is off.")
    rest_api_port: int = _flag(0, "TCP port of REST; 0 is off.")
    rest_api_num_threads: int = _flag(4 * (os.cpu_count() or 1), "REST requests that run at once.")
    rest_api_timeout_in_ms: int = _flag(
        30_000, "Time-out in milliseconds for a REST request to arrive, and to be answered."
    )
    rest_api_enable_cors_support: bool = _flag(False, "Send CORS headers for any origin.")
    model_name: str = _flag("default", "Name of the one model when there is no model_config_file.")
    model_base_path: str = _flag("", "Directory with the versions of the one model.")
    model_config_file: str = _flag("", "Text protocol buffer ModelServerConfig that names the models.")
    model_config_file_poll_wait_seconds: int = _flag(0, "Seconds between two reads of that file; 0 reads it once.")
    file_system_poll_wait_seconds: int = _flag(
        1, "Seconds between two polls for versions; 0 polls once, below 0 never."
    )
    max_num_load_retries: int = _flag(5, "Retries of a failed load.")
    load_retry_interval_micros: int = _flag(60_000_000, "Time between these retries, in microseconds.")
    num_load_threads: int = _flag(0, "Accepted; versions load one by one here.")
    num_unload_threads: int = _flag(0, "Accepted; versions unload one by one here.")
    allow_version_labels_for_unavailable_models: bool = _flag(
        False, "Let a new label name a version that is not loaded."
    )
    enable_batching: bool = _flag(False, "Run concurrent requests as one batch.")
    batching_parameters_file: str = _flag("", "Text protocol buffer BatchingParameters.")
    enable_per_model_batching_parameters: bool = _flag(False, "Read batching_params.pbtxt of each version instead.")
    monitoring_config_file: str = _flag("", "Text protocol buffer MonitoringConfig.")
    enable_model_warmup: bool = _flag(True, "Replay assets.extra/tf_serving_warmup_requests before a version serves.")
    num_request_iterations_for_warmup: int = _flag(0, "Runs of each warm-up request; 0 is one.")
    enable_grpc_healthcheck_service: bool = _flag(False, "Serve grpc.health.v1.Health.")
    enable_serialization_as_tensor_content: bool = _flag(False, "Return tensors as tensor_content over gRPC.")
    enable_signature_method_name_check: bool = _flag(False, "Check that the signature's method fits the request.")
    saved_model_tags: str = _flag("serve", "Tags of the graph to load, separated by commas.")
    tensorflow_session_parallelism: int = _flag(0, "Threads of TensorFlow; 0 is one for each core.")
    tensorflow_intra_op_parallelism: int = _flag(0, "Threads of one operation; 0 is one for each core.")
    tensorflow_inter_op_parallelism: int = _flag(0, "Operations at once; 0 is one for each core.")
    grpc_max_threads: int = _flag(4 * (os.cpu_count() or 1), "Accepted; gRPC runs on one event loop here.")
    flush_filesystem_caches: bool = _flag(True, "Accepted; this server never flushes the file system's cache.")
    per_process_gpu_memory_fraction: float = _flag(0.0, "Accepted; this server runs on the processor.")
    prefer_tflite_model: bool = _flag(False, "Accepted; only SavedModels are served here.")

    bind_address: str = _flag("127.0.0.1", "Address that both ports listen on.", ours=True)
    ui: bool = _flag(True, "Serve a page to try the model at /.", ours=True)
    rest_api_max_body_bytes: int = _flag(32 * 2**20, "Largest body of a REST request, decompressed.", ours=True)
    request_log_prefix: str = _flag("", "Path prefix of the request logs.", ours=True)
    request_log_sampling_rate: float = _flag(0.0, "Share of the requests to log.", ours=True)
    request_log_max_bytes: int = _flag(64 * 2**20, "Size at which a new request log begins.", ours=True)
    request_log_max_files: int = _flag(8, "Request logs to keep; older ones are deleted.", ours=True)
    request_log_original_files: bool = _flag(
        False, "Log image files as clients send them; by default the 28 x 28 pixels that the model sees.", ours=True
    )

    @property
    def intra_op_threads(self) -> int:
        """The threads of one operation, 0 for one for each core; one of two special flags replaces the common one."""
        special = self.tensorflow_intra_op_parallelism > 0 or self.tensorflow_inter_op_parallelism > 0
        return self.tensorflow_intra_op_parallelism if special else self.tensorflow_session_parallelism

    @property
    def inter_op_threads(self) -> int:
        """The operations at once, 0 for one for each core; see `intra_op_threads`."""
        special = self.tensorflow_intra_op_parallelism > 0 or self.tensorflow_inter_op_parallelism > 0
        return self.tensorflow_inter_op_parallelism if special else self.tensorflow_session_parallelism


def parse_flags(arguments: Sequence[str]) -> ServerFlags:
    """Reads `--name=value`, `--name value`, `--switch` and `--noswitch`.

    Raises:
        FlagError: A flag is unknown, has no value or one of another type, or the flags do not fit together.
    """
    known = {item.name: item for item in fields(ServerFlags)}
    values: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        name, text = _next_flag(rest, known)
        values[name] = _convert(known[name], text)
    flags = ServerFlags(**values)
    _check(flags)
    return flags


def _next_flag(rest: list[str], known: dict[str, Field[Any]]) -> tuple[str, str]:
    argument = rest.pop(0)
    name, equals, text = argument.removeprefix("--").partition("=")
    if not argument.startswith("--"):
        raise FlagError("An argument is not a flag.", expected="--name=value", received=argument)
    if name not in known:
        switch = name.removeprefix("no")
        if name.startswith("no") and switch in known and _type(known[switch]) is bool and not equals:
            return switch, "false"
        hint = nearest(f"--{name}", (f"--{each}" for each in known))
        raise FlagError(f"There is no flag --{name}.{hint}", expected="a flag of TensorFlow Serving", received=argument)
    if equals:
        return name, text
    if _type(known[name]) is bool:
        return name, "true"
    if not rest:
        raise FlagError(
            f"The flag --{name} has no value.", expected=f"--{name}={known[name].default}", received=argument
        )
    return name, rest.pop(0)


def _convert(item: Field[Any], text: str) -> Any:
    kind = _type(item)
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        return kind(text)
    except (KeyError, ValueError):
        expected = "true or false" if kind is bool else f"a value of type {kind.__name__}"
        raise FlagError(f"The flag --{item.name} cannot be read.", expected=expected, received=repr(text)) from None


def _type(item: Field[Any]) -> type:
    assert item.default is not MISSING
    return type(item.default)


def _check(flags: ServerFlags) -> None:
    if not (flags.model_base_path or flags.model_config_file):
        raise FlagError("There is no model to serve.", expected="--model_base_path or --model_config_file")
    if not (flags.port or flags.rest_api_port):
        raise FlagError("Both ports are off.", expected="--port or --rest_api_port", received="0 for both")
    if flags.port == flags.rest_api_port:
        raise FlagError("Both ports are the same.", expected="two ports", received=f"{flags.port} for both")
    if flags.batching_parameters_file and not flags.enable_batching:
        raise FlagError(
            "--batching_parameters_file is set without setting --enable_batching to true.",
            expected="--enable_batching as well",
            received=f"--batching_parameters_file={flags.batching_parameters_file}",
        )
    if (
        flags.tensorflow_session_parallelism
        > 0
        < min(flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism)
    ):
        raise FlagError(
            "All three flags of TensorFlow's threads are set.",
            expected="--tensorflow_session_parallelism, or the two for intra-op and inter-op threads",
        )
    if not 0 <= flags.request_log_sampling_rate <= 1:
        raise FlagError(
            "--request_log_sampling_rate is out of range.",
            expected="0 to 1",
            received=f"{flags.request_log_sampling_rate:g}",
        )
    if flags.enable_per_model_batching_parameters and not flags.enable_batching:
        raise FlagError(
            "--enable_per_model_batching_parameters needs batching.",
            expected="--enable_batching as well",
            received="--enable_batching is off",
        )

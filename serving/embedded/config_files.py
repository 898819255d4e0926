"""TensorFlow Serving's configuration files for models, batching and monitoring, all of them text protocol buffers.

`ModelServerConfig` comes with tensorflow-serving-api. `BatchingParameters` and `MonitoringConfig` do not, so the fields
that Serving's session_bundle_config.proto and monitoring_config.proto define are declared here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from grpc import StatusCode
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig, ModelType

from serving.embedded.errors import ServingError, invalid

PLATFORM = "tensorflow"
LATEST, ALL, SPECIFIC = "latest", "all", "specific"
MAX_VERSION = 2**63 - 1


@dataclass(frozen=True)
class ModelSource:
    """A configured model.

    Attributes:
        name: Its name in requests.
        base_path: The directory of its versions.
        policy: The version policy: "latest", "all" or "specific".
        count: The number of newest versions to serve, for "latest".
        numbers: The versions to serve, for "specific".
        labels: Pairs of a label and a version number.
    """

    name: str
    base_path: Path
    policy: str = LATEST
    count: int = 1
    numbers: tuple[int, ...] = ()
    labels: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Batching:
    """TensorFlow Serving's BatchingParameters, with its defaults.

    Attributes:
        max_batch_size: The most rows of a batch, and of a request unless large ones are split.
        batch_timeout_micros: How long a batch that is not full waits for more requests, in microseconds.
        max_enqueued_batches: The most batches of a signature in the queue; further requests are refused.
        num_batch_threads: The number of batches that run at once.
        allowed_batch_sizes: The sizes to which batches are padded; empty for any size.
        enable_large_batch_splitting: Whether a request larger than a batch is split.
        max_execution_batch_size: The most rows of a run when requests are split; 0 for max_batch_size.
        pad_variable_length_inputs: Whether requests of different shapes are padded to share a batch, each with copies
            of its first element.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = os.cpu_count() or 1
    allowed_batch_sizes: tuple[int, ...] = ()
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 0
    pad_variable_length_inputs: bool = False

    @property
    def execution_size(self) -> int:
        """The most rows of a run."""
        split = self.enable_large_batch_splitting and self.max_execution_batch_size
        return self.max_execution_batch_size if split else self.max_batch_size


def read_models(path: Path) -> list[ModelSource]:
    """Reads a `model_config_file`.

    Raises:
        ServingError: The file cannot be read, or its configuration is invalid.
    """
    return model_sources(_parse(path, ModelServerConfig()))


def model_sources(config: ModelServerConfig) -> list[ModelSource]:
    """Returns the models of a configuration, with the checks of TensorFlow Serving.

    Raises:
        ServingError: The configuration has no list of models, or one of them is invalid.
    """
    if config.WhichOneof("config") == "custom_model_config":
        raise invalid("ModelServerConfig::custom_model_config is not supported; expected model_config_list")
    items = config.model_config_list.config
    names: set[str] = set()
    for item in items:
        if item.name in names:
            raise invalid(f"Illegal to list model {item.name} multiple times in config list")
        names.add(item.name)
    for item in items:
        if not item.base_path.startswith("/"):
            raise invalid(
                f"Expected model {item.name} to have an absolute path or URI; got base_path()={item.base_path}"
            )
    return [_model(item) for item in items]


def aspired_versions(source: ModelSource) -> dict[int, Path]:
    """Returns the directories of the versions that the model's policy selects, by number.

    Raises:
        ServingError: The base directory is missing; loaded versions stay.
    """
    try:
        children = list(source.base_path.iterdir())
    except OSError:
        raise ServingError(
            StatusCode.NOT_FOUND, f"Could not find base path {source.base_path} for servable {source.name}"
        ) from None
    found = {number: path for path in sorted(children) if (number := _version_number(path.name)) is not None}
    if source.policy == ALL:
        return found
    if source.policy == SPECIFIC:
        return {number: found[number] for number in source.numbers if number in found}
    return {number: found[number] for number in sorted(found)[-source.count :]}


def read_batching(path: Path) -> Batching:
    """Reads a `batching_parameters_file`.

    Raises:
        ServingError: The file cannot be read, or its sizes contradict each other.
    """
    message = _parse(path, _BATCHING())
    values = {item.name: _unwrap(getattr(message, item.name)) for item, _ in message.ListFields()}
    values.pop("thread_pool_name", None)
    if "allowed_batch_sizes" in values:
        values["allowed_batch_sizes"] = tuple(values["allowed_batch_sizes"])
    batching = Batching(**values)
    _check_batching(batching)
    return batching


def read_metrics_path(path: Path) -> str | None:
    """Reads a `monitoring_config_file`; returns the path of the metrics, None when they are off."""
    config = _parse(path, _MONITORING()).prometheus_config
    return (config.path or "/monitoring/prometheus/metrics") if config.enable else None


def _version_number(name: str) -> int | None:
    """Returns the version number of a directory name, None for one with anything but digits; zeros may lead."""
    if not (name.isascii() and name.isdecimal()):
        return None
    return number if (number := int(name)) <= MAX_VERSION else None


def _model(item: ModelConfig) -> ModelSource:
    if not item.model_platform and not item.model_type:
        raise invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, "
            f"model name is {item.name}"
        )
    if item.model_platform and item.model_type:
        raise invalid(
            "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform, "
            f"model name is {item.name}"
        )
    if item.model_type not in (ModelType.MODEL_TYPE_UNSPECIFIED, ModelType.TENSORFLOW):
        raise invalid(f"ModelServerConfig::model_type choice {item.model_type} not supported.")
    if item.model_platform and item.model_platform != PLATFORM:
        raise invalid(f"Model {item.name} requests unsupported platform {item.model_platform}")
    if item.HasField("logging_config"):
        raise invalid("No request-logger-creator provided. Use --request_log_prefix and --request_log_sampling_rate")
    policy = item.model_version_policy
    return ModelSource(
        name=item.name,
        base_path=Path(item.base_path),
        policy=policy.WhichOneof("policy_choice") or LATEST,
        count=policy.latest.num_versions or 1,
        numbers=tuple(policy.specific.versions),
        labels=tuple(sorted(item.version_labels.items())),
    )


def _check_batching(batching: Batching) -> None:
    sizes = batching.allowed_batch_sizes
    if sizes and sizes[-1] != batching.max_batch_size:
        raise invalid(
            f"Last entry in allowed_batch_sizes must match max_batch_size; last entry was {sizes[-1]}; "
            f"expected {batching.max_batch_size}"
        )
    # Under these names, TensorFlow's scheduler reports num_batch_threads, max_batch_size and max_enqueued_batches.
    for name, value in (
        ("num_batch_threads", batching.num_batch_threads),
        ("input_batch_size_limit", batching.max_batch_size),
        ("max_enqueued_batches", batching.max_enqueued_batches),
    ):
        if value < 1:
            raise invalid(f"{name} must be positive; was {value}")
    if batching.batch_timeout_micros < 0:
        raise invalid(f"batch_timeout_micros must be non-negative; was {batching.batch_timeout_micros}")
    if batching.enable_large_batch_splitting and batching.execution_size > batching.max_batch_size:
        raise invalid(
            "When enable_large_batch_splitting is true, input_batch_size_limit must be greater than or equal to "
            "max_execution_batch_size."
        )


def _unwrap(value: Any) -> Any:
    return value.value if hasattr(value, "DESCRIPTOR") else value


def _parse(path: Path, message: Any) -> Any:
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), message)
    except OSError as error:
        raise ServingError(StatusCode.NOT_FOUND, f"{path}: {error.strerror}") from None
    except (text_format.ParseError, UnicodeDecodeError) as error:
        name = message.DESCRIPTOR.name
        raise invalid(
            f"Invalid protobuf file: '{path}'. Error parsing text-format tensorflow.serving.{name}: {error}"
        ) from None


def _define_messages() -> tuple[Any, Any]:
    """Returns the classes BatchingParameters and MonitoringConfig, which no package defines."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="serving/embedded/config_files.proto", package="serving.embedded", syntax="proto3"
    )
    file.dependency.append("google/protobuf/wrappers.proto")
    batching = file.message_type.add(name="BatchingParameters")
    wrapped = {
        "max_batch_size": (1, "Int64Value"),
        "batch_timeout_micros": (2, "Int64Value"),
        "max_enqueued_batches": (3, "Int64Value"),
        "num_batch_threads": (4, "Int64Value"),
        "thread_pool_name": (5, "StringValue"),
        "enable_large_batch_splitting": (8, "BoolValue"),
        "max_execution_batch_size": (9, "Int64Value"),
    }
    for name, (number, kind) in wrapped.items():
        batching.field.add(
            name=name, number=number, label=1, type=kinds.TYPE_MESSAGE, type_name=f".google.protobuf.{kind}"
        )
    batching.field.add(name="allowed_batch_sizes", number=6, label=3, type=kinds.TYPE_INT64)
    batching.field.add(name="pad_variable_length_inputs", number=7, label=1, type=kinds.TYPE_BOOL)
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, label=1, type=kinds.TYPE_BOOL)
    prometheus.field.add(name="path", number=2, label=1, type=kinds.TYPE_STRING)
    monitoring = file.message_type.add(name="MonitoringConfig")
    monitoring.field.add(
        name="prometheus_config",
        number=1,
        label=1,
        type=kinds.TYPE_MESSAGE,
        type_name=".serving.embedded.PrometheusConfig",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    names = ("BatchingParameters", "MonitoringConfig")
    classes = [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"serving.embedded.{name}")) for name in names
    ]
    return classes[0], classes[1]


_BATCHING, _MONITORING = _define_messages()

"""The configuration files of the embedded server: the models and their versions, batching, and monitoring."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from grpc import StatusCode

from serving.embedded.config_files import (
    ALL,
    LATEST,
    SPECIFIC,
    Batching,
    ModelSource,
    aspired_versions,
    read_batching,
    read_metrics_path,
    read_models,
)
from serving.embedded.errors import ServingError


def file(path: Path, text: str) -> Path:
    """Writes a file; returns its path."""
    path.write_text(text, encoding="utf-8")
    return path


def models(*entries: str) -> str:
    """The text of a configuration of some models."""
    return f"model_config_list {{ {' '.join(f'config {{ {entry} }}' for entry in entries)} }}"


def entry(more: str = 'model_platform: "tensorflow"', name: str = "m", base_path: str = "/m") -> str:
    """The text of one model."""
    return f'name: "{name}" base_path: "{base_path}" {more}'


def test_every_field_of_a_model_is_read(tmp_path: Path) -> None:
    """Names, directories, policies and labels; without a policy, the newest version is served."""
    text = models(
        entry(name="one", base_path="/models/one"),
        entry('model_type: TENSORFLOW model_version_policy { latest { num_versions: 3 } }', "three"),
        entry('model_platform: "tensorflow" model_version_policy { all {} } '
              'version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 2 }', "all"),
        entry('model_platform: "tensorflow" model_version_policy { specific { versions: 7 versions: 4 } }', "some"),
    )  # fmt: skip
    assert read_models(file(tmp_path / "models.config", text)) == [
        ModelSource("one", Path("/models/one"), LATEST, 1),
        ModelSource("three", Path("/m"), LATEST, 3),
        ModelSource("all", Path("/m"), ALL, 1, (), (("canary", 2), ("stable", 1))),
        ModelSource("some", Path("/m"), SPECIFIC, 1, (7, 4)),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("custom_model_config {}", "ModelServerConfig::custom_model_config is not supported"),
        (models(entry(), entry()), "Illegal to list model m multiple times in config list"),
        (models(entry(base_path="models/m")), "to have an absolute path or URI; got base_path()=models/m"),
        (models(entry("")), "Illegal setting neither ModelServerConfig::model_type"),
        (models(entry('model_platform: "tensorflow" model_type: TENSORFLOW')), "Illegal setting both"),
        (models(entry("model_type: OTHER")), "model_type choice 2 not supported"),
        (models(entry('model_platform: "onnx"')), "Model m requests unsupported platform onnx"),
        (models(entry('model_platform: "tensorflow" logging_config {}')), "Use --request_log_prefix"),
        ("model_config_lists {}", "Error parsing text-format tensorflow.serving.ModelServerConfig: 1:1"),
    ],
)  # fmt: skip
def test_a_configuration_that_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """The error names the model and the setting."""
    with pytest.raises(ServingError) as refused:
        read_models(file(tmp_path / "models.config", text))
    assert refused.value.code is StatusCode.INVALID_ARGUMENT and message in refused.value.message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, or a folder in its place, is named with the reason; one that is no text is invalid."""
    with pytest.raises(ServingError, match="none.config: No such file or directory") as missing:
        read_models(tmp_path / "none.config")
    assert missing.value.code is StatusCode.NOT_FOUND
    with pytest.raises(ServingError, match=f"{tmp_path}: Is a directory"):
        read_models(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff")
    with pytest.raises(ServingError, match="Invalid protobuf file: '.*binary'.*BatchingParameters") as binary:
        read_batching(tmp_path / "binary")
    assert binary.value.code is StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("source", "numbers"),
    [
        ({}, [20]),
        ({"count": 2}, [9, 20]),
        ({"count": 10}, [3, 7, 9, 20]),
        ({"policy": ALL}, [3, 7, 9, 20]),
        ({"policy": SPECIFIC, "numbers": (7, 9, 100)}, [7, 9]),
    ],
)
def test_the_policy_selects_versions(tmp_path: Path, source: dict[str, object], numbers: list[int]) -> None:
    """Directories whose name is a number of 64 bits are versions, in the order of the numbers, not of the names."""
    for name in ("7", "9", "20", "003", "-1", "1.5", "x1", "٣", ".pushing-30", str(2**63)):
        (tmp_path / name).mkdir()
    found = aspired_versions(ModelSource("m", tmp_path, **source))  # type: ignore[arg-type]
    assert sorted(found) == numbers
    assert all(int(path.name) == number and path.parent == tmp_path for number, path in found.items())


def test_the_largest_version(tmp_path: Path) -> None:
    """The largest number of 64 bits is a version."""
    (tmp_path / str(2**63 - 1)).mkdir()
    assert list(aspired_versions(ModelSource("m", tmp_path))) == [2**63 - 1]


def test_a_missing_base_directory_is_an_error_and_not_empty(tmp_path: Path) -> None:
    """Otherwise a disk that is not mounted would unload all versions."""
    with pytest.raises(ServingError, match=f"^Could not find base path {tmp_path}/none for servable m$") as missing:
        aspired_versions(ModelSource("m", tmp_path / "none"))
    assert missing.value.code is StatusCode.NOT_FOUND
    assert aspired_versions(ModelSource("m", tmp_path)) == {}


def test_every_batching_parameter_is_read(tmp_path: Path) -> None:
    """What the file leaves out has TensorFlow Serving's default; the name of the threads does not matter."""
    text = (
        "max_batch_size { value: 8 } batch_timeout_micros { value: 7 } max_enqueued_batches { value: 6 } "
        'num_batch_threads { value: 5 } thread_pool_name { value: "x" } allowed_batch_sizes: 4 allowed_batch_sizes: 8 '
        "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 3 } "
        "pad_variable_length_inputs: true"
    )
    assert read_batching(file(tmp_path / "all", text)) == Batching(8, 7, 6, 5, (4, 8), True, 3, True)
    default = Batching(1000, 0, 10, os.cpu_count() or 1, (), False, 0, False)
    assert read_batching(file(tmp_path / "none", "")) == default == Batching()
    smallest = "max_batch_size { value: 1 } max_enqueued_batches { value: 1 } num_batch_threads { value: 1 } "
    splitting = "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 1 }"
    assert read_batching(file(tmp_path / "smallest", smallest + splitting)) == Batching(1, 0, 1, 1, (), True, 1)


@pytest.mark.parametrize(
    ("splitting", "execution", "size"), [(False, 0, 8), (False, 3, 8), (True, 0, 8), (True, 3, 3), (True, 8, 8)]
)
def test_the_rows_of_a_run(splitting: bool, execution: int, size: int) -> None:
    """Only requests that may be split can run in smaller batches than the largest request."""
    batching = Batching(8, enable_large_batch_splitting=splitting, max_execution_batch_size=execution)
    assert batching.execution_size == size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size { value: 8 } allowed_batch_sizes: 4", "last entry was 4; expected 8"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 16", "last entry was 16; expected 8"),
        ("num_batch_threads { value: 0 }", "num_batch_threads must be positive; was 0"),
        ("max_batch_size { value: 0 }", "input_batch_size_limit must be positive; was 0"),
        ("max_enqueued_batches { value: 0 }", "max_enqueued_batches must be positive; was 0"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros must be non-negative; was -1"),
        (
            "max_batch_size { value: 8 } max_execution_batch_size { value: 9 } "
            "enable_large_batch_splitting { value: true }",
            "input_batch_size_limit must be greater than or equal to max_execution_batch_size",
        ),
    ],
)
def test_batching_parameters_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    """The error has TensorFlow Serving's name of the parameter and the value."""
    with pytest.raises(ServingError, match=message) as refused:
        read_batching(file(tmp_path / "batching.config", text))
    assert refused.value.code is StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('prometheus_config { enable: true path: "/metrics" }', "/metrics"),
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ('prometheus_config { path: "/metrics" }', None),
        ("", None),
    ],
)
def test_metrics_are_served_where_they_are_enabled(tmp_path: Path, text: str, path: str | None) -> None:
    """At the path of the file, or at TensorFlow Serving's; a path alone does not enable them."""
    assert read_metrics_path(file(tmp_path / "monitoring.config", text)) == path

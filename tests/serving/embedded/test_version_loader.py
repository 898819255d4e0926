"""A version is loaded as the flags say, and its warm-up requests decide whether it serves."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grpc import StatusCode

from serving.embedded.config_files import Batching
from serving.embedded.errors import ServingError
from serving.embedded.flags import parse_flags
from serving.embedded.metrics import Metrics
from serving.embedded.servable import Servable
from serving.embedded.version_loader import BATCHING_FILE, WARM_UP_FILE, VersionLoader, replay_warm_up
from serving.requests.prediction_log import predict_request, write_logs
from serving.versions import push

COMMON = Batching(max_batch_size=7)


def load(path: Path, *flags: str, metrics: Metrics | None = None) -> Servable:
    """Loads version 1 below a base directory, with these flags."""
    loader = VersionLoader(parse_flags(["--model_base_path=m", *flags]), COMMON, metrics or Metrics())
    return loader.load("m", 1, path / "1")


@pytest.mark.parametrize(
    ("flags", "own", "batching"),
    [
        ([], True, None),
        (["--enable_batching"], True, COMMON),
        (["--enable_batching", "--enable_per_model_batching_parameters"], True, Batching(max_batch_size=3)),
        (["--enable_batching", "--enable_per_model_batching_parameters"], False, None),
    ],
)
def test_the_batching_parameters_of_a_version(
    tmp_path: Path, small: Path, flags: list[str], own: bool, batching: Batching | None
) -> None:
    """Those of the server, or with the flag those of the version; without any, its requests run one by one."""
    push(small, tmp_path)
    if own:
        (tmp_path / "1" / BATCHING_FILE).write_text("max_batch_size { value: 3 }")
    servable = load(tmp_path, *flags)
    assert servable.batching == batching and not servable.check_methods
    servable.close(0)


def test_a_failed_warm_up_fails_the_load_unless_it_is_off(tmp_path: Path, small: Path) -> None:
    """Its duration is counted under the directory and the outcome; the flags choose the methods' check as well."""
    push(small, tmp_path)
    write_logs(tmp_path / "1" / WARM_UP_FILE, [predict_request("serving_default", np.zeros((1, 28, 28), np.uint8))])
    metrics = Metrics()
    load(tmp_path, metrics=metrics).close(0)
    wrong = predict_request("serving_default", np.zeros((1, 28, 28), np.uint8))
    wrong.predict_log.request.model_spec.signature_name = "none"
    write_logs(tmp_path / "1" / WARM_UP_FILE, [wrong])
    with pytest.raises(ServingError, match='^Serving signature key "none" not found.$') as refused:
        load(tmp_path, metrics=metrics)
    assert refused.value.code is StatusCode.FAILED_PRECONDITION
    path = str(tmp_path / "1")
    assert {labels: sum(counts) for labels, counts in metrics.warmups.values.items()} == {
        (path, "OK"): 1,
        (path, "FAILED_PRECONDITION"): 1,
    }
    cold = load(tmp_path, "--enable_model_warmup=false", "--enable_signature_method_name_check", metrics=metrics)
    assert cold.check_methods and len(metrics.warmups.values) == 2
    cold.close(0)


def test_the_graph_with_the_tags_of_the_flag_is_loaded(tmp_path: Path, small: Path) -> None:
    """A SavedModel without these tags cannot be loaded."""
    push(small, tmp_path)
    with pytest.raises(ServingError, match="gpu"):
        load(tmp_path, "--saved_model_tags=serve,gpu")


@pytest.mark.parametrize(("records", "accepted"), [(1000, True), (1001, False)])
def test_a_thousand_warm_up_records_are_allowed(tmp_path: Path, small: Path, records: int, accepted: bool) -> None:
    """The limit of TensorFlow Serving is inclusive, and every record up to it is replayed."""
    push(small, tmp_path)
    image = np.zeros((1, 28, 28), np.uint8)
    write_logs(tmp_path / "1" / WARM_UP_FILE, [predict_request("serving_default", image)] * records)
    servable: Any = Servable("m", 1, tmp_path / "1")
    runs = []
    run = servable.run
    servable.run = lambda *arguments: runs.append(1) or run(*arguments)
    refused = pytest.raises(ServingError, match="exceeds the maximum \\(1000\\)")
    with nullcontext() if accepted else refused:
        replay_warm_up(servable)
    assert len(runs) == 1000
    servable.close(0)


def test_each_warm_up_record_runs_as_often_as_configured(tmp_path: Path, small: Path) -> None:
    """`num_request_iterations_for_warmup` repeats every record."""
    push(small, tmp_path)
    write_logs(tmp_path / "1" / WARM_UP_FILE, [predict_request("serving_default", np.zeros((2, 28, 28), np.uint8))] * 3)
    servable: Any = Servable("m", 1, tmp_path / "1")
    rows = []
    run = servable.run
    servable.run = lambda signature, inputs, outputs: (
        rows.append(len(inputs["image"])) or run(signature, inputs, outputs)
    )
    replay_warm_up(servable, 4)
    assert rows == [2] * 12
    servable.close(0)


def test_a_torn_warm_up_file_fails_the_load(tmp_path: Path, small: Path) -> None:
    """A file that ends within a record is damaged, not short."""
    push(small, tmp_path)
    file = tmp_path / "1" / WARM_UP_FILE
    write_logs(file, [predict_request("serving_default", np.zeros((1, 28, 28), np.uint8))] * 2)
    file.write_bytes(file.read_bytes()[:-1])
    servable = Servable("m", 1, tmp_path / "1")
    with pytest.raises(ServingError, match="verify your warmup data") as error:
        replay_warm_up(servable)
    assert error.value.code is StatusCode.DATA_LOSS
    servable.close(0)

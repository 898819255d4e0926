"""Loads that fail, and the warm-up that decides whether they do."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grpc import StatusCode

from serving.embedded.config_files import ModelSource
from serving.embedded.errors import ServingError
from serving.embedded.servable import Servable
from serving.embedded.version_lifecycle import Lifecycle, Options, State, Version, next_action
from serving.embedded.version_loader import WARM_UP_FILE, replay_warm_up
from serving.requests.prediction_log import predict_request, write_logs
from serving.versions import push
from tests.waiting import wait_until


def test_one_version_stays_until_its_successor_is_loaded() -> None:
    """Of two that are to go, the older goes first and the newer answers until the next one is available."""
    first, second, third = (Version(number, Path(str(number)), aspired=number == 3) for number in (1, 2, 3))
    first.state = second.state = State.AVAILABLE
    assert next_action([first, second, third]) == ("unload", first)
    first.state = State.END
    assert next_action([first, second, third]) == ("load", third)
    third.state = State.AVAILABLE
    assert next_action([first, second, third]) == ("unload", second)
    second.state = State.END
    assert next_action([first, second, third]) is None


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_failed_load_is_retried_as_often_as_configured(tmp_path: Path, retries: int) -> None:
    """`max_num_load_retries` counts the tries after the first."""
    (tmp_path / "1").mkdir()
    tries = []

    def load(model: str, number: int, path: Path) -> Servable:
        tries.append(number)
        raise ServingError(StatusCode.INTERNAL, "broken")

    lifecycle = Lifecycle(load, Options(poll_seconds=0.01, retries=retries, retry_seconds=0))
    with pytest.raises(ServingError, match="did not become available.*broken"):
        lifecycle.start([ModelSource("m", tmp_path)])
    assert len(tries) == retries + 1
    assert lifecycle.statuses("m")[0].state is State.END


def test_a_retry_waits_for_its_pause() -> None:
    """Until then the version stays in LOADING, and the next step is another one or none."""
    failed = Version(2, Path("2"), State.LOADING, tries=1, retry_at=100.0)
    assert next_action([failed], now=99.9) is None
    assert next_action([failed], now=100.0) == ("load", failed)
    older = Version(1, Path("1"))
    assert next_action([failed, older], now=99.9) == ("load", older)


def test_a_load_that_succeeds_at_the_last_try_is_served(tmp_path: Path, small: Path) -> None:
    """Errors of earlier tries leave the status."""
    push(small, tmp_path)
    tries = []

    def load(model: str, number: int, path: Path) -> Servable:
        tries.append(number)
        if len(tries) < 3:
            raise ServingError(StatusCode.INTERNAL, "not yet")
        return Servable(model, number, path)

    lifecycle = Lifecycle(load, Options(poll_seconds=0.01, retries=2, retry_seconds=0))
    lifecycle.start([ModelSource("m", tmp_path)])
    status = lifecycle.statuses("m")[0]
    assert (status.state, status.error) == (State.AVAILABLE, None)
    lifecycle.stop()
    wait_until(lambda: status.state is State.END, "the version is unloaded")


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

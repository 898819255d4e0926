"""Which versions are loaded, retried, labelled, replaced and unloaded, and what the status says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from grpc import StatusCode

from serving.embedded.config_files import ALL, ModelSource
from serving.embedded.errors import ServingError
from serving.embedded.servable import Servable
from serving.embedded.version_lifecycle import Lifecycle, Options, State, Version, next_action
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


class Versions:
    """Stands in for the loader of versions, which the lifecycle is given.

    Attributes:
        broken: The numbers of the versions that cannot be loaded.
        loads: The numbers of all loads, in their order.
        closed: The numbers of the versions that were unloaded.
    """

    def __init__(self) -> None:
        self.broken: set[int] = set()
        self.loads: list[int] = []
        self.closed: list[int] = []

    def load(self, model: str, number: int, path: Path) -> Any:
        """Returns a version that only knows its number."""
        self.loads.append(number)
        if number in self.broken:
            raise ServingError(StatusCode.DATA_LOSS, f"{path.name} of {model} is damaged")
        return SimpleNamespace(
            version=number, acquire=lambda: True, close=lambda seconds: self.closed.append(number) is None
        )


def folders(base: Path, *numbers: int) -> Path:
    """Creates directories of versions."""
    for number in numbers:
        (base / str(number)).mkdir(parents=True)
    return base


@pytest.fixture
def versions() -> Versions:
    """The loader."""
    return Versions()


@pytest.fixture
def lifecycle(versions: Versions) -> Iterator[Lifecycle]:
    """A lifecycle that polls at its start and at each reload alone, and takes labels of versions to come."""
    running = Lifecycle(versions.load, Options(poll_seconds=0, retries=0, labels_for_unavailable=True))
    yield running
    running.stop()


def test_a_failed_version_is_not_loaded_at_every_poll(tmp_path: Path, versions: Versions, lifecycle: Lifecycle) -> None:
    """After its last try it stays in the status with its error; a version that comes back is loaded again."""
    source = ModelSource("m", folders(tmp_path, 1, 2), ALL)
    versions.broken = {2}
    lifecycle.start([source])
    lifecycle.reload([source])
    assert versions.loads == [2, 1]
    failed, served = lifecycle.statuses("m")
    assert (failed.number, failed.state, served.number, served.state) == (2, State.END, 1, State.AVAILABLE)
    assert failed.error is not None and failed.error.message == "2 of m is damaged"

    folders(tmp_path, 3)
    (tmp_path / "1").rename(tmp_path / "away")
    lifecycle.reload([source])
    assert versions.closed == [1] and lifecycle.statuses("m", 1)[0].state is State.END
    (tmp_path / "away").rename(tmp_path / "1")
    lifecycle.reload([source])
    assert versions.loads == [2, 1, 3, 1] and lifecycle.find("m", 1).version == 1


def test_a_label_moves_to_loaded_versions_alone(tmp_path: Path, versions: Versions, lifecycle: Lifecycle) -> None:
    """With the option, only a new label may come before its version; a refused configuration changes nothing."""
    folders(tmp_path, 1, 2)
    source = ModelSource("m", tmp_path, ALL, labels=(("stable", 1),))
    lifecycle.start([source])
    lifecycle.reload([replace(source, labels=(("stable", 1), ("next", 9)))])
    with pytest.raises(ServingError, match="^Servable not found for request: Specific\\(m, 9\\)$"):
        lifecycle.find("m", label="next")
    moved = replace(source, labels=(("stable", 8),))
    with pytest.raises(ServingError, match="^Request to assign label to version 8 of model m, which is not") as refused:
        lifecycle.reload([moved, ModelSource("other", tmp_path)])
    assert refused.value.code is StatusCode.FAILED_PRECONDITION
    assert lifecycle.find("m", label="stable").version == 1 and lifecycle.names() == ["m"]
    lifecycle.reload([replace(source, labels=(("stable", 2),))])
    assert lifecycle.find("m", label="stable").version == 2
    with pytest.raises(ServingError, match="^Unrecognized servable version label: next$"):
        lifecycle.find("m", label="next")


def test_requests_without_a_version_get_the_newest(tmp_path: Path, versions: Versions, lifecycle: Lifecycle) -> None:
    """Others get the version they name; what is missing is named in the error, by model and number."""
    lifecycle.start([ModelSource("m", folders(tmp_path, 9, 10), ALL)])
    assert [lifecycle.find("m", number).version for number in (None, 9, 10)] == [10, 9, 10]
    assert [each.number for each in lifecycle.statuses("m")] == [10, 9]
    assert [each.number for each in lifecycle.statuses("m", 9)] == [9]
    for call, text in (
        (lambda: lifecycle.find("n"), "Servable not found for request: Latest(n)"),
        (lambda: lifecycle.find("m", 11), "Servable not found for request: Specific(m, 11)"),
        (lambda: lifecycle.statuses("n"), "Could not find any versions of model n"),
        (lambda: lifecycle.statuses("n", 1), "Could not find version 1 of model n"),
        (lambda: lifecycle.statuses("m", 11), "Could not find version 11 of model m"),
    ):
        with pytest.raises(ServingError) as missing:
            call()
        assert (missing.value.code, missing.value.message) == (StatusCode.NOT_FOUND, text)


def test_a_model_that_leaves_the_configuration_is_unloaded(
    tmp_path: Path, versions: Versions, lifecycle: Lifecycle
) -> None:
    """The others stay loaded; the versions of a moved base directory replace the old ones."""
    one, two = (ModelSource(name, folders(tmp_path / name, 1)) for name in ("one", "two"))
    lifecycle.start([one, two])
    assert lifecycle.names() == ["one", "two"] and versions.loads == [1, 1]
    lifecycle.reload([replace(two, base_path=folders(tmp_path / "moved", 5))])
    assert lifecycle.names() == ["two"] and versions.loads == [1, 1, 5] and versions.closed == [1, 1]
    assert lifecycle.statuses("one")[0].state is State.END and lifecycle.find("two").version == 5


def test_a_reload_fails_if_a_model_has_no_version(tmp_path: Path, versions: Versions, lifecycle: Lifecycle) -> None:
    """The error names the model, the version and why it cannot be loaded."""
    lifecycle.start([ModelSource("m", folders(tmp_path / "m", 1))])
    empty, broken = tmp_path / "empty", folders(tmp_path / "broken", 2)
    empty.mkdir()
    versions.broken = {2}
    with pytest.raises(ServingError) as nothing:
        lifecycle.reload([ModelSource("none", empty)])
    assert nothing.value.message == "1 model(s) did not become available: {{{name: none}}, }"
    with pytest.raises(ServingError) as damaged:
        lifecycle.reload([ModelSource("b", broken)])
    assert damaged.value.message == (
        "1 model(s) did not become available: {{{name: b version: 2} due to error: DATA_LOSS: 2 of b is damaged}, }"
    )


def test_a_push_need_not_wait_for_the_next_poll(tmp_path: Path, versions: Versions) -> None:
    """With an hour between two polls, a change of the base directory is noticed all the same."""
    lifecycle = Lifecycle(versions.load, Options(poll_seconds=3600))
    lifecycle.start([ModelSource("m", folders(tmp_path, 1))])
    folders(tmp_path, 2)
    wait_until(lambda: versions.closed == [1], "version 2 replaces version 1")
    assert versions.loads == [1, 2] and lifecycle.find("m").version == 2
    lifecycle.stop()
    assert versions.closed == [1, 2]

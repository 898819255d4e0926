"""Fixtures: a server for all tests of this folder, and a function that starts others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from serving.engines.engine import BATCHING, MONITORING, Embedded, Flags, free_port
from serving.engines.server_process import ServerProcess
from serving.versions import push
from tests.serving.exports import export_small

READY_SECONDS = 300

Start = Callable[..., ServerProcess]


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SavedModel of a small network with the signatures of the real one."""
    return export_small(tmp_path_factory.mktemp("small") / "model").saved_model


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another network of the same shape, with other answers."""
    return export_small(tmp_path_factory.mktemp("other") / "model", seed=1).saved_model


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts servers with further flags; they stop when the test ends."""
    with ExitStack() as stack:

        def start(base: Path, *extra: str, batching: Path | None = None, wait: bool = True) -> ServerProcess:
            flags = Flags(base, "fashion", free_port(), free_port(), batching, MONITORING, extra)
            running = stack.enter_context(Embedded().start(flags, tmp_path / f"server-{flags.rest_port}.log"))
            if wait:
                running.wait_until_ready(READY_SECONDS)
            return running

        yield start


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, small: Path) -> Path:
    """The base directory of the shared server, with one version."""
    base = tmp_path_factory.mktemp("served") / "fashion"
    push(small, base)
    return base


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Iterator[ServerProcess]:
    """A server with batching and metrics, for tests that do not change it."""
    log = tmp_path_factory.mktemp("log") / "server.log"
    flags = Flags(base, "fashion", free_port(), free_port(), BATCHING, MONITORING)
    with Embedded().start(flags, log) as running:
        running.wait_until_ready(READY_SECONDS)
        yield running

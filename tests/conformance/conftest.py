"""Options of the suite, its models and its servers: `pytest tests/conformance -k row-18 --url http://host:8501`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.cases import IN_PROCESS, MAIN, Case
from tests.conformance.server import Server
from tests.conformance.server_pool import ENGINES, Pool
from tests.conftest import ROOT

BUILD_SECONDS = 900


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --url, --grpc and --engine."""
    group = parser.getgroup("conformance")
    group.addoption("--url", help="REST URL of a server that serves the models, such as http://127.0.0.1:8501")
    group.addoption("--grpc", help="its gRPC address; defaults to the port before REST's")
    group.addoption("--engine", choices=ENGINES, default="embedded", help="the program to start when there is no --url")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects the cases that do not apply to the server: those of other flags, and those of the embedded server."""
    engine = config.getoption("--engine", ENGINES[0])
    if engine != ENGINES[0] and not shutil.which(engine):
        raise pytest.UsageError(f"--engine={engine}: there is no such program on the path")
    wanted = [item for item in items if _applies(config, item)]
    if len(wanted) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
        items[:] = wanted


def _case(item: pytest.Item) -> Case | None:
    call = getattr(item, "callspec", None)
    case = call.params.get("case") if call else None
    return case if isinstance(case, Case) else None


def _applies(config: pytest.Config, item: pytest.Item) -> bool:
    case = _case(item)
    if case is None:
        return True
    if config.getoption("--url", None):
        return case.server == MAIN
    return case.server != IN_PROCESS or config.getoption("--engine", ENGINES[0]) == ENGINES[0]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with all models."""
    folder = tmp_path_factory.mktemp("conformance") / "models"
    command = [sys.executable, "-m", "tests.conformance.models", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=BUILD_SECONDS)
    return folder


@pytest.fixture(scope="session")
def pool(request: pytest.FixtureRequest, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """The servers; those that the selected cases need start in the background."""
    url, engine = request.config.getoption("--url", None), request.config.getoption("--engine", ENGINES[0])
    other = _running_server(url, request.config.getoption("--grpc", None)) if url else None
    pool = Pool(engine, models, tmp_path_factory.mktemp("servers"), other)
    cases = [case for item in request.session.items if (case := _case(item))]
    pool.expect(dict.fromkeys(case.server for case in cases if case.server != IN_PROCESS))
    yield pool
    pool.stop()


def _running_server(url: str, target: str | None) -> Server:
    host, _, port = url.partition("://")[2].rstrip("/").rpartition(":")
    return Server(url.rstrip("/"), target or f"{host}:{int(port) - 1}")

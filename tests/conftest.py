"""Shared fixtures, and the markers that a test gets from what it starts."""

from __future__ import annotations

import inspect
import os
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tests.synthetic import write_idx

if TYPE_CHECKING:
    from tests.serving.fetching.shop import Shop
    from tests.serving.web import Web

ROOT = Path(__file__).resolve().parent.parent
PROFILE = ROOT / "tests" / "tiny.toml"

# On a busy machine the first example of a property can exceed any deadline.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

# Rich would take these of a CI system or an editor for its own terminal's.
for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    os.environ.pop(name, None)
if os.environ.get("TERM") in ("dumb", "unknown"):
    del os.environ["TERM"]

if sys.version_info < (3, 13):

    class _Connection(sqlite3.Connection):
        """A connection that reports that nobody closed it, as all do from Python 3.13 on; pytest makes it an error."""

        closed = True

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.closed = False

        def close(self) -> None:
            super().close()
            self.closed = True

        def __del__(self) -> None:
            if not self.closed:
                warnings.warn(f"unclosed database in {self!r}", ResourceWarning, source=self, stacklevel=1)

    sqlite3.connect = partial(sqlite3.connect, factory=_Connection)  # type: ignore[assignment]


MARKERS = {
    "running_server": "postgres",
    "sync_playwright": "browser",
    "tiny_run": "slow",
    "export_tiny": "slow",
    "export_small": "slow",
    "ExportArchive": "slow",
    "Pool": "slow",
}
"""The marker of every test that reaches a function or fixture of this name."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every test that starts PostgreSQL or a browser, or that needs an exported model or a whole run."""
    known: dict[CodeType, frozenset[str]] = {}
    for item in items:
        if isinstance(item, pytest.Function):
            fixtures = item._fixtureinfo.name2fixturedefs
            functions = [item.function, *(definition.func for found in fixtures.values() for definition in found)]
            names = frozenset[str]().union(fixtures, *(_reached_names(function, known) for function in functions))
            for marker in {MARKERS[name] for name in names & MARKERS.keys()}:
                item.add_marker(marker)


def _reached_names(function: Any, known: dict[CodeType, frozenset[str]]) -> frozenset[str]:
    """Returns the names that a function mentions, itself or in functions of tests/ and scripts/ that it mentions."""
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    if code is None:
        return frozenset()
    if code not in known:
        known[code] = frozenset()  # Ends a recursion.
        names = {function.__name__, *_mentioned(code)}
        for name in list(names):
            value = function.__globals__.get(name)
            if callable(value) and str(getattr(value, "__module__", "")).split(".")[0] in ("tests", "scripts"):
                names |= _reached_names(value, known)
        known[code] = frozenset(names)
    return known[code]


def _mentioned(code: CodeType) -> Iterator[str]:
    """Yields the global names and attributes in a function's code and in the functions defined inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _mentioned(constant)


@dataclass(frozen=True)
class TinyRun:
    """A finished run of the whole pipeline on synthetic data.

    Attributes:
        workspace: Its workspace.
        options: The options of its command.
        output: Its standard output.
    """

    workspace: Path
    options: tuple[str, ...]
    output: str


Fashion = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def fashion() -> Fashion:
    """Runs the command line in a process of its own: `fashion("show", "--json")`."""

    def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipeline.commands.cli", *arguments],
            cwd=ROOT,
            env={**os.environ, "COLUMNS": "120", **(env or {})},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def tiny_options(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The options of `fashion run` for synthetic data and a run of a minute."""
    data = tmp_path_factory.mktemp("idx")
    write_idx(data, train=600, test=200)
    return ("--profile", str(PROFILE), "--set", f"example_gen.idx_dir={data}")


@pytest.fixture(scope="session")
def tiny_run(fashion: Fashion, tiny_options: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """The whole pipeline, once, on synthetic data."""
    workspace = tmp_path_factory.mktemp("tiny") / "workspace"
    done = fashion("run", "--workspace", str(workspace), *tiny_options)
    assert done.returncode == 0, done.stdout + done.stderr
    return TinyRun(workspace, tiny_options, done.stdout)


@pytest.fixture
def shop() -> Iterator[Shop]:
    """The answers of a shop's image server, faulty ones included; slow answers end with the test."""
    from tests.serving.fetching.shop import Shop

    shop = Shop()
    yield shop
    shop.ended.set()


@pytest.fixture
def image_server(shop: Shop) -> Iterator[Web]:
    """The shop's running web server."""
    from tests.serving.web import web

    with web(shop) as image_server:
        yield image_server
        shop.ended.set()

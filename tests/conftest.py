"""What many tests share: the real data when they can be had, and one whole run on tiny synthetic data."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.synthetic import write_idx

if TYPE_CHECKING:
    from tests.serving.fetching.shop import Shop
    from tests.serving.web import Web

ROOT = Path(__file__).resolve().parent.parent
PROFILE = ROOT / "tests" / "tiny.toml"


@dataclass(frozen=True)
class TinyRun:
    """A finished run of the whole pipeline on synthetic data.

    Attributes:
        workspace: Its workspace.
        options: What its commands were given.
        output: What it printed.
    """

    workspace: Path
    options: tuple[str, ...]
    output: str


Fashion = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def fashion() -> Fashion:
    """Runs the command line in a process of its own: `fashion("show", "--json")`."""

    def go(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipeline.commands.cli", *arguments],
            cwd=ROOT,
            env={**os.environ, "COLUMNS": "120", **(env or {})},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )

    return go


@pytest.fixture(scope="session")
def tiny_options(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """What makes `fashion run` take synthetic data and a minute's budget."""
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
    """A server that does what strangers' servers do; ends with the test."""
    from tests.serving.fetching.shop import Shop

    shop = Shop()
    yield shop
    shop.ended.set()


@pytest.fixture
def place(shop: Shop) -> Iterator[Web]:
    """Where it answers."""
    from tests.serving.web import web

    with web(shop) as place:
        yield place
        shop.ended.set()

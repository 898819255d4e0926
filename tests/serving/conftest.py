"""Fixtures of the tests of serving, and directories of versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_programming_error(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fails a test in which a download thread raised: `unexpected` affects one URL only, and could be overlooked."""
    yield
    assert not [record for record in caplog.records if record.name == "serving.fetching.download_workers"]


def saved_model(path: Path, content: str) -> Path:
    """Writes the files of a SavedModel, which differ for each content."""
    (path / "variables").mkdir(parents=True)
    (path / "saved_model.pb").write_text(f"graph {content}")
    (path / "variables/variables.index").write_text(f"index {content}")
    (path / "variables/variables.data-00000-of-00001").write_text(f"weights {content} " * 100)
    return path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The directory that a server would watch; it does not exist yet."""
    return tmp_path / "serving/fashion"


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    """Four different models."""
    return [saved_model(tmp_path / f"model-{name}", name) for name in "abcd"]


def content(path: Path) -> str:
    """Returns the text in the graph of a version."""
    return (path / "saved_model.pb").read_text()


def visible(base: Path) -> list[str]:
    """Returns the names that a server sees."""
    return sorted(p.name for p in base.iterdir() if not p.name.startswith("."))

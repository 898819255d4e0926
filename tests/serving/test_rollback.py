"""Tests of rollbacks: which version is restored, and which is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from serving.versions import (
    RECORD,
    VersionError,
    push,
    rollback,
    versions,
)
from tests.serving.conftest import content, saved_model, visible


def test_rollback(base: Path, models: list[Path]) -> None:
    """A rollback copies the version before under a new highest number, and records its source."""
    first, _ = push(models[0], base), push(models[1], base)
    restored = rollback(base)
    assert (restored.number, restored.source, restored.digest) == (3, 1, first.digest)
    assert versions(base)[-1] == restored


def test_rollback_twice(base: Path, models: list[Path]) -> None:
    """A second rollback goes further back, not forward again."""
    for model in models[:3]:
        push(model, base)
    assert [rollback(base).source, rollback(base).source] == [2, 1]
    # Pushing the served model again adds nothing, and removes the version that was copied.
    push(models[0], base, keep=4)
    assert visible(base) == ["2", "3", "4", "5"]
    with pytest.raises(VersionError, match="There is no version before the served one, 5."):
        rollback(base)


def test_rollback_never_restores_the_served_model(base: Path, models: list[Path]) -> None:
    """Where the version before holds the served bytes, the one before that is restored, or there is none."""
    for model in (models[0], models[1], models[0]):
        push(model, base)
    shutil.rmtree(base / "2")
    with pytest.raises(VersionError, match="no version before the served one, 3"):
        rollback(base)
    for model in (models[1], models[2], models[1]):
        push(model, base)
    shutil.rmtree(base / "5")
    assert content(rollback(base).path) == "graph a"


def test_rollback_to_a_number(base: Path, models: list[Path]) -> None:
    """A rollback restores the version with that number."""
    for model in models[:3]:
        push(model, base)
    assert content(rollback(base, 1).path) == "graph a"


def test_rollback_survives_its_source(base: Path, models: list[Path]) -> None:
    """A restored version is complete after the version that it copied is pruned."""
    for model in models[:2]:
        push(model, base)
    restored = rollback(base)
    # The newest version has these bytes already, so nothing is added.
    push(models[0], base, keep=1)
    assert visible(base) == [restored.path.name] and content(restored.path) == "graph a"


@pytest.mark.parametrize("record", [None, "", "[1]", '{"source"', "\udcff"])
def test_a_version_without_a_readable_record(base: Path, models: list[Path], record: str | None) -> None:
    """Somebody else's version counts as one: it is listed, restored and pruned like our own."""
    foreign = saved_model(base / "4", "foreign")
    if record is not None:
        (foreign / RECORD).parent.mkdir()
        (foreign / RECORD).write_text(record, errors="surrogateescape")
    push(models[0], base)
    assert [(v.number, v.source) for v in versions(base)] == [(4, None), (5, None)]
    restored = rollback(base)
    assert (restored.source, content(restored.path)) == (4, "graph foreign")
    push(models[1], base, keep=1)
    assert visible(base) == ["7"]


def test_rollback_without_versions(base: Path) -> None:
    """Without a push, a rollback is an error and creates no directory."""
    with pytest.raises(VersionError, match="There is no pushed version"):
        rollback(base)
    assert not base.exists()
    (base / "7").mkdir(parents=True)
    with pytest.raises(VersionError, match="There is no pushed version.*\n.*\nReceived: no versions"):
        rollback(base)


def test_rollback_without_an_earlier_one(base: Path, models: list[Path]) -> None:
    """Without an earlier version, the error lists the existing ones."""
    push(models[0], base)
    with pytest.raises(VersionError, match="no version before the served one, 1.\n.*\nReceived: versions 1"):
        rollback(base)


def test_rollback_to_an_unknown_number(base: Path, models: list[Path]) -> None:
    """The error lists the existing versions."""
    for model in models[:2]:
        push(model, base)
    with pytest.raises(VersionError, match="There is no version 9.\n.*\nReceived: versions 1, 2"):
        rollback(base, 9)


def test_rollback_to_the_served_version(base: Path, models: list[Path]) -> None:
    """The served version is not copied under another number."""
    push(models[0], base)
    with pytest.raises(VersionError, match="Version 1 is served already, as the newest version, 1."):
        rollback(base, 1)


def test_rollback_to_a_damaged_version(base: Path, models: list[Path]) -> None:
    """A version whose files changed after the push is not restored."""
    for model in models[:2]:
        push(model, base)
    (base / "1/saved_model.pb").write_text("changed")
    with pytest.raises(VersionError, match="Version 1 is damaged"):
        rollback(base)
    assert visible(base) == ["1", "2"]

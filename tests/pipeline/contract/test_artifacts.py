"""Tests of pipeline.contract.artifacts: what a reader finds in the directory that a stage wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.artifacts import Examples, PushedModel, ServedModel
from pipeline.contract.errors import UserError


def test_the_shards_of_a_split_come_in_order(tmp_path: Path) -> None:
    """Only records count, each under its own split; a missing split is an error that lists the others."""
    for name in ("Split-train/data_tfrecord-00001-of-00002.gz", "Split-train/data_tfrecord-00000-of-00002.gz",
                 "Split-train/notes.txt", "Split-test/data_tfrecord-00000-of-00001.gz", "other/x.gz"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    examples = Examples(tmp_path)
    assert examples.splits() == ["test", "train"]
    assert [path.name[:20] for path in examples.split("train")] == ["data_tfrecord-00000-", "data_tfrecord-00001-"]
    with pytest.raises(UserError, match="no split 'validation'") as caught:
        examples.split("validation")
    assert caught.value.received == "splits test, train"
    with pytest.raises(UserError, match="no split 'train'") as caught:
        Examples(tmp_path / "none").split("train")
    assert caught.value.received == "splits none"


def pushed_model(directory: Path, **record: Any) -> PushedModel:
    """A record of the Pusher in a workspace."""
    pushed = PushedModel(directory / "artifacts" / "pusher" / "9" / "pushed")
    pushed.write_json("pushed.json", {"pushed": True, "version": 3, "reason": "", "digest": ""} | record)
    return pushed


@pytest.mark.parametrize("absolute", [False, True])
def test_a_moved_workspace_finds_its_pushed_version(tmp_path: Path, absolute: bool) -> None:
    """The version beside the record counts; an absolute path of an earlier release elsewhere is the second choice."""
    version = tmp_path / "now" / "serving_models" / "fashion" / "3"
    before = tmp_path / "before" / "serving_models" / "fashion" / "3"
    path = str(before) if absolute else "../../../../serving_models/fashion/3"
    pushed = pushed_model(tmp_path / "now", path=path)
    assert pushed.version_directory() == (before if absolute else version)
    assert pushed.damage() == f"the pushed version {before if absolute else version} is gone"
    version.mkdir(parents=True)
    assert pushed.version_directory() == version and pushed.damage() != ""
    (version / "saved_model.pb").touch()
    assert pushed.damage() == "" and ServedModel(version).version == 3
    assert ServedModel(version).saved_model == version


def test_a_refused_model_has_no_version(tmp_path: Path) -> None:
    """Nothing was pushed, so nothing can be gone."""
    refused = pushed_model(tmp_path, pushed=False, version=None, path=None)
    assert refused.version_directory() is None and refused.damage() == ""

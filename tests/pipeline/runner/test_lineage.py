"""Tests of pipeline.runner.lineage: how an artifact is named, and what its tree holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.contract.errors import UserError
from pipeline.runner.lineage import as_text, trace
from pipeline.runner.metadata_store import MetadataStore
from pipeline.runner.workspace import Workspace
from tests.pipeline.conftest import Run


def numbers(workspace: Workspace, reference: str) -> tuple[int, int]:
    """The artifact that a reference names, and the execution that wrote it."""
    with MetadataStore(workspace.store) as store:
        tree = trace(store, workspace, reference)
    return tree["artifact"], tree["execution"]


def test_a_stage_or_type_names_its_newest_artifact(run: Run, workspace: Workspace) -> None:
    """A number or a path names that very artifact, a stage or a type the newest one."""
    for count in range(1, 5):
        run(f"source.count={count}")
    assert numbers(workspace, "learn") == numbers(workspace, "Model") == (11, 11)
    assert numbers(workspace, "1") == (1, 1) and numbers(workspace, "11") == (11, 11)
    root = workspace.root / "artifacts" / "source"
    assert (
        numbers(workspace, str(root / "1" / "examples")) == numbers(workspace, "artifacts/source/1/examples") == (1, 1)
    )
    assert numbers(workspace, str(root / "10" / "examples" / "numbers.txt")) == (10, 10)
    with pytest.raises(UserError, match="No artifact matches"):
        numbers(workspace, str(root / "10" / "examples.old"))


def test_the_tree_leads_to_the_first_execution(run: Run, workspace: Workspace) -> None:
    """A reused artifact was written by the execution that ran, and an artifact that occurs twice is expanded once."""
    run()
    run()
    with MetadataStore(workspace.store) as store:
        tree = trace(store, workspace, "judge")
    assert tree["execution"] == 3 and tree["inputs"]["model"]["inputs"]["examples"]["execution"] == 1
    assert tree["inputs"]["model"]["parameters"] == {"steps": 4, "fail": ""}
    twice = {**tree, "inputs": {"one": tree["inputs"]["model"], "other": tree["inputs"]["model"]}}
    text = as_text(twice)
    assert text.count("by source") == 1 and text.endswith(f"{Path(tree['inputs']['model']['path'])}, as above")


def test_the_text_has_a_line_for_each_artifact_its_writer_and_its_properties(run: Run, workspace: Workspace) -> None:
    """Inputs are indented below what was made from them, under their own names; the manifest is left out."""
    run()
    with MetadataStore(workspace.store) as store:
        tree = trace(store, workspace, "judge")
        digests = [store.artifacts(kind)[0].digest[:12] for kind in ("ModelBlessing", "Model", "Examples")]
        commit = tree["git_commit"]
    assert as_text(tree).splitlines() == [
        f"ModelBlessing 3 ({digests[0]}) artifacts/judge/3/blessing",
        f"  by judge (execution 3, commit {commit})",
        "  blessed True",
        f"    model: Model 2 ({digests[1]}) artifacts/learn/2/model",
        f"      by learn (execution 2, commit {commit})",
        "      resumed_at 0",
        f"        examples: Examples 1 ({digests[2]}) artifacts/source/1/examples",
        f"          by source (execution 1, commit {commit})",
        "          count 3, downloads 0",
    ]
    lost = {**tree, "execution": None, "inputs": {}, "properties": {}}
    assert as_text(lost).splitlines()[1:] == ["  by no recorded execution"]

"""What belongs to a cache key, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.runner.fingerprint import differences, digest_json, digest_modules, manifest

STAGE = '"""Prose."""\nfrom models import helper\n\n\ndef stage():\n    """More prose."""\n    return helper.value()\n'
HELPER = "def value():\n    return 1\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two packages: a stage, and a module that it reaches."""
    for name, content in {"components/stage.py": STAGE, "models/helper.py": HELPER, "models/other.py": ""}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
        (tmp_path / name).parent.joinpath("__init__.py").touch()
    return tmp_path


def rewritten(tree: Path, name: str, content: str) -> dict[str, str]:
    """The digests after one file was rewritten."""
    path = tree / name
    path.rename(tree / "before")
    path.write_text(content)
    return digest_modules("components.stage", tree)


def test_reached_modules_are_those_imported(tree: Path) -> None:
    """A helper that the stage imports is reached, its neighbour is not."""
    assert set(digest_modules("components.stage", tree)) == {"components.stage", "models", "models.helper"}


def test_changed_helper_changes_its_digest_alone(tree: Path) -> None:
    """The digests name the module that changed."""
    before = digest_modules("components.stage", tree)
    after = rewritten(tree, "models/helper.py", HELPER.replace("1", "2"))
    assert {n for n in before if before[n] != after[n]} == {"models.helper"}


def test_prose_and_formatting_do_not_matter(tree: Path) -> None:
    """Comments, docstrings and line breaks leave the digests alone."""
    before = digest_modules("components.stage", tree)
    other = (
        STAGE.replace("Prose", "Other words")
        .replace("More prose", "x")
        .replace("    return", "    # why\n\n    return")
    )
    assert rewritten(tree, "components/stage.py", other) == before


def test_import_inside_a_function_is_reached(tree: Path) -> None:
    """Heavy modules are imported inside functions, and count all the same."""
    lazy = "def stage():\n    from models.other import x\n    return x\n"
    assert "models.other" in rewritten(tree, "components/stage.py", lazy)


def test_manifest_differences_name_the_files(tmp_path: Path) -> None:
    """What is missing, changed and new is said file by file."""
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("1")
    before = manifest(tmp_path)
    (tmp_path / "a").write_text("2")
    (tmp_path / "b").rename(tmp_path / "c")
    assert differences(before, manifest(tmp_path)) == ["b is missing", "a has changed", "c is new"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
)


@given(st.dictionaries(st.text(), json_values))
def test_digest_does_not_depend_on_the_order_of_keys(content: dict[str, object]) -> None:
    """Two equal dictionaries have one digest, whatever the order in which they were filled."""
    assert digest_json(content) == digest_json(dict(reversed(content.items())))


@given(json_values, json_values)
def test_different_content_has_different_digests(one: object, other: object) -> None:
    """The digest tells contents apart."""
    import json

    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest_json(one) == digest_json(other)) == same

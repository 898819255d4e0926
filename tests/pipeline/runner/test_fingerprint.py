"""Tests of pipeline.runner.fingerprint: what changes a cache key, and what does not."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.runner import fingerprint
from pipeline.runner.fingerprint import (
    DISTRIBUTIONS,
    PACKAGES,
    ROOT,
    SourceReader,
    differences,
    digest_json,
    distribution,
    manifest,
    parse_module,
)

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


def digest_modules(module: str, root: Path) -> dict[str, str]:
    """The digests of what a module reaches, without a cache."""
    return dict(SourceReader(root).read(module).modules)


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


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('class A:\n    """a"""\n    x = 1', 'class A:\n    """b"""\n    x = 1', True),
        ('async def f():\n    """a"""\n    return 1', "async def f():\n    return 1", True),
        ('def f():\n    """a"""\n    return "b"', 'def f():\n    """a"""\n    return "c"', False),
        ('x = 1\n"""a"""', 'x = 1\n"""b"""', False),
        ("def f():\n    1\n    return 2", "def f():\n    return 2", False),
        ("def f(a=1): ...", "def f(a=2): ...", False),
        ("x = 1", "x  =  1  # why", True),
        ("x = 1.0", "x = 1", False),
    ],
)
def test_only_what_runs_counts(one: str, other: str, same: bool) -> None:
    """The first text of a module, class or function is prose; every other constant may change a result."""
    assert (parse_module(one.encode(), "a")[0] == parse_module(other.encode(), "b")[0]) is same


def test_imports_are_those_of_every_form() -> None:
    """Aliases are followed, and what a package imports from itself by dots is not ours: nothing here does so."""
    content = b"import os.path as p\nfrom models import helper as h, other\nfrom . import x\nfrom .y import z\n"
    assert parse_module(content, "a")[1] == ["models", "models.helper", "models.other", "os.path"]


def test_one_file_has_a_manifest(tmp_path: Path) -> None:
    """A file alone and the same file in a directory have the same digest; empty directories do not count."""
    (tmp_path / "folder" / "empty").mkdir(parents=True)
    (tmp_path / "folder" / "a").write_text("1")
    digest = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
    assert manifest(tmp_path / "folder" / "a") == {".": digest} and manifest(tmp_path / "folder") == {"a": digest}
    assert manifest(tmp_path) == {"folder/a": digest}


def test_import_inside_a_function_is_reached(tree: Path) -> None:
    """An import inside a function counts like one at the top."""
    lazy = "def stage():\n    from models.other import x\n    return x\n"
    assert "models.other" in rewritten(tree, "components/stage.py", lazy)


def test_templates_beside_a_reached_module_count(tree: Path) -> None:
    """A page that is rendered from another template is another page."""
    template = tree / "models" / "templates" / "page.html"
    template.parent.mkdir()
    template.write_text("<h1>Before</h1>")
    before = digest_modules("components.stage", tree)
    template.write_text("<h1>After</h1>")
    after = digest_modules("components.stage", tree)
    assert {n for n in before if before[n] != after[n]} == {"models/templates/page.html"}


def test_cached_files_are_not_parsed_again(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second reader takes digests and imports from the cache file, by the bytes of the source files."""
    cache_file = tmp_path / "cache" / "modules.json"
    before = SourceReader(tree, cache_file).read("components.stage")
    tree.joinpath("models").touch()
    monkeypatch.setattr(fingerprint, "parse_module", lambda *_: pytest.fail("parsed again"))
    assert SourceReader(tree, cache_file).read("components.stage") == before


def test_another_python_parses_again(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Syntax trees differ between versions of Python, so a workspace that both use never mixes their digests."""
    cache_file = tmp_path / "cache" / "modules.json"
    SourceReader(tree, cache_file).read("components.stage")
    monkeypatch.setattr(sys, "version", "3.99.0")
    monkeypatch.setattr(fingerprint, "parse_module", lambda *_: ("parsed again", []))
    assert set(SourceReader(tree, cache_file).read("components.stage").modules.values()) == {"parsed again"}


def test_edit_that_keeps_size_and_time_is_noticed(tree: Path, tmp_path: Path) -> None:
    """The cache is keyed by the bytes of a file, so size and time of the file do not matter."""
    cache_file, helper = tmp_path / "cache" / "modules.json", tree / "models" / "helper.py"
    before, times = SourceReader(tree, cache_file).read("components.stage"), helper.stat()
    helper.write_text(HELPER.replace("1", "2"))
    os.utime(helper, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = SourceReader(tree, cache_file).read("components.stage")
    assert before.modules["models.helper"] != after.modules["models.helper"] and helper.stat().st_size == times.st_size


@pytest.mark.parametrize("damage", [b"", b"no checksum", b"\xff\xfe", b"flip", b"cut"])
def test_damaged_cache_is_ignored_and_rewritten(tree: Path, tmp_path: Path, damage: bytes) -> None:
    """A cut, overwritten or altered file changes no digest; the next reader finds an intact one."""
    cache_file = tmp_path / "cache" / "modules.json"
    right = SourceReader(tree, cache_file).read("components.stage")
    intact = cache_file.read_bytes()
    broken = {b"flip": intact.replace(right.modules["models.helper"].encode(), b"0" * 16), b"cut": intact[:-9]}
    cache_file.write_bytes(broken.get(damage, damage))
    assert SourceReader(tree, cache_file).read("components.stage") == right
    assert cache_file.read_bytes() == intact


def test_cache_that_cannot_be_written_is_skipped(tree: Path, tmp_path: Path) -> None:
    """Without a writable cache file the digests are the same."""
    (tmp_path / "file").write_text("")
    assert SourceReader(tree, tmp_path / "file" / "modules.json").read("components.stage").modules


def test_concurrent_readers_do_not_fail(tree: Path, tmp_path: Path) -> None:
    """Processes may write and remove the cache file at the same time."""
    cache_file = tmp_path / "cache" / "modules.json"
    code = (
        "import sys; from pathlib import Path; from pipeline.runner.fingerprint import SourceReader\n"
        "for _ in range(20):\n"
        "    SourceReader(Path(sys.argv[1]), Path(sys.argv[2])).read('components.stage')\n"
        "    Path(sys.argv[2]).unlink(missing_ok=True)\n"
    )
    command = [sys.executable, "-c", code, str(tree), str(cache_file)]
    processes = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
    assert [process.wait(timeout=300) for process in processes] == [0, 0, 0]


def test_libraries_are_those_that_the_reached_modules_import(tree: Path) -> None:
    """Imports inside functions and of types count; the standard library, our packages and pydantic do not."""
    (tree / "models" / "helper.py").write_text(
        "import json\nfrom typing import TYPE_CHECKING\nfrom pydantic import Field\n"
        "if TYPE_CHECKING:\n    import pyarrow as pa\n"
        "def value():\n    from google.protobuf import text_format\n    import sklearn.linear_model\n"
    )
    (tree / "models" / "other.py").write_text("import jinja2\n")
    assert SourceReader(tree).read("components.stage").libraries == ("protobuf", "pyarrow", "scikit-learn")


def test_distributions_are_those_of_the_installed_packages() -> None:
    """Every library that our modules import is mapped to the distribution that holds it."""
    imported = {
        name
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for name in parse_module(path.read_bytes(), path.name)[1]
        if name.partition(".")[0] not in PACKAGES
    }
    owners = {name: {o.lower() for o in each} for name, each in metadata.packages_distributions().items()}
    third_party = {name: d for name in imported if (d := distribution(name)) is not None}
    wrong = {
        n: d for n, d in third_party.items() if d.lower().replace("_", "-") not in _normal(owners.get(n.split(".")[0]))
    }
    # What an extra brings, and JAX, may not be installed.
    assert {n: d for n, d in wrong.items() if n.split(".")[0] in owners} == {}
    assert set(DISTRIBUTIONS.values()) <= set(third_party.values()), "a name that nothing imports"


def _normal(names: set[str] | None) -> set[str]:
    return {name.replace("_", "-") for name in names or ()}


def test_manifest_differences_name_the_files(tmp_path: Path) -> None:
    """The differences name every missing, changed and new file."""
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
    """Different contents have different digests."""
    import json

    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest_json(one) == digest_json(other)) == same

"""Our packages: every one is registered everywhere, belongs to the fingerprint, and is complete in the wheel."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import grimp
import pytest

from pipeline.definition import COMPONENTS
from pipeline.runner.fingerprint import PACKAGES, SourceReader
from tests.conftest import PROFILE, ROOT
from tests.synthetic import write_idx

FOUND = sorted(p.parent.name for p in ROOT.glob("*/__init__.py") if p.parent.name not in ("tests", "scripts"))
FILES = sorted(
    p.relative_to(ROOT)
    for package in FOUND
    for p in (ROOT / package).rglob("*")
    if p.is_file() and "__pycache__" not in p.parts and not p.name.startswith(".")
)
MODULES = [f for f in FILES if f.suffix == ".py"]
FOLDERS = sorted({str(f.parent) for f in MODULES if f.name != "__init__.py"})
STAGES = {c.spec.module: c.spec.name for c in COMPONENTS}


def test_every_package_is_registered() -> None:
    """The fingerprint, the wheel, mypy and import-linter know the same packages as the source tree."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    code = ast.parse((ROOT / "setup.py").read_text())
    (in_wheel,) = [n.value for n in code.body if isinstance(n, ast.Assign) and n.targets[0].id == "PACKAGES"]
    assert sorted(PACKAGES) == FOUND
    assert sorted(ast.literal_eval(in_wheel)) == FOUND
    assert sorted(settings["mypy"]["packages"]) == FOUND
    assert sorted(settings["importlinter"]["root_packages"]) == FOUND


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the modules of our packages."""
    root = tmp_path_factory.mktemp("tree")
    for file in MODULES:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes((ROOT / file).read_bytes())
    return root


@pytest.fixture(scope="module")
def importers() -> dict[str, set[str]]:
    """The stages that import a module, themselves or through others, as import-linter's graph has them."""
    graph = grimp.build_graph(*FOUND, cache_dir=None)
    return {module: graph.find_downstream_modules(module) | {module} for module in graph.modules}


def digests(root: Path, cache_file: Path) -> dict[str, dict[str, str]]:
    """The digests of the modules that each stage reaches."""
    reader = SourceReader(root, cache_file)
    return {name: dict(reader.read(module).modules) for module, name in STAGES.items()}


def dotted(file: Path) -> str:
    """The name under which a module is imported."""
    return ".".join(file.with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_changed_line_reruns_the_stages_that_import_it(
    folder: str, tree: Path, importers: dict[str, set[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A changed line reruns exactly the stages whose modules import it, and a changed comment reruns none."""
    cache_file = tmp_path_factory.getbasetemp() / "modules.json"
    before = digests(tree, cache_file)
    for file in MODULES:
        if str(file.parent) != folder or file.name == "__init__.py":
            continue
        source = (tree / file).read_text()
        (tree / file).write_text(f"{source}\n# A comment.\n")
        assert digests(tree, cache_file) == before
        (tree / file).write_text(f"{source}\nADDED = 1\n")
        after = digests(tree, cache_file)
        (tree / file).write_text(source)
        rerun = {stage for stage in after if after[stage] != before[stage]}
        assert rerun == {STAGES[m] for m in importers[dotted(file)] if m in STAGES}, file


def test_network_reruns_the_trainer_and_not_the_ingestion(tree: Path) -> None:
    """The stages that read images do not depend on the network that learns from them."""
    reached = digests(tree, tree / "modules.json")
    for stage in ("trainer", "tuner"):
        assert any(module.startswith("models.") for module in reached[stage])
    assert "models.training" in reached["trainer"]
    assert all("models.training" not in reached[stage] for stage in ("example_gen", "statistics_gen", "pusher"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment with the wheel and the locked packages, without this source tree."""
    directory = tmp_path_factory.mktemp("wheel")
    for file in [*FILES, Path("setup.py"), Path("pyproject.toml"), Path("README.md")]:
        (directory / "source" / file).parent.mkdir(parents=True, exist_ok=True)
        (directory / "source" / file).write_bytes((ROOT / file).read_bytes())
    uv = [sys.executable, "-m", "uv"]
    for command in (
        [
            *uv,
            "build",
            "--wheel",
            "--offline",
            "--no-build-isolation",
            "--out-dir",
            str(directory),
            str(directory / "source"),
        ],
        [*uv, "venv", "--offline", "--python", sys.executable, str(directory / "venv")],
        [*uv, "pip", "install", "--offline", "--no-deps", "--python", str(directory / "venv/bin/python"), "WHEEL"],
    ):
        wheel = [str(w) for w in directory.glob("*.whl")]
        words = [wheel[0] if word == "WHEEL" else word for word in command]
        done = subprocess.run(words, cwd=directory, env=outside(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    (packages,) = (directory / "venv/lib").glob("python*/site-packages")
    (packages / "locked.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return directory / "venv/bin"


def outside() -> dict[str, str]:
    """The environment of a process that does not see this source tree."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


@pytest.mark.slow
def test_wheel_holds_every_file_of_the_packages(installed: Path) -> None:
    """Page templates, profiles, SQL, experiments and the taxonomy lie beside the modules that read them."""
    (packages,) = installed.parent.glob("lib/python*/site-packages")
    assert [str(file) for file in FILES if not (packages / file).is_file()] == []


@pytest.mark.slow
def test_wheel_runs_the_pipeline_elsewhere(installed: Path, tmp_path: Path) -> None:
    """From another directory the installed command runs every stage, reuses them, and finds its experiments."""

    def fashion(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(installed / "fashion"), *words]
        return subprocess.run(command, cwd=tmp_path, env=outside(), capture_output=True, text=True, check=False)

    options = ["--profile", str(PROFILE), "--set", f"example_gen.idx_dir={write_idx(tmp_path / 'idx')}"]
    done = fashion("run", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    again = fashion("explain", *options, "--json")
    assert {d["stage"]: d["action"] for d in json.loads(again.stdout)} == dict.fromkeys(
        [STAGES[m] for m in STAGES][:11], "reuse"
    )
    assert next((tmp_path / "workspace").glob("artifacts/evaluator/*/evaluation/report.html")).stat().st_size > 1000
    assert "ablation" in fashion("experiment", "list").stdout
    where = subprocess.run(
        [installed / "python", "-c", "import pipeline; print(pipeline.__file__)"],
        cwd=tmp_path, env=outside(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(where.stdout.strip()).is_relative_to(installed.parent)

"""`make setup` takes the newest supported Python that runs, says which, and keeps an environment that exists."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

TOOLS = ("bash", "sh", "grep", "touch", "ls", "test", "env", "mkdir", "cat", "chmod")

PYTHON = """#!/bin/sh
# A Python that reports the version {version}, and creates environments that contain a copy of itself.
case "$*" in
    *"import ensurepip"*) exit {no_venv} ;;
    "-c "*) exec "{real}" -c "import sys; sys.version_info = {version}; sys.executable = '$0'; $2" ;;
    "-m venv "*)
        for directory; do :; done
        mkdir -p "$directory/bin"
        case "$*" in *--clear*) : >"$directory/cleared" ;; esac
        : >"$directory/pyvenv.cfg"
        echo '#!/bin/sh' >"$directory/bin/uv"
        cat "$0" >"$directory/bin/python"
        chmod +x "$directory/bin/python" "$directory/bin/uv" ;;
esac
"""
SHIM = """#!/bin/sh
echo "pyenv: $(basename "$0"): command not found" >&2
exit 127
"""


@dataclass(frozen=True)
class Machine:
    """A home and a PATH on which only the Pythons exist that a test puts there."""

    root: Path

    def python(self, path: str, version: str, can_create: bool = True) -> Path:
        """Adds a Python that reports a version, below the machine's root."""
        numbers = tuple(map(int, version.split(".")))
        return self.program(path, PYTHON.format(version=numbers, no_venv=int(not can_create), real=sys.executable))

    def program(self, path: str, text: str) -> Path:
        """Adds an executable script."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(0o755)
        return file

    def setup(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `make setup` into the directory `venv`."""
        tools = self.root / "tools"
        tools.mkdir(exist_ok=True)
        for tool in TOOLS:
            if not (tools / tool).exists():
                (tools / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")
        environment = {"HOME": str(self.root), "PATH": f"{self.root / 'shims'}:{self.root / 'bin'}:{tools}"}
        command = [shutil.which("make") or "make", "-s", "-C", str(ROOT), f"VENV={self.root / 'venv'}", "setup"]
        return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine without Python."""
    return Machine(tmp_path)


def test_newest_python_that_runs_is_taken(machine: Machine) -> None:
    """Neither a failing shim, nor a version that is too new, nor one that cannot create an environment is taken."""
    machine.program("shims/python3.13", SHIM)
    machine.python("bin/python3.13", "3.13.5", can_create=False)
    machine.python("bin/python3", "3.14.0")
    machine.python("bin/python3.11", "3.11.7")
    newest = machine.python(".pyenv/versions/3.12.1/bin/python3.12", "3.12.1")
    done = machine.setup()
    assert (done.returncode, done.stdout) == (0, f"Python 3.12.1: {newest}\n"), done.stderr


@pytest.mark.parametrize(
    "path", ["bin/python3", "bin/python3.13", ".local/share/uv/python/cpython-3.13.5-x/bin/python3.13"]
)
def test_python_behind_a_failing_shim_is_found(path: str, machine: Machine) -> None:
    """The system's Python counts where a shim of the same name comes first on PATH."""
    machine.program("shims/python3.13", SHIM)
    machine.program("shims/python3", SHIM)
    found = machine.python(path, "3.13.5")
    assert machine.setup().stdout == f"Python 3.13.5: {found}\n"


def test_environment_of_a_supported_version_stays(machine: Machine) -> None:
    """A newer Python on the machine does not replace it; PYTHON=, or the loss of its Python, does."""
    old = machine.python("bin/python3.11", "3.11.7")
    machine.setup()
    new = machine.python("bin/python3.13", "3.13.5")
    (machine.root / "venv/.installed").unlink()
    assert machine.setup().stdout == f"Python 3.11.7: {machine.root / 'venv/bin/python'}\n"
    assert machine.setup().stdout == "" and not (machine.root / "venv/cleared").exists()
    assert machine.setup(f"PYTHON={new}").stdout == f"Python 3.13.5: {new}\n"
    assert (machine.root / "venv/cleared").exists()
    (machine.root / "venv/bin/python").unlink()
    new.unlink()
    assert machine.setup().stdout == f"Python 3.11.7: {old}\n"


def test_files_of_another_directory_stay(machine: Machine) -> None:
    """A directory that is no environment is not emptied."""
    machine.python("bin/python3.11", "3.11.7")
    (machine.root / "venv").mkdir()
    assert machine.setup().returncode == 0 and not (machine.root / "venv/cleared").exists()


def test_without_a_supported_python_the_next_command_is_named(machine: Machine) -> None:
    """The error states the versions, what is there, and what to type; so does a wrong PYTHON."""
    machine.python("bin/python3", "3.9.2")
    done = machine.setup()
    assert done.returncode != 0 and "Expected: one of the versions 3.13 3.12 3.11" in done.stderr
    assert "Next: sudo apt-get install python3-venv" in done.stderr
    done = machine.setup("PYTHON=python3")
    assert "PYTHON=python3 is not a supported Python." in done.stderr and "Received: 3.9." in done.stderr
    machine.python("bin/python3.12", "3.12.1", can_create=False)
    assert "Next: sudo apt-get install python3.12-venv" in machine.setup().stderr


def test_versions_are_the_same_everywhere() -> None:
    """The script, the package and continuous integration name the same versions."""
    script = (ROOT / "scripts/get_python.sh").read_text(encoding="utf-8")
    supported = script.split('supported="')[1].split('"')[0].split()
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["check-and-test"]["strategy"]["matrix"]["python"] == supported[::-1]
    package = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert all(f'"Programming Language :: Python :: {version}"' in package for version in supported)
    oldest, newest = supported[-1], supported[0].removeprefix("3.")
    assert f'python_requires=">={oldest},<3.{int(newest) + 1}"' in package

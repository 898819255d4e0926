#!/usr/bin/env bash
# Creates a virtual environment with the newest supported Python that runs, and prints one line that names the Python.
# Usage: get_python.sh DIRECTORY [PYTHON]. An environment of a supported version stays, unless PYTHON has another one.
set -euo pipefail

directory="$1"
wanted="${2:-}"
supported="3.13 3.12 3.11"

# A name on PATH can be a shim of pyenv, which fails where no such version is active. So a Python counts if it runs.
version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true; }

describe() { "$1" -c 'import sys; print("Python %d.%d.%d: %s" % (*sys.version_info[:3], sys.executable))'; }

is_supported() { [[ -n "$1" && " $supported " == *" $1 "* ]]; }

present=""
# Without pip its creation was interrupted.
if "$directory/bin/python" -c 'import pip' 2>/dev/null; then present="$(version "$directory/bin/python")"; fi
if [ -n "$wanted" ]; then
    given="$(version "$wanted")"
    if ! is_supported "$given"; then
        echo "PYTHON=$wanted is not a supported Python." >&2
        echo "Expected: one of the versions $supported. Received: ${given:-a command that does not run}." >&2
        echo "Next: the same command without PYTHON=, or with PYTHON=/path/to/python3.13" >&2
        exit 1
    fi
fi
if is_supported "$present" && [ "${given:-$present}" = "$present" ]; then
    describe "$directory/bin/python"
    exit 0
fi

# Debian and Ubuntu keep what `python -m venv` needs in a package of its own.
can_create() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

candidates() {
    [ -z "$wanted" ] || { echo "$wanted"; return; }
    type -aP "python$1" python3 || true
    ls -d "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$1".*/bin/"python$1" \
        "${HOME:-}/.local/share/uv/python/cpython-$1".*/bin/"python$1" 2>/dev/null || true
}

chosen="" incomplete=""
for number in ${given:-$supported}; do
    while [ -z "$chosen" ] && read -r candidate; do
        if [ "$(version "$candidate")" = "$number" ]; then
            if can_create "$candidate"; then chosen="$candidate"; else incomplete="${incomplete:-$candidate}"; fi
        fi
    done < <(candidates "$number")
done
if [ -z "$chosen" ] && [ -n "$incomplete" ]; then
    echo "$incomplete cannot create a virtual environment: its modules venv and ensurepip are missing." >&2
    echo "Next: sudo apt-get install python$(version "$incomplete")-venv" >&2
    exit 1
fi
if [ -z "$chosen" ]; then
    received="$(python3 --version 2>/dev/null || true)"
    echo "There is no supported Python." >&2
    echo "Expected: one of the versions $supported, on PATH or installed by pyenv or uv." \
        "Received: ${received:-no python3 on PATH that runs}." >&2
    echo "Next: sudo apt-get install python3-venv; where that is an older version: pyenv install 3.13" >&2
    exit 1
fi
describe "$chosen"
# Only an environment is emptied, never another directory.
if [ -f "$directory/pyvenv.cfg" ]; then "$chosen" -m venv --clear "$directory"; else "$chosen" -m venv "$directory"; fi

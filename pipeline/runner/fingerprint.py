"""What a result depends on, as digests: the content of directories, and the source of modules without its prose."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("pipeline", "components", "catalogue", "analysis", "serving", "models", "sql")


def digest_json(content: Any) -> str:
    """Returns the SHA-256, in hex, of `content` as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def manifest(path: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file under a directory (or of the one file), by its relative path, sorted."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return {str(p.relative_to(path)): _digest_file(p) for p in files}


def differences(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Names what differs between two manifests: "x is missing", "x has changed", "x is new"."""
    missing = [f"{name} is missing" for name in before if name not in now]
    changed = [f"{name} has changed" for name in before if name in now and before[name] != now[name]]
    return missing + changed + [f"{name} is new" for name in now if name not in before]


def _digest_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_modules(module: str, root: Path = ROOT) -> dict[str, str]:
    """Digests a module and every module of ours that it reaches through imports, those inside functions included.

    Comments, formatting and docstrings do not count: the digest is taken over the syntax tree without them.

    Args:
        module: A dotted name, such as "components.trainer".
        root: The directory that holds the packages. Defaults to the repository.

    Returns:
        Module name to the first 16 hex digits of the SHA-256 of its tree.
    """
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _source(name, root)
        if name in found or path is None:
            continue
        found[name], imports = _read_module(path, path.stat().st_mtime_ns, root)
        waiting += imports
    return dict(sorted(found.items()))


@cache
def _read_module(path: Path, modified: int, root: Path) -> tuple[str, tuple[str, ...]]:
    tree = ast.parse(path.read_bytes(), filename=str(path))
    imports = tuple(sorted({name for node in ast.walk(tree) for name in _imported(node, root)}))
    for node in ast.walk(tree):
        _strip_docstring(node)
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16], imports


def _source(module: str, root: Path) -> Path | None:
    base = root.joinpath(*module.split("."))
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((c for c in candidates if c.is_file()), None)


def _imported(node: ast.AST, root: Path) -> Iterator[str]:
    names: Iterable[str] = ()
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        # `from models import taxonomy` names a module, `from models.taxonomy import Taxonomy` one of its members.
        names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return (n for n in names if n.split(".")[0] in ROOMS and _source(n, root) is not None)


def _strip_docstring(node: ast.AST) -> None:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            node.body = node.body[1:]

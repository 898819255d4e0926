"""Digests of what a stage's result depends on: the content of directories, the source code, the library versions."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from pipeline.contract.files import write_text

ROOT = Path(__file__).resolve().parents[2]
"""The directory that holds our packages: the repository, or `site-packages` where the wheel is installed."""

PACKAGES = ("pipeline", "components", "catalogue", "analysis", "serving", "models", "sql")

DISTRIBUTIONS = {
    "PIL": "pillow",
    "apache_beam": "apache-beam",
    "faiss": "faiss-cpu",
    "google.protobuf": "protobuf",
    "grpc": "grpcio",
    "grpc_health": "grpcio-health-checking",
    "keras_tuner": "keras-tuner",
    "markdown_it": "markdown-it-py",
    "openTSNE": "opentsne",
    "rapidjson": "python-rapidjson",
    "sklearn": "scikit-learn",
    "tensorflow_datasets": "tensorflow-datasets",
    "tensorflow_metadata": "tensorflow-metadata",
    "tensorflow_model_analysis": "tensorflow-model-analysis",
    "tensorflow_serving": "tensorflow-serving-api",
    "tfx_bsl": "tfx-bsl",
}
"""Import name to distribution name, where the two differ.

`importlib.metadata.packages_distributions()` would say the same, but it reads the files of every installed package; a
test compares the two.
"""

WITHOUT_EFFECT = frozenset({"pydantic"})
"""Libraries whose version changes no result: pydantic checks parameters, and their values are in the cache key."""

MAX_CACHED_FILES = 2000


def digest_json(content: Any) -> str:
    """Returns the SHA-256, in hex, of `content` as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def manifest(path: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file under a directory (or of the one file), by its relative path, sorted."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return {str(p.relative_to(path)): _digest_file(p) for p in files}


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Returns how two manifests differ: "x is missing", "x has changed", "x is new"."""
    missing = [f"{name} is missing" for name in before if name not in now]
    changed = [f"{name} has changed" for name in before if name in now and before[name] != now[name]]
    return missing + changed + [f"{name} is new" for name in now if name not in before]


def _digest_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Source:
    """The source code that a module runs.

    Attributes:
        modules: Every module of ours that it reaches, itself included, to the first 16 hex digits of the SHA-256 of its
            syntax tree, and the templates beside them to that of their bytes.
        libraries: The distributions that these modules import, sorted.
    """

    modules: Mapping[str, str]
    libraries: tuple[str, ...]


@dataclass(frozen=True)
class _File:
    """One source file: its digest, and the modules of ours and the libraries that it imports."""

    digest: str
    modules: set[str]
    libraries: set[str]


class SourceReader:
    """Follows the imports of our modules and digests their source code.

    Parsing 150 files takes a second, so the reader caches the digest and the imports of a file by the SHA-256 of its
    bytes. An entry holds for every file with these bytes, and a changed file is parsed again. The cache file is in the
    workspace's cache folder, with other data that can be rebuilt: nothing is written outside the workspace, and
    `fashion clean --all` removes it. Writes are atomic, and a checksum covers the content; a damaged file is ignored.

    Args:
        root: The directory that holds the packages. Defaults to ours.
        cache_file: The file that caches digests and imports. Defaults to none.
    """

    def __init__(self, root: Path = ROOT, cache_file: Path | None = None) -> None:
        self._root = root
        self._cache_file = cache_file
        self._cached = _read_cache(cache_file)
        self._files: dict[str, _File] = {}
        self._templates: dict[Path, dict[str, str]] = {}
        self._changed = False

    def read(self, module: str) -> Source:
        """Returns what a module reaches through imports, those inside functions included.

        Comments, formatting and docstrings do not count. The templates of pages, which lie in a folder `templates`
        beside the module that renders them, count by their bytes. An import under `if TYPE_CHECKING` counts: code that
        names the type of an object handles such objects, and `serving.engines` names in that way the server that it
        starts.

        Args:
            module: A dotted name, such as "components.trainer".
        """
        found: dict[str, str] = {}
        libraries: set[str] = set()
        waiting = [module]
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            file = self._read_module(name)
            found[name] = file.digest
            found |= self._read_templates(name)
            waiting += file.modules
            libraries |= file.libraries
        self._save()
        return Source(dict(sorted(found.items())), tuple(sorted(libraries)))

    @cached_property
    def _paths(self) -> dict[str, Path]:
        """Our modules by dotted name; a package is its `__init__.py`."""
        paths = {}
        for folder, _, names in chain.from_iterable(os.walk(self._root / package) for package in PACKAGES):
            package = os.path.relpath(folder, self._root).replace(os.sep, ".")
            for name in names:
                if name.endswith(".py"):
                    paths[f"{package}.{name[:-3]}".removesuffix(".__init__")] = Path(folder, name)
        return paths

    def _read_module(self, module: str) -> _File:
        if module not in self._files:
            # A component may be declared outside of our packages, as in a test.
            path = self._paths.get(module) or self._root.joinpath(*module.split(".")).with_suffix(".py")
            digest, imports = self._parse(path.read_bytes(), module)
            ours = {i for i in imports if i.partition(".")[0] in PACKAGES}
            libraries = {d for i in imports if i not in ours and (d := distribution(i)) is not None}
            self._files[module] = _File(digest, ours & self._paths.keys(), libraries)
        return self._files[module]

    def _read_templates(self, module: str) -> dict[str, str]:
        if module not in self._paths:
            return {}
        folder = self._paths[module].with_name("templates")
        if folder not in self._templates:
            files = sorted(f for f in folder.iterdir() if f.is_file()) if folder.is_dir() else []
            self._templates[folder] = {f.relative_to(self._root).as_posix(): _digest_file(f)[:16] for f in files}
        return self._templates[folder]

    def _parse(self, content: bytes, module: str) -> tuple[str, list[str]]:
        key = hashlib.sha256(content).hexdigest()
        if key not in self._cached:
            self._cached[key] = parse_module(content, module)
            self._changed = True
        return self._cached[key]

    def _save(self) -> None:
        if not self._changed or self._cache_file is None:
            return
        self._changed = False
        if len(self._cached) > MAX_CACHED_FILES:
            self._cached = {}  # drops the entries of old files; the current ones are parsed once more
        content = json.dumps(self._cached, separators=(",", ":"))
        with suppress(OSError):  # a workspace that this user may only read
            write_text(self._cache_file, f"{_checksum(content)}\n{content}")


def parse_module(content: bytes, name: str) -> tuple[str, list[str]]:
    """Returns the digest of a module's syntax tree without docstrings, and the dotted names that it imports, sorted.

    `from models.taxonomy import Taxonomy` gives `models.taxonomy` and `models.taxonomy.Taxonomy`: either may be the
    module.
    """
    tree = ast.parse(content, filename=name)
    imports = sorted({imported for node in ast.walk(tree) for imported in _imported(node)})
    for node in ast.walk(tree):
        _strip_docstring(node)
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16], imports


def distribution(imported: str) -> str | None:
    """Returns the distribution that an imported name belongs to; None for the standard library and without effect."""
    parts = imported.split(".")
    if parts[0] in sys.stdlib_module_names or parts[0] in WITHOUT_EFFECT:
        return None
    return DISTRIBUTIONS.get(parts[0]) or DISTRIBUTIONS.get(".".join(parts[:2])) or parts[0]


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def _strip_docstring(node: ast.AST) -> None:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            node.body = node.body[1:]


def _read_cache(path: Path | None) -> dict[str, tuple[str, list[str]]]:
    try:
        content = b"" if path is None else path.read_bytes()
    except OSError:
        return {}
    checksum, _, text = content.decode(errors="replace").partition("\n")
    cached: dict[str, tuple[str, list[str]]] = json.loads(text) if checksum == _checksum(text) else {}
    return cached


def _checksum(text: str) -> str:
    """Returns the SHA-256 of the content, of this module and of Python's version, on which the digests depend."""
    return hashlib.sha256(f"{sys.version}\n{_own_source()}\n{text}".encode()).hexdigest()


@cache
def _own_source() -> str:
    return Path(__file__).read_text(encoding="utf-8")

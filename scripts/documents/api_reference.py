"""Writes the pages of the API reference from the docstrings, one page a module, without importing any module."""

from __future__ import annotations

import ast
import html
import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from scripts.documents.parsing import ROOT

if TYPE_CHECKING:
    import griffe

PACKAGES = ("pipeline", "components", "catalogue", "analysis", "serving", "models", "sql")
_TITLES = {
    "parameters": "Arguments",
    "other parameters": "Arguments",
    "attributes": "Attributes",
    "returns": "Returns",
    "yields": "Yields",
    "raises": "Raises",
}


def api_pages() -> dict[str, str]:
    """Returns the pages: path below the site's source, such as `api/models/taxonomy.md`, to Markdown."""
    import griffe

    loader = griffe.GriffeLoader(search_paths=[ROOT], docstring_parser=griffe.Parser.google, allow_inspection=False)
    modules = [module for name in PACKAGES for module in _modules(loader.load(name))]
    pages = {page_of(module.path): _page(module) for module in modules}
    return {"api/index.md": _index(modules), **pages}


def page_of(module: str) -> str:
    """Returns the path of a module's page: `api/models/taxonomy.md` for `models.taxonomy`."""
    return f"api/{module.replace('.', '/')}.md" if "." in module else f"api/{module}/index.md"


def _modules(module: griffe.Module) -> Iterator[griffe.Module]:
    """Yields a module and those below it that have a docstring or a public name."""
    if module.docstring or any(_members(module)):
        yield module
    for name in sorted(module.modules):
        if not name.startswith("_") and not module.modules[name].is_alias:
            yield from _modules(module.modules[name])


def _index(modules: Iterable[griffe.Module]) -> str:
    lines = ["# API reference", "", "Public modules with their first sentence; made from the docstrings.", ""]
    package = ""
    for module in modules:
        if module.path.split(".")[0] != package:
            package = module.path.split(".")[0]
            lines += ["", f"## `{package}`", "", "| module | content |", "| --- | --- |"]
        summary = _escape(module.docstring.value.split("\n\n")[0].replace("\n", " ")) if module.docstring else ""
        link = page_of(module.path).removeprefix("api/")
        lines.append(f"| [`{module.path}`]({link}) | {summary.replace('|', '&#124;')} |")
    return "\n".join(lines) + "\n"


def _page(module: griffe.Module) -> str:
    index = posixpath.relpath("api/index.md", posixpath.dirname(page_of(module.path)))
    lines = [f"# `{module.path}`", "", f"[All modules]({index})", "", *_docstring(module)]
    for member in _members(module):
        lines += _entry(member, 2)
    return "\n".join(lines) + "\n"


def _members(owner: griffe.Module | griffe.Class) -> Iterator[Any]:
    """Yields the public functions and classes that an object defines itself, and its documented attributes."""
    for name, member in owner.members.items():
        if name.startswith("_") or member.is_alias or member.is_module:
            continue
        if member.is_attribute and (not member.docstring or (owner.is_class and "property" not in member.labels)):
            continue
        yield member


def _entry(member: Any, level: int) -> Iterator[str]:
    kind = "class" if member.is_class else "property" if member.is_attribute else "function"
    yield ""
    yield f"{'#' * level} {kind} `{member.name}` {{ #{member.path} }}"
    yield ""
    if signature := _signature(member):
        yield f"```python\n{signature}\n```\n"
    yield from _docstring(member)
    if member.is_function:
        yield from _described(member)
    if member.is_class:
        for inner in _members(member):
            yield from _entry(inner, min(level + 1, 4))


def _signature(member: Any) -> str:
    if member.is_attribute:
        return f"{member.name}: {member.annotation}" if member.annotation else ""
    if member.is_class:
        bases = ", ".join(str(base) for base in member.bases)
        return f"class {member.name}({bases})" if bases else f"class {member.name}"
    parameters, marker = [], False
    for parameter in member.parameters:
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is not None and parameter.kind.value == "keyword-only" and not marker:
            marker = True
            parameters.append("*")
        if parameter.kind is not None and parameter.kind.value.startswith("variadic positional"):
            marker = True
        parameters.append(_parameter(parameter))
    returned = f" -> {member.returns}" if member.returns else ""
    line = f"{member.name}({', '.join(parameters)}){returned}"
    if len(line) > 88:
        line = f"{member.name}(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + f"){returned}"
    return line


def _parameter(parameter: Any) -> str:
    stars = {"variadic positional": "*", "variadic keyword": "**"}.get(
        parameter.kind.value if parameter.kind else "", ""
    )
    annotation = f": {_unwrap(parameter)[0]}" if parameter.annotation else ""
    # A variadic parameter has a default of its own in the model: an empty tuple or dictionary.
    default = f" = {parameter.default}" if parameter.default is not None and not stars else ""
    return f"{stars}{parameter.name}{annotation}{default}"


def _unwrap(parameter: Any) -> tuple[str, str]:
    """Returns the type of a parameter, and the description that `Annotated[type, Field(description=...)]` gives it."""
    written = str(parameter.annotation)
    if not written.startswith("Annotated["):
        return written, ""
    annotated = ast.parse(written, mode="eval").body
    assert isinstance(annotated, ast.Subscript)
    assert isinstance(annotated.slice, ast.Tuple)
    bare, *metadata = annotated.slice.elts
    keywords = [keyword for call in metadata if isinstance(call, ast.Call) for keyword in call.keywords]
    found = [keyword.value for keyword in keywords if keyword.arg == "description"]
    return ast.unparse(bare), str(ast.literal_eval(found[0])) if found else ""


def _described(function: Any) -> Iterator[str]:
    """Yields the descriptions of a component's parameters, which are in its signature."""
    described = [(parameter.name, _unwrap(parameter)[1]) for parameter in function.parameters if parameter.annotation]
    if any(description for _, description in described):
        yield "**Parameters**\n"
        yield from (f"- `{name}`: {_escape(description)}" for name, description in described if description)
        yield ""


def _docstring(member: Any) -> Iterator[str]:
    if not member.docstring:
        return
    for part in member.docstring.parse("google", warnings=False):
        if part.kind.value == "text":
            yield f"{_escape(part.value)}\n"
        elif part.kind.value in _TITLES:
            yield f"**{_TITLES[part.kind.value]}**\n"
            for item in part.value:
                yield f"- {_item(item, part.kind.value)}"
            yield ""
        elif part.kind.value == "examples":
            yield "**Example**\n"
            for kind, text in part.value:
                yield f"```python\n{text}\n```\n" if kind.value == "examples" else f"{_escape(text)}\n"
        elif part.kind.value == "admonition":
            yield f"**{part.title}** {_escape(part.value.contents)}\n"


def _item(item: Any, kind: str) -> str:
    description = re.sub(r"\s*\n\s*", " ", _escape(item.description or "")).strip()
    if kind in ("returns", "yields"):
        return description
    name = item.name if kind != "raises" else str(item.annotation)
    return f"`{name}`: {description}"


def _escape(text: str) -> str:
    """Escapes what Markdown would read as HTML, outside code."""
    pieces = re.split(r"(```.*?```|`[^`\n]*`)", text, flags=re.DOTALL)
    return "".join(piece if number % 2 else html.escape(piece, quote=False) for number, piece in enumerate(pieces))

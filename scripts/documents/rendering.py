"""Renders the templates in `docs/templates/` with the figures of the committed results.

`docs/templates/NAME.md` becomes `docs/NAME.md`, and `docs/templates/README.md` the README of the repository. A template
is Markdown with Jinja2's expressions in place of figures, so a figure in a document cannot be older than its result.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.pages.template import format_number
from scripts.documents.values import DOCS, ROOT, Values

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = DOCS / "templates"


def render_documents() -> dict[str, str]:
    """Returns the documents: path relative to the repository to content."""
    templates = sorted(TEMPLATES.rglob("*.md"))
    return {target(template): render(template.relative_to(TEMPLATES).as_posix()) for template in templates}


def target(template: Path) -> str:
    """Returns the path, relative to the repository, of the document that a template becomes."""
    name = template.relative_to(TEMPLATES).as_posix()
    return name if name == "README.md" else f"docs/{name}"


def render(name: str, **context: Any) -> str:
    """Returns the text of a template.

    Args:
        name: The template's path in `docs/templates/`.
        **context: More names for the template, beside those of `Values`.

    Raises:
        jinja2.UndefinedError: The template names a figure that no result has.
    """
    from jinja2 import meta

    environment, values = _environment(), _values()
    source = (TEMPLATES / name).read_text(encoding="utf-8")
    named = meta.find_undeclared_variables(environment.parse(source)) - set(context)
    figures = {name: getattr(values, name) for name in named if hasattr(type(values), name)}
    return environment.from_string(source).render(figures | context)


def percent(share: float, digits: int = 1) -> str:
    """Returns a share as a percentage: "98.5%"."""
    return f"{format_number(100 * share, digits)}%"


def estimate(figure: dict[str, Any], digits: int = 3) -> str:
    """Returns a figure of `metrics.json` with its interval: "0.985 [0.983, 0.988]"."""
    return f"{format_number(figure['value'], digits)} {interval(figure['interval'], digits)}"


def percent_estimate(figure: dict[str, Any], digits: int = 1) -> str:
    """Returns a figure of `metrics.json` as a percentage with its interval: "98.5% [98.3, 98.8]"."""
    return f"{percent(figure['value'], digits)} {interval([100 * bound for bound in figure['interval']], digits)}"


def interval(bounds: Sequence[float], digits: int = 3) -> str:
    """Returns an interval: "[0.983, 0.988]"."""
    return f"[{', '.join(format_number(bound, digits) for bound in bounds)}]"


def thousands(count: float) -> str:
    """Returns a count with separators: "10,000"."""
    return f"{count:,.0f}"


@cache
def _values() -> Values:
    return Values()


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=False,  # Markdown of the repository's own figures
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "number": format_number,
        "percent": percent,
        "estimate": estimate,
        "percent_estimate": percent_estimate,
        "interval": interval,
        "thousands": thousands,
    }
    return environment


def write_documents() -> list[str]:
    """Writes the documents of all templates, and returns the paths of those that changed."""
    changed = []
    for name, text in render_documents().items():
        file = ROOT / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            changed.append(name)
    return changed


if __name__ == "__main__":
    for name in write_documents():
        print(f"wrote {name}")

"""Renders the Jinja2 templates of the pages: a report, the exploration, the experiments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, **context: Any) -> str:
    """Returns a page.

    Args:
        template: The name of a file in `templates/`.
        **context: What the template names. Text is escaped; a name that is missing is an error.
    """
    return _environment().get_template(template).render(context)


def format_number(value: float | None, digits: int = 4, signed: bool = False) -> str:
    """Returns a number with a fixed count of digits and a true minus sign; a dash for None."""
    if value is None:
        return "–"
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "−")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "number": format_number,
        "percent_of_scale": _percent_of_scale,
        "words": _words,
        "groupby_in_order": _groupby_in_order,
        "markdown": _markdown,
        "markdown_line": _markdown_line,
    }
    return environment


def _percent_of_scale(value: float, low: float) -> float:
    """Returns where a value lies on a scale from `low` to 1, from 0 to 100."""
    return 100 * min(max((value - low) / max(1 - low, 1e-9), 0), 1)


def _words(name: str) -> str:
    """Returns the name of a feature or of a corruption as words: "group_name" as "group"."""
    return name.removesuffix("_name").replace("_", " ")


def _groupby_in_order(rows: Iterable[Mapping[str, Any]], key: str) -> list[tuple[Any, list[Mapping[str, Any]]]]:
    """Groups neighbouring rows of the same value; Jinja's own filter would sort the groups."""
    return [(value, list(group)) for value, group in groupby(rows, key=lambda row: row[key])]


def _markdown(text: str) -> Markup:
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    return Markup(MarkdownIt("commonmark", {"html": False}).render(text))


def _markdown_line(text: str) -> Markup:
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    return Markup(MarkdownIt("commonmark", {"html": False}).renderInline(text))

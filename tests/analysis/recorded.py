"""Sections of a page as text, compared with the committed text of the same synthetic data.

A recorded text holds what a reader sees: prose, captions, tables, and of a figure its axes and, trace by trace, name,
colour, marker and values. A change of what the page says or shows becomes a change of a recorded file, to be read in
review. `RECORD=1 pytest FILE` writes the files anew.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from analysis.pages.page import as_text
from analysis.pages.section import Block, Gallery, Images, Listing, Picture, Section

SHOWN = 20
"""Of more values than these, the first and the last four are recorded, with the count and the sum."""
HIDDEN = ("template", "hovertemplate", "hoverinfo")
NUMBER = re.compile(r"(?<![\w.])[-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")


def describe(section: Section) -> str:
    """Returns a section as text."""
    lines = [f"# {section.title} ({section.name})", *section.finding.split("\n"), f"Decision: {section.decision}"]
    return "\n".join([*lines, *(line for block in section.blocks for line in _block(block))]) + "\n"


def _block(block: Block) -> Iterator[str]:
    yield f"\n## {block.name}: {block.caption}"
    yield f"documented {block.documented}, detail {block.detail}; {getattr(block, 'alt', '')}".rstrip("; ")
    if isinstance(block, Listing):
        yield from (" | ".join(map(str, row)) for row in [block.table.columns, *as_text(block.table)])
    elif isinstance(block, Gallery):
        for row in block.rows:
            shown = f"{len(row.images)} images {_brightness(row.images)}"
            yield f"{row.title} {row.colour}: {shown}; {' / '.join(row.notes)}"
    else:
        yield from _picture(block)


def _brightness(images: Images) -> str:
    """Returns the mean of every image, which tells images apart and hardly changes with a pixel's rounding."""
    return ", ".join(f"{image.mean():.1f}" for image in images)


def _picture(block: Picture) -> Iterator[str]:
    drawn = json.loads(block.figure.to_json(engine="json"))
    if block.thumbnails is not None:
        yield f"thumbnails {len(block.thumbnails)}: {_values(block.thumbnails.mean(axis=(1, 2)).tolist())}"
    for path, value in sorted(_leaves(drawn["layout"])):
        yield f"{path} = {value}"
    for trace in block.figure.data:
        content = trace.to_plotly_json()
        yield f"- {content.pop('type')} {content.pop('name', '')}"
        yield from (f"  {path} = {value}" for path, value in sorted(_leaves(content)))


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yields the paths and the values of a plotly figure's part, as text."""
    if isinstance(tree, dict):
        for name, part in tree.items():
            if name not in HIDDEN:
                yield from _leaves(part, f"{path}.{name}".lstrip("."))
    elif hasattr(tree, "tolist") or isinstance(tree, list | tuple):
        values = tree.tolist() if hasattr(tree, "tolist") else tree
        if values and isinstance(values[0], dict):
            for number, part in enumerate(values):
                yield from _leaves(part, f"{path}.{number}")
        else:
            yield path, _values(values)
    elif tree is not None:
        yield path, _value(tree)


def _values(values: Sequence[Any]) -> str:
    flat = (
        list(itertools.chain.from_iterable(values)) if values and isinstance(values[0], list | tuple) else list(values)
    )
    if len(flat) <= SHOWN:
        return ", ".join(map(_value, flat))
    kept = ", ".join(map(_value, [*flat[:4], *flat[-4:]]))
    numbers = [value for value in flat if isinstance(value, int | float)]
    # From Python 3.12 on, `sum` rounds otherwise: the digits that are shown are the same.
    words = f"{math.fsum(numbers):.4g}" if numbers else hashlib.sha256("".join(map(str, flat)).encode()).hexdigest()[:8]
    return f"{kept}; {len(flat)} values, {words}"


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) and value != round(value) else str(value)


def compare(found: str, file: Path) -> None:
    """Asserts that a text is the recorded one, but for a difference of one in the last digit of a decimal number."""
    if os.environ.get("RECORD"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(found, encoding="utf-8")
    expected = file.read_text(encoding="utf-8")
    different = [
        f"recorded: {old}\nfound:    {new}"
        for old, new in itertools.zip_longest(expected.splitlines(), found.splitlines(), fillvalue="")
        if not _alike(old, new)
    ]
    assert not different, f"{file.name} differs; if the change is meant, run: RECORD=1 pytest\n" + "\n".join(
        different[:9]
    )


def _alike(old: str, new: str) -> bool:
    if old == new:
        return True
    pairs = itertools.zip_longest(NUMBER.findall(old), NUMBER.findall(new), fillvalue="")
    return NUMBER.sub("#", old) == NUMBER.sub("#", new) and all(_near(*pair) for pair in pairs)


def _near(old: str, new: str) -> bool:
    """Whether two numbers differ by at most one in the last digit of the shorter one; whole numbers by nothing."""
    if old == new:
        return True
    last = max(_last_digit(old), _last_digit(new))
    return last < 1 and abs(_number(old) - _number(new)) <= 1.01 * last


def _last_digit(text: str) -> float:
    digits, _, exponent = text.partition("e")
    return float(10.0 ** (int(exponent or 0) - len(digits.partition(".")[2])))


def _number(text: str) -> float:
    return float(text.replace(",", "").replace("−", "-"))

"""Pieces of HTML that the report is put together from: tables, figures with intervals, dots on a scale, diagrams.

All is HTML, CSS and SVG: the page needs no script, weighs little, and follows the reader's light or dark.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Estimate = Mapping[str, Any]


def escape(text: Any) -> str:
    """Returns the text as HTML."""
    return html.escape(str(text))


def number(value: float | None, digits: int = 4, signed: bool = False) -> str:
    """Returns a figure with a fixed number of digits; a dash for what is not defined."""
    if value is None:
        return "–"
    return f"{value:+.{digits}f}".replace("-", "−") if signed else f"{value:.{digits}f}".replace("-", "−")


def interval(estimate: Estimate, digits: int = 4, signed: bool = False) -> str:
    """Returns an interval such as `0.9812 to 0.9861`, small and grey; nothing where there is none."""
    low, high = estimate.get("interval", (None, None))
    if low is None:
        return ""
    return f"<small>{number(low, digits, signed)} to {number(high, digits, signed)}</small>"


def figure(estimate: Estimate, digits: int = 4, signed: bool = False) -> str:
    """Returns a figure with its interval under it."""
    return number(estimate["value"], digits, signed) + interval(estimate, digits, signed)


def card(name: str, estimate: Estimate) -> str:
    """Returns a headline figure."""
    value = number(estimate["value"])
    return f'<div class="card"><span class="soft">{escape(name)}</span><b>{value}</b>{interval(estimate)}</div>'


def swatch(colour: str, name: str) -> str:
    """Returns a name with its colour before it."""
    return f'<span class="swatch" style="background:{escape(colour)}"></span>{escape(name)}'


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    """Returns a table of cells that are already HTML; `numeric` columns stand to the right."""
    kind = [' class="n"' if index in numeric else "" for index in range(len(headings))]
    head = "".join(f"<th{k}>{h}</th>" for k, h in zip(kind, headings, strict=True))
    body = "".join(
        "<tr>" + "".join(_cell(k, cell) for k, cell in zip(kind, row, strict=True)) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(kind: str, content: str) -> str:
    return (
        f'<td class="dots">{content}</td>' if content.startswith('<div class="track"') else f"<td{kind}>{content}</td>"
    )


def dot(estimate: Estimate, low: float, high: float) -> str:
    """Returns a dot on a scale from `low` to `high` with its interval as a bar; a bare rail for what is not on it."""
    value, (start, stop) = estimate["value"], estimate["interval"]
    if value is None or start is None or value < low:
        return '<div class="track"><i class="rail"></i></div>'

    def place(x: float) -> float:
        return 100 * min(max((x - low) / max(high - low, 1e-9), 0), 1)

    span = f"left:{place(start):.1f}%;width:{place(stop) - place(start):.1f}%"
    return (
        f'<div class="track"><i class="rail"></i><i class="range" style="{span}"></i>'
        f'<i class="dot" style="left:{place(value):.1f}%"></i></div>'
    )


def matrix(counts: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """Returns a confusion matrix, truth down, each row shaded by its share: blue where right, orange where wrong."""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = []
    for index, row in enumerate(counts):
        cells = [_matrix_cell(count, count / max(sum(row), 1), index == place) for place, count in enumerate(row)]
        rows.append(f'<tr><th class="row">{escape(names[index])}</th>{"".join(cells)}</tr>')
    body = f"<thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="scroll"><table class="matrix">{body}</table></div>'


def _matrix_cell(count: int, share: float, right: bool) -> str:
    # Mistakes are a few in a hundred: on one scale with the right answers they would all look white.
    strength = 12 + 38 * share if right else min(60, 500 * share)
    colour = f"color-mix(in srgb,var(--{'accent' if right else 'bad'}) {strength:.0f}%,var(--raised))"
    return f'<td style="background:{colour}">{count:,}<small>{share:.1%}</small></td>'


def reliability_diagram(points: Sequence[Mapping[str, float]]) -> str:
    """Returns stated confidence against accuracy; a dot's area grows with its share of the examples."""
    total = sum(point["count"] for point in points)
    dots = "".join(
        f'<circle cx="{40 + 300 * p["confidence"]:.1f}" cy="{310 - 300 * p["accuracy"]:.1f}" '
        f'r="{3 + 11 * (p["count"] / total) ** 0.5:.1f}" fill="var(--accent)" fill-opacity=".65">'
        f"<title>{p['count']:,} examples: stated {p['confidence']:.3f}, right {p['accuracy']:.3f}</title></circle>"
        for p in points
    )
    grid = "".join(
        f'<path d="M{40 + 300 * t} 10V310M40 {310 - 300 * t}H340" stroke="var(--line)"/>'
        f'<text x="{40 + 300 * t}" y="326" text-anchor="middle">{t:g}</text>'
        f'<text x="34" y="{314 - 300 * t}" text-anchor="end">{t:g}</text>'
        for t in (0, 0.25, 0.5, 0.75, 1)
    )
    return (
        '<svg class="diagram" viewBox="0 0 356 346" role="img" aria-label="Reliability diagram">'
        f'{grid}<path d="M40 310L340 10" stroke="var(--soft)" stroke-dasharray="4 4"/>{dots}'
        '<text x="190" y="342" text-anchor="middle">stated confidence</text>'
        '<text x="10" y="160" text-anchor="middle" transform="rotate(-90 10 160)">share right</text></svg>'
    )

"""Escapes untrusted text for a terminal or a log: names of files, answers of servers, content of a catalogue."""

from __future__ import annotations

import re
from typing import Final

_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, marks of the writing direction, line separators, and bytes of names that are not UTF-8."""


def printable(text: object) -> str:
    r"""Returns text on one line, with characters that a terminal would interpret as escapes, such as `\x1b`.

    Line feeds could forge lines of a log. Escape sequences could change what a terminal shows, its title and its
    clipboard. Direction marks could reorder a line.
    """
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), str(text))


def printable_lines(text: object) -> str:
    """Returns the same for a text of several lines, whose line feeds stay."""
    return "\n".join(printable(line) for line in str(text).split("\n"))

"""Suggestions of the known name that is nearest to a mistyped one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Returns " Did you mean 'x'?" for the known name nearest to `name`, or nothing where none is near.

    Args:
        name: The mistyped name.
        known: The names that exist.
        prefix: What the user types before the name, such as "trainer."; the suggestion begins with it.
    """
    match = get_close_matches(name, list(known), n=1)
    return f" Did you mean {prefix + match[0]!r}?" if match else ""

"""Untrusted text on a terminal."""

from __future__ import annotations

import pytest

from pipeline.contract.printable import printable, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]52;c;aGk=\x07", r"\x1b[2J\x1b]52;c;aGk=\x07"),
        ("a\nb\r\tc\x7f", r"a\nb\r\tc\x7f"),
        ("\x9b2J", r"\x9b2J"),  # the one-byte form of the control sequence
        ("photo\u202egpj.exe\u2066", r"photo\u202egpj.exe\u2066"),
        ("name-\udcff.png", r"name-\udcff.png"),  # a byte of a file name that is not UTF-8
        ("Größe 38, 靴, 👟, a\u00a0b", "Größe 38, 靴, 👟, a\u00a0b"),
        (7, "7"),
    ],
)
def test_what_a_terminal_interprets_is_escaped(text: object, shown: str) -> None:
    """Control characters, direction marks and broken bytes are shown as escapes; letters of any script stay."""
    assert printable(text) == shown
    assert printable(text).encode()


def test_lines_of_a_message_stay() -> None:
    """A message of several lines keeps its line feeds, and nothing else."""
    assert printable_lines("There is no x.\nReceived: \x1b[31m\r") == "There is no x.\nReceived: \\x1b[31m\\r"

"""The error that users see: what happened, what was expected, what was received, what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A mistake or an obstacle that the user can act on; the command line prints it without a stack trace.

    A subclass gives callers something to catch and needs no more than its docstring.

    Args:
        headline: One sentence that says what happened.
        expected: What would have been right.
        received: What was there instead.
        next_step: The command to type, or the thing to do, next.
    """

    exit_code = 1

    def __init__(self, headline: str, *, expected: str = "", received: str = "", next_step: str = "") -> None:
        super().__init__(headline)
        self.headline = headline
        self.expected = expected
        self.received = received
        self.next_step = next_step

    def __str__(self) -> str:
        return "\n".join([self.headline, *(f"{name}: {text}" for name, text in self.details() if text)])

    def details(self) -> list[tuple[str, str]]:
        """Returns the labelled lines under the headline, empty ones included."""
        return [("Expected", self.expected), ("Received", self.received), ("Next", self.next_step)]

    @property
    def one_line(self) -> str:
        """The error as sentences on one line, for a log or a table: "There is no x. Expected: y. Received: z."."""
        return " ".join([self.headline, *(_sentence(f"{name}: {text}") for name, text in self.details() if text)])


def _sentence(text: str) -> str:
    """Returns the text on one line, with one mark at its end: a question or exclamation mark stays."""
    text = " ".join(text.split()).rstrip(".")
    return text if text.endswith(("?", "!")) else f"{text}."


def same_command(first: str, second: str) -> bool:
    """Returns whether two texts are one `fashion` command, whatever the order and the workspace of its options."""
    commands = [_command_words(text) for text in (first, second)]
    return bool(commands[0]) and commands[0] == commands[1]


def _command_words(text: str) -> list[str]:
    """Returns the words of a command, sorted, without the options that change where it works or what it prints."""
    try:
        words = shlex.split(text)
    except ValueError:
        return []
    if words[:1] != ["fashion"]:
        return []
    kept: list[str] = []
    skipped = False
    for word in words:
        if not skipped and not word.startswith("--workspace=") and word not in ("-w", "--workspace", "--debug"):
            kept.append(word)
        skipped = word in ("-w", "--workspace")
    return sorted(kept)


@contextmanager
def suggest(next_step: str) -> Iterator[None]:
    """Completes a `UserError` that leaves the block and names no next step of its own."""
    try:
        yield
    except UserError as error:
        error.next_step = error.next_step or next_step
        raise

"""What can go wrong between us and a catalogue, told so that somebody can act on it."""

from __future__ import annotations


class CatalogueError(Exception):
    """The catalogue cannot be read or written; its text says all four parts, and never a password.

    Args:
        headline: One sentence that says what happened.
        expected: What would have been right.
        received: What was there instead.
        next_step: What to do, or to type, next.
    """

    def __init__(self, headline: str, *, expected: str, received: str, next_step: str) -> None:
        super().__init__(headline)
        self.headline = headline
        self.expected = expected
        self.received = received
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.headline} Expected: {self.expected}. Received: {self.received}. Next: {self.next_step}"


class LostConnectionError(CatalogueError):
    """There is no connection, or it broke, or the server fell silent: another try may succeed."""

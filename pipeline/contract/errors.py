"""The one exception that users see: what happened, what was expected, what was received, what to type next."""

from __future__ import annotations


class UserError(Exception):
    """A mistake or an obstacle that the user can act on; the command line prints it without a stack trace.

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
        parts = [self.headline]
        parts += [f"{name}: {text}" for name, text in self.details() if text]
        return "\n".join(parts)

    def details(self) -> list[tuple[str, str]]:
        """The labelled lines under the headline, empty ones included."""
        return [("Expected", self.expected), ("Received", self.received), ("Next", self.next_step)]

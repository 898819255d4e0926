"""What can go wrong between a URL and its content, and when it is worth another try."""

from __future__ import annotations

import re
from typing import Literal, NewType

LONGEST_SHOWN = 200

DownloadReason = Literal[
    "bad_url", "scheme_refused", "private_address", "file_refused",
    "unknown_host", "unreachable", "timed_out", "broken_off", "host_given_up",
    "too_large", "too_many_redirects", "stopped",
]  # fmt: skip
"""Why a URL gives no file. `stopped` is told to nobody: it ends what is under way when no more results are taken."""
Status = NewType("Status", str)
"""`http_` and a status, as in `http_404`: the server answers that it gives no file."""


class DownloadError(ValueError):
    """A URL gives no file; the message says why.

    Attributes:
        reason: The same in a stable word.
        again: Whether another try may go better.
        after_seconds: How long the server asks to be left alone; 0 when it does not say.
    """

    def __init__(
        self, message: str, reason: DownloadReason | Status, again: bool = False, after_seconds: float = 0.0
    ) -> None:
        super().__init__(message)
        self.reason, self.again, self.after_seconds = reason, again, after_seconds

    @property
    def silent(self) -> bool:
        """Whether the host said nothing at all: what gives a host up when it goes on."""
        return self.reason in ("unknown_host", "unreachable", "timed_out", "host_given_up")

    @property
    def passing(self) -> bool:
        """Whether it says nothing of the file: nobody answered, not to the end, or the server asked for patience."""
        return self.silent or self.again


def shown(url: object) -> str:
    """Returns a URL as a message may show it: without user and password, and not without end."""
    text = re.sub(r"(?<=//)[^/?#\\]*@", "", str(url))
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."

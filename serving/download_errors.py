"""What can go wrong between a URL and its content, and when it is worth another try."""

from __future__ import annotations

import re

LONGEST_SHOWN = 200


class DownloadError(ValueError):
    """A URL gives no file; the message says why.

    Attributes:
        reason: The same in a stable word: `bad_url`, `scheme_refused`, `private_address`, `unknown_host`,
            `unreachable`, `timed_out`, `broken_off`, `too_large`, `too_many_redirects`, or `http_` and a status, as in
            `http_404`.
        again: Whether another try may go better.
        after_seconds: How long the server asks to be left alone; 0 when it does not say.
    """

    def __init__(self, message: str, reason: str, again: bool = False, after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.reason, self.again, self.after_seconds = reason, again, after_seconds

    @property
    def silent(self) -> bool:
        """Whether the host said nothing at all: what gives a host up when it goes on."""
        return self.reason in ("unknown_host", "unreachable", "timed_out")


def shown(url: object) -> str:
    """Returns a URL as a message may show it: without user and password, and not without end."""
    text = re.sub(r"(?<=//)[^/?#\\]*@", "", str(url))
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."

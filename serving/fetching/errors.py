"""Download errors, their stable reasons, and how messages show URLs and server texts safely.

URLs and server texts are untrusted, and both end in logs and on terminals.
"""

from __future__ import annotations

import re
from typing import Literal, NewType

from pipeline.contract.errors import UserError
from pipeline.contract.printable import printable

MAX_SHOWN = 200
MAX_PORT = 65_535
URL = re.compile(
    r"(?P<scheme>https?://)(?:[^/?#]*@)?(?P<rest>(?:\[[^/?#@\[\]]*\]|[^/?#@:\[\]]+)(?::(?P<port>[0-9]{0,5}))?(?:[/?#].*)?)",
    re.IGNORECASE | re.DOTALL,
)
"""A complete http or https URL with a host. RFC 3986, 3.2: a password stands before the first `/`, `?` or `#`."""

DownloadReason = Literal[
    "bad_url", "scheme_refused", "private_address", "file_refused",
    "unknown_host", "unreachable", "timed_out", "broken_off", "host_given_up",
    "too_large", "too_many_redirects", "stopped", "unexpected",
]  # fmt: skip
"""Why a URL gives no file. `stopped` never reaches a caller: it ends downloads that nobody waits for any more.
`unexpected` is a programming error, which the log describes."""
NOT_REQUESTED = ("unknown_host", "host_given_up")
"""The reasons for which no request was sent."""
Status = NewType("Status", str)
"""`http_` and the status, as in `http_404`: the server answers that it gives no file."""


class DownloadError(UserError):
    """A URL gives no file.

    Attributes:
        reason: Why, as a stable word.
        retryable: Whether a retry may succeed.
        retry_after: The seconds that the server asks to wait; 0 when it does not say.
        unanswered: Whether the host sent nothing at all, not even headers. A host that keeps doing so is dropped.
    """

    def __init__(
        self,
        headline: str,
        reason: DownloadReason | Status,
        *,
        retryable: bool = False,
        retry_after: float = 0.0,
        unanswered: bool = False,
        **details: str,
    ) -> None:
        super().__init__(headline, **details)
        self.reason, self.retryable, self.retry_after, self.unanswered = reason, retryable, retry_after, unanswered

    @property
    def inconclusive(self) -> bool:
        """Whether the error says nothing about the file: no complete answer came, or the server asked to wait."""
        return self.retryable or self.reason in NOT_REQUESTED


def redact_url(url: object) -> str:
    """Returns a URL for a message: printable, without user and password, at most 200 characters.

    In a malformed URL (`http://anna:s3/cret@shop.example/`, `anna:s3cret@shop.example/`) the beginning of a password
    is unknown, so only what follows the last `@` remains.
    """
    whole = URL.fullmatch(str(url))
    if whole and int(whole["port"] or 0) <= MAX_PORT:
        return excerpt(whole["scheme"] + whole["rest"])
    return excerpt(str(url).rpartition("@")[2])


def excerpt(text: object) -> str:
    """Returns untrusted text for a log or terminal: control characters escaped, at most 200 characters."""
    safe = printable(str(text)[: MAX_SHOWN + 1])
    return safe if len(safe) <= MAX_SHOWN else f"{safe[:MAX_SHOWN]}..."

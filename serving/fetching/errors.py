"""What can go wrong between a URL and its content, when it is worth another try, and how a message may show it.

URLs come from strangers, and so does what servers say: both end in logs and on terminals.
"""

from __future__ import annotations

import re
from typing import Literal, NewType

LONGEST_SHOWN = 200
MOST_PORT = 65_535
URL = re.compile(
    r"(?P<scheme>https?://)(?:[^/?#]*@)?(?P<rest>(?:\[[^/?#@\[\]]*\]|[^/?#@:\[\]]+)(?::(?P<port>[0-9]{0,5}))?(?:[/?#].*)?)",
    re.IGNORECASE | re.DOTALL,
)
"""A whole URL of http or https with a host. RFC 3986, 3.2: only in front of its first `/`, `?` or `#` are passwords."""

DownloadReason = Literal[
    "bad_url", "scheme_refused", "private_address", "file_refused",
    "unknown_host", "unreachable", "timed_out", "broken_off", "host_given_up",
    "too_large", "too_many_redirects", "stopped", "unexpected",
]  # fmt: skip
"""Why a URL gives no file. `stopped` is told to nobody: it ends what is under way when no more results are taken.
`unexpected` is a fault of ours, which the log describes."""
UNANSWERED = ("unknown_host", "host_given_up")
"""Where nobody was asked."""
Status = NewType("Status", str)
"""`http_` and a status, as in `http_404`: the server answers that it gives no file."""


class DownloadError(ValueError):
    """A URL gives no file; the message says why.

    Attributes:
        reason: The same in a stable word.
        again: Whether another try may go better.
        after_seconds: How long the server asks to be left alone; 0 when it does not say.
        silent: Whether the host said nothing at all, not even headers: what gives a host up when it goes on.
    """

    def __init__(
        self,
        message: str,
        reason: DownloadReason | Status,
        again: bool = False,
        after_seconds: float = 0.0,
        *,
        silent: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason, self.again, self.after_seconds, self.silent = reason, again, after_seconds, silent

    @property
    def passing(self) -> bool:
        """Whether it says nothing of the file: nobody answered, not to the end, or the server asked for patience."""
        return self.again or self.reason in UNANSWERED


def shown(url: object) -> str:
    """Returns a URL as a message may show it: printable, without user and password, and not without end.

    In what is torn (`http://anna:s3/cret@shop.example/`, `anna:s3cret@shop.example/`) nobody can say where a password
    begins, so of it only what follows the last `@` is shown.
    """
    whole = URL.fullmatch(str(url))
    if whole and int(whole["port"] or 0) <= MOST_PORT:
        return printable(whole["scheme"] + whole["rest"])
    return printable(str(url).rpartition("@")[2])


def printable(text: object) -> str:
    """Returns what a stranger says as a log and a terminal may show it: control characters escaped, not without end.

    Line feeds would forge lines of the log, and escape sequences or marks of direction what a terminal shows.
    """
    text = str(text)
    some = text[: LONGEST_SHOWN + 1]
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in some)
    return safe if len(safe) <= LONGEST_SHOWN else f"{safe[:LONGEST_SHOWN]}..."

"""What can go wrong between a URL and its content, when it is worth another try, and how a message may show it.

URLs come from strangers, and so does what servers say: both end in logs and on terminals.
"""

from __future__ import annotations

import re

LONGEST_SHOWN = 200
MOST_PORT = 65_535
URL = re.compile(
    r"(?P<scheme>https?://)(?:[^/?#]*@)?(?P<rest>(?:\[[^/?#@\[\]]*\]|[^/?#@:\[\]]+)(?::(?P<port>[0-9]{0,5}))?(?:[/?#].*)?)",
    re.IGNORECASE | re.DOTALL,
)
"""A whole URL of http or https with a host. RFC 3986, 3.2: only in front of its first `/`, `?` or `#` are passwords."""


class DownloadError(ValueError):
    """A URL gives no file; the message says why.

    Attributes:
        reason: The same in a stable word: `bad_url`, `scheme_refused`, `private_address`, `unknown_host`,
            `unreachable`, `timed_out`, `broken_off`, `too_large`, `too_many_redirects`, or `http_` and a status, as in
            `http_404`.
        again: Whether another try may go better.
        after_seconds: How long the server asks to be left alone; 0 when it does not say.
        silent: Whether the host said nothing at all, not even headers: what gives a host up when it goes on.
    """

    def __init__(
        self, message: str, reason: str, again: bool = False, after_seconds: float = 0.0, *, silent: bool = False
    ) -> None:
        super().__init__(message)
        self.reason, self.again, self.after_seconds, self.silent = reason, again, after_seconds, silent


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

"""The settings of an image fetch: limits, time-outs, retries and how many requests a host gets."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.contract.image_limits import ImageLimits


@dataclass(frozen=True)
class FetchPolicy:
    """How images are fetched; the only declaration of these settings and of their defaults.

    Attributes:
        allow_private: Whether a URL may lead to an address that is not on the public internet. Defaults to False.
        files_below: The folder whose files `file:` URLs may name. Defaults to None, which refuses all `file:` URLs.
        max_age_seconds: The age from which the server is asked whether a cached image has changed. Defaults to never.
        max_downloads: The most downloads at a time. Defaults to 32; times the largest file, they bound the memory,
            beside that of decoding (`serving.images.decoder_pool`).
        max_per_host: The most downloads from one host at a time. Defaults to 16.
        retries: The most retries of a URL after 429, 5xx, a time-out or a broken connection. Defaults to 3.
        url_seconds: The time limit for a URL with all its attempts and pauses. Defaults to 60.
        attempt_seconds: The time limit for one attempt. Defaults to 10.
        max_retry_after: The longest Retry-After, in seconds, that is waited for; a URL whose server asks for more is
            not retried. Defaults to 30.
        max_unanswered: The consecutive attempts without any answer after which a host is dropped. Defaults to 10.
        min_unanswered_seconds: The least time that these attempts must span. Defaults to 10, as long as one attempt:
            a server that restarts is back by then.
        window: The most URLs read ahead of the results, so that a slow host does not delay the others. Defaults to
            1,000. A host that sends Retry-After does delay them: each of its waiting URLs occupies one download.
        limits: The largest file and image.
    """

    allow_private: bool = False
    files_below: Path | None = None
    max_age_seconds: float = math.inf
    max_downloads: int = 32
    max_per_host: int = 16
    retries: int = 3
    url_seconds: float = 60.0
    attempt_seconds: float = 10.0
    max_retry_after: float = 30.0
    max_unanswered: int = 10
    min_unanswered_seconds: float = 10.0
    window: int = 1_000
    limits: ImageLimits = field(default_factory=ImageLimits)

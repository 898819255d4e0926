"""Fetches URLs of a local server, for tests."""

from __future__ import annotations

from typing import Any

from serving.fetching.fetching import Failed, Fetched, Fetching
from serving.images.inputs import Limits

LOCAL = Limits(bytes=100_000, pixels=1_000_000, seconds=20.0, allow_private=True)
"""Time enough for a machine that is busy with other things."""


def fetched(urls: Any, **options: Any) -> list[Fetched | Failed]:
    """All results, in the order of the URLs."""
    options = {"limits": LOCAL} | options
    return sorted(Fetching(urls, **options), key=lambda result: result.position)


def reasons(urls: Any, **options: Any) -> list[str]:
    """What became of each URL, in their order."""
    return ["fetched" if isinstance(r, Fetched) else r.reason for r in fetched(urls, **options)]

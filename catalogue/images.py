"""How the images of a catalogue are fetched, for whoever learns from them or scores them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.fetching.image_cache import ImageCache
    from serving.fetching.image_fetcher import ImageFetcher

CACHED_IMAGES = "images.sqlite"
SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class Fetch:
    """How a catalogue's images are fetched.

    Attributes:
        allow_private: Also from addresses that the internet does not reach.
        files_below: The folder whose files `file:` URLs may name.
        per_host: The most of one host at a time.
        seconds: The most for one attempt.
        trusted_days: The age from which servers are asked whether a fetched image has changed.
    """

    allow_private: bool
    files_below: Path | None
    per_host: int
    seconds: float
    trusted_days: float

    def begin(
        self,
        urls: Iterable[str],
        kept: ImageCache,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> ImageFetcher:
        """Returns the results for URLs, as `serving.fetching.image_fetcher.ImageFetcher` has them."""
        from serving.fetching.fetch_policy import FetchPolicy
        from serving.fetching.image_fetcher import ImageFetcher

        policy = FetchPolicy(
            allow_private=self.allow_private,
            files_below=self.files_below,
            max_age_seconds=self.trusted_days * SECONDS_A_DAY,
            max_per_host=self.per_host,
            attempt_seconds=self.seconds,
        )
        return ImageFetcher(urls, cache=kept, policy=policy, progress=progress)


@contextmanager
def kept_images(cache: Path) -> Iterator[ImageCache]:
    """Yields what was downloaded before.

    Args:
        cache: The directory `workspace/cache/`.

    Raises:
        CacheError: It cannot be used, now or later in the block.
    """
    from serving.fetching.image_cache import ImageCache

    with ImageCache(cache / CACHED_IMAGES) as kept:
        yield kept

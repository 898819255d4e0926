"""How the images of a catalogue are fetched, for whoever learns from them or scores them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.contract.errors import UserError

if TYPE_CHECKING:
    from serving.fetching.fetching import Fetching
    from serving.fetching.image_cache import ImageCache

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
    ) -> Fetching:
        """Returns the results for URLs, as `serving.fetching.fetching.Fetching` has them."""
        from serving.fetching.fetching import Fetching, Manners
        from serving.images.inputs import Limits

        return Fetching(
            urls,
            cache=kept,
            manners=Manners(per_host=self.per_host),
            limits=Limits(seconds=self.seconds, allow_private=self.allow_private),
            files_below=self.files_below,
            trusted_seconds=self.trusted_days * SECONDS_A_DAY,
            progress=progress,
        )


@contextmanager
def kept_images(cache: Path) -> Iterator[ImageCache]:
    """Yields what was downloaded before.

    Args:
        cache: The directory `workspace/cache/`.

    Raises:
        UserError: It cannot be used, now or later in the block.
    """
    from serving.fetching.image_cache import CacheError, ImageCache

    try:
        with ImageCache(cache / CACHED_IMAGES) as kept:
            yield kept
    except CacheError as error:
        raise UserError(str(error)) from None

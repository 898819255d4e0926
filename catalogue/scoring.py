"""Scores what is new or changed in a product catalogue with a pushed model, and writes the answers beside it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogue.images import SECONDS_A_DAY, Fetch, kept_images
from pipeline.contract.errors import UserError, suggest

if TYPE_CHECKING:
    from serving.fetching.image_cache import ImageCache
    from serving.fetching.image_fetcher import Fetched, Result
    from serving.versions import Version
    from sql.extract import Product
    from sql.write_back import Classification

TOGETHER = 256
"""How many products the model is asked about at once, and whose answers are a transaction."""
OUT_OF_DATE = "to be asked for again"
"""In place of the name of a content that was fetched too long ago."""


@dataclass
class Summary:
    """What came of a scoring.

    Attributes:
        scored: How many products have a group now.
        abstained: To how many of these the model abstains.
        failed: How many have none, by reason.
        removed: How many answers were about products that are gone.
        failed_share: Of how many of all products with an answer the image could not be had.
    """

    scored: int = 0
    abstained: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    removed: int = 0
    failed_share: float = 0.0

    def counted(self, answers: Iterable[Classification], report: Callable[[int], None]) -> Iterator[Classification]:
        """Yields the answers and counts them as they pass."""
        for answer in answers:
            if answer.failure is None:
                self.scored += 1
                self.abstained += answer.abstain
            else:
                self.failed[answer.failure] += 1
            report(1)
            yield answer


@dataclass(frozen=True)
class CatalogueScorer:
    """A pushed version, with the way to the images.

    Attributes:
        version: The version that scores.
        cache: The directory of what was downloaded before.
        fetch: How images are fetched.
    """

    version: Version
    cache: Path
    fetch: Fetch

    @cached_property
    def name(self) -> str:
        """What the table calls the version: its number, and the start of its digest, since every workspace counts."""
        return f"{self.version.number}-{self.version.digest[:8]}"

    def score(
        self,
        dsn: str,
        country: str = "us",
        image_index: int = 0,
        timeout: float = 60.0,
        report: Callable[[int], None] = lambda more: None,
    ) -> Summary:
        """Scores the products that this version has not scored as they are, and writes each batch as soon as it is.

        Whoever is killed loses the batch under way and goes on with it: nothing is lost, and nothing is there twice.

        Args:
            dsn: What libpq reads.
            country: Whose text belongs to what is scored.
            image_index: Which of a product's images.
            timeout: Seconds that the database may take for an answer.
            report: Called with the number of products that have come to an end since the last call.

        Raises:
            CatalogueError: The catalogue cannot be read or written.
            UserError: The images' cache cannot be used, or the model gives no answer.
        """
        from sql.classification_table import prepare
        from sql.write_back import failed_share, pending, remove_gone, write

        prepare(dsn, timeout=timeout)
        summary, trusted_seconds = Summary(), self.fetch.trusted_days * SECONDS_A_DAY
        with kept_images(self.cache) as kept:
            lists = pending(
                dsn,
                self.name,
                country=country,
                image_index=image_index,
                content_of=lambda url: _content_of(kept, url, trusted_seconds),
                trusted_seconds=trusted_seconds,
                timeout=timeout,
            )
            products = (product for some in lists for product in some)
            answers = summary.counted(self._answers(products, kept), report)
            write(dsn, answers, batch_rows=TOGETHER, timeout=timeout)
        summary.removed = remove_gone(dsn, timeout=timeout)
        summary.failed_share = failed_share(dsn, timeout=timeout)
        return summary

    def _answers(self, products: Iterable[Product], kept: ImageCache) -> Iterator[Classification]:
        """Yields an answer for each product, as the images come in; of the products only a window is held."""
        waiting: dict[int, Product] = {}

        def urls() -> Iterator[str]:
            for position, product in enumerate(products):
                waiting[position] = product
                yield product.url or ""  # which is refused at once

        arrived: list[tuple[Product, Result]] = []
        for result in self.fetch.begin(urls(), kept):
            arrived.append((waiting.pop(result.position), result))
            if len(arrived) == TOGETHER:
                yield from self._asked(arrived)
                arrived = []
        yield from self._asked(arrived)

    def _asked(self, arrived: list[tuple[Product, Result]]) -> Iterator[Classification]:
        from serving.fetching.image_fetcher import Fetched

        seen = [(product, result) for product, result in arrived if isinstance(result, Fetched)]
        said = iter(_ask(self._model, seen) if seen else [])
        for product, result in arrived:
            yield self._row(product, result, next(said) if isinstance(result, Fetched) else None)

    @cached_property
    def _model(self) -> Any:
        """Loaded for the first image: mostly nothing is new."""
        import tensorflow as tf

        from serving.requests.prediction_log import load

        try:
            return load(self.version.path)
        except (tf.errors.OpError, OSError, ValueError, IndexError) as error:
            raise UserError(
                "The pushed model cannot be loaded.",
                expected=f"a SavedModel in {self.version.path}",
                received=(str(error).splitlines() or [type(error).__name__])[0],
                next_step="fashion run --fresh --from pusher",
            ) from None

    def _row(self, product: Product, result: Result, said: tuple[str, float, bool] | None) -> Classification:
        from serving.fetching.image_fetcher import Failed, Fetched
        from sql.write_back import NO_IMAGE, Classification, fingerprint

        group, confidence, abstain = said or (None, None, False)
        failure = result.reason if isinstance(result, Failed) else None
        return Classification(
            product_id=product.id,
            model_version=self.name,
            product_group=group,
            confidence=confidence,
            abstain=abstain,
            failure=NO_IMAGE if product.url is None else failure,
            scored_at=datetime.now(UTC),
            fingerprint=fingerprint(product),
            image_content=result.sha256 if isinstance(result, Fetched) else None,
        )


def _ask(model: Any, seen: list[tuple[Product, Fetched]]) -> list[tuple[str, float, bool]]:
    """Returns group, confidence and whether the model abstains, for products with their images.

    A model that reads descriptions gets them; without one its answer is the image's.
    """
    from serving.requests.prediction_log import TEXT, answer, predict_request

    signature = TEXT if TEXT in model.signatures else "serving_default"
    images = np.stack([fetched.pixels for _, fetched in seen])
    request = predict_request(signature, images, [product.description or "" for product, _ in seen])
    with suggest("fashion run --from trainer"):
        answers = answer(model, request)
    groups, confidences, abstains = (answers[name] for name in ("group", "confidence", "abstain"))
    return [
        (group.decode(), float(np.clip(confidence, 0, 1)), bool(abstain))
        for group, confidence, abstain in zip(groups, confidences, abstains, strict=True)
    ]


def _content_of(kept: ImageCache, url: str, trusted_seconds: float) -> str | None:
    """Returns the SHA-256 of what a URL held when it was last fetched, or `OUT_OF_DATE` where that is too long ago.

    None for what is not among what was downloaded: it never was, all of it was removed, or it is a file's URL.
    """
    from serving.fetching.downloader import parse_url
    from serving.fetching.errors import DownloadError
    from serving.fetching.image_cache import url_key

    try:
        found = kept.find(url_key(parse_url(url)))
    except DownloadError:
        return None
    if found is None:
        return None
    return found.sha256 if time.time() - found.fetched_at < trusted_seconds else OUT_OF_DATE

"""Scoring the new and changed products of a catalogue with a pushed model, and writing the predictions back."""

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

from catalogue.products import IMAGE_CACHE, count_content
from pipeline.contract.errors import UserError, suggest

if TYPE_CHECKING:
    from serving.fetching.fetch_policy import FetchPolicy
    from serving.fetching.image_cache import ImageCache
    from serving.fetching.image_fetcher import Fetched, Result
    from serving.versions import Version
    from sql.extract import Product
    from sql.write_back import Classification

BATCH = 256
"""Products in one prediction and in one transaction."""
EXPIRED = "expired"
"""Replaces the name of a content that was fetched too long ago."""


@dataclass
class Summary:
    """The result of scoring a catalogue.

    Attributes:
        read: The numbers of all `products` of the catalogue, and of those with `images` and with `texts`.
        scored: Products that received a group.
        abstained: Those of them for which the model abstains.
        failed: Products that received none, by reason.
        removed: Predictions that were removed because their product is no longer in the catalogue.
        failed_share: The share of all products in the table whose image could not be fetched.
    """

    read: Counter[str] = field(default_factory=Counter)
    scored: int = 0
    abstained: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    removed: int = 0
    failed_share: float = 0.0

    def count(self, rows: Iterable[Classification], report: Callable[[int], None]) -> Iterator[Classification]:
        """Yields the rows and counts them; calls `report` with 1 for each."""
        for row in rows:
            if row.failure is None:
                self.scored += 1
                self.abstained += row.abstain
            else:
                self.failed[row.failure] += 1
            report(1)
            yield row


@dataclass(frozen=True)
class CatalogueScorer:
    """Scores products with a pushed model version.

    Attributes:
        version: The model version.
        cache: The directory with the cache of downloaded images.
        policy: How the images are fetched.
    """

    version: Version
    cache: Path
    policy: FetchPolicy

    @cached_property
    def name(self) -> str:
        """The version's name in the table: its number and a digest, since every workspace numbers its own versions."""
        return f"{self.version.number}-{self.version.digest[:8]}"

    def score(
        self,
        dsn: str,
        country: str = "us",
        image_index: int = 0,
        timeout: float = 60.0,
        report: Callable[[int], None] = lambda more: None,
        max_lost_share: float = 1.0,
    ) -> Summary:
        """Scores the products without a current prediction of this version, and writes each batch when it is complete.

        After a kill, a second call continues: it repeats the batch that was not written.

        Args:
            dsn: What libpq reads.
            country: The country of the descriptions.
            image_index: Which of a product's images; 0 is the first.
            timeout: Seconds that the database may take for an answer.
            report: Called with the number of products that were finished since the last call.
            max_lost_share: The largest share of the products with a result that may lose their group, because they or
                their images are no longer in the catalogue. Defaults to all.

        Raises:
            CatalogueError: The catalogue cannot be read or written, or too many products would lose their group.
            UserError: The image cache cannot be used, or the model fails.
        """
        from serving.fetching.image_cache import ImageCache
        from sql.write_back import (
            check_losses,
            failed_share,
            prepare,
            read_pending,
            remove_orphans,
            write_predictions,
        )

        prepare(dsn, timeout=timeout)
        check_losses(dsn, image_index, max_lost_share, timeout=timeout)
        summary, max_age_seconds = Summary(), self.policy.max_age_seconds
        with ImageCache(self.cache / IMAGE_CACHE) as cache:
            lists = read_pending(
                dsn,
                self.name,
                country=country,
                image_index=image_index,
                content_of=lambda url: _cached_content(cache, url, max_age_seconds),
                max_age_seconds=max_age_seconds,
                timeout=timeout,
                on_read=lambda products: summary.read.update(count_content(products)),
            )
            products = (product for some in lists for product in some)
            rows = summary.count(self._predict_all(products, cache), report)
            write_predictions(dsn, rows, batch_rows=BATCH, timeout=timeout)
        summary.removed = remove_orphans(dsn, max_lost_share, timeout=timeout)
        summary.failed_share = failed_share(dsn, timeout=timeout)
        return summary

    def _predict_all(self, products: Iterable[Product], cache: ImageCache) -> Iterator[Classification]:
        """Yields a row for each product as the images arrive, with a bounded number of products in memory."""
        from serving.fetching.image_fetcher import ImageFetcher

        waiting: dict[int, Product] = {}

        def urls() -> Iterator[str]:
            for position, product in enumerate(products):
                waiting[position] = product
                yield product.url or ""  # an empty URL fails at once

        arrived: list[tuple[Product, Result]] = []
        for result in ImageFetcher(urls(), cache=cache, policy=self.policy):
            arrived.append((waiting.pop(result.position), result))
            if len(arrived) == BATCH:
                yield from self._predict_batch(arrived)
                arrived = []
        yield from self._predict_batch(arrived)

    def _predict_batch(self, arrived: list[tuple[Product, Result]]) -> Iterator[Classification]:
        from serving.fetching.image_fetcher import Fetched

        fetched = [(product, result) for product, result in arrived if isinstance(result, Fetched)]
        predictions = iter(_predict(self._model, fetched) if fetched else [])
        for product, result in arrived:
            yield self._row(product, result, next(predictions) if isinstance(result, Fetched) else None)

    @cached_property
    def _model(self) -> Any:
        """The loaded model; loaded for the first image, as usually no product is new."""
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

    def _row(self, product: Product, result: Result, prediction: tuple[str, float, bool] | None) -> Classification:
        from serving.fetching.image_fetcher import Failed, Fetched
        from sql.write_back import NO_IMAGE, Classification, fingerprint

        group, confidence, abstain = prediction or (None, None, False)
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
            url=product.url,
        )


def _predict(model: Any, fetched: list[tuple[Product, Fetched]]) -> list[tuple[str, float, bool]]:
    """Returns group, confidence and whether the model abstains, for products with their images.

    A model with a text signature receives the descriptions; for an empty one it predicts from the image alone. A blank
    image is always left to a human.
    """
    from serving.images.fitting import shows_one_colour
    from serving.requests.prediction_log import TEXT, answer, predict_request

    signature = TEXT if TEXT in model.signatures else "serving_default"
    images = np.stack([result.pixels for _, result in fetched])
    request = predict_request(signature, images, [product.description or "" for product, _ in fetched])
    with suggest("fashion run --from trainer"):
        answers = answer(model, request)
    groups, confidences, abstains = (answers[name] for name in ("group", "confidence", "abstain"))
    # An image of one colour shows no item, however certain the model is.
    blank = [shows_one_colour(image) for image in images]
    return [
        (group.decode(), float(np.clip(confidence, 0, 1)), bool(abstain) or empty)
        for group, confidence, abstain, empty in zip(groups, confidences, abstains, blank, strict=True)
    ]


def _cached_content(cache: ImageCache, url: str, max_age_seconds: float) -> str | None:
    """Returns the SHA-256 of a URL's cached content, `EXPIRED` where it is too old, None where it is not cached."""
    from serving.fetching.downloader import parse_url
    from serving.fetching.errors import DownloadError
    from serving.fetching.image_cache import url_key

    try:
        found = cache.find(url_key(parse_url(url)))
    except DownloadError:
        return None
    if found is None:
        return None
    return found.sha256 if time.time() - found.fetched_at < max_age_seconds else EXPIRED

"""Scores what is new or changed in a product catalogue with a pushed model, and writes the answers beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.catalogue_images import Fetch, kept_images
from pipeline.errors import UserError

if TYPE_CHECKING:
    from serving.fetching import Result
    from serving.image_cache import ImageCache
    from serving.versions import Version
    from sql.extract import Product
    from sql.write_back import Classification

NO_IMAGE = "no_image"
"""Why a product without a URL has no group."""


@dataclass
class Summary:
    """What came of a scoring.

    Attributes:
        scored: How many products have a group now.
        abstained: To how many of these the model abstains.
        failed: How many have none, by reason.
        removed: How many answers were about products that are gone.
    """

    scored: int = 0
    abstained: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    removed: int = 0

    def add(self, answers: list[Classification]) -> None:
        """Counts answers."""
        self.scored += sum(answer.failure is None for answer in answers)
        self.abstained += sum(answer.abstain and answer.failure is None for answer in answers)
        self.failed.update(answer.failure for answer in answers if answer.failure is not None)


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
            report: Called after every batch with its number of products.

        Raises:
            CatalogueError: The catalogue cannot be read or written.
            UserError: The images' cache cannot be used.
        """
        from serving.requests import load
        from sql.write_back import pending, prepare, remove_gone, write

        prepare(dsn, timeout=timeout)
        summary, number, model = Summary(), str(self.version.number), load(self.version.path)
        with kept_images(self.cache) as kept:
            for products in pending(
                dsn,
                number,
                country=country,
                image_index=image_index,
                content_of=lambda url: _content_of(kept, url),
                timeout=timeout,
            ):
                answers = list(self._answers(products, kept, model))
                write(dsn, answers, timeout=timeout)
                summary.add(answers)
                report(len(answers))
        summary.removed = remove_gone(dsn, timeout=timeout)
        return summary

    def _answers(self, products: list[Product], kept: ImageCache, model: Any) -> Iterator[Classification]:
        from serving.fetching import Fetched

        pictured = [product for product in products if product.url is not None]
        fetching = self.fetch.begin([str(product.url) for product in pictured], kept)
        results = {pictured[result.position].id: result for result in fetching}
        seen = [product for product in pictured if isinstance(results[product.id], Fetched)]
        answered = _ask(model, seen, [results[product.id] for product in seen])
        said = dict(zip([product.id for product in seen], answered, strict=True))
        for product in products:
            yield self._row(product, results.get(product.id), said.get(product.id))

    def _row(self, product: Product, result: Result | None, said: tuple[str, float, bool] | None) -> Classification:
        from serving.fetching import Fetched
        from sql.write_back import Classification, fingerprint

        group, confidence, abstain = said or (None, None, False)
        return Classification(
            product_id=product.id,
            model_version=str(self.version.number),
            product_group=group,
            confidence=confidence,
            abstain=abstain,
            failure=None if said else NO_IMAGE if result is None else getattr(result, "reason", None),
            scored_at=datetime.now(UTC),
            fingerprint=fingerprint(product),
            image_content=result.sha256 if isinstance(result, Fetched) else None,
        )


def _ask(model: Any, products: list[Product], results: list[Any]) -> list[tuple[str, float, bool]]:
    """Returns group, confidence and whether the model abstains, for products with their fetched images.

    A model that reads descriptions gets them; without one its answer is the image's.
    """
    from serving.requests import TEXT, RequestError, answer, predict_request

    if not products:
        return []
    signature = TEXT if TEXT in model.signatures else "serving_default"
    images = np.stack([result.pixels for result in results])
    request = predict_request(signature, images, [product.description or "" for product in products])
    try:
        answers = answer(model, request)
    except RequestError as error:
        raise UserError(str(error), next_step="fashion run --from trainer") from None
    groups, confidences, abstains = (answers[name] for name in ("group", "confidence", "abstain"))
    return [
        (group.decode(), float(np.clip(confidence, 0, 1)), bool(abstain))
        for group, confidence, abstain in zip(groups, confidences, abstains, strict=True)
    ]


def _content_of(kept: ImageCache, url: str) -> str | None:
    """Returns the SHA-256 of what a URL held when it was last fetched; None for what never was, or is no URL."""
    from serving.download_errors import DownloadError
    from serving.downloads import parsed
    from serving.image_cache import url_key

    try:
        found = kept.find(url_key(parsed(url)))
    except DownloadError:
        return None
    return found.sha256 if found else None

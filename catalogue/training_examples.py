"""Training examples from a catalogue: the labelled products, with the images behind their URLs.

No single row stops the run: each product that gives no example is listed with its reason, and the run stops only when
too large a share fails.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from catalogue.products import IMAGE_CACHE, Catalogue, Failure, Selection, record_id, select_products
from pipeline.contract.errors import UserError
from serving.fetching.errors import redact_url

if TYPE_CHECKING:
    import numpy as np

    from serving.fetching.fetch_policy import FetchPolicy

logger = logging.getLogger(__name__)

PictureReason = Literal["blank", "placeholder"]
"""Why a fetched image does not show a product."""


@dataclass(frozen=True)
class CatalogueExamples:
    """The content of a catalogue for training.

    Attributes:
        columns: By name, ordered by content: `image` uint8 [N, 28, 28], `garment` int64 [N], and str [N]: `source_id`,
            `split` (train for all), `name` (of the pixels), `title`, and `description`, empty where there is none.
        failures: The products that should have an example and have none, by id.
        counts: The numbers of `products`, products `without_garment` and products `without_image`.
    """

    columns: dict[str, Any]
    failures: list[Failure]
    counts: Counter[str]


def read_catalogue(
    catalogue: Catalogue,
    policy: FetchPolicy,
    cache: Path,
    *,
    max_failed_share: float,
    max_products_per_image: int,
    report: Callable[[int, int], None],
) -> CatalogueExamples:
    """Reads a catalogue and fetches the images of its labelled products.

    Args:
        catalogue: What is read.
        policy: How the images are fetched.
        cache: The directory that holds, or will hold, the cache of downloaded images.
        max_failed_share: The largest share of the products with a garment and a URL that may give no example.
        max_products_per_image: An image of more products counts as a placeholder.
        report: Called after every image with the number of finished images and their total.

    Raises:
        UserError: The catalogue or the cache cannot be read, too many products failed, or none is left.
    """
    # Read to its end before the first image is fetched: a snapshot that is open for hours keeps PostgreSQL from
    # clearing up.
    selected = select_products(catalogue)
    images = _fetch(selected, policy, cache, report)
    columns = _drop_placeholders(_columns(selected, images), selected, max_products_per_image)
    # All ids of a catalogue have one type.
    selected.failures.sort(key=lambda failure: cast(Any, failure.product))
    _check_failures(selected, len(columns["image"]), max_failed_share)
    return CatalogueExamples(columns, selected.failures, selected.counts)


def _fetch(
    selected: Selection, policy: FetchPolicy, directory: Path, report: Callable[[int, int], None]
) -> dict[int, np.ndarray]:
    """Returns the pixels, uint8 [28, 28], by the product's position; products without an image become failures."""
    from serving.fetching.image_cache import ImageCache
    from serving.fetching.image_fetcher import Failed, ImageFetcher

    found: dict[int, np.ndarray] = {}
    urls = [str(product.url) for product in selected.products]
    with ImageCache(directory / IMAGE_CACHE) as cache:
        fetcher = ImageFetcher(
            urls, cache=cache, policy=policy, progress=lambda done, total: report(done, total or len(urls))
        )
        for result in fetcher:
            if isinstance(result, Failed):
                product = record_id(selected.products[result.position])
                selected.failures.append(Failure(product, redact_url(result.url), result.reason, result.message))
            else:
                found[result.position] = result.pixels
    logger.info("Images: %s", ", ".join(f"{count} {kind}" for kind, count in fetcher.counts.most_common()))
    return found


def _columns(selected: Selection, images: dict[int, np.ndarray]) -> dict[str, Any]:
    import numpy as np

    from analysis.data.fashion_mnist import content_ids

    positions = sorted(images)
    products = [selected.products[position] for position in positions]
    pixels = np.array([images[position] for position in positions], np.uint8).reshape(-1, 28, 28)
    columns: dict[str, Any] = {
        "image": pixels,
        "garment": np.array([selected.garments[position] for position in positions], np.int64),
        "source_id": np.array([f"product/{product.id}" for product in products]),
        "split": np.full(len(products), "train", dtype=object),
        "name": np.array(content_ids(pixels)),
        "title": np.array([product.title or "" for product in products], dtype=object),
        "description": np.array([product.description or "" for product in products], dtype=object),
    }
    # By content, so that the first examples of a file are a fair sample of it, whatever the ids mean.
    order = np.lexsort(([record_id(product) for product in products], columns["name"]))
    return {name: values[order] for name, values in columns.items()}


def _drop_placeholders(columns: dict[str, Any], selected: Selection, max_products: int) -> dict[str, Any]:
    """Turns images of one colour, and images that many products share, into failures."""
    import numpy as np

    from serving.images.fitting import shows_one_colour

    _, inverse, counts = np.unique(columns["name"], return_inverse=True, return_counts=True)
    shared, blank = counts[inverse], np.array([shows_one_colour(image) for image in columns["image"]], bool)
    by_name = {f"product/{product.id}": product for product in selected.products}
    for row in np.flatnonzero(blank | (shared > max_products)):
        product = by_name[columns["source_id"][row]]
        reason: PictureReason = "placeholder"
        expected, received = f"an image of at most {max_products} products", f"an image of {shared[row]}"
        if blank[row]:
            reason, expected, received = "blank", "an item in front of a background", "one colour"
        error = UserError("Its image does not show a product.", expected=expected, received=received)
        selected.failures.append(Failure(record_id(product), redact_url(product.url), reason, error.one_line))
    return {name: values[~blank & (shared <= max_products)] for name, values in columns.items()}


def _check_failures(selected: Selection, examples: int, max_failed_share: float) -> None:
    """Raises UserError where too many products failed, and logs them: a failed stage leaves no list of failures."""
    failed = len(selected.failures)
    labelled = examples + failed
    if examples and failed <= max_failed_share * labelled:
        return
    for failure in selected.failures:
        logger.warning("Product %s: %s: %s", failure.product, failure.reason, failure.message)
    if not labelled:
        counts = selected.counts
        raise UserError(
            "The catalogue has no labelled product with an image.",
            expected="products with an image and a garment",
            received=f"{counts['products']} products, {counts['without_garment']} of them without a garment, "
            f"{counts['without_image']} with a garment and without an image",
            next_step="fill ProductGarment (sql/garments.sql), or set country and image_index in [example_gen]",
        )
    reasons = Counter(failure.reason for failure in selected.failures).most_common()
    first = selected.failures[0]
    raise UserError(
        "Too many of the catalogue's products failed.",
        expected=f"at most {max_failed_share:.0%} of {labelled:,} products with a garment and a URL",
        received=f"{failed:,}: {', '.join(f'{count:,} {reason}' for reason, count in reasons)}; "
        f"product {first.product}, for example: {first.message}",
        next_step="correct what the log lists, or set max_failed_share in [example_gen]; fetched images stay cached",
    )

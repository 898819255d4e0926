"""ExampleGen's second source: the products of a catalogue that have a garment, with the images behind their URLs.

Nothing that a catalogue holds stops the run: what gives no example is listed with its reason, and only when too much is
listed does the run stop.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from catalogue.images import Fetch, kept_images
from catalogue.products import Catalogue, Failure, Selection, select_products
from pipeline.contract.artifacts import Examples, IngestionFailures
from pipeline.contract.errors import UserError
from pipeline.contract.progress import Progress
from serving.fetching.errors import redact_url

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)

PictureReason = Literal["blank", "placeholder"]
"""Why an image that was fetched is no picture of a product."""


def read_catalogue(
    catalogue: Catalogue,
    fetch: Fetch,
    most_failed: float,
    most_shared: int,
    cache: Path,
    examples: Examples,
    failures: IngestionFailures,
    progress: Progress,
) -> dict[str, Any]:
    """Returns the columns of the products with an image and a garment, ordered by content.

    They are `image` uint8 [N, 28, 28], `garment` int64 [N], and str [N]: `source_id`, `split` (train for all), `name`
    (of the pixels), `title`, and `description`, which is empty where there is none.

    Args:
        catalogue: What is read.
        fetch: How the images are fetched.
        most_failed: The share of the products with a garment and a URL that may give no example.
        most_shared: A picture that more products show is a placeholder.
        cache: The directory of what was downloaded before.
        examples: Whose properties will say how many products gave no example, and why.
        failures: Where these products are listed.
        progress: Is told of every image.

    Raises:
        UserError: The catalogue or the cache cannot be read, too many images failed, or there are none.
    """
    # Read to its end before the first image is fetched: a snapshot that is open for hours keeps PostgreSQL from
    # clearing up.
    selected = select_products(catalogue)
    images = _fetch(selected, fetch, cache, progress)
    columns = _without_pictures_of_nothing(_columns(selected, images), selected, most_shared)
    _report(selected, catalogue, examples, failures)
    _check(selected, len(columns["image"]), most_failed)
    return columns


def _fetch(selected: Selection, fetch: Fetch, cache: Path, progress: Progress) -> dict[int, np.ndarray]:
    """Returns the pixels, uint8 [28, 28], by the product's position; the others become failures."""
    from serving.fetching.image_fetcher import Failed

    found: dict[int, np.ndarray] = {}
    with kept_images(cache) as kept:
        urls = [str(product.url) for product in selected.products]
        fetching = fetch.begin(urls, kept, lambda done, total: progress(done, total or 0, "images", "fetching"))
        for result in fetching:
            if isinstance(result, Failed):
                product = selected.products[result.position].id
                selected.failures.append(Failure(product, redact_url(result.url), result.reason, result.message))
            else:
                found[result.position] = result.pixels
    logger.info("Images: %s", ", ".join(f"{count} {kind}" for kind, count in fetching.counts.most_common()))
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
    order = np.lexsort(([product.id for product in products], columns["name"]))
    return {name: values[order] for name, values in columns.items()}


def _without_pictures_of_nothing(columns: dict[str, Any], selected: Selection, most_shared: int) -> dict[str, Any]:
    """Turns pictures of one colour, and those that stand for many products, into failures."""
    import numpy as np

    from serving.images.fitting import shows_one_colour

    _, inverse, counts = np.unique(columns["name"], return_inverse=True, return_counts=True)
    shared, blank = counts[inverse], np.array([shows_one_colour(image) for image in columns["image"]], bool)
    urls = {product.id: product.url for product in selected.products}
    for row in np.flatnonzero(blank | (shared > most_shared)):
        product = int(columns["source_id"][row].removeprefix("product/"))
        expected, received = f"one of at most {most_shared} products", f"one of {shared[row]}"
        reason: PictureReason = "blank" if blank[row] else "placeholder"
        if blank[row]:
            expected, received = "an item before a ground", "one colour"
        message = f"Its picture is no picture of a product. Expected: {expected}. Received: {received}"
        selected.failures.append(Failure(product, redact_url(urls[product]), reason, message))
    return {name: values[~blank & (shared <= most_shared)] for name, values in columns.items()}


def _report(selected: Selection, catalogue: Catalogue, examples: Examples, failures: IngestionFailures) -> None:
    from sql.dsn import redact

    selected.failures.sort(key=lambda failure: failure.product)
    with failures.failures_file.open("w", encoding="utf-8") as file:
        for failure in selected.failures:
            file.write(json.dumps(asdict(failure), ensure_ascii=False) + "\n")
    failures.properties.update(Counter(failure.reason for failure in selected.failures))
    examples.properties["source"] = f"the catalogue {redact(catalogue.dsn)}"
    for name in ("products", "without_garment", "without_image"):
        examples.properties[name] = selected.counts[name]
    examples.properties["failed"] = len(selected.failures)


def _check(selected: Selection, examples: int, most_failed: float) -> None:
    """Raises UserError where too many failed; what is written is removed then, so the log gets the list."""
    failed = len(selected.failures)
    wanted = examples + failed
    if examples and failed <= most_failed * wanted:
        return
    for failure in selected.failures:
        logger.warning("Product %d: %s: %s", failure.product, failure.reason, failure.message)
    if not wanted:
        counts = selected.counts
        raise UserError(
            "The catalogue has no product to learn from.",
            expected="products with an image and a garment",
            received=f"{counts['products']} products, {counts['without_garment']} of them without a garment, "
            f"{counts['without_image']} with one and without an image",
            next_step="fill ProductGarment (sql/garments.sql), or set country and image_index in [example_gen]",
        )
    reasons = Counter(failure.reason for failure in selected.failures).most_common()
    first = selected.failures[0]
    raise UserError(
        "Too many of the catalogue's products give no example.",
        expected=f"at most {most_failed:.0%} of {wanted:,} with an image and a garment",
        received=f"{failed:,}: {', '.join(f'{count:,} {reason}' for reason, count in reasons)}; "
        f"product {first.product} for one: {first.message}",
        next_step="mend what the log lists, or set most_failed in [example_gen]; what was fetched is kept",
    )

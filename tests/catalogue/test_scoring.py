"""Tests of scoring a catalogue: changed images are scored again, and outages keep earlier groups."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from catalogue.scoring import CatalogueScorer
from serving.fetching.fetch_policy import FetchPolicy
from serving.versions import Version
from tests.catalogue.catalogues import add_products
from tests.saved_models import export_tiny
from tests.serving.fetching.shop import png
from tests.serving.web import Answer, web

CACHING = FetchPolicy(allow_private=True, max_per_host=4, attempt_seconds=5.0, max_age_seconds=30 * 86_400)
REVALIDATING = replace(CACHING, max_age_seconds=0)


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """A pushed version."""
    return Version(1, export_tiny(tmp_path_factory.mktemp("model") / "1"))


def contents(dsn: str) -> dict[int, tuple[str | None, str | None, str | None, str]]:
    """Group, failure, content and model version in the table, by product."""
    names = "product_id, product_group, failure, image_content, model_version"
    with psycopg.connect(dsn) as connection:
        return {row[0]: row[1:] for row in connection.execute(f"SELECT {names} FROM product_classification")}


def test_an_image_that_changed_behind_its_url_is_scored_again(dsn: str, version: Version, tmp_path: Path) -> None:
    """It is scored again when its cached copy is old enough for revalidation; until then the server gets no request."""
    answers = [Answer(body=png(1))]
    with web(lambda request: answers[0]) as image_server:
        add_products(dsn, [f"{image_server.url}/1"])
        caching = CatalogueScorer(version, tmp_path / "cache", CACHING)
        assert caching.score(dsn).scored == 1
        before = contents(dsn)
        answers[0] = Answer(body=png(2))
        assert caching.score(dsn).scored == 0 and len(image_server.requests) == 1
        assert CatalogueScorer(version, tmp_path / "cache", REVALIDATING).score(dsn).scored == 1
        after = contents(dsn)
    assert before.keys() == after.keys() and before[1][2] != after[1][2]


def test_an_outage_takes_no_group_away(dsn: str, version: Version, tmp_path: Path) -> None:
    """Cached images are scored again; a file that is gone keeps its group, gets a reason and counts as failed.

    A host that does not answer does not get a request for each of its images.
    """
    answers = [Answer(body=png(1))]
    with web(lambda request: answers[0]) as image_server:
        add_products(dsn, [f"{image_server.url}/{number}" for number in range(30)])
        CatalogueScorer(version, tmp_path / "cache", REVALIDATING).score(dsn)
        groups = {product: row[0] for product, row in contents(dsn).items()}
        answers[0] = Answer(404)
        gone = CatalogueScorer(version, tmp_path / "cache", REVALIDATING).score(dsn)
        assert gone.failed == {"http_404": 30} and gone.failed_share == 1
        assert {product: row[0] for product, row in contents(dsn).items()} == groups and None not in groups.values()
    # The server is gone.
    away = CatalogueScorer(version, tmp_path / "cache", REVALIDATING).score(dsn)
    assert (away.scored, away.failed_share) == (30, 0)
    assert {row[:2] for row in contents(dsn).values()} == {(group, None) for group in groups.values()}


def test_another_model_of_the_same_number_scores_all_of_it(dsn: str, version: Version, tmp_path: Path) -> None:
    """Version numbers repeat between workspaces, so the digest decides."""
    with web(lambda request: Answer(body=png(1))) as image_server:
        add_products(dsn, [f"{image_server.url}/1"])
        assert CatalogueScorer(version, tmp_path / "cache", CACHING).score(dsn).scored == 1
        other = Version(1, export_tiny(tmp_path / "other" / "1", seed=1))
        assert CatalogueScorer(other, tmp_path / "cache", CACHING).score(dsn).scored == 1
        assert contents(dsn)[1][3] == f"1-{other.digest[:8]}"

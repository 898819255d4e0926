"""Scoring a catalogue: what changes behind a URL is found, and what cannot be had takes nothing away."""

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

TRUSTING = FetchPolicy(allow_private=True, max_per_host=4, attempt_seconds=5.0, max_age_seconds=30 * 86_400)
ASKING = replace(TRUSTING, max_age_seconds=0)


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """A pushed version."""
    return Version(1, export_tiny(tmp_path_factory.mktemp("model") / "1"))


def contents(dsn: str) -> dict[int, tuple[str | None, str | None, str | None, str]]:
    """Group, failure, content and version that are written back, by product."""
    names = "product_id, product_group, failure, image_content, model_version"
    with psycopg.connect(dsn) as connection:
        return {row[0]: row[1:] for row in connection.execute(f"SELECT {names} FROM product_classification")}


def test_an_image_that_changed_behind_its_url_is_scored_again(dsn: str, version: Version, tmp_path: Path) -> None:
    """As soon as it is old enough for its server to be asked; until then nothing is pending and nobody is asked."""
    answers = [Answer(body=png(1))]
    with web(lambda request: answers[0]) as image_server:
        add_products(dsn, [f"{image_server.url}/1"])
        trusting = CatalogueScorer(version, tmp_path / "cache", TRUSTING)
        assert trusting.score(dsn).scored == 1
        before = contents(dsn)
        answers[0] = Answer(body=png(2))
        assert trusting.score(dsn).scored == 0 and len(image_server.requests) == 1
        assert CatalogueScorer(version, tmp_path / "cache", ASKING).score(dsn).scored == 1
        after = contents(dsn)
    assert before.keys() == after.keys() and before[1][2] != after[1][2]


def test_an_outage_takes_no_group_away(dsn: str, version: Version, tmp_path: Path) -> None:
    """What is kept is scored again, a file that is gone leaves its group with a reason, and the share of these is told.

    Nor is a host that says nothing asked about each of its images.
    """
    answers = [Answer(body=png(1))]
    with web(lambda request: answers[0]) as image_server:
        add_products(dsn, [f"{image_server.url}/{number}" for number in range(30)])
        CatalogueScorer(version, tmp_path / "cache", ASKING).score(dsn)
        groups = {product: row[0] for product, row in contents(dsn).items()}
        answers[0] = Answer(404)
        gone = CatalogueScorer(version, tmp_path / "cache", ASKING).score(dsn)
        assert gone.failed == {"http_404": 30} and gone.failed_share == 1
        assert {product: row[0] for product, row in contents(dsn).items()} == groups and None not in groups.values()
    # Nobody listens any more.
    away = CatalogueScorer(version, tmp_path / "cache", ASKING).score(dsn)
    assert (away.scored, away.failed_share) == (30, 0)
    assert {row[:2] for row in contents(dsn).values()} == {(group, None) for group in groups.values()}


def test_another_model_of_the_same_number_scores_all_of_it(dsn: str, version: Version, tmp_path: Path) -> None:
    """Every workspace counts from 1."""
    with web(lambda request: Answer(body=png(1))) as image_server:
        add_products(dsn, [f"{image_server.url}/1"])
        assert CatalogueScorer(version, tmp_path / "cache", TRUSTING).score(dsn).scored == 1
        other = Version(1, export_tiny(tmp_path / "other" / "1", seed=1))
        assert CatalogueScorer(other, tmp_path / "cache", TRUSTING).score(dsn).scored == 1
        assert contents(dsn)[1][3] == f"1-{other.digest[:8]}"

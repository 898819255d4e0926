"""Tests of scoring a catalogue: changed images are scored again, and outages keep earlier groups."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import psycopg
import pyarrow.parquet
import pytest
from PIL import Image

from catalogue.products import IMAGE_CACHE
from catalogue.scoring import BATCH, CatalogueScorer
from pipeline.contract.errors import UserError
from serving.fetching.fetch_policy import FetchPolicy
from serving.requests.prediction_log import answer, load, predict_request
from serving.versions import Version
from sql.extract import read_products
from sql.product_files import write_file
from sql.tables import CATALOGUE, GARMENTS
from tests.catalogue.catalogues import add_products
from tests.saved_models import export_tiny
from tests.serving.exports import export_small
from tests.serving.fetching.shop import png
from tests.serving.web import Answer, web
from tests.synthetic import images_and_garments

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


def test_a_new_prediction_from_an_old_copy_expires_with_the_copy(dsn: str, version: Version, tmp_path: Path) -> None:
    """The age of the cached image counts, not that of the prediction: the server is asked whether it has changed."""
    answers = [Answer(body=png(1))]
    with web(lambda request: answers[0]) as image_server:
        add_products(dsn, [f"{image_server.url}/1"])
        scorer = CatalogueScorer(version, tmp_path / "cache", CACHING)
        scorer.score(dsn)
        with closing(sqlite3.connect(tmp_path / "cache" / IMAGE_CACHE)) as cache, cache:
            cache.execute("UPDATE url SET fetched_at = fetched_at - 31 * 86400")
        answers[0] = Answer(body=png(2))
        before = contents(dsn)
        assert scorer.score(dsn).scored == 1 and contents(dsn)[1][2] != before[1][2]
        assert scorer.score(dsn).scored == 0 and len(image_server.requests) == 2


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


def test_answers_of_many_batches_belong_to_their_products(dsn: str, version: Version, tmp_path: Path) -> None:
    """Beyond the first prediction call, each product still gets the answer for its own image, and its URL."""
    count = 2 * BATCH + 40
    images, _ = images_and_garments(count, 3)
    for number, image in enumerate(images, 1):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    urls: list[str | None] = [(tmp_path / f"{number}.png").as_uri() for number in range(1, count + 1)]
    add_products(dsn, urls)
    policy = FetchPolicy(files_below=tmp_path, max_age_seconds=30 * 86_400)
    summary = CatalogueScorer(version, tmp_path / "cache", policy).score(dsn)
    assert summary.read == {"products": count, "images": count, "texts": 0} and summary.scored == count
    answers = answer(load(version.path), predict_request("serving_default", np.stack(images)))
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT product_id, product_group, confidence, url FROM product_classification ORDER BY 1"
        ).fetchall()
    assert [row[0] for row in rows] == [*range(1, count + 1)] and [row[3] for row in rows] == urls
    assert [row[1] for row in rows] == [group.decode() for group in answers["group"]]
    assert np.allclose([row[2] for row in rows], answers["confidence"], atol=1e-4)
    assert len(set(answers["confidence"].round(4))) > count / 2, "the images must differ for this test"


def test_a_blank_image_is_left_to_a_human(dsn: str, tmp_path: Path) -> None:
    """The row abstains, however certain the model is, and the list for review shows the URL."""
    weights = [np.zeros((784, 10), np.float32), np.array([50.0, *[0.0] * 9], np.float32)]
    certain = Version(1, export_small(tmp_path / "model", weights=weights).saved_model)
    levels = {"black": 0, "white": 255, "grey": 128}
    pixels = np.stack([np.full((28, 28), level, np.uint8) for level in levels.values()])
    assert not answer(load(certain.path), predict_request("serving_default", pixels))["abstain"].any()
    for name, level in levels.items():
        Image.new("L", (40, 60), level).save(tmp_path / f"{name}.png")
    Image.open(BytesIO(png(1))).save(tmp_path / "shoe.png")
    urls: list[str | None] = [(tmp_path / f"{name}.png").as_uri() for name in (*levels, "shoe")]
    add_products(dsn, urls)
    policy = FetchPolicy(files_below=tmp_path)
    summary = CatalogueScorer(certain, tmp_path / "cache", policy).score(dsn)
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT abstain FROM product_classification ORDER BY product_id").fetchall()
        review = connection.execute("SELECT url FROM product_to_review ORDER BY product_id")
        assert [url for (url,) in review] == urls[:3]
    assert [abstain for (abstain,) in rows] == [True, True, True, False] and summary.abstained == 3


LOSSES = {
    "another image index": ("SELECT 1", 7, "0 that are no longer in Product, 30 without an image at index 7"),
    "an emptied table of products": (
        "TRUNCATE Product CASCADE", 0, "30 that are no longer in Product, 0 without an image at index 0"
    ),
    "an emptied table of images": (
        "TRUNCATE ProductImages", 0, "0 that are no longer in Product, 30 without an image at index 0"
    ),
    "a few products": (
        "DELETE FROM ProductImages WHERE ProductId <= 2; DELETE FROM ProductGarment WHERE ProductId IN (3, 4); "
        "DELETE FROM ProductImages WHERE ProductId IN (3, 4); DELETE FROM Product WHERE Id IN (3, 4)",
        0, "2 that are no longer in Product, 2 without an image at index 0"
    ),
}  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
def test_groups_are_not_lost_by_mistake(dsn: str, version: Version, tmp_path: Path, loss: str) -> None:
    """Beyond the limit nothing is fetched, changed or removed; with the limit raised, the groups are removed."""
    statement, image_index, received = LOSSES[loss]
    with web(lambda request: Answer(body=png(int(request.path[1:])))) as image_server:
        add_products(dsn, [f"{image_server.url}/{number}" for number in range(1, 31)])
        scorer = CatalogueScorer(version, tmp_path / "cache", CACHING)
        scorer.score(dsn, max_lost_share=0.1)
        before, requests = contents(dsn), len(image_server.requests)
        with psycopg.connect(dsn) as connection:
            connection.execute(statement)
        with pytest.raises(UserError, match="Too many products would lose their group") as raised:
            scorer.score(dsn, image_index=image_index, max_lost_share=0.1)
        assert raised.value.received == received and "--max-failed-share 1" in raised.value.next_step
        assert contents(dsn) == before and len(image_server.requests) == requests
        scorer.score(dsn, image_index=image_index, max_lost_share=1.0)
        with psycopg.connect(dsn) as connection:
            assert {p for p, row in contents(dsn).items() if row[0]} == {
                p
                for (p,) in connection.execute(
                    "SELECT ProductId FROM ProductImages WHERE ImageIndex = %s", [image_index]
                )
            }


def test_a_table_that_is_emptied_meanwhile(dsn: str, version: Version, tmp_path: Path) -> None:
    """A catalogue that is emptied while its images are fetched keeps its results."""
    with web(lambda request: Answer(body=png(1))) as image_server:
        add_products(dsn, [f"{image_server.url}/{number}" for number in range(30)])
        CatalogueScorer(version, tmp_path / "cache", CACHING).score(dsn)
        before = contents(dsn)

        def empty(_: object) -> Answer:
            with psycopg.connect(dsn) as connection:
                connection.execute("TRUNCATE Product CASCADE")
            return Answer(body=png(2))

        with psycopg.connect(dsn) as connection:
            connection.execute("UPDATE Product SET Title = 'new' WHERE Id = 1")
    with web(empty) as emptying:
        with psycopg.connect(dsn) as connection:
            connection.execute("UPDATE Image SET Url = %s WHERE Id = 1", [f"{emptying.url}/1"])
        with pytest.raises(UserError, match="Nothing was removed"):
            CatalogueScorer(version, tmp_path / "cache", CACHING).score(dsn, max_lost_share=0.1)
    assert contents(dsn).keys() == before.keys() and all(row[0] for row in contents(dsn).values())


@pytest.mark.parametrize(("key", "ids"), [
    ("varchar(20)", ["a-1", "b'2"]),
    ("uuid", ["0190a1b2-0000-7000-8000-000000000001", "0190a1b2-0000-7000-8000-000000000002"]),
])  # fmt: skip
def test_keys_that_are_no_numbers(empty: str, version: Version, tmp_path: Path, key: str, ids: list[str]) -> None:
    """A catalogue with texts or UUIDs as ids is read, written to files, scored, and kept up to date."""
    schema = (CATALOGUE.statement + GARMENTS.statement).replace("bigint", key)
    with (
        web(lambda request: Answer(body=png(1))) as image_server,
        psycopg.connect(empty, autocommit=True) as connection,
    ):
        connection.execute(schema)
        for one in ids:
            connection.cursor().execute("INSERT INTO Product VALUES (%s, 'Shirt')", [one])
            connection.cursor().execute("INSERT INTO Image VALUES (%s, %s)", [one, f"{image_server.url}/1"])
            connection.cursor().execute("INSERT INTO ProductImages VALUES (%s, %s, 0)", [one, one])
        for name in ("products.csv", "products.parquet"):
            assert write_file(read_products(empty), tmp_path / name) == 2
        assert [row["id"] for row in pyarrow.parquet.read_table(tmp_path / "products.parquet").to_pylist()] == ids
        assert [line.partition(",")[0] for line in (tmp_path / "products.csv").read_text().splitlines()[1:]] == [
            f'"{one}"' for one in ids
        ]
        scorer = CatalogueScorer(version, tmp_path / "cache", CACHING)
        assert scorer.score(empty).scored == 2
        connection.cursor().execute("UPDATE Product SET Title = 'Boot' WHERE Id = %s", [ids[1]])
        assert scorer.score(empty).scored == 1
        connection.execute("DELETE FROM ProductImages; DELETE FROM Product")
        assert [str(row[0]) for row in connection.execute("SELECT product_id FROM product_classification")] == ids
        assert scorer.score(empty).removed == 2


def test_another_model_of_the_same_number_scores_all_of_it(dsn: str, version: Version, tmp_path: Path) -> None:
    """Version numbers repeat between workspaces, so the digest decides."""
    with web(lambda request: Answer(body=png(1))) as image_server:
        add_products(dsn, [f"{image_server.url}/1"])
        assert CatalogueScorer(version, tmp_path / "cache", CACHING).score(dsn).scored == 1
        other = Version(1, export_tiny(tmp_path / "other" / "1", seed=1))
        assert CatalogueScorer(other, tmp_path / "cache", CACHING).score(dsn).scored == 1
        assert contents(dsn)[1][3] == f"1-{other.digest[:8]}"

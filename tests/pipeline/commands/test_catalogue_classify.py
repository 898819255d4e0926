"""`fashion catalogue classify` on a real PostgreSQL, with a pushed model and pictures as files."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from catalogue.demonstration import Pictures, write_pictures
from models.taxonomy import Taxonomy
from serving.versions import digest, push
from sql.demonstration import Demonstration, fill, make_demonstration
from sql.extract import read_products
from sql.server import find_programs, running_server
from sql.write_back import prepare
from tests.conftest import ROOT, Fashion
from tests.saved_models import export_tiny
from tests.serving.exports import export_small
from tests.synthetic import images_and_garments
from tests.waiting import wait_until

PRODUCTS = 300
FASHION = [sys.executable, "-m", "pipeline.commands.cli"]
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with version 1."""
    path = tmp_path_factory.mktemp("workspace")
    export_tiny(path / "serving_models" / "fashion" / "1")
    return path


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Demonstration, Pictures]:
    """A catalogue, and a file for each of its images; some are broken."""
    demonstration = make_demonstration(PRODUCTS)
    images, garments = images_and_garments(400, 0)
    names = Taxonomy.load().garments
    folder = tmp_path_factory.mktemp("pictures")
    return demonstration, write_pictures(folder, demonstration.images, images, [names[g] for g in garments], every=20)


@pytest.fixture
def dsn(shop: tuple[Demonstration, Pictures]) -> Iterator[str]:
    """A PostgreSQL with the catalogue."""
    demonstration, pictures = shop
    with running_server(find_programs()) as server:
        fill(server, demonstration, pictures.url)
        yield server


def rows(dsn: str) -> dict[int, tuple[Any, ...]]:
    """The results in the database by product: version, group, failure, time."""
    with psycopg.connect(dsn) as connection:
        found = connection.execute(
            "SELECT product_id, model_version, product_group, failure, scored_at FROM product_classification"
        )
        return {row[0]: row[1:] for row in found}


def label(workspace: Path, number: int) -> str:
    """The name of a version in the table."""
    return f"{number}-{digest(workspace / 'serving_models' / 'fashion' / str(number))[:8]}"


def arguments(dsn: str, workspace: Path, pictures: Pictures) -> list[str]:
    """The arguments of the command."""
    return ["catalogue", "classify", "--dsn", dsn, "-w", str(workspace), "--files-below", str(pictures.folder)]


def test_every_product_has_an_answer_or_a_reason(
    dsn: str, workspace: Path, shop: tuple[Demonstration, Pictures], fashion: Fashion
) -> None:
    """The first run scores every product, the second only what changed, and a new version everything again."""
    words = arguments(dsn, workspace, shop[1])
    wrong = fashion(*words, "--image-index", "7")
    assert wrong.returncode == 1 and "No product has an image at index 7." in wrong.stderr
    assert {row[2] for row in rows(dsn).values()} == {"no_image"}
    done = fashion(*words)
    assert done.returncode == 0, done.stderr
    first, products = rows(dsn), {p.id: p for some in read_products(dsn) for p in some}
    assert first.keys() == products.keys() and {row[0] for row in first.values()} == {label(workspace, 1)}
    groups = set(Taxonomy.load().groups)
    without = {product for product, row in first.items() if row[2] == "no_image"}
    assert without == {product for product, row in products.items() if row.url is None} and without
    assert all((row[1] in groups) == (row[2] is None) for row in first.values())
    failed = {row[2] for row in first.values()} - {None, "no_image"}
    assert len(failed) == 3 and {"not_an_image", "damaged"} < failed
    assert f"{sum(row[2] is None for row in first.values()):,} products scored by version 1-" in done.stdout
    pictured, described = (
        sum(cell is not None for cell in column) for column in zip(*[p[2:] for p in products.values()], strict=True)
    )
    assert f"{PRODUCTS} products, {pictured} with an image and {described} with a text\n" in done.stdout

    wrong = fashion(*words, "--image-index", "7")
    assert wrong.returncode == 1 and "Too many products would lose their group" in wrong.stderr
    assert "Warning: No image has the index 7." in wrong.stderr and rows(dsn) == first

    with psycopg.connect(dsn) as connection:
        answered = [product for product, row in first.items() if row[2] is None]
        changed, gone = answered[:2]
        connection.execute("UPDATE Product SET Title = 'Another' WHERE Id = %s", [changed])
        for table, column in (
            ("ProductImages", "ProductId"),
            ("ProductDescription", "ProductId"),
            ("ProductGarment", "ProductId"),
            ("Product", "Id"),
        ):
            connection.execute(f"DELETE FROM {table} WHERE {column} = %s", [gone])
    again_done = fashion(*words)
    assert again_done.returncode == 0 and again_done.stdout.split("\n")[1].endswith("; 1 removed")
    second = rows(dsn)
    assert second.keys() == first.keys() - {gone}
    again = {product for product, row in second.items() if row[3] != first[product][3]}
    # What failed and has a URL is tried again, and fails again.
    assert again == {changed} | {p for p, row in second.items() if row[2] not in (None, "no_image")}

    broken = sum(row[2] not in (None, "no_image") for row in second.values())
    strict = fashion(*words, "--max-failed-share", "0.01")
    assert strict.returncode == 1 and "Too many images could not be fetched." in strict.stderr
    assert f"Expected: at most 1% of the answered products\nReceived: {broken / len(second):.0%}\n" in strict.stderr
    assert f"; {broken} failed (" in strict.stdout and rows(dsn).keys() == second.keys()

    export_tiny(workspace / "serving_models" / "fashion" / "2", seed=1)
    assert fashion(*words).returncode == 0
    assert {row[0] for row in rows(dsn).values() if row[1]} == {label(workspace, 2)}


def test_a_model_that_reads_descriptions_gets_them(
    dsn: str, shop: tuple[Demonstration, Pictures], fashion: Fashion, tmp_path: Path
) -> None:
    """The group of a blank image follows its product's description; without one it follows the image alone."""
    # A network that sees nothing: every image gets the same answer.
    blind = [np.zeros((784, 10)), np.zeros(10)]
    model = export_small(tmp_path / "model", weights=blind, texts=True)
    push(model.saved_model, tmp_path / "serving_models" / "fashion")
    assert fashion(*arguments(dsn, tmp_path, shop[1])).returncode == 0
    taxonomy, demonstration = Taxonomy.load(), shop[0]
    group_of = {name: taxonomy.groups[group] for name, group in zip(taxonomy.garments, taxonomy.group_of, strict=True)}
    answers = {product: row[1] for product, row in rows(dsn).items() if row[2] is None}
    texts = {product.id: product.description for some in read_products(dsn) for product in some}
    without_text = {answers[product] for product in answers if texts[product] is None}
    assert len(without_text) == 1
    with_text = [product for product in answers if texts[product] and demonstration.garments.get(product)]
    right = [answers[product] == group_of[demonstration.garments[product]] for product in with_text]
    assert len(right) > 50 and np.mean(right) > 0.7 and len({answers[product] for product in with_text}) > 3


STALL = """
CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Not the first batch: of that nothing is there yet.
    IF EXISTS (SELECT FROM product_classification WHERE xmin <> pg_current_xact_id()::xid) THEN
        PERFORM pg_advisory_xact_lock(1);
    END IF;
    RETURN new;
END $$;
CREATE TRIGGER stall BEFORE INSERT ON product_classification
FOR EACH ROW EXECUTE FUNCTION stall();
"""


def test_a_killed_command_is_continued(
    dsn: str, workspace: Path, shop: tuple[Demonstration, Pictures], fashion: Fashion
) -> None:
    """A killed command has written whole batches; the next one writes the rest, and no product twice."""
    words = arguments(dsn, workspace, shop[1])
    prepare(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(STALL)
        # A later batch waits for this lock, in the middle of its write.
        connection.execute("SELECT pg_advisory_lock(1)")
        with subprocess.Popen(
            [*FASHION, *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as run:
            waiting = "a command that waits for the lock"
            wait_until(lambda: run.poll() is not None or connection.execute(WAITING).fetchone() != (0,), waiting)
            run.send_signal(signal.SIGKILL)
        half = rows(dsn)
        assert len(half) == 256
        connection.execute("SELECT pg_advisory_unlock(1)")
    assert fashion(*words).returncode == 0
    whole = rows(dsn)
    assert len(whole) == PRODUCTS
    assert all(whole[product] == row for product, row in half.items() if row[2] in (None, "no_image"))


def test_without_a_model(dsn: str, shop: tuple[Demonstration, Pictures], fashion: Fashion, tmp_path: Path) -> None:
    """Without a pushed model the error names the next step."""
    done = fashion(*arguments(dsn, tmp_path, shop[1]))
    assert done.returncode == 1 and "no pushed model" in done.stderr and "fashion run" in done.stderr


@pytest.mark.parametrize("damaged", ["saved_model.pb", "variables/variables.data-00000-of-00001"])
def test_a_damaged_model(
    dsn: str, shop: tuple[Demonstration, Pictures], fashion: Fashion, tmp_path: Path, damaged: str
) -> None:
    """A damaged model is an error with a next step and without a stack trace; no result is written."""
    version = export_tiny(tmp_path / "serving_models" / "fashion" / "1")
    content = (version / damaged).read_bytes()
    (version / damaged).write_bytes(content[: len(content) // 2])
    done = fashion(*arguments(dsn, tmp_path, shop[1]))
    assert done.returncode == 1 and "The pushed model cannot be loaded." in done.stderr
    assert "Traceback" not in done.stderr and "fashion run --fresh --from pusher" in done.stderr
    assert rows(dsn) == {}

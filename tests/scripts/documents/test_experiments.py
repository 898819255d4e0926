"""`docs/experiments/` is what the declarations and results say, with the pictures that the pages show."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from analysis.experiments.report import reports
from analysis.pages.figure_style import figure
from analysis.pages.section import Gallery, Picture, Row
from scripts.documents.experiments import PAGES, PICTURES, file_name, shrink, source_digest, write_pages
from scripts.documents.screenshots import remove_others
from tests.analysis.experiments.synthetic_experiment import declare, run


@pytest.fixture(scope="module")
def written() -> tuple[dict[str, str], dict[str, str]]:
    """The pages and the pictures of the committed declarations and results."""
    return write_pages(reports())


@pytest.mark.slow
def test_pages_are_up_to_date(written: tuple[dict[str, str], dict[str, str]]) -> None:
    """What `make documents` would write is what is committed, and every picture it names is there and no other."""
    pages, files = written
    committed = {path.name: path.read_text(encoding="utf-8") for path in PAGES.glob("*.md")}
    assert committed == pages, "run: make documents"
    assert {path.name for path in PICTURES.iterdir()} == set(files.values())


@pytest.mark.slow
def test_static_pages_need_no_pointer(written: tuple[dict[str, str], dict[str, str]]) -> None:
    """Pictures have a description, and no caption asks for an action that only the interactive page has."""
    pages, _ = written
    for name, text in pages.items():
        assert not re.search(r"\b(hover|touch|click|tap)\b", text, re.IGNORECASE), name
        for description in re.findall(r"!\[(.*?)\]\(figures/", text):
            assert len(description.split()) > 8, f"{name}: {description!r}"


def test_pictures_are_small() -> None:
    """All together are under 1 MB."""
    assert sum(path.stat().st_size for path in PICTURES.iterdir()) < 1e6


def test_document_says_what_the_results_say(tmp_path: Path) -> None:
    """Other results make another text and other names of pictures; the same make the same."""
    errors = {"plain": 0.05, "better": 0.02, "worse": 0.09, "same": 0.05}
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        run(declare(tmp_path / name), tmp_path / name, errors | ({"same": 0.03} if name == "other" else {}))
    pages, files = write_pages(reports(tmp_path / "one"), tmp_path / "one")
    assert (pages, files) == write_pages(reports(tmp_path / "one"), tmp_path / "one")
    other_pages, other_files = write_pages(reports(tmp_path / "other"), tmp_path / "other")
    assert pages["07-colour.md"] != other_pages["07-colour.md"] and set(files) == set(other_files)
    assert not set(files.values()) & set(other_files.values())
    assert "*Cannot tell for 1 of 3 arms: neither different from “plain” nor equivalent" in pages["README.md"]


def test_pages_link_to_each_other(tmp_path: Path) -> None:
    """The index has a line for each experiment; a page links to its neighbours and to the experiments it mentions."""
    for number, name in enumerate(("shape", "colour", "size"), 1):
        declare(tmp_path, name, number=number)
    declaration = (tmp_path / "size.toml").read_text(encoding="utf-8")
    (tmp_path / "size.toml").write_text(declaration.replace('"No."', '"As in experiment 1."'), encoding="utf-8")
    pages, _ = write_pages(reports(tmp_path), tmp_path)
    assert (
        "| 2 | [A colour experiment](02-colour.md) | Is b better than a? | Declared, not run. |" in pages["README.md"]
    )
    assert "As in experiment [1](01-shape.md)." in pages["03-size.md"]
    assert "Related experiments: [3. A size experiment](03-size.md)" in pages["01-shape.md"]
    assert "Related" not in pages["02-colour.md"]
    assert pages["02-colour.md"].endswith(
        "Previous: [1. A shape experiment](01-shape.md) · Next: [3. A size experiment](03-size.md)\n"
    )


def test_digest_follows_from_settings_and_results(tmp_path: Path) -> None:
    """Another wording of the question keeps it; other results and other arms change it."""
    plain = declare(tmp_path)
    digests = {source_digest(plain, tmp_path)}
    assert source_digest(plain.model_copy(update={"question": "Which?"}), tmp_path) in digests
    digests.add(source_digest(declare(tmp_path, arms=("plain", "better")), tmp_path))
    run(plain, tmp_path, {"plain": 0.05})
    digests.add(source_digest(plain, tmp_path))
    assert len(digests) == 3


def test_name_of_a_picture_follows_from_what_is_drawn() -> None:
    """Noise in the last digits does not change it; a value and an image do."""
    names = [file_name(Picture("dots", figure().add_scatter(x=[x]), "")) for x in (0.1, 0.1 + 1e-12, 0.11)]
    assert names[0] == names[1] != names[2]
    images = np.zeros((2, 28, 28), np.uint8)
    assert file_name(Gallery("all", [Row("a", images)], "")) != file_name(Gallery("all", [Row("a", images + 1)], ""))


def test_pictures_that_are_no_longer_named_go(tmp_path: Path) -> None:
    """Others stay, and what is no picture too."""
    for name in ("old.1.png", "new.2.png", "notes.txt"):
        (tmp_path / name).touch()
    remove_others(tmp_path, {"new.2.png"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.2.png", "notes.txt"]


def test_few_colours_make_a_picture_smaller(tmp_path: Path) -> None:
    """It keeps its size in pixels."""
    from PIL import Image

    smooth = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None], (256, 200, 3))
    noisy = smooth + np.random.default_rng(0).integers(0, 3, smooth.shape, np.uint8)
    Image.fromarray(noisy.astype(np.uint8)).save(tmp_path / "picture.png")
    before = (tmp_path / "picture.png").stat().st_size
    shrink(tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.size == (200, 256) and (tmp_path / "picture.png").stat().st_size < before / 2

"""`docs/experiments.md` is what the declarations and results say, with the pictures that it shows."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from analysis.pages.figure_style import figure
from analysis.pages.section import Gallery, Picture, Row
from scripts.documents.experiments import DOCUMENT, PICTURES, anchor, file_name, shrink, write_document
from scripts.documents.screenshots import remove_others
from tests.analysis.experiments.synthetic_experiment import declare, run


@pytest.mark.slow
def test_document_is_up_to_date() -> None:
    """What `make experiments` would write is what is committed, and every picture it names is there and no other."""
    text, files = write_document()
    assert DOCUMENT.read_text(encoding="utf-8") == text, "run: make experiments"
    assert {path.name for path in PICTURES.iterdir()} == set(files.values())


def test_pictures_are_small() -> None:
    """All together are under 1 MB."""
    assert sum(path.stat().st_size for path in PICTURES.iterdir()) < 1e6


def test_document_says_what_the_results_say(tmp_path: Path) -> None:
    """Other results make another text and other names of pictures; the same make the same."""
    errors = {"plain": 0.05, "better": 0.02, "worse": 0.09, "same": 0.05}
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        run(declare(tmp_path / name), tmp_path / name, errors | ({"same": 0.03} if name == "other" else {}))
    text, files = write_document(tmp_path / "one")
    assert (text, files) == write_document(tmp_path / "one")
    other_text, other_files = write_document(tmp_path / "other")
    assert text != other_text and set(files) == set(other_files)
    assert not set(files.values()) & set(other_files.values())


def test_summary_links_to_the_sections(tmp_path: Path) -> None:
    """Each experiment has a line with its answer, and the link is the anchor of its heading."""
    declare(tmp_path, "colour", number=7)
    text, _ = write_document(tmp_path)
    assert "| 7 | [A colour experiment](#7-a-colour-experiment) | Declared, not run. |" in text
    assert anchor(re.findall(r"^## (7.*)$", text, re.MULTILINE)[0]) == "7-a-colour-experiment"


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

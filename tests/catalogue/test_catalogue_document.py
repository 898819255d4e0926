"""Tests of docs/catalogue_source.md against the code."""

from __future__ import annotations

import re
from typing import get_args

from catalogue.training_examples import PictureReason
from serving.fetching.errors import DownloadReason
from serving.images.encoding import ImageReason
from tests.conftest import ROOT


def test_every_reason_is_in_the_table_of_failures() -> None:
    """The document lists exactly the reasons that the code can give."""
    text = (ROOT / "docs" / "catalogue_source.md").read_text(encoding="utf-8")
    table = text.partition("| reason | meaning |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)
    listed = [word for cell in cells for word in re.findall(r"`(\w+)`", cell)]
    possible = {*get_args(DownloadReason), *get_args(ImageReason), *get_args(PictureReason)}
    # No caller sees `stopped`; one status stands for all of them.
    assert sorted(listed) == sorted(possible - {"stopped"} | {"http_404", "unknown_garment"})

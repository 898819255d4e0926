"""The summary of the label review follows from its CSV."""

from __future__ import annotations

import json

from scripts.documents import label_review


def test_the_committed_summary_is_the_one_of_the_review() -> None:
    """A changed verdict changes the documents."""
    committed = json.loads(label_review.SUMMARY.read_text(encoding="utf-8"))
    assert committed == label_review.summary(), "run: python -m scripts.documents.label_review"

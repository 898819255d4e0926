"""Mentions of experiments become links between the pages."""

from __future__ import annotations

from pathlib import Path

from analysis.experiments.links import link_mentions, link_within_page, mentioned, page_name, without_links
from tests.analysis.experiments.synthetic_experiment import declare

PAGES = {2: "02-taxonomy.md", 13: "13-twenty-epochs.md"}


def test_page_has_the_number_and_the_name(tmp_path: Path) -> None:
    """Two digits sort the files."""
    assert page_name(declare(tmp_path, "two_words", number=7)) == "07-two-words.md"


def test_mentions_become_links() -> None:
    """One number or a list; links and code stay, and so do numbers without a page."""
    assert link_mentions("Experiment 13 and experiments 2, 5 and 13.", PAGES) == (
        "Experiment [13](13-twenty-epochs.md) and experiments [2](02-taxonomy.md), 5 and [13](13-twenty-epochs.md)."
    )
    untouched = "[experiment 2](other.md), `experiment 2`, 13 experiments"
    assert link_mentions(untouched, PAGES) == untouched


def test_mentioned_experiments_are_found_in_words_and_links() -> None:
    """The order and repetitions do not matter."""
    assert mentioned("See experiments 2 and 5, [that one](13-twenty-epochs.md), and experiment 2.") == {2, 5, 13}


def test_links_suit_the_interactive_page_and_the_terminal() -> None:
    """An experiment is an anchor, another file is not linked, and a page of the web stays."""
    text = "[a](13-twenty-epochs.md), [b](../exploration.md#x), [c](https://example.org)"
    assert link_within_page(text) == "[a](#twenty-epochs), b, [c](https://example.org)"
    assert without_links(text) == "a, b, c"

"""Checks the documents: length, long sentences, alternative texts, replaced words, links and anchors: `make check`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from scripts.documents.parsing import (
    DOCS,
    ROOT,
    anchors,
    documents,
    links,
    mask_code,
    readable_words,
    section,
    sentences,
    words,
)

MOST_WORDS = {
    ROOT / "README.md": 1200,
    DOCS / "exploration.md": 2500,
    DOCS / "experiments.md": 2500,
    DOCS / "deployment.md": 2500,
}
"""The documents that a person reads from top to bottom; the references of the README do not count."""

LONGEST_SENTENCE = 35
SHORTEST_ALTERNATIVE = 4

REPLACED = {
    r"strangers?": "out-of-distribution input",
    r"mirror's": "horizontal-flip test-time augmentation",
    r"look-?alikes?|twins?": "near-duplicate",
    r"(?:the|these|all|of|on|without) suspects|doubtful garments?": "suspected label error",
    r"given garments?": "labelled class",
    r"faultless model": "ceiling from label noise",
    r"(?:beyond|within) chance|not told from|cannot be told": "statistically significant, not significant",
    r"such a study|stud(?:y|ies) sees?": "power, minimum detectable difference",
    r"smoothing inside the group": "in-group label smoothing",
    r"asked again|asks again": "retry",
    r"told of as": "listed as",
    r"mend(?:s|ed)?|heal(?:s|ed)?": "repair, recover",
}
"""Words that the documents do not use, as patterns, and what they use instead."""
_REPLACED = {re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE): instead for pattern, instead in REPLACED.items()}


def problems() -> list[str]:
    """Returns what is wrong in the documents, one line each: file, line, what is wrong."""
    return [f"{page.relative_to(ROOT)}:{problem}" for page in documents() if page.exists() for problem in _check(page)]


def _check(page: Path) -> Iterator[str]:
    text = _read(page)
    if page in MOST_WORDS:
        yield from check_length(text, MOST_WORDS[page])
        yield from check_sentences(text.replace(section(text, "References"), ""))
    yield from check_alternatives(text)
    yield from check_words(text)
    yield from check_links(text, page)


def check_length(text: str, most: int) -> Iterator[str]:
    """Yields a problem if a document has more words than `most`, its references not counted."""
    count = len(readable_words(text)) - len(readable_words(section(text, "References")))
    if count > most:
        yield f"1: {count:,} words, at most {most:,} are allowed"


def check_sentences(text: str) -> Iterator[str]:
    """Yields the sentences that are too long."""
    for line, sentence in sentences(text):
        if (count := len(words(sentence))) > LONGEST_SENTENCE:
            yield f"{line}: a sentence of {count} words, at most {LONGEST_SENTENCE} are allowed: {sentence[:60]}..."


def check_alternatives(text: str) -> Iterator[str]:
    """Yields the images whose alternative text does not describe them."""
    for link in links(text):
        if link.image:
            name = words(re.sub(r"[\W_]+", " ", Path(link.target).stem.split(".")[0]))
            described = words(re.sub(r"[\W_]+", " ", link.text))
            if len(described) < SHORTEST_ALTERNATIVE or [w.lower() for w in described] == [w.lower() for w in name]:
                yield f"{_line(text, link.start)}: the image {link.target} needs an alternative text that describes it"


def check_words(text: str) -> Iterator[str]:
    """Yields the words for which the documents have a standard term."""
    masked = mask_code(text)
    for pattern, instead in _REPLACED.items():
        for found in pattern.finditer(masked):
            yield f'{_line(text, found.start())}: "{found[0]}"; write: {instead}'


def check_links(text: str, page: Path) -> Iterator[str]:
    """Yields the links to files and anchors that do not exist."""
    for link in links(text):
        if link.external:
            continue
        path, _, anchor = link.target.partition("#")
        file = (page.parent / unquote(path)).resolve() if path else page
        if not file.exists():
            yield f"{_line(text, link.start)}: the link {link.target} leads nowhere"
        elif anchor and file.suffix == ".md" and unquote(anchor) not in _anchors(file):
            yield f"{_line(text, link.start)}: the link {link.target} has no such anchor"


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


@cache
def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8")


@cache
def _anchors(file: Path) -> set[str]:
    return anchors(_read(file))


def main() -> int:
    """Prints the problems of the documents."""
    found = problems()
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

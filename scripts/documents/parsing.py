"""Parses the Markdown of the documents: links, images, headings with their anchors, sentences and words.

The rules are those of a Git host's Markdown. Code blocks, tables and HTML comments have no sentences.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^ *(`{3,}|~{3,}).*?(?:^ *\1[`~]*[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"(?<![`\\])(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_LINK = re.compile(
    r"(!?)\[((?:[^\[\]]|!?\[[^\[\]]*\](?:\([^()]*\))?)*)\]\(\s*<?([^\s<>()]*(?:\([^\s()]*\)[^\s()]*)*)>?[^()]*\)"
)
_DEFINITION = re.compile(r"^ {0,3}\[[^\]]+\]:[ \t]*(\S+)(?:[ \t]+[\"'(].*)?$", re.MULTILINE)
_ATTRIBUTE = re.compile(r"<(\w+)\b[^>]*?\b(?:href|src|srcset)=\"([^\"]+)\"[^>]*>")
_ALT = re.compile(r"\balt=\"([^\"]*)\"")
_HEADING = re.compile(r"^(#{1,6})[ \t]+(.+?)[ \t]*#*$", re.MULTILINE)
_ID = re.compile(r"<\w+\b[^>]*?\b(?:id|name)=\"([^\"]+)\"")
_ABBREVIATIONS = ("e.g.", "i.e.", "vs.", "cf.", "approx.", "Fig.", "No.", "et al.", "etc.", "p.", "pp.")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[\"'(\[]*[A-Z0-9`])|(?<=[.!?][\"')\]])\s+(?=[\"'(\[]*[A-Z0-9`])")


@dataclass(frozen=True)
class Link:
    """A link or an image.

    Attributes:
        target: The destination as written.
        start: Position of the target in the text.
        image: Whether it is an image.
        text: The text of the link, or the alt text of the image.
    """

    target: str
    start: int
    image: bool
    text: str

    @property
    def external(self) -> bool:
        """Whether the target is on another host."""
        return re.match(r"[a-z][a-z+.-]*:", self.target) is not None


@dataclass(frozen=True)
class Heading:
    """A heading: its level, its text in Markdown, the anchor that a Git host gives it, and the end of its line."""

    level: int
    text: str
    anchor: str
    end: int


def documents() -> list[Path]:
    """Returns the Markdown documents that a person reads: README, CONTRIBUTING, CHANGELOG and `docs/`, no templates."""
    pages = sorted(page for page in DOCS.rglob("*.md") if "templates" not in page.relative_to(DOCS).parts)
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *pages]


def mask_code(text: str) -> str:
    """Returns the text with code and comments replaced by blanks of equal length."""

    def blanks(found: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", found[0])

    return _CODE.sub(blanks, _COMMENT.sub(blanks, _FENCE.sub(blanks, text)))


def links(text: str) -> list[Link]:
    """Returns the links and images of a document, in order, without those inside code."""
    return sorted(_links(mask_code(text), text), key=lambda link: link.start)


def _links(masked: str, text: str, offset: int = 0) -> Iterator[Link]:
    for found in _LINK.finditer(masked):
        words = text[offset + found.start(2) : offset + found.end(2)]
        yield Link(found[3], offset + found.start(3), found[1] == "!", words)
        # An image may be the text of a link.
        yield from _links(found[2], text, offset + found.start(2))
    if offset:
        return
    for found in _DEFINITION.finditer(masked):
        yield Link(found[1], found.start(1), False, "")
    for found in _ATTRIBUTE.finditer(masked):
        alternative = _ALT.search(found[0])
        yield Link(found[2], found.start(2), found[1] == "img", alternative[1] if alternative else "")


def headings(text: str) -> list[Heading]:
    """Returns the headings with the anchors of a Git host: lower case, spaces as hyphens, repeated ones numbered."""
    found, seen = [], Counter[str]()
    fences = _COMMENT.sub(
        lambda m: re.sub(r"[^\n]", " ", m[0]), _FENCE.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)
    )
    for match in _HEADING.finditer(fences):
        slug = _slug(match[2])
        anchor = f"{slug}-{seen[slug]}" if seen[slug] else slug
        seen[slug] += 1
        found.append(Heading(len(match[1]), match[2], anchor, match.end(2)))
    return found


def _slug(heading: str) -> str:
    plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", re.sub(r"<[^>]+>", "", plain).lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    """Returns every anchor of a document: those of its headings, and ids in HTML."""
    return {heading.anchor for heading in headings(text)} | set(_ID.findall(mask_code(text)))


def sentences(text: str) -> list[tuple[int, str]]:
    """Returns the sentences of paragraphs and list items, as read, with the line on which their paragraph begins."""
    return [
        (line, sentence)
        for line, paragraph, in_table in _paragraphs(text)
        if not in_table
        for sentence in split_sentences(paragraph)
    ]


def _paragraphs(text: str) -> Iterator[tuple[int, str, bool]]:
    """Yields the line, the words as read and whether it is in a table, of every paragraph, item, heading and cell."""
    from markdown_it import MarkdownIt

    depth = 0
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        depth += {"table_open": 1, "table_close": -1}.get(token.type, 0)
        if token.children is not None:
            yield (token.map or [0])[0] + 1, _plain(token.children), depth > 0


def _plain(children: list[Token]) -> str:
    breaks = {"softbreak": " ", "hardbreak": " "}
    kept = ("text", "code_inline")
    return "".join(breaks.get(child.type, child.content if child.type in kept else "") for child in children)


def split_sentences(paragraph: str) -> list[str]:
    """Returns the sentences of a paragraph; a full stop after an abbreviation or inside a number ends none."""
    parts: list[str] = []
    for part in _SENTENCE_END.split(paragraph.strip()):
        if parts and parts[-1].endswith(_ABBREVIATIONS):
            parts[-1] = f"{parts[-1]} {part}"
        elif part:
            parts.append(part)
    return parts


def words(text: str) -> list[str]:
    """Returns the words of a text: what stands between blanks and has a letter or a digit."""
    return [word for word in text.split() if re.search(r"\w", word)]


def readable_words(text: str) -> list[str]:
    """Returns the words that a reader of the document reads: prose and tables, without code blocks and link targets."""
    return [word for _, paragraph, _ in _paragraphs(text) for word in words(paragraph)]


def section(text: str, title: str) -> str:
    """Returns a section of a document, from its heading to the next one of the same or a higher level."""
    found = headings(text)
    for number, heading in enumerate(found):
        if heading.text == title:
            start = text.rindex("\n", 0, heading.end) + 1
            later = [other for other in found[number + 1 :] if other.level <= heading.level]
            return text[start : text.rindex("\n", 0, later[0].end) + 1 if later else len(text)]
    return ""

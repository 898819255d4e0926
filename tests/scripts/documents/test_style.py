"""The checks of the documents find what they say, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.documents import style
from scripts.documents.parsing import anchors, links, section, sentences

LONG = "one " * 40


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two, e.g. three. (Four?) Five!", ["One.", "Two, e.g. three.", "(Four?)", "Five!"]),
        ("About 98.5% of `a.b` is. A [link](https://x.example/A.B) is.", ["About 98.5% of a.b is.", "A link is."]),
        ("- one\n- two\n  three\n", ["one", "two three"]),
        (
            "# Title\n\n| a | b |\n| --- | --- |\n| c. D | e |\n\n```\nCode. Code.\n```\n<!-- Not. This. -->\n",
            ["Title"],
        ),
        ("![An image of it. Really.](x.png)\n", []),
    ],
)
def test_sentences_are_those_that_a_reader_reads(text: str, expected: list[str]) -> None:
    """Abbreviations, numbers, code, link targets, tables and comments end or make no sentence."""
    assert [sentence for _, sentence in sentences(text) if sentence] == expected


def test_links_outside_code_are_found() -> None:
    """Images, links around images, definitions and HTML are links; code has none."""
    text = (
        '[![a](b.png)](c.md) `[d](e.md)` [f](g_(h).md "title")\n\n```\n[i](j.md)\n```\n\n[k]: l.md\n<img src="m.png">\n'
    )
    assert [(link.target, link.image, text[link.start :].startswith(link.target)) for link in links(text)] == [
        ("b.png", True, True),
        ("c.md", False, True),
        ("g_(h).md", False, True),
        ("l.md", False, True),
        ("m.png", True, True),
    ]


def test_anchors_are_those_of_a_git_host() -> None:
    """Punctuation goes, spaces become hyphens, repeated headings are numbered, code has no headings."""
    text = "# The `fashion run` command\n## A / B\n## A / B\n## See [this](x.md): _now_\n```\n# code\n```\n"
    assert anchors(text) == {"the-fashion-run-command", "a--b", "a--b-1", "see-this-_now_"}
    assert anchors('<a id="x"></a>\n') == {"x"}


def test_a_section_ends_at_the_next_heading_of_its_level() -> None:
    """Deeper headings belong to it."""
    assert section("# T\na\n## R\nb\n### S\nc\n## U\nd\n", "R") == "## R\nb\n### S\nc\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"# T\n\n{LONG}\n", "3: a sentence of 40 words"),
        ("short\n\n![Figure 1](a.png)\n", "3: the image a.png needs"),
        ("![Gain by the arm](gain-by-the-arm.png)\n", "1: the image gain-by-the-arm.png needs"),
        ("A stranger comes.\n", '1: "stranger"; write: out-of-distribution input'),
        ("[x](missing.md)\n", "1: the link missing.md leads nowhere"),
        ("# Title\n\n[x](#titles)\n", "3: the link #titles has no such anchor"),
        ("[x](other.md#b)\n", "1: the link other.md#b has no such anchor"),
    ],
)
def test_a_problem_is_named_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    """Each rule names the line and the reason."""
    (tmp_path / "other.md").write_text("# A\n", encoding="utf-8")
    for image in ("a.png", "gain-by-the-arm.png"):
        (tmp_path / image).touch()
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    found = [
        *style.check_sentences(text),
        *style.check_alternatives(text),
        *style.check_words(text),
        *style.check_links(text, page),
    ]
    assert len(found) == 1, found
    assert found[0].startswith(problem)


def test_references_do_not_count(tmp_path: Path) -> None:
    """The limit is for what is read from top to bottom; tables count, code blocks do not."""
    text = "# T\n\none two\n\n| a |\n| --- |\n| b |\n\n```\nx y z\n```\n\n## References\n\nc d e\n"
    assert list(style.check_length(text, 5)) == []
    assert list(style.check_length(text, 4)) == ["1: 5 words, at most 4 are allowed"]

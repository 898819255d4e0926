"""Links between the experiments: `docs/experiments/NN-NAME.md` in the documents, an anchor on the interactive page."""

from __future__ import annotations

import re
from collections.abc import Mapping

from analysis.experiments.declaration import Experiment

_LINK = r"\[[^\]]*\]\([^)]*\)"
_MENTION = re.compile(rf"{_LINK}|`[^`]*`|\b[Ee]xperiments? (?P<numbers>\d+(?:(?:, and |, | and )\d+)*)")
_PAGE_LINK = re.compile(r"\[([^\]]*)\]\(\d\d-([\w-]+)\.md\)")
_FILE_LINK = re.compile(r"\[([^\]]*)\]\((?!#|https?:)[^)]*\)")


def page_name(experiment: Experiment) -> str:
    """Returns the file name of an experiment's page: "02-taxonomy.md"."""
    return f"{experiment.number:02d}-{section_name(experiment)}.md"


def section_name(experiment: Experiment) -> str:
    """Returns the anchor of an experiment on the interactive page."""
    return experiment.name.replace("_", "-")


def mentioned(text: str) -> set[int]:
    """Returns the numbers of the experiments that a text mentions, as "experiment 13" or as a link to its page."""
    of_mentions = [number for match in _MENTION.finditer(text) for number in re.findall(r"\d+", match["numbers"] or "")]
    return {int(number) for number in [*of_mentions, *re.findall(r"\]\((\d\d)-[\w-]+\.md\)", text)]}


def link_mentions(text: str, pages: Mapping[int, str]) -> str:
    """Returns a text in which "experiment 13" and "experiments 2 and 3" are links; links and code stay as they are.

    Args:
        text: Markdown.
        pages: The name of each page by the number of its experiment.
    """

    def link(match: re.Match[str]) -> str:
        if match["numbers"] is None:
            return match[0]
        return re.sub(r"\d+", lambda number: _link(number[0], pages), match[0])

    return _MENTION.sub(link, text)


def link_within_page(text: str) -> str:
    """Returns a text for the interactive page: links to experiments are anchors, other files are not linked."""
    return _FILE_LINK.sub(r"\1", _PAGE_LINK.sub(r"[\1](#\2)", text))


def without_links(text: str) -> str:
    """Returns a text for the terminal, with the words of its links alone."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)


def _link(number: str, pages: Mapping[int, str]) -> str:
    return f"[{number}]({pages[int(number)]})" if int(number) in pages else number

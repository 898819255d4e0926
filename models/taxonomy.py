"""The taxonomy: garments, groups and the mapping between them, for training, evaluation and serving.

A **garment** is one of the classes that the data set labels, a **group** one of the classes that the shop sorts by.
Another grouping is another TOML file with the layout of `models/fashion.toml`; no code changes.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.contract.errors import UserError, suggest
from pipeline.contract.suggestions import nearest

DEFAULT_PATH = Path(__file__).with_name("fashion.toml")
KEYS = ("garments", "group", "rules")
"""The keys of a file; `analysis.evaluation.verdict` reads the `[[rules]]`, by which the Evaluator judges."""
GROUP_KEYS = ("name", "colour", "garments")
MARKUP = "<>*`[]|\\"
"""Signs that HTML in figures, Markdown in pages or markup in terminals would interpret, so no name contains them."""
MIN_GROUPS = 2
"""With one group every answer is right, and no calibration or metric is defined."""


class TaxonomyError(UserError):
    """The taxonomy cannot be read, or its names, colours or groups cannot be used."""


@dataclass(frozen=True)
class Taxonomy:
    """A partition of garments into groups.

    Attributes:
        garments: Garment names by garment index (the data set's own label).
        groups: Group names by group index.
        group_of: The group index of each garment index.
        colours: A hex colour for each group, from a colour-blind-safe palette; every figure uses it.
    """

    garments: tuple[str, ...]
    groups: tuple[str, ...]
    group_of: tuple[int, ...]
    colours: tuple[str, ...]

    @classmethod
    def load(cls, path: Path | str | None = None) -> Taxonomy:
        """Reads a taxonomy from TOML. Defaults to the five groups of `models/fashion.toml`.

        Raises:
            TaxonomyError: The file is missing or no TOML, or `from_table` refuses its content.
        """
        path = Path(path) if path is not None else DEFAULT_PATH
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise TaxonomyError(
                f"The taxonomy {path} cannot be read.", expected="a TOML file", received=str(error)
            ) from None
        with suggest(f"correct {path}"):
            return cls.from_table(table)

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Taxonomy:
        """Builds a taxonomy from `{"garments": [...], "group": [{"name", "colour", "garments": [...]}, ...]}`.

        Raises:
            TaxonomyError: A name is missing, blank or not plain text, a colour is no hex colour or occurs twice, there
                are fewer than two groups, or a garment is missing, unknown or in several groups.
        """
        _check_keys(table, KEYS, "The taxonomy")
        garments = _names(table.get("garments"), "The taxonomy's `garments`")
        tables = table.get("group")
        if not isinstance(tables, list) or not tables or not all(isinstance(group, Mapping) for group in tables):
            raise TaxonomyError("The taxonomy has no groups.", expected="[[group]] tables", received=repr(tables))
        for number, group in enumerate(tables, start=1):
            _check_keys(group, GROUP_KEYS, f"Group {number} of the taxonomy")
        groups = tuple(_name(group.get("name"), f"The name of group {n}") for n, group in enumerate(tables, start=1))
        members = [
            _names(group.get("garments"), f"The `garments` of group {name!r}")
            for group, name in zip(tables, groups, strict=True)
        ]
        _check_partition(garments, groups, members)
        group_of = {garment: index for index, group in enumerate(members) for garment in group}
        colours = tuple(_colour(group.get("colour"), name) for group, name in zip(tables, groups, strict=True))
        if repeated := _repeated([colour.lower() for colour in colours]):
            raise TaxonomyError(
                "Two groups of the taxonomy have the same colour, so figures could not distinguish them.",
                expected="a different colour for every group",
                received=", ".join(repeated),
            )
        return cls(garments, groups, tuple(group_of[g] for g in garments), colours)

    def to_table(self) -> dict[str, Any]:
        """Returns the table that `from_table` reads."""
        return {
            "garments": list(self.garments),
            "group": [
                {"name": name, "colour": colour, "garments": [self.garments[m] for m in self.members(index)]}
                for index, (name, colour) in enumerate(zip(self.groups, self.colours, strict=True))
            ],
        }

    def members(self, group: int) -> tuple[int, ...]:
        """Returns the garment indices of a group, ascending."""
        return tuple(garment for garment, its_group in enumerate(self.group_of) if its_group == group)

    def membership(self) -> list[list[float]]:
        """Returns the matrix [garments, groups] of 0 and 1 that maps garment probabilities to group probabilities."""
        return [[float(its_group == group) for group in range(len(self.groups))] for its_group in self.group_of]


def _check_keys(table: Mapping[str, Any], known: Sequence[str], what: str) -> None:
    for key in table:
        if key not in known:
            raise TaxonomyError(
                f"{what} has an unknown key {key!r}.{nearest(key, known)}", expected=", ".join(known), received=key
            )


def _names(values: Any, what: str) -> tuple[str, ...]:
    if not isinstance(values, list) or not values:
        raise TaxonomyError(f"{what} cannot be used.", expected="a list of names", received=_received(values))
    return tuple(_name(value, what) for value in values)


def _name(value: Any, what: str) -> str:
    """Returns a name that every page, figure and terminal shows as it is."""
    if (
        isinstance(value, str)
        and value
        and value == value.strip()
        and value.isprintable()
        and not set(MARKUP) & {*value}
    ):
        return value
    raise TaxonomyError(
        f"{what} cannot be used.",
        expected=f"visible text without blanks at its ends, tabs, line breaks and {' '.join(MARKUP)}",
        received=_received(value),
    )


def _colour(value: Any, group: str) -> str:
    if isinstance(value, str) and re.fullmatch("#[0-9A-Fa-f]{6}", value):
        return value
    raise TaxonomyError(
        f"The colour of group {group!r} cannot be used.",
        expected='a hex colour, such as colour = "#0072B2"',
        received=_received(value),
    )


def _received(value: Any) -> str:
    return "nothing" if value is None else repr(value)


def _repeated(names: Sequence[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _check_partition(garments: Sequence[str], groups: Sequence[str], members: Sequence[Sequence[str]]) -> None:
    named = [garment for group in members for garment in group]
    faults = {
        "garments listed twice": _repeated(garments),
        "groups listed twice": _repeated(groups),
        "garments in no group": [g for g in garments if g not in named],
        "garments named twice": _repeated(named),
        "unknown garments": [g for g in dict.fromkeys(named) if g not in garments],
    }
    found = "; ".join(f"{fault}: {', '.join(names)}" for fault, names in faults.items() if names)
    if found:
        raise TaxonomyError(
            "The taxonomy is no partition.", expected="every garment in exactly one group", received=found
        )
    if len(groups) < MIN_GROUPS:
        raise TaxonomyError(
            "The taxonomy has one group, so there is nothing to classify.",
            expected=f"from {MIN_GROUPS} groups to one for each garment",
            received=f"only the group {groups[0]!r}",
        )

"""The taxonomy: garments, groups and the mapping between them, for training, evaluation and serving.

A **garment** is one of the classes that the data set labels, a **group** one of the classes that the shop sorts by.
Another grouping is another TOML file with the layout of `models/fashion.toml`; no code changes.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.contract.errors import UserError

DEFAULT_PATH = Path(__file__).with_name("fashion.toml")


class TaxonomyError(UserError):
    """The taxonomy cannot be read or is no partition of the garments."""


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
            TaxonomyError: The file is missing or no TOML, or the table is no partition of the garments.
        """
        path = Path(path) if path is not None else DEFAULT_PATH
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise TaxonomyError(
                f"The taxonomy {path} cannot be read.", expected="a TOML file", received=str(error)
            ) from None
        return cls.from_table(table)

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Taxonomy:
        """Builds a taxonomy from `{"garments": [...], "group": [{"name", "colour", "garments": [...]}, ...]}`.

        Raises:
            TaxonomyError: A garment is missing, unknown or named twice, or a group is empty or unnamed.
        """
        garments = tuple(_strings(table.get("garments"), "garments"))
        groups = table.get("group")
        if not isinstance(groups, list) or not all(isinstance(g, Mapping) for g in groups):
            raise TaxonomyError("The taxonomy has no groups.", expected="[[group]] tables", received=repr(groups))
        names = tuple(_strings([g.get("name") for g in groups], "the groups' names"))
        members = [_strings(g.get("garments"), f"garments of group {n!r}") for g, n in zip(groups, names, strict=True)]
        _check_partition(garments, names, members)
        group_of = {garment: index for index, group in enumerate(members) for garment in group}
        colours = tuple(_strings([g.get("colour") for g in groups], "the groups' colours"))
        return cls(garments, names, tuple(group_of[g] for g in garments), colours)

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


def _strings(values: Any, what: str) -> Sequence[str]:
    if not isinstance(values, list) or not values or not all(isinstance(v, str) and v.strip() for v in values):
        raise TaxonomyError(f"The taxonomy lacks {what}.", expected="a list of names", received=repr(values))
    return values


def _check_partition(garments: Sequence[str], groups: Sequence[str], members: Sequence[Sequence[str]]) -> None:
    counts = Counter(garment for group in members for garment in group)
    faults = {
        "garments listed twice": [g for g, n in Counter(garments).items() if n > 1],
        "groups listed twice": [g for g, n in Counter(groups).items() if n > 1],
        "garments in no group": [g for g in garments if g not in counts],
        "garments named twice": [g for g, n in counts.items() if n > 1],
        "unknown garments": [g for g in counts if g not in garments],
    }
    found = "; ".join(f"{fault}: {', '.join(names)}" for fault, names in faults.items() if names)
    if found:
        raise TaxonomyError(
            "The taxonomy is no partition.", expected="every garment in exactly one group", received=found
        )

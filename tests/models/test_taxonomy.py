"""A taxonomy is a partition, or an error names the fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.taxonomy import Taxonomy, TaxonomyError


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    """Any partition of some garments into some groups."""
    garments = draw(st.lists(st.text("abcdef", min_size=1), min_size=1, max_size=12, unique=True))
    groups = draw(st.integers(1, len(garments)))
    owners = [*range(groups), *draw(st.lists(st.integers(0, groups - 1), min_size=len(garments) - groups))]
    return {
        "garments": garments,
        "group": [
            {
                "name": f"g{i}",
                "colour": "#000000",
                "garments": [g for g, o in zip(garments, owners, strict=False) if o == i],
            }
            for i in range(groups)
        ],
    }


def faulty(change: str) -> dict[str, Any]:
    """A table with one fault."""
    table: dict[str, Any] = {
        "garments": ["coat", "bag", "shoe"],
        "group": [
            {"name": "wear", "colour": "#0", "garments": ["coat", "shoe"]},
            {"name": "carry", "colour": "#1", "garments": ["bag"]},
        ],
    }
    wear, carry = table["group"]
    changes: dict[str, Any] = {
        "misses": lambda: wear["garments"].remove("shoe"),
        "twice": lambda: carry["garments"].append("coat"),
        "empty": lambda: carry["garments"].clear(),
        "unknown": lambda: carry["garments"].append("hat"),
        "same name": lambda: carry.update(name="wear"),
        "no groups": lambda: table.pop("group"),
        "no name": lambda: carry.pop("name"),
        "repeated garment": lambda: table["garments"].append("coat"),
    }
    changes[change]()
    return table


def test_default_has_the_five_groups_of_the_shop() -> None:
    """The five groups are those of the shop, in their order."""
    taxonomy = Taxonomy.load()
    assert taxonomy.groups == ("Upper part", "Bottom part", "One piece", "Footwear", "Bags")
    assert taxonomy.group_of == (0, 1, 0, 2, 0, 3, 0, 3, 4, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("misses", "garments in no group: shoe"),
        ("twice", "garments named twice: coat"),
        ("empty", "lacks garments of group 'carry'"),
        ("unknown", "unknown garments: hat"),
        ("same name", "groups listed twice: wear"),
        ("no groups", "has no groups"),
        ("no name", "lacks the groups' names"),
        ("repeated garment", "garments listed twice: coat"),
    ],
)
def test_a_table_that_is_no_partition_is_an_error(change: str, message: str) -> None:
    """Each fault is named with the garment or the group."""
    with pytest.raises(TaxonomyError, match=message):
        Taxonomy.from_table(faulty(change))


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    """A path without a file is a user error, not an error of the reader."""
    with pytest.raises(TaxonomyError, match="cannot be read"):
        Taxonomy.load(tmp_path / "none.toml")


@given(tables())
def test_every_partition_survives_the_round_trip(table: dict[str, Any]) -> None:
    """Any partition is accepted, and `to_table` is the inverse of `from_table` up to the order inside a group."""
    taxonomy = Taxonomy.from_table(table)
    assert Taxonomy.from_table(taxonomy.to_table()) == taxonomy


@given(tables())
def test_membership_assigns_every_garment_once(table: dict[str, Any]) -> None:
    """Each row of the matrix holds a single one, in the column of the garment's group."""
    taxonomy = Taxonomy.from_table(table)
    for row, group in zip(taxonomy.membership(), taxonomy.group_of, strict=True):
        assert sum(row) == 1 and row[group] == 1

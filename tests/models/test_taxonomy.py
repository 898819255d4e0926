"""A taxonomy is a partition, or an error names the fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.taxonomy import DEFAULT_PATH, Taxonomy, TaxonomyError


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    """Any partition of some garments into some groups."""
    garments = draw(st.lists(st.text("abcdef", min_size=1), min_size=2, max_size=12, unique=True))
    groups = draw(st.integers(2, len(garments)))
    owners = [*range(groups), *draw(st.lists(st.integers(0, groups - 1), min_size=len(garments) - groups))]
    return {
        "garments": garments,
        "group": [
            {
                "name": f"g{i}",
                "colour": f"#{i:06x}",
                "garments": [g for g, o in zip(garments, owners, strict=False) if o == i],
            }
            for i in range(groups)
        ],
    }


def faulty(change: str) -> dict[str, Any]:
    """A table with one fault, or with none."""
    table: dict[str, Any] = {
        "garments": ["coat", "bag", "shoe"],
        "group": [
            {"name": "wear", "colour": "#0a0B0c", "garments": ["coat", "shoe"]},
            {"name": "carry", "colour": "#10FF20", "garments": ["bag"]},
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
        "no garments": lambda: table.pop("garments"),
        "one group": lambda: (wear["garments"].append("bag"), table["group"].remove(carry)),
        "no colour": lambda: carry.pop("colour"),
        "same colour": lambda: carry.update(colour="#0A0b0C"),
        "misspelt group": lambda: carry.update(color=carry.pop("colour")),
        "misspelt table": lambda: table.update(groups=table.pop("group")),
    }
    if change != "none":
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
        ("empty", r"`garments` of group 'carry' cannot be used.\nExpected: a list of names\nReceived: \[\]"),
        ("unknown", "unknown garments: hat"),
        ("same name", "groups listed twice: wear"),
        ("no groups", "has no groups"),
        ("no name", "The name of group 2 cannot be used.\nExpected: visible text .*\nReceived: nothing"),
        ("repeated garment", "garments listed twice: coat"),
        ("no garments", "`garments` cannot be used.\nExpected: a list of names\nReceived: nothing"),
        (
            "one group",
            "nothing to classify.\nExpected: from 2 groups to one for each garment\nReceived: only .* 'wear'",
        ),
        ("no colour", "The colour of group 'carry' cannot be used.\nExpected: .*\"#0072B2\"\nReceived: nothing"),
        ("same colour", "the same colour.*\nExpected: a different colour.*\nReceived: #0a0b0c"),
        ("misspelt group", "Group 2 of the taxonomy has an unknown key 'color'. Did you mean 'colour'?"),
        ("misspelt table", "The taxonomy has an unknown key 'groups'. Did you mean 'group'?"),
    ],
)
def test_a_table_that_is_no_partition_is_an_error(change: str, message: str) -> None:
    """Each fault is named with the garment or the group."""
    with pytest.raises(TaxonomyError, match=message):
        Taxonomy.from_table(faulty(change))


INVISIBLE = ["", " ", "\t", "\u00a0", "\u200b", "wear ", " wear", "we\nar", "\x1b[31m"]


@pytest.mark.parametrize("name", [*INVISIBLE, "<wear>", "*wear*", "[wear]", "we`ar", 7, None])
@pytest.mark.parametrize("what", ["garment", "group", "member"])
def test_a_name_that_is_not_visible_text_is_an_error(name: Any, what: str) -> None:
    """Blank names, blanks at the ends, control characters and other types are refused for garments and groups."""
    table = faulty("none")
    match what:
        case "garment":
            table["garments"][2] = name
        case "group":
            table["group"][1]["name"] = name
        case _:
            table["group"][1]["garments"][0] = name
    with pytest.raises(TaxonomyError, match="cannot be used.\nExpected: visible text"):
        Taxonomy.from_table(table)


@pytest.mark.parametrize(
    "colour", ["", "red", "#fff", "#12345", "#1234567", "#12345g", "123456", " #123456", 7, ["#123456"]]
)
def test_a_colour_that_is_no_hex_colour_is_an_error(colour: Any) -> None:
    """Figures compute lighter shades from six hex digits."""
    table = faulty("none")
    table["group"][0]["colour"] = colour
    with pytest.raises(TaxonomyError, match="The colour of group 'wear' cannot be used"):
        Taxonomy.from_table(table)


def test_from_two_groups_to_one_for_each_garment() -> None:
    """Both limits are accepted, groups may be named like garments, and names keep their signs."""
    garments = ["Röcke & Kleider", 'the "rest", 100%', "bag"]
    two = [{"name": "wear", "colour": "#000000", "garments": garments[:2]}]
    two += [{"name": "bag", "colour": "#000001", "garments": ["bag"]}]
    assert Taxonomy.from_table({"garments": garments, "group": two}).group_of == (0, 0, 1)
    each = [{"name": name, "colour": f"#00000{n}", "garments": [name]} for n, name in enumerate(garments)]
    assert Taxonomy.from_table({"garments": garments, "group": each}).groups == tuple(garments)


def test_a_faulty_file_is_named_and_a_byte_order_mark_accepted(tmp_path: Path) -> None:
    """Editors of Windows begin a file with a byte-order mark; the error says which file to correct."""
    file = tmp_path / "t.toml"
    file.write_bytes(b"\xef\xbb\xbf" + DEFAULT_PATH.read_bytes())
    assert Taxonomy.load(file) == Taxonomy.load()
    file.write_text(DEFAULT_PATH.read_text("utf-8").replace('name = "Bags"', 'name = "Footwear"'), "utf-8")
    with pytest.raises(TaxonomyError, match=f"groups listed twice: Footwear\nNext: correct {file}"):
        Taxonomy.load(file)


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

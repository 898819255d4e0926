"""Colours and markers of groups and garments, for any taxonomy."""

from __future__ import annotations

import pytest

from analysis.pages import figure_style as style
from models.taxonomy import Taxonomy

GARMENTS = Taxonomy.load().garments


def grouped(sizes: list[int]) -> Taxonomy:
    """The ten garments in groups of these sizes."""
    members, tables = list(GARMENTS), []
    for number, size in enumerate(sizes):
        tables.append({"name": f"g{number}", "colour": f"#{200 - number:02x}7030", "garments": members[:size]})
        del members[:size]
    return Taxonomy.from_table({"garments": list(GARMENTS), "group": tables})


@pytest.mark.parametrize("sizes", [[9, 1], [5, 5], [4, 1, 1, 3, 1], [1] * 10])
def test_garments_of_a_group_can_be_distinguished(sizes: list[int]) -> None:
    """Garments of one group have different markers, and a group's first garment has the group's own colour."""
    taxonomy = grouped(sizes)
    symbols, colours = style.garment_symbols(taxonomy), style.garment_colours(taxonomy)
    assert style.group_colours(taxonomy) == taxonomy.colours
    for group, colour in enumerate(taxonomy.colours):
        members = taxonomy.members(group)
        assert len({symbols[garment] for garment in members}) == len(members)
        assert colours[members[0]] == colour
        assert len({colours[garment] for garment in members[:4]}) == len(members[:4])


def test_further_garments_of_a_group_are_lighter_then_darker() -> None:
    """The second garment is mixed with white, the third with black, the fourth with more white."""
    colours = style.garment_colours(grouped([9, 1]))
    assert colours[:5] == ("#c87030", "#dda67f", "#884c21", "#eac9b0", "#c87030")

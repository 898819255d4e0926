"""Catalogues of chance, for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.sql.catalogue import Catalogue, Description

BIGINT = st.integers(-(2**63), 2**63 - 1)
ids = st.one_of(st.integers(-3, 9), BIGINT)
anything = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
texts = st.one_of(st.none(), st.sampled_from(["", " ", "\t\n", "\u00a0", "\u2003\ufeff", " a ", "'%s"]), anything)
countries = st.sampled_from(["us", "US", "us ", "de", "", "ü"])
indexes = st.one_of(st.integers(-1, 2), st.sampled_from([-(2**31), 2**31 - 1]))


@st.composite
def catalogues(draw: st.DrawFn) -> Catalogue:
    """Catalogues in which few ids and countries meet often; rows come in any order."""
    products = draw(st.dictionaries(ids, anything, max_size=6))
    images = draw(st.dictionaries(ids, anything, max_size=4))
    made = Catalogue(products, images)
    if products:
        owners = st.sampled_from(sorted(products))
        if images:
            made.shown = draw(st.lists(st.tuples(owners, st.sampled_from(sorted(images)), indexes), max_size=12))
        rows = st.builds(Description, ids, owners, countries, texts, texts)
        made.descriptions = draw(st.lists(rows, unique_by=lambda row: row.id, max_size=12))
    return made

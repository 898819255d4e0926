"""The checks that every section has to pass."""

from __future__ import annotations

from analysis.pages.section import Gallery, Listing, Picture, Section


def check_section(section: Section) -> None:
    """Asserts unique names, captions, a decision, small figures and images of one shape."""
    names = [block.name for block in section.blocks]
    assert len(names) == len(set(names)) and section.name not in names
    assert section.decision.startswith("So we") and section.finding
    for text in (section.finding, section.decision, *(block.caption for block in section.blocks)):
        assert text and "nan" not in text.lower().split()
    assert all(block.caption for block in section.blocks)
    for block in section.blocks:
        if isinstance(block, Picture):
            assert block.figure.data and len(block.figure.to_json()) < 150_000
        elif isinstance(block, Gallery):
            for row in block.rows:
                assert row.images.shape[1:] == (28, 28) and row.images.dtype == "uint8"
                assert not row.notes or len(row.notes) == len(row.images)
        else:
            assert isinstance(block, Listing) and len(block.table)

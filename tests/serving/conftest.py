"""Fixtures of the tests of serving."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_programming_error(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fails a test in which a download thread raised: `unexpected` affects one URL only, and could be overlooked."""
    yield
    assert not [record for record in caplog.records if record.name == "serving.fetching.download_workers"]

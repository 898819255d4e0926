"""What the tests of serving share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fails a test in which a thread fell over: `unexpected` costs one URL only, and would be overlooked."""
    yield
    assert not [record for record in caplog.records if record.name == "serving.fetching.download_workers"]

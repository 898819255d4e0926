"""Every case, under its id: `pytest tests/conformance -k row-18`."""

from __future__ import annotations

import pytest

from tests.conformance import grpc_calls, in_process, live, polling, reloading, rest, starting
from tests.conformance.case import Case, load_cases
from tests.conformance.deviations import DEVIATIONS
from tests.conformance.scenario import SCENARIOS, Play
from tests.conformance.servers import Pool

PLAYED_BY = (in_process, live, polling, reloading, starting)
"""Importing them is what fills `SCENARIOS`."""


@pytest.mark.parametrize("case", load_cases(), ids=str)
def test_case(case: Case, pool: Pool) -> None:
    """The server does what the fact says, or, being ours, what the table of deviations says."""
    deviates = pool.embedded and case.id in DEVIATIONS
    expect = DEVIATIONS[case.id].expect if deviates else case.expect
    if case.kind == "rest":
        rest.check(rest.send(pool.get(case.server).url, case.request), expect)
    elif case.kind == "grpc":
        grpc_calls.check(pool.get(case.server).grpc, case.request, expect)
    else:
        SCENARIOS[case.id](Play(case, expect, pool))

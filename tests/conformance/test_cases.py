"""Every case of `cases.jsonl` under its id (`pytest tests/conformance -k row-18`), and the suite's own completeness."""

from __future__ import annotations

import pytest

from tests.conformance import documentation, grpc_calls, rest_calls
from tests.conformance.cases import DEVIATIONS, FILE, IN_PROCESS, Case, load_cases
from tests.conformance.scenarios import in_process, polling, reload_and_batching, requests
from tests.conformance.scenarios.registry import SCENARIOS, Run
from tests.conformance.server_pool import SETUPS, Pool

REGISTERED = (in_process, polling, reload_and_batching, requests)
"""The modules whose import fills `SCENARIOS`."""
FACTS = 346
MAX_BYTES = 400_000


@pytest.mark.parametrize("case", load_cases(), ids=str)
def test_case(case: Case, pool: Pool) -> None:
    """The server behaves as the fact states; for the embedded server, the table of deviations has precedence."""
    deviates = pool.embedded and case.id in DEVIATIONS
    expect = DEVIATIONS[case.id].expect if deviates else case.expect
    if case.kind == "rest":
        rest_calls.check(rest_calls.send(pool.get(case.server).url, case.request), expect)
    elif case.kind == "grpc":
        grpc_calls.check(pool.get(case.server).grpc, case.request, expect)
    else:
        SCENARIOS[case.id](Run(case, expect, pool))


def test_every_fact_is_a_case() -> None:
    """There are as many cases as facts, each under an id of its own and with its source."""
    cases = load_cases()
    assert len({case.id for case in cases}) == len(cases) == FACTS
    assert all(case.source and case.expect for case in cases)
    assert FILE.stat().st_size < MAX_BYTES


def test_every_case_can_run() -> None:
    """A case names a known server, and a check exists for everything that it expects."""
    for case in load_cases():
        assert case.server in SETUPS or case.server == IN_PROCESS, case.id
        if case.kind == "rest":
            assert case.expect.keys() - {"status", "format"} <= rest_calls.CHECKS.keys(), case.id
        elif case.kind == "scenario":
            assert case.id in SCENARIOS, case.id


def test_every_scenario_and_deviation_has_its_case() -> None:
    """No scenario and no deviation remains of a removed case."""
    ids = {case.id for case in load_cases()}
    assert SCENARIOS.keys() <= ids and DEVIATIONS.keys() <= ids


def test_the_documentation_is_up_to_date() -> None:
    """The page has the counts, the deviations and the cases in process of this suite."""
    page = documentation.PAGE.read_text(encoding="utf-8")
    assert documentation.generated() in page

"""What the suite promises of itself: every fact is checked, and the page says what the suite does."""

from __future__ import annotations

from tests.conformance import documentation, in_process, live, polling, reloading, rest, starting
from tests.conformance.case import FILE, IN_PROCESS, load_cases
from tests.conformance.deviations import DEVIATIONS
from tests.conformance.preparation import PREPARATIONS
from tests.conformance.scenario import SCENARIOS

PLAYED_BY = (in_process, live, polling, reloading, starting)
FACTS = 218
MOST_BYTES = 400_000


def test_every_fact_is_a_case() -> None:
    """There are as many cases as facts, each under an id of its own and with its source."""
    cases = load_cases()
    assert len({case.id for case in cases}) == len(cases) == FACTS
    assert all(case.source and case.expect for case in cases)
    assert FILE.stat().st_size < MOST_BYTES


def test_every_case_can_be_played() -> None:
    """A case names a server that there is, and what it expects is checked by somebody."""
    for case in load_cases():
        assert case.server in PREPARATIONS or case.server == IN_PROCESS, case.id
        if case.kind == "rest":
            assert case.expect.keys() - {"status", "format"} <= rest.CHECKS.keys(), case.id
        elif case.kind == "scenario":
            assert case.id in SCENARIOS, case.id


def test_every_scenario_and_deviation_has_its_case() -> None:
    """Nothing is left of a case that has gone."""
    ids = {case.id for case in load_cases()}
    assert SCENARIOS.keys() <= ids and DEVIATIONS.keys() <= ids


def test_the_page_holds_what_the_suite_says() -> None:
    """The counts, the deviations and the cases in process stand in the documentation."""
    page = documentation.PAGE.read_text(encoding="utf-8")
    assert documentation.generated() in page

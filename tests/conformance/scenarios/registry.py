"""The registry of scenarios: functions that run a case of more than one request, by the case's id."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.conformance.cases import Case
from tests.conformance.server import Server
from tests.conformance.server_pool import Pool


@dataclass(frozen=True)
class Run:
    """A run of a scenario.

    Attributes:
        case: The case.
        expect: The expected behaviour: the case's own, or that of the table of deviations.
        pool: The servers.
    """

    case: Case
    expect: Mapping[str, Any]
    pool: Pool

    @property
    def server(self) -> Server:
        """The server that the case names."""
        return self.pool.get(self.case.server)


Scenario = Callable[[Run], None]
SCENARIOS: dict[str, Scenario] = {}


def scenario(*ids: str) -> Callable[[Scenario], Scenario]:
    """Registers a function as the scenario of these cases."""

    def register(function: Scenario) -> Scenario:
        SCENARIOS.update(dict.fromkeys(ids, function))
        return function

    return register

"""Cases that are more than one request: a function each, found by the case's id."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.conformance.case import Case
from tests.conformance.server import Server
from tests.conformance.servers import Pool


@dataclass(frozen=True)
class Play:
    """A case that is being played.

    Attributes:
        case: Which.
        expect: What must be seen: the case's own expectation, or what stands in the table of deviations.
        pool: The servers.
    """

    case: Case
    expect: Mapping[str, Any]
    pool: Pool

    @property
    def server(self) -> Server:
        """The server that the case asks for."""
        return self.pool.get(self.case.server)


Scenario = Callable[[Play], None]
SCENARIOS: dict[str, Scenario] = {}


def scenario(*ids: str) -> Callable[[Scenario], Scenario]:
    """Makes a function the one that plays these cases."""

    def register(function: Scenario) -> Scenario:
        SCENARIOS.update(dict.fromkeys(ids, function))
        return function

    return register

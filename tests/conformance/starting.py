"""Scenarios of servers that do not start, or not yet."""

from __future__ import annotations

from tests.conformance import rest
from tests.conformance.scenario import Play, scenario
from tests.conformance.server import READY_SECONDS, place, wait_for


@scenario("life-12")
def _the_ports_open_when_there_is_something_to_serve(play: Play) -> None:
    server = play.server
    wait_for(lambda: all(part in server.said() for part in play.expect["log"]), READY_SECONDS)
    assert server.closed()
    base = place(play.pool.models, server, "model", ["1.prepared"])
    (base / "1.prepared").rename(base / "1")
    wait_for(server.listens, READY_SECONDS)
    assert rest.predict(server.url, "model", [1.0]).json == {"predictions": [2.5]}


@scenario("life-30", "life-33", "life-69")
def _a_server_that_cannot_serve_ends(play: Play) -> None:
    server = play.server
    assert server.ends() != 0
    for part in play.expect["log"]:
        assert part in server.said()

"""A sample of what `make fuzz` sends: nothing of it may make the server fail."""

from __future__ import annotations

from serving.running import Running
from tests.serving.embedded.fuzzing import ask_all, requests


def test_no_request_makes_the_server_fail(server: Running) -> None:
    """Of 3,000 requests of chance, some are answered and the others refused, and none ends in a 500."""
    statuses, failed = ask_all(server, requests(7, 3000))
    assert not failed, failed[:3]
    assert statuses[200] > 300 and statuses[400] > 1000
    assert server.process.poll() is None

"""Tests of serving.fetching.host_scheduler and of retries: limits for each host, time-outs, and dropped hosts."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import Counter

import pytest

from serving.fetching.downloader import Downloader
from serving.fetching.host_scheduler import HostScheduler
from serving.fetching.image_fetcher import Failed, Fetched, ImageFetcher
from tests.serving.fetching.shop import Counting, Shop, Timing, fetched, local_policy, reasons
from tests.serving.web import Answer, Request, Web, web
from tests.waiting import wait_until


@pytest.mark.parametrize("kind", ["drip", "headers", "silent"])
def test_slow_servers_time_out(shop: Shop, image_server: Web, kind: str) -> None:
    """An attempt ends at its time-out although bytes of the body or the headers keep arriving, and is retried once."""
    (result,) = fetched([f"{image_server.url}/{kind}/1"], attempt_seconds=1.0, retries=1)
    assert isinstance(result, Failed) and result.reason == "timed_out"
    wait_until(lambda: shop.counts[f"/{kind}/1"] == 2, "the server has seen both attempts")


def test_a_url_has_a_deadline_for_all_attempts(shop: Shop, image_server: Web) -> None:
    """Attempts and pauses together end at the deadline of the URL."""
    assert reasons([f"{image_server.url}/silent/1"], attempt_seconds=1.0, retries=1_000, url_seconds=2.5) == [
        "timed_out"
    ]
    wait_until(lambda: shop.counts["/silent/1"], "the server has seen an attempt")
    assert shop.counts["/silent/1"] <= 3


def test_only_transient_errors_are_retried(shop: Shop, image_server: Web) -> None:
    """Server errors and broken connections are retried; client errors and bad content are not."""
    kinds = {"down": 3, "short": 3, "gone": 1, "page": 1, "loop": 6}
    fetched([f"{image_server.url}/{kind}/1" for kind in kinds], retries=2)
    assert {kind: shop.counts[f"/{kind}/1"] for kind in kinds} == kinds


def test_retry_after_is_honoured() -> None:
    """The retry comes no sooner than the server allows."""
    shop = Timing("1")
    with web(shop) as image_server:
        assert reasons([f"{image_server.url}/fine/1"]) == ["fetched"]
    assert len(shop.times) == 2 and shop.times[1] - shop.times[0] >= 1.0


@pytest.mark.parametrize("retry_after", ["soon", "-1", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"])
def test_an_unreadable_retry_after_is_ignored(retry_after: str) -> None:
    """The retry comes after the usual pause."""
    shop = Timing(retry_after)
    with web(shop) as image_server:
        assert reasons([f"{image_server.url}/fine/1"]) == ["fetched"]
    assert len(shop.times) == 2


def test_a_long_retry_after_ends_the_retries() -> None:
    """A sooner retry would ignore the server's wish, and waiting would delay the other URLs."""
    shop = Timing("2")
    with web(shop) as image_server:
        assert reasons([f"{image_server.url}/fine/1"], max_retry_after=1.0) == ["http_503"]
    assert len(shop.times) == 1


@pytest.mark.parametrize(("expected", "names"), [(3, ["127.0.0.1"]), (5, ["127.0.0.1", "localhost"])])
def test_the_limits_of_parallel_downloads(expected: int, names: list[str]) -> None:
    """The limit of a host and that of all hosts together are reached and not exceeded."""
    shop = Counting(expected)
    with web(shop) as server:
        urls = [f"http://{name}:{server.port}/fine/{number}" for number in range(8) for name in names]
        assert reasons(urls, max_downloads=5, max_per_host=3) == ["fetched"] * len(urls)
    assert shop.most == expected


def test_connections_are_reused(image_server: Web) -> None:
    """This holds also after an error status or a redirect."""
    urls = [f"{image_server.url}/{kind}/{number}" for number in range(20) for kind in ("fine", "gone", "moved")]
    fetched(urls, max_downloads=3)
    assert len({request.client for request in image_server.requests}) <= 3


@pytest.mark.slow
def test_a_slow_host_does_not_delay_the_others(shop: Shop, image_server: Web) -> None:
    """While all downloads of one host hang, the images of another host arrive."""
    unanswered = [f"{image_server.url}/silent/{number}" for number in range(50)]
    fine = [f"http://localhost:{image_server.port}/fine/{number}" for number in range(50)]
    results = iter(ImageFetcher(unanswered + fine, policy=local_policy(max_downloads=4, max_per_host=2)))
    first = [next(results) for _ in fine]
    assert all(isinstance(result, Fetched) for result in first)
    shop.ended.set()
    assert len(list(results)) == len(unanswered)


def test_a_host_that_does_not_answer_is_dropped(image_server: Web) -> None:
    """After too many unanswered attempts its other URLs are not requested, and other hosts continue."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
    urls = [f"http://{nobody}/{number}" for number in range(10)] + [f"{image_server.url}/fine/1"]
    found = Counter(reasons(urls, max_downloads=1, retries=1, max_unanswered=4, min_unanswered_seconds=0))
    assert found == {"unreachable": 2, "host_given_up": 8, "fetched": 1}


def test_the_error_of_a_dropped_host_has_its_last_error() -> None:
    """A URL that was never requested reports the last error of its host."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
    results = fetched([f"http://{nobody}/{number}" for number in range(100)], min_unanswered_seconds=0)
    given_up = [r.message for r in results if isinstance(r, Failed) and r.reason == "host_given_up"]
    assert len(given_up) > 80
    for message in given_up:
        outage, last = message.split("; the last: ")
        assert re.fullmatch(rf"http://{nobody}/\d+ is not requested, .* Received: 10 consecutive attempts .*", outage)
        assert re.match(rf"http://{nobody}/\d+ cannot be reached\. Expected: .* Connection refused", last)


def test_a_server_that_restarts_loses_no_image() -> None:
    """All current downloads fail at one moment and are retried, and the host is not dropped."""
    shop, begun = Shop(), threading.Event()
    back: list[float] = []

    def answer(request: Request) -> Answer:
        if shop.counts.total() >= 50 and not begun.is_set():
            begun.set()
            back.append(time.monotonic() + 0.3)
        return Answer(0) if back and time.monotonic() < back[0] else shop(request)

    with web(answer) as image_server:
        assert set(reasons([f"{image_server.url}/fine/{number}" for number in range(200)])) == {"fetched"}
    assert begun.is_set()


def test_a_host_that_redirects_to_a_dead_one_is_not_dropped(shop: Shop, image_server: Web) -> None:
    """A redirect counts as an answer, whatever happens at its target."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}/1"
    with web(
        lambda request: Answer(302, headers={"Location": nobody}) if "old" in request.path else shop(request)
    ) as leading:
        urls = [f"{leading.url}/{kind}/{n}" for kind in ("old", "fine") for n in range(6)]
        found = reasons(urls, max_downloads=1, retries=0, max_unanswered=2, min_unanswered_seconds=0)
    assert found == ["unreachable"] * 6 + ["fetched"] * 6


def test_the_scheme_is_part_of_a_host(image_server: Web) -> None:
    """A host may serve http and not https."""
    urls = [f"{image_server.url.replace('http', scheme, 1)}/fine/{n}" for scheme in ("https", "http") for n in range(4)]
    found = reasons(urls, max_downloads=1, retries=0, max_unanswered=2, min_unanswered_seconds=0)
    assert found[2:] == ["host_given_up"] * 2 + ["fetched"] * 4


def test_a_host_that_answers_sometimes_is_not_dropped(image_server: Web) -> None:
    """Only consecutive unanswered attempts count, and a 404 is an answer."""
    urls = [f"{image_server.url}/{kind}/{n}" for n in range(6) for kind in ("reset", "gone")]
    found = Counter(reasons(urls, max_downloads=1, retries=0, max_unanswered=2, min_unanswered_seconds=0))
    assert found == {"unreachable": 6, "http_404": 6}


def test_a_host_that_answers_slowly_is_not_dropped(shop: Shop, image_server: Web) -> None:
    """Headers count as an answer, so that slow files do not cost the other files of the host."""
    urls = [f"{image_server.url}/{kind}/{n}" for kind, count in (("drip", 8), ("fine", 20)) for n in range(count)]
    # Long enough for a small file from a machine that is busy with other things.
    found = Counter(
        reasons(urls, attempt_seconds=6.0, max_per_host=8, retries=0, max_unanswered=1, min_unanswered_seconds=0)
    )
    assert found == {"timed_out": 8, "fetched": 20}


def test_downloads_started_before_an_answer_do_not_count() -> None:
    """A download that hangs while another one is answered does not count as unanswered."""
    hosts: HostScheduler[int] = HostScheduler(
        max_per_host=4, max_unanswered=2, min_unanswered_seconds=0, connect=Downloader
    )
    begun = time.monotonic()
    hosts.record_answer("a")
    for _ in range(3):
        hosts.record_no_answer("a", "no", begun)
    assert not hosts.dropped("a")
    for _ in range(2):
        hosts.record_no_answer("a", "no", time.monotonic())
    assert hosts.dropped("a")


def test_unanswered_downloads_count_when_they_span_time_enough() -> None:
    """Many downloads that fail in one moment drop no host; the same number over a longer time does."""
    hosts: HostScheduler[int] = HostScheduler(
        max_per_host=4, max_unanswered=3, min_unanswered_seconds=1_000, connect=Downloader
    )
    now = time.monotonic()
    for name, begun in (("restarting", now), ("silent", now - 2_000)):
        for attempt in range(2):
            hosts.record_no_answer(name, f"no {attempt}", begun)
        assert hosts.dropped(name) == ""
        hosts.record_no_answer(name, "no 2", begun)
    assert (hosts.dropped("restarting"), hosts.dropped("silent")) == ("", "no 2")
    hosts.record_answer("silent")
    assert hosts.dropped("silent") == "no 2"


class Recorded(Downloader):
    """A downloader that records whether it was closed or aborted."""

    ended = ""

    def close(self) -> None:
        self.ended = "closed"
        super().close()

    def abort(self) -> None:
        self.ended = "aborted"
        super().abort()


def test_idle_connections_are_reused_and_bounded() -> None:
    """A host keeps its connection; beyond 64 the longest idle ones are closed, and in the end all of them."""
    hosts: HostScheduler[int] = HostScheduler(
        max_per_host=1, max_unanswered=3, min_unanswered_seconds=0, connect=Recorded
    )

    def visit(name: str) -> Downloader:
        hosts.put(name, 0)
        taken = hosts.take()
        assert taken is not None and taken[0] == name
        hosts.release(name, taken[2])
        return taken[2]

    first = [visit(f"host {n}") for n in range(66)]
    assert [d.ended for d in first if isinstance(d, Recorded)] == ["closed"] * 2 + [""] * 64
    assert visit("host 65") is first[65] and visit("host 0") is not first[0]
    hosts.put("host 65", 0)
    busy = hosts.take()
    hosts.close()
    assert hosts.take() is None and busy is not None
    assert [d.ended for d in first if isinstance(d, Recorded)] == ["closed"] * 65 + ["aborted"]
    hosts.release("host 65", busy[2])
    assert isinstance(busy[2], Recorded) and busy[2].ended == "closed"

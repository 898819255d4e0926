"""Tests of how hard servers are asked: not too much at a time, again where it may go better, and not for ever."""

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
from tests.serving.web import Answer, Asked, Web, web


@pytest.mark.parametrize("kind", ["drip", "headers", "silent"])
def test_slow_servers_are_left_at_the_deadline(shop: Shop, place: Web, kind: str) -> None:
    """However often a byte drips in, in the body or in the headers, an attempt ends; then there is one more."""
    (result,) = fetched([f"{place.url}/{kind}/1"], attempt_seconds=0.3, retries=1)
    assert isinstance(result, Failed) and result.reason == "timed_out"
    assert shop.asked[f"/{kind}/1"] == 2


def test_a_url_has_its_time_in_all(shop: Shop, place: Web) -> None:
    """Attempts and pauses together end at the URL's own deadline."""
    assert reasons([f"{place.url}/silent/1"], attempt_seconds=0.2, retries=1_000, url_seconds=0.5) == ["timed_out"]
    assert 1 <= shop.asked["/silent/1"] <= 3


def test_only_what_may_go_better_is_asked_again(shop: Shop, place: Web) -> None:
    """A server's failures and broken connections are tried as often as allowed, refusals and bad content once."""
    kinds = {"down": 3, "short": 3, "gone": 1, "page": 1, "loop": 6}
    fetched([f"{place.url}/{kind}/1" for kind in kinds], retries=2)
    assert {kind: shop.asked[f"/{kind}/1"] for kind in kinds} == kinds


def test_retry_after_is_honoured() -> None:
    """A server that asks for a second's rest has it."""
    shop = Timing("1")
    with web(shop) as place:
        assert reasons([f"{place.url}/fine/1"]) == ["fetched"]
    assert len(shop.times) == 2 and shop.times[1] - shop.times[0] >= 1.0


@pytest.mark.parametrize("asked", ["soon", "-1", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"])
def test_a_rest_that_nobody_can_read_is_none(asked: str) -> None:
    """The next attempt then comes when it would have come anyway."""
    shop = Timing(asked)
    with web(shop) as place:
        assert reasons([f"{place.url}/fine/1"]) == ["fetched"]
    assert len(shop.times) == 2


def test_a_server_that_asks_for_too_long_a_rest_is_left_alone() -> None:
    """Asking it sooner than it wants would be rude, and waiting would hold up the rest."""
    shop = Timing("2")
    with web(shop) as place:
        assert reasons([f"{place.url}/fine/1"], max_retry_after=1.0) == ["http_503"]
    assert len(shop.times) == 1


def test_a_host_is_asked_so_much_at_a_time_and_no_more() -> None:
    """The bound of a host is reached and kept, and so is that of all hosts together."""
    for expected, names in ((3, ["127.0.0.1"]), (5, ["127.0.0.1", "localhost"])):
        shop = Counting(expected)
        with web(shop) as place:
            urls = [f"http://{name}:{place.port}/fine/{number}" for number in range(8) for name in names]
            assert reasons(urls, max_downloads=5, max_per_host=3) == ["fetched"] * len(urls)
        assert shop.most == expected


def test_connections_are_used_again(place: Web) -> None:
    """Also after an answer that is no file."""
    urls = [f"{place.url}/{kind}/{number}" for number in range(20) for kind in ("fine", "gone", "moved")]
    fetched(urls, max_downloads=3)
    assert len({asked.client for asked in place.asked}) <= 3


def test_a_slow_host_does_not_hold_up_the_others(shop: Shop, place: Web) -> None:
    """While all that one host may have at a time hangs, another host's images arrive."""
    silent = [f"{place.url}/silent/{number}" for number in range(50)]
    fine = [f"http://localhost:{place.port}/fine/{number}" for number in range(50)]
    results = iter(ImageFetcher(silent + fine, policy=local_policy(max_downloads=4, max_per_host=2)))
    first = [next(results) for _ in fine]
    assert all(isinstance(result, Fetched) for result in first)
    shop.ended.set()
    assert len(list(results)) == len(silent)


def test_a_host_that_stays_silent_is_given_up(place: Web) -> None:
    """After so many attempts without an answer nothing of it is asked any more, and other hosts go on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
    urls = [f"http://{nobody}/{number}" for number in range(10)] + [f"{place.url}/fine/1"]
    found = Counter(reasons(urls, max_downloads=1, retries=1, max_unanswered=4, min_unanswered_seconds=0))
    assert found == {"unreachable": 2, "host_given_up": 8, "fetched": 1}


def test_a_host_that_is_given_up_says_what_was_wrong_with_it() -> None:
    """Of many URLs at once none may see an error of its own, so each names the last one of their host."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
    results = fetched([f"http://{nobody}/{number}" for number in range(100)], min_unanswered_seconds=0)
    given_up = [r.message for r in results if isinstance(r, Failed) and r.reason == "host_given_up"]
    assert len(given_up) > 80
    for message in given_up:
        outage, last = message.split("; the last: ")
        assert re.fullmatch(rf"http://{nobody}/\d+ is not requested, .* Received: 10 consecutive attempts .*", outage)
        assert re.match(rf"http://{nobody}/\d+ cannot be reached\. Expected: .* Connection refused", last)


def test_a_server_that_is_started_anew_loses_nothing() -> None:
    """All that are under way fail in one moment, are asked again, and the host is not given up."""
    shop, begun = Shop(), threading.Event()
    back: list[float] = []

    def answer(asked: Asked) -> Answer:
        if shop.asked.total() >= 50 and not begun.is_set():
            begun.set()
            back.append(time.monotonic() + 0.3)
        return Answer(0) if back and time.monotonic() < back[0] else shop(asked)

    with web(answer) as place:
        assert set(reasons([f"{place.url}/fine/{number}" for number in range(200)])) == {"fetched"}
    assert begun.is_set()


def test_a_host_that_leads_to_one_that_is_gone_is_not_given_up(shop: Shop, place: Web) -> None:
    """A redirect is an answer, whatever becomes of those that follow it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}/1"
    with web(
        lambda asked: Answer(302, headers={"Location": nobody}) if "old" in asked.path else shop(asked)
    ) as leading:
        urls = [f"{leading.url}/{kind}/{n}" for kind in ("old", "fine") for n in range(6)]
        found = reasons(urls, max_downloads=1, retries=0, max_unanswered=2, min_unanswered_seconds=0)
    assert found == ["unreachable"] * 6 + ["fetched"] * 6


def test_a_host_is_another_by_another_scheme(place: Web) -> None:
    """Nobody may listen for https where somebody does for http."""
    urls = [f"{place.url.replace('http', scheme, 1)}/fine/{n}" for scheme in ("https", "http") for n in range(4)]
    found = reasons(urls, max_downloads=1, retries=0, max_unanswered=2, min_unanswered_seconds=0)
    assert found[2:] == ["host_given_up"] * 2 + ["fetched"] * 4


def test_a_host_that_answers_now_and_then_is_not_given_up(place: Web) -> None:
    """Only silence on end counts, and a 404 is an answer."""
    urls = [f"{place.url}/{kind}/{n}" for n in range(6) for kind in ("reset", "gone")]
    found = Counter(reasons(urls, max_downloads=1, retries=0, max_unanswered=2, min_unanswered_seconds=0))
    assert found == {"unreachable": 6, "http_404": 6}


def test_a_host_that_answers_slowly_is_not_given_up(shop: Shop, place: Web) -> None:
    """Headers are an answer, whatever becomes of the file: slow files, all at once, do not cost the host's others."""
    urls = [f"{place.url}/{kind}/{n}" for kind, count in (("drip", 8), ("fine", 20)) for n in range(count)]
    # Long enough for a small file from a machine that is busy with other things.
    found = Counter(
        reasons(urls, attempt_seconds=3.0, max_per_host=8, retries=0, max_unanswered=1, min_unanswered_seconds=0)
    )
    assert found == {"timed_out": 8, "fetched": 20}


def test_silences_from_before_an_answer_do_not_add_up(shop: Shop, place: Web) -> None:
    """Downloads that hang while another one is answered say nothing about the host."""
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

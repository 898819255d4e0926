"""Tests of serving.fetching: every URL has one result, whatever its server does, and no server is asked too much."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving import fetch_workers
from serving.download_errors import shown
from serving.downloads import Downloader
from serving.fetching import Failed, Fetched, Fetching, Manners
from serving.hosts import Hosts
from serving.image_cache import ImageCache
from serving.images import Limits
from tests.serving.shop import Counting, Shop, Timing, pixels, png
from tests.serving.web import Answer, Asked, Web, web

ROOT = Path(__file__).resolve().parents[2]
LOCAL = Limits(bytes=100_000, pixels=1_000_000, seconds=5.0, allow_private=True)


@pytest.fixture(autouse=True)
def no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fails a test in which a thread fell over: `unexpected` costs one URL only, and would be overlooked."""
    yield
    assert not [record for record in caplog.records if record.name == "serving.fetch_workers"]


def fetched(urls: Any, **options: Any) -> list[Fetched | Failed]:
    """All results, in the order of the URLs."""
    options = {"limits": LOCAL} | options
    return sorted(Fetching(urls, **options), key=lambda result: result.position)


def reasons(urls: Any, **options: Any) -> list[str]:
    """What became of each URL, in their order."""
    return ["fetched" if isinstance(r, Fetched) else r.reason for r in fetched(urls, **options)]


def test_an_image_comes_as_the_network_sees_it(place: Web) -> None:
    """The pixels are fitted, the digest is the file's, and what the server calls it does not count."""
    (result,) = fetched([f"{place.url}/fine/7"])
    assert isinstance(result, Fetched) and not result.cached
    np.testing.assert_array_equal(result.pixels, pixels(7))
    assert result.pixels.dtype == np.uint8 and result.sha256 == hashlib.sha256(png(7)).hexdigest()


OUTCOMES = {
    "fine": "fetched",
    "same": "fetched",
    "moved": "fetched",
    "busy": "fetched",
    "limited": "fetched",
    "reset": "fetched",
    "gone": "http_404",
    "page": "not_an_image",
    "cut": "damaged",
    "empty": "empty",
    "bomb": "too_many_pixels",
    "loop": "too_many_redirects",
    "passwd": "scheme_refused",
}


@given(wanted=st.lists(st.tuples(st.sampled_from(sorted(OUTCOMES)), st.integers(0, 9)), max_size=60), data=st.data())
@settings(max_examples=20, deadline=None)
def test_every_url_has_exactly_one_result(wanted: list[tuple[str, int]], data: st.DataObject) -> None:
    """Whatever is mixed, repeated and failing: none is lost, none is twice, and nothing good is downloaded twice."""
    window = data.draw(st.integers(1, 80), "window")
    manners = Manners(at_once=data.draw(st.integers(1, 8), "at_once"), per_host=4, window=window, silences=1_000)
    shop = Shop()
    with web(shop) as place, TemporaryDirectory() as folder, ImageCache(Path(folder) / "images") as cache:
        urls = [f"{place.url}/{kind}/{number}" for kind, number in wanted]
        fetching = Fetching(iter(urls), cache=cache, manners=manners, limits=LOCAL)
        results = list(fetching)
    assert sorted(result.position for result in results) == list(range(len(urls)))
    for result in results:
        kind, number = wanted[result.position]
        assert result.url == urls[result.position]
        assert OUTCOMES[kind] == ("fetched" if isinstance(result, Fetched) else result.reason)
        if isinstance(result, Fetched):
            np.testing.assert_array_equal(result.pixels, pixels(0 if kind == "same" else number))
    asked = {(kind, number): shop.asked[f"/{kind}/{number}"] for kind, number in wanted}
    for (kind, _), times in asked.items():
        if OUTCOMES[kind] == "fetched":
            assert times == (2 if kind in ("busy", "limited", "reset") else 1)
    good = {place for place in asked if OUTCOMES[place[0]] == "fetched"}
    assert fetching.counts["fetched"] == len(good) and fetching.counts.total() == len(urls)


@pytest.mark.parametrize(
    ("kind", "reason", "message"),
    [
        ("short", "broken_off", "breaks off. Expected: the whole file"),
        ("long", "damaged", "is damaged|no readable image"),
        ("huge", "broken_off", "breaks off"),
        ("endless", "too_large", "too large. Expected: at most 100,000 bytes. Received: more"),
        ("chunks", "too_large", "too large. Expected: at most 100,000 bytes. Received: more"),
        ("bomb", "too_many_pixels", "at most 1,000,000 pixels. Received: .*3600000000 pixels"),
        ("page", "not_an_image", "is no image. Expected: PNG, .* Received: 38 bytes that begin b'<!DOCTYP'"),
        ("garbage", "unreachable", "cannot be reached"),
        ("loop", "too_many_redirects", "redirected too often. Expected: at most 5 times"),
        ("passwd", "scheme_refused", "^file:/+etc/passwd is not fetched. Expected: http:// or https://"),
    ],
)
def test_bad_answers_have_a_reason_and_a_sentence(place: Web, kind: str, reason: str, message: str) -> None:
    """A word to count by and a sentence to read; and the next URL of the same server is none the worse."""
    # One retry: a server may close the kept connection at the moment in which the next URL is sent over it.
    results = fetched([f"{place.url}/{kind}/1.jpg", f"{place.url}/fine/2"], manners=Manners(at_once=1, retries=1))
    assert isinstance(results[0], Failed) and results[0].reason == reason
    assert re.search(message, results[0].message), results[0].message
    assert isinstance(results[1], Fetched)


@pytest.mark.parametrize("kind", ["drip", "headers", "silent"])
def test_slow_servers_are_left_at_the_deadline(shop: Shop, place: Web, kind: str) -> None:
    """However often a byte drips in, in the body or in the headers, an attempt ends; then there is one more."""
    limits = Limits(seconds=0.3, allow_private=True)
    (result,) = fetched([f"{place.url}/{kind}/1"], limits=limits, manners=Manners(retries=1))
    assert isinstance(result, Failed) and result.reason == "timed_out"
    assert shop.asked[f"/{kind}/1"] == 2


def test_a_url_has_its_time_in_all(shop: Shop, place: Web) -> None:
    """Attempts and pauses together end at the URL's own deadline."""
    limits = Limits(seconds=0.2, allow_private=True)
    assert reasons([f"{place.url}/silent/1"], limits=limits, manners=Manners(retries=1_000, seconds=0.5)) == [
        "timed_out"
    ]
    assert 1 <= shop.asked["/silent/1"] <= 3


def test_only_what_may_go_better_is_asked_again(shop: Shop, place: Web) -> None:
    """A server's failures and broken connections are tried as often as allowed, refusals and bad content once."""
    kinds = {"down": 3, "short": 3, "gone": 1, "page": 1, "loop": 6}
    fetched([f"{place.url}/{kind}/1" for kind in kinds], manners=Manners(retries=2))
    assert {kind: shop.asked[f"/{kind}/1"] for kind in kinds} == kinds


def test_retry_after_is_honoured() -> None:
    """A server that asks for a second's rest has it."""
    shop = Timing("1")
    with web(shop) as place:
        assert reasons([f"{place.url}/fine/1"]) == ["fetched"]
    assert len(shop.times) == 2 and shop.times[1] - shop.times[0] >= 1.0


def test_a_server_that_asks_for_too_long_a_rest_is_left_alone() -> None:
    """Asking it sooner than it wants would be rude, and waiting would hold up the rest."""
    shop = Timing("2")
    with web(shop) as place:
        assert reasons([f"{place.url}/fine/1"], manners=Manners(longest_wait=1.0)) == ["http_503"]
    assert len(shop.times) == 1


def test_a_host_is_asked_so_much_at_a_time_and_no_more() -> None:
    """The bound of a host is reached and kept, and so is that of all hosts together."""
    for expected, names in ((3, ["127.0.0.1"]), (5, ["127.0.0.1", "localhost"])):
        shop = Counting(expected)
        with web(shop) as place:
            urls = [f"http://{name}:{place.port}/fine/{number}" for number in range(8) for name in names]
            assert reasons(urls, manners=Manners(at_once=5, per_host=3)) == ["fetched"] * len(urls)
        assert shop.most == expected


def test_connections_are_used_again(place: Web) -> None:
    """Also after an answer that is no file."""
    urls = [f"{place.url}/{kind}/{number}" for number in range(20) for kind in ("fine", "gone", "moved")]
    fetched(urls, manners=Manners(at_once=3))
    assert len({asked.client for asked in place.asked}) <= 3


def test_a_slow_host_does_not_hold_up_the_others(shop: Shop, place: Web) -> None:
    """While all that one host may have at a time hangs, another host's images arrive."""
    silent = [f"{place.url}/silent/{number}" for number in range(50)]
    fine = [f"http://localhost:{place.port}/fine/{number}" for number in range(50)]
    results = iter(Fetching(silent + fine, limits=LOCAL, manners=Manners(at_once=4, per_host=2)))
    first = [next(results) for _ in fine]
    assert all(isinstance(result, Fetched) for result in first)
    shop.ended.set()
    assert len(list(results)) == len(silent)


def test_a_host_that_stays_silent_is_given_up(place: Web) -> None:
    """After so many attempts without an answer nothing of it is asked any more, and other hosts go on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
    urls = [f"http://{nobody}/{number}" for number in range(10)] + [f"{place.url}/fine/1"]
    found = Counter(reasons(urls, manners=Manners(at_once=1, retries=1, silences=4)))
    assert found == {"unreachable": 2, "host_given_up": 8, "fetched": 1}


def test_a_host_that_is_given_up_says_what_was_wrong_with_it() -> None:
    """Of many URLs at once none may see an error of its own, so each names the last one of their host."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
    results = fetched([f"http://{nobody}/{number}" for number in range(100)])
    given_up = [r.message for r in results if isinstance(r, Failed) and r.reason == "host_given_up"]
    assert len(given_up) > 80
    for message in given_up:
        told, last = message.split(", of which the last: ")
        assert re.fullmatch(
            rf"http://{nobody}/\d+ is not asked for any more\. .* Received: 10 attempts on end .*", told
        )
        assert re.match(rf"http://{nobody}/\d+ cannot be reached\. Expected: .* Connection refused", last)


def test_a_host_that_answers_now_and_then_is_not_given_up(place: Web) -> None:
    """Only silence on end counts, and a 404 is an answer."""
    urls = [f"{place.url}/{kind}/{n}" for n in range(6) for kind in ("reset", "gone")]
    found = Counter(reasons(urls, manners=Manners(at_once=1, retries=0, silences=2)))
    assert found == {"unreachable": 6, "http_404": 6}


def test_a_host_that_answers_slowly_is_not_given_up(shop: Shop, place: Web) -> None:
    """Headers are an answer, whatever becomes of the file: slow files, all at once, do not cost the host's others."""
    urls = [f"{place.url}/{kind}/{n}" for kind, count in (("drip", 8), ("fine", 20)) for n in range(count)]
    limits = Limits(seconds=0.5, allow_private=True)
    found = Counter(reasons(urls, limits=limits, manners=Manners(per_host=8, retries=0, silences=1)))
    assert found == {"timed_out": 8, "fetched": 20}


def test_silences_from_before_an_answer_do_not_add_up(shop: Shop, place: Web) -> None:
    """Downloads that hang while another one is answered say nothing about the host."""
    hosts: Hosts[int] = Hosts(per_host=4, silences=2, connect=Downloader)
    begun = time.monotonic()
    hosts.answered("a")
    for _ in range(3):
        hosts.stayed_silent("a", "no", begun)
    assert not hosts.given_up("a")
    for _ in range(2):
        hosts.stayed_silent("a", "no", time.monotonic())
    assert hosts.given_up("a")


def test_urls_are_not_read_far_ahead(place: Web) -> None:
    """Of many URLs only a window is in memory, however slowly the results are taken."""
    read, most = 0, 0

    def urls() -> Iterator[str]:
        nonlocal read
        for number in range(600):
            read += 1
            yield f"{place.url}/fine/{number % 5}" if number % 3 else "no url"

    for done, _ in enumerate(Fetching(urls(), limits=LOCAL, manners=Manners(window=20))):
        most = max(most, read - done)
    assert read == 600 and 2 < most <= 21


def test_private_addresses_are_refused_by_default(shop: Shop, place: Web) -> None:
    """Nothing is sent to a machine inside the network unless this is allowed."""
    assert reasons([f"{place.url}/fine/1"], limits=Limits()) == ["private_address"]
    assert not shop.asked


def test_files_are_refused_by_default() -> None:
    """A catalogue cannot have the machine's own files read."""
    assert reasons(["file:///etc/passwd", "FILE:/etc/passwd"]) == ["scheme_refused"] * 2


def test_files_are_read_below_one_folder_only(tmp_path: Path) -> None:
    """Neither dots nor links nor another machine's name lead out of it."""
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a shoe.png").write_bytes(png(3))
    (tmp_path / "outside.png").write_bytes(png(4))
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    os.mkfifo(folder / "pipe.png")
    names = ["a%20shoe.png", "../outside.png", "%2e%2e/outside.png", "link.png", "none.png", "pipe.png"]
    urls = [f"file://{folder}/{name}" for name in names] + [f"file://elsewhere{folder}/a%20shoe.png"]
    refused = ["file_refused"] * 3
    expected = ["fetched", *refused, "unreadable", "unreadable", "file_refused"]
    assert reasons(urls, files_below=folder) == expected


def test_what_is_no_url_is_a_failure_like_others() -> None:
    """Nothing that a catalogue holds stops the run."""
    urls: list[Any] = [
        "",
        "shoe.jpg",
        "http://",
        "http://[",
        "ftp://shop.example/",
        "http://a\nb/",
        None,
        "x" * 100_000,
    ]
    results = fetched(urls)
    assert {r.reason for r in results if isinstance(r, Failed)} <= {"bad_url", "scheme_refused", "unknown_host"}
    assert len(results) == len(urls) and all(len(r.message) < 600 for r in results if isinstance(r, Failed))


@pytest.mark.parametrize("host", ["xn--a", "xn--"])
def test_a_host_that_no_one_can_decode_is_a_bad_url(place: Web, host: str) -> None:
    """Given or redirected to, as http or as a file, it costs its own product only."""
    with web(lambda _: Answer(302, headers={"Location": f"http://{host}/x.jpg"})) as leading:
        urls = [f"http://{host}/x.jpg", leading.url, f"file://{host}/x.jpg", f"{place.url}/fine/1"]
        assert reasons(urls, files_below=ROOT) == ["bad_url", "bad_url", "bad_url", "fetched"]


def test_a_fault_of_ours_costs_one_url(
    place: Web, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says where it is, without what it quotes; the other images arrive."""
    real = fetch_workers.Downloader.get

    def get(self: Downloader, url: str, *options: Any) -> Any:
        if "two" in url:
            raise LookupError(url)
        return real(self, url, *options)

    monkeypatch.setattr(fetch_workers.Downloader, "get", get)
    results = fetched([f"{place.url}/fine/1", f"http://anna:s3cret@127.0.0.1:{place.port}/two", f"{place.url}/fine/3"])
    assert [getattr(r, "reason", "fetched") for r in results] == ["fetched", "unexpected", "fetched"]
    (record,) = caplog.records
    said = record.getMessage()
    assert "meets a fault of ours. Expected: none. Received: LookupError\n  File" in said and "in get" in said
    assert "s3cret" not in said
    caplog.clear()


TORN = [
    "http://bob:s3/cret@127.0.0.1/x.jpg",
    "http://bob:s3?cret@127.0.0.1/x.jpg",
    "http://bob:s3#cret@127.0.0.1/x.jpg",
    "http://bob:99999/s3cret@127.0.0.1/x.jpg",
    "http://bob:s3cret\\@127.0.0.1/x.jpg",
    "http://bob:s3@cret@[::1/x.jpg",
    "bob:s3cret@host/x.jpg",
    "http:/bob:s3cret@host/x",
    "http:bob:s3cret@host",
    "HTTP:\\\\bob:s3cret@h/x",
    " http://bob:s3cret@host/x",
    "https:///bob:s3cret@host/x",
    "ftp://bob:s3cret@host/x",
    "file://bob:s3cret@host/x",
    f"http://bob:s3{'x' * 500}cret@host:bad/x.jpg",
]


@pytest.mark.parametrize("url", TORN)
@pytest.mark.parametrize("files_below", [None, ROOT])
def test_passwords_in_torn_urls_are_not_told(url: str, files_below: Path | None) -> None:
    """No piece of them, neither by the URL nor by what the parser quotes of it."""
    (result,) = fetched([url], files_below=files_below, manners=Manners(retries=0), limits=Limits(seconds=1.0))
    assert isinstance(result, Failed)
    for told in (result.message, shown(url)):
        assert not re.search("s3|cret|bob", told), told


@pytest.mark.parametrize(
    "url",
    ["http://shop.example/a@2x.jpg", "https://shop.example:8080/w:30/a@2x.jpg?b=@", "http://[::1]:80", "ftp://a/b"],
)
def test_whole_urls_are_told_whole(url: str) -> None:
    """An @ in a path is no password's end."""
    assert shown(url) == url
    assert shown(url.replace("http://", "http://anna:s3c@ret@")) == url


def test_nothing_strange_reaches_log_and_terminal() -> None:
    """Neither of a URL nor of what a server says: no control characters, no lines, no turned directions."""
    head = b"HTTP/1.1 404 \xff\x1b[31mred\x9b\r\nContent-Length: 0\r\n\r\n"
    with web(lambda _: Answer(parts=[head])) as place:
        urls = [
            "http://a/\x1b[2J\x1b]0;pwned\x07\n2026-11-27 ERROR fake line",
            "http://a\u202e/\u2028\x85",
            "file:///\x1b[2J\n",
            "\ud800",
            place.url,
        ]
        results = fetched([*urls, place.url + "/\u202e"], files_below=ROOT)
    for result in results:
        assert isinstance(result, Failed) and result.message.isprintable(), result
    assert all(shown(url).isprintable() for url in urls)
    assert "fake line" in results[0].message and r"\x1b[31mred" in results[4].message


def test_passwords_are_neither_sent_nor_told_nor_kept(place: Web, tmp_path: Path) -> None:
    """The server, the sentences and the file of the cache know nothing of them."""
    urls = [f"http://anna:s3cret@127.0.0.1:{place.port}/{kind}/1" for kind in ("fine", "gone", "loop", "page")]
    with ImageCache(tmp_path / "images") as cache:
        results = fetched([*urls, "ftp://anna:s3cret@shop.example/"], cache=cache)
    assert isinstance(results[0], Fetched)
    assert not any("s3cret" in r.message for r in results if isinstance(r, Failed))
    assert not any("authorization" in asked.headers for asked in place.asked)
    assert not any(b"s3cret" in path.read_bytes() for path in tmp_path.iterdir())


def test_a_second_run_asks_nobody(shop: Shop, place: Web, tmp_path: Path) -> None:
    """What is in the cache is not downloaded; what failed is tried again."""
    urls = [f"{place.url}/{kind}/{n}" for n in range(5) for kind in ("fine", "same", "gone")]
    runs = []
    for _ in range(2):
        with ImageCache(tmp_path / "images") as cache:
            fetching = Fetching(urls, cache=cache, limits=LOCAL)
            runs.append({r.position: r.pixels.tobytes() for r in fetching if isinstance(r, Fetched)})
            assert cache.count() == 5
    assert runs[0] == runs[1] and fetching.counts == {"cached": 10, "http_404": 5}
    assert {shop.asked[f"/{kind}/1"] for kind in ("fine", "same")} == {1} and shop.asked["/gone/1"] == 2


def test_what_is_old_is_asked_for_by_its_version(tmp_path: Path) -> None:
    """An unchanged file is not sent again, and a changed one replaces the old."""
    shown = 1

    def answer(asked: Asked) -> Answer:
        same = asked.headers.get("if-none-match") == f'"{shown}"'
        return Answer(304) if same else Answer(body=png(shown), headers={"ETag": f'"{shown}"'})

    with web(answer) as place, ImageCache(tmp_path / "images") as cache:
        found = []
        for shown in (1, 1, 2):  # noqa: B007
            (result,) = fetched([place.url], cache=cache, trusted_seconds=0.0)
            assert isinstance(result, Fetched)
            found.append((result.cached, result.pixels.tobytes()))
    one, two = (pixels(n).tobytes() for n in (1, 2))
    assert found == [(False, one), (True, one), (False, two)] and len(place.asked) == 3


KILLED = """
import sys
from pathlib import Path
from serving.fetching import Fetching, Manners
from serving.image_cache import ImageCache
from serving.images import Limits
with ImageCache(Path(sys.argv[1])) as cache:
    urls = [f"{sys.argv[2]}/fine/{number}" for number in range(60)]
    for result in Fetching(urls, cache=cache, limits=Limits(allow_private=True), manners=Manners(at_once=4)):
        print(result.position, flush=True)
"""


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """After SIGKILL in the middle nothing that was handed out is downloaded again, and nothing is lost or twice."""
    shop, killed = Shop(), threading.Event()

    def answer(asked: Asked) -> Answer:
        number = int(asked.path.rpartition("/")[2])
        return shop(asked) if number < 30 or killed.is_set() else Answer(body=png(number), hold=killed)

    with web(answer) as place:
        command = [sys.executable, "-c", KILLED, str(tmp_path / "images"), place.url]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            handed_out = {int(process.stdout.readline()) for _ in range(20)}
            process.send_signal(signal.SIGKILL)
        killed.set()
        before = Counter(shop.asked)
        with ImageCache(tmp_path / "images") as cache:
            results = fetched([f"{place.url}/fine/{number}" for number in range(60)], cache=cache)
            assert cache.count() == 60
    assert [r.pixels.tobytes() for r in results if isinstance(r, Fetched)] == [pixels(n).tobytes() for n in range(60)]
    assert all(results[n].cached for n in handed_out if isinstance(results[n], Fetched)) and len(handed_out) == 20
    assert all(shop.asked[f"/fine/{n}"] == before[f"/fine/{n}"] for n in handed_out)


def test_leaving_early_leaves_nothing_behind(shop: Shop, place: Web) -> None:
    """Who takes no more results waits neither for slow servers nor for pauses, and no thread stays."""
    urls = [f"{place.url}/fine/1", *[f"{place.url}/{kind}/{n}" for n in range(4) for kind in ("silent", "down")]]
    limits = Limits(seconds=600, allow_private=True)
    results = iter(Fetching(urls, limits=limits, manners=Manners(seconds=600)))
    assert isinstance(next(results), Fetched)
    results.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch-")]
    assert not shop.ended.is_set()


def test_a_fault_of_the_urls_source_reaches_the_caller(place: Web) -> None:
    """A database that breaks off in the middle is not taken for the end."""

    def urls() -> Iterator[str]:
        yield f"{place.url}/fine/1"
        raise ConnectionError("the database is gone")

    with pytest.raises(ConnectionError, match="the database is gone"):
        list(Fetching(urls(), limits=LOCAL))


def test_progress_is_told(place: Web) -> None:
    """After every result, with the total where it is known."""
    urls = [f"{place.url}/{kind}/1" for kind in ("fine", "gone")] + ["no url"]
    for given_urls, total in ((urls, 3), (iter(urls), None)):
        told: list[tuple[int, int | None]] = []
        note: Callable[[int, int | None], None] = lambda done, total, told=told: told.append((done, total))  # noqa: E731
        fetched(given_urls, progress=note)
        assert told == [(1, total), (2, total), (3, total)]

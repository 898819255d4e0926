"""Tests of serving.fetching.image_fetcher: one result for every URL, nothing downloaded twice, and stale images."""

from __future__ import annotations

import hashlib
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.fetching import download_workers
from serving.fetching.downloader import Downloader
from serving.fetching.image_cache import ImageCache, url_key
from serving.fetching.image_fetcher import Failed, Fetched, ImageFetcher
from tests.serving.fetching.shop import Shop, fetched, local_policy, pixels, png
from tests.serving.web import Answer, Request, Web, web

ROOT = Path(__file__).resolve().parents[3]


def test_an_image_is_fitted(image_server: Web) -> None:
    """The result has fitted pixels and the digest of the file, whatever Content-Type the server sends."""
    (result,) = fetched([f"{image_server.url}/fine/7"])
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


@pytest.mark.slow
@given(wanted=st.lists(st.tuples(st.sampled_from(sorted(OUTCOMES)), st.integers(0, 9)), max_size=60), data=st.data())
@settings(max_examples=20, deadline=None)
def test_every_url_has_exactly_one_result(wanted: list[tuple[str, int]], data: st.DataObject) -> None:
    """With any mixture of URLs no result is lost or doubled, and no good file is downloaded twice."""
    window = data.draw(st.integers(1, 80), "window")
    policy = local_policy(
        max_downloads=data.draw(st.integers(1, 8), "max_downloads"), max_per_host=4, window=window, max_unanswered=1_000
    )
    shop = Shop()
    with web(shop) as image_server, TemporaryDirectory() as folder, ImageCache(Path(folder) / "images") as cache:
        urls = [f"{image_server.url}/{kind}/{number}" for kind, number in wanted]
        fetcher = ImageFetcher(iter(urls), cache=cache, policy=policy)
        results = list(fetcher)
    assert sorted(result.position for result in results) == list(range(len(urls)))
    for result in results:
        kind, number = wanted[result.position]
        assert result.url == urls[result.position]
        assert OUTCOMES[kind] == ("fetched" if isinstance(result, Fetched) else result.reason)
        if isinstance(result, Fetched):
            np.testing.assert_array_equal(result.pixels, pixels(0 if kind == "same" else number))
    downloads = {(kind, number): shop.counts[f"/{kind}/{number}"] for kind, number in wanted}
    for (kind, _), times in downloads.items():
        if OUTCOMES[kind] == "fetched":
            assert times == (2 if kind in ("busy", "limited", "reset") else 1)
    good = {url for url in downloads if OUTCOMES[url[0]] == "fetched"}
    assert fetcher.counts["fetched"] == len(good) and fetcher.counts.total() == len(urls)


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
def test_bad_answers_have_a_reason_and_a_message(image_server: Web, kind: str, reason: str, message: str) -> None:
    """A failure has a stable word and a sentence, and does not affect the next URL of the same server."""
    # One retry: a server may close the connection at the moment of the next request.
    results = fetched([f"{image_server.url}/{kind}/1.jpg", f"{image_server.url}/fine/2"], max_downloads=1, retries=1)
    assert isinstance(results[0], Failed) and results[0].reason == reason
    assert re.search(message, results[0].message), results[0].message
    assert isinstance(results[1], Fetched)


def test_urls_are_read_only_a_window_ahead(image_server: Web) -> None:
    """Only a window of the URLs is in memory, however slowly the caller takes the results."""
    read, most = 0, 0

    def urls() -> Iterator[str]:
        nonlocal read
        for number in range(600):
            read += 1
            yield f"{image_server.url}/fine/{number % 5}" if number % 3 else "no url"

    for done, _ in enumerate(ImageFetcher(urls(), policy=local_policy(window=20))):
        most = max(most, read - done)
    assert read == 600 and 2 < most <= 21


def test_a_programming_error_costs_one_url(
    image_server: Web, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the stack trace without the text of the error, and the other images arrive."""
    real = download_workers.Downloader.get

    def get(self: Downloader, url: str, *options: Any) -> Any:
        if "two" in url:
            raise LookupError(url)
        return real(self, url, *options)

    monkeypatch.setattr(download_workers.Downloader, "get", get)
    results = fetched(
        [
            f"{image_server.url}/fine/1",
            f"http://anna:s3cret@127.0.0.1:{image_server.port}/two",
            f"{image_server.url}/fine/3",
        ]
    )
    assert [getattr(r, "reason", "fetched") for r in results] == ["fetched", "unexpected", "fetched"]
    (record,) = caplog.records
    message = record.getMessage()
    assert "causes a programming error. Received: LookupError.\n  File" in message and "in get" in message
    assert "s3cret" not in message
    caplog.clear()


def test_a_second_run_downloads_nothing(shop: Shop, image_server: Web, tmp_path: Path) -> None:
    """Cached images are not downloaded again; failures are retried."""
    urls = [f"{image_server.url}/{kind}/{n}" for n in range(5) for kind in ("fine", "same", "gone")]
    runs = []
    for _ in range(2):
        with ImageCache(tmp_path / "images") as cache:
            fetcher = ImageFetcher(urls, cache=cache, policy=local_policy())
            runs.append({r.position: r.pixels.tobytes() for r in fetcher if isinstance(r, Fetched)})
            assert cache.count() == 5
    assert runs[0] == runs[1] and fetcher.counts == {"cached": 10, "http_404": 5}
    assert {shop.counts[f"/{kind}/1"] for kind in ("fine", "same")} == {1} and shop.counts["/gone/1"] == 2


def test_old_images_are_revalidated(tmp_path: Path) -> None:
    """The server does not send an unchanged file again, and a changed one replaces the old one."""
    version = 1

    def answer(request: Request) -> Answer:
        same = request.headers.get("if-none-match") == f'"{version}"'
        return Answer(304) if same else Answer(body=png(version), headers={"ETag": f'"{version}"'})

    with web(answer) as image_server, ImageCache(tmp_path / "images") as cache:
        found = []
        for version in (1, 1, 2):  # noqa: B007
            (result,) = fetched([image_server.url], cache=cache, max_age_seconds=0.0)
            assert isinstance(result, Fetched)
            found.append((result.cached, result.pixels.tobytes()))
    one, two = (pixels(n).tobytes() for n in (1, 2))
    assert found == [(False, one), (True, one), (False, two)]
    # The second answer names no version, so the first one's still holds.
    assert [request.headers.get("if-none-match") for request in image_server.requests] == [None, '"1"', '"1"']


def test_a_confirmed_image_is_as_good_as_a_new_one(tmp_path: Path) -> None:
    """After 304 its age begins anew, and the server's new validators replace the old ones; files are not cached."""
    (tmp_path / "shoe.png").write_bytes(png(3))
    answers = [Answer(body=png(1), headers={"ETag": '"1"'}), Answer(304, headers={"ETag": '"2"'})]
    with web(lambda _: answers.pop(0)) as image_server, ImageCache(tmp_path / "images") as cache:
        fetched([image_server.url, (tmp_path / "shoe.png").as_uri()], cache=cache, files_below=tmp_path)
        key = url_key(httpx.URL(image_server.url))
        first = cache.find(key)
        assert first is not None and cache.count() == 1
        cache.store([replace(first, fetched_at=first.fetched_at - 7200)])
        for _ in range(2):
            (result,) = fetched([image_server.url], cache=cache, max_age_seconds=3600.0)
            assert isinstance(result, Fetched) and result.cached and result.sha256 == first.sha256
        confirmed = cache.find(key)
        assert confirmed is not None and confirmed.validators.etag == '"2"'
        assert first.fetched_at <= confirmed.fetched_at <= time.time() and len(image_server.requests) == 2


KILLED = """
import sys
from pathlib import Path
from serving.fetching.fetch_policy import FetchPolicy
from serving.fetching.image_cache import ImageCache
from serving.fetching.image_fetcher import ImageFetcher
with ImageCache(Path(sys.argv[1])) as cache:
    urls = [f"{sys.argv[2]}/fine/{number}" for number in range(60)]
    for result in ImageFetcher(urls, cache=cache, policy=FetchPolicy(allow_private=True, max_downloads=4)):
        print(result.position, flush=True)
"""


@pytest.mark.slow
def test_a_killed_run_continues(tmp_path: Path) -> None:
    """After SIGKILL no returned image is downloaded again, and no result is lost or doubled."""
    shop, killed = Shop(), threading.Event()

    def answer(request: Request) -> Answer:
        number = int(request.path.rpartition("/")[2])
        return shop(request) if number < 30 or killed.is_set() else Answer(body=png(number), hold=killed)

    with web(answer) as image_server:
        command = [sys.executable, "-c", KILLED, str(tmp_path / "images"), image_server.url]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            handed_out = {int(process.stdout.readline()) for _ in range(20)}
            process.send_signal(signal.SIGKILL)
        killed.set()
        before = Counter(shop.counts)
        with ImageCache(tmp_path / "images") as cache:
            results = fetched([f"{image_server.url}/fine/{number}" for number in range(60)], cache=cache)
            assert cache.count() == 60
    assert [r.pixels.tobytes() for r in results if isinstance(r, Fetched)] == [pixels(n).tobytes() for n in range(60)]
    assert all(results[n].cached for n in handed_out if isinstance(results[n], Fetched)) and len(handed_out) == 20
    assert all(shop.counts[f"/fine/{n}"] == before[f"/fine/{n}"] for n in handed_out)


def test_stopping_early_ends_all_threads(shop: Shop, image_server: Web) -> None:
    """Closing the iterator waits neither for slow servers nor for pauses, and no thread remains."""
    urls = [
        f"{image_server.url}/fine/1",
        *[f"{image_server.url}/{kind}/{n}" for n in range(4) for kind in ("silent", "down")],
    ]
    results = iter(ImageFetcher(urls, policy=local_policy(attempt_seconds=600, url_seconds=600)))
    # The others fail first where the machine is busy.
    assert any(isinstance(result, Fetched) for result in results)
    results.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch-")]
    assert not shop.ended.is_set()


def test_an_error_of_the_url_iterator_reaches_the_caller(image_server: Web) -> None:
    """An interrupted database query does not look like the end of the URLs."""

    def urls() -> Iterator[str]:
        yield f"{image_server.url}/fine/1"
        raise ConnectionError("the database is gone")

    with pytest.raises(ConnectionError, match="the database is gone"):
        list(ImageFetcher(urls(), policy=local_policy()))


def test_progress_is_reported(image_server: Web) -> None:
    """The callback gets the number of results, and the total if it is known."""
    urls = [f"{image_server.url}/{kind}/1" for kind in ("fine", "gone")] + ["no url"]
    for source, total in ((urls, 3), (iter(urls), None)):
        reports: list[tuple[int, int | None]] = []
        note: Callable[[int, int | None], None] = lambda done, total, reports=reports: reports.append((done, total))  # noqa: E731
        fetched(source, progress=note)
        assert reports == [(1, total), (2, total), (3, total)]


def revalidate(cache: ImageCache, urls: list[str], **settings: Any) -> tuple[list[Fetched | Failed], Counter[str]]:
    """Returns the results of a fetch that revalidates every image, and their counts."""
    fetcher = ImageFetcher(urls, cache=cache, policy=local_policy(max_age_seconds=0.0, **settings))
    return sorted(fetcher, key=lambda result: result.position), fetcher.counts


TRANSIENT = [
    Answer(503),
    Answer(429, headers={"Retry-After": "3600"}),
    Answer(0),
    Answer(body=png(2)[:100], length=len(png(2))),
    Answer(parts=[b"SSH-2.0-OpenSSH_9.2\r\n"]),
]


@pytest.mark.parametrize("trouble", TRANSIENT, ids=["503", "429", "reset", "short", "garbage"])
def test_cached_images_survive_network_errors(trouble: Answer, tmp_path: Path) -> None:
    """The cached image is the result, counted as stale, and the next fetch revalidates it."""
    answers = [Answer(body=png(1))]
    with web(lambda request: answers[0]) as image_server, ImageCache(tmp_path / "images") as cache:
        urls = [f"{image_server.url}/1", f"{image_server.url}/1#again"]
        revalidate(cache, urls, retries=0)
        before = cache.find(url_key(httpx.URL(urls[0])))
        answers[0] = trouble
        results, counts = revalidate(cache, urls, retries=0)
        assert counts == {"stale": 2} and before is not None
        for result in results:
            assert isinstance(result, Fetched) and result.cached and result.stale
            assert (result.pixels.tobytes(), result.sha256) == (pixels(1).tobytes(), before.sha256)
        after = cache.find(url_key(httpx.URL(urls[0])))
        assert after is not None and after.fetched_at == before.fetched_at
        answers[0] = Answer(body=png(2))
        (one, _), counts = revalidate(cache, urls, retries=0)
        assert isinstance(one, Fetched) and one.pixels.tobytes() == pixels(2).tobytes() and not one.stale
        assert counts == {"fetched": 1, "cached": 1}


def test_cached_images_survive_a_dead_host(tmp_path: Path) -> None:
    """A time-out, a closed port and a dropped host say nothing about the image."""
    answers, ended = [Answer(body=png(1))], threading.Event()
    with ImageCache(tmp_path / "images") as cache:
        with web(lambda request: answers[0]) as image_server:
            urls = [f"{image_server.url}/{number}" for number in range(6)]
            revalidate(cache, urls)
            answers[0] = Answer(body=png(1), hold=ended)
            _, slow = revalidate(cache, urls[:1], attempt_seconds=0.2, retries=0)
            ended.set()
        _, gone = revalidate(cache, urls, max_downloads=1, retries=0, max_unanswered=3, min_unanswered_seconds=0)
    assert (slow, gone) == ({"stale": 1}, {"stale": 6})


def test_a_deleted_image_is_a_failure(tmp_path: Path) -> None:
    """An answer about the file replaces the cached image."""
    wrong = {
        "http_404": Answer(404),
        "http_410": Answer(410),
        "http_403": Answer(403),
        "not_an_image": Answer(body=b"<!DOCTYPE html><title>Sold out</title>"),
        "empty": Answer(),
        "damaged": Answer(body=png(1)[:200]),
        "scheme_refused": Answer(302, headers={"Location": "file:///etc/passwd"}),
    }
    answers = dict.fromkeys(wrong, Answer(body=png(1)))
    with web(lambda request: answers[request.path[1:]]) as image_server, ImageCache(tmp_path / "images") as cache:
        urls = [f"{image_server.url}/{reason}" for reason in wrong]
        revalidate(cache, urls)
        answers = wrong
        results, counts = revalidate(cache, urls)
        refused, _ = revalidate(cache, urls[:1], allow_private=False)
    assert [r.reason for r in results if isinstance(r, Failed)] == list(wrong) and counts == dict.fromkeys(wrong, 1)
    assert isinstance(refused[0], Failed) and refused[0].reason == "private_address"

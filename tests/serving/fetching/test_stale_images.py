"""Images that are kept and old: what comes of them when nobody says whether they changed, or that they are gone."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.fetching.fetching import Failed, Fetched, Fetching, Manners
from serving.fetching.image_cache import ImageCache, url_key
from serving.images.inputs import Limits
from tests.serving.fetching.fetches import LOCAL
from tests.serving.fetching.shop import pixels, png
from tests.serving.web import Answer, web


def again(cache: ImageCache, urls: list[str], **options: Any) -> tuple[list[Fetched | Failed], Counter[str]]:
    """The results of a run that trusts nothing old, and their counts."""
    fetching = Fetching(urls, cache=cache, trusted_seconds=0.0, **{"limits": LOCAL, **options})
    return sorted(fetching, key=lambda result: result.position), fetching.counts


BETTER_TOMORROW = [
    Answer(503),
    Answer(429, headers={"Retry-After": "3600"}),
    Answer(0),
    Answer(body=png(2)[:100], length=len(png(2))),
    Answer(parts=[b"SSH-2.0-OpenSSH_9.2\r\n"]),
]


@pytest.mark.parametrize("trouble", BETTER_TOMORROW, ids=["503", "429", "reset", "short", "garbage"])
def test_what_is_kept_outlasts_trouble_of_the_network(trouble: Answer, tmp_path: Path) -> None:
    """Yesterday's image is shown, counted as stale, and asked for again next time, as old as it was."""
    answers = [Answer(body=png(1))]
    with web(lambda asked: answers[0]) as place, ImageCache(tmp_path / "images") as cache:
        urls, manners = [f"{place.url}/1", f"{place.url}/1#again"], Manners(retries=0)
        again(cache, urls, manners=manners)
        before = cache.find(url_key(httpx.URL(urls[0])))
        answers[0] = trouble
        results, counts = again(cache, urls, manners=manners)
        assert counts == {"stale": 2} and before is not None
        for result in results:
            assert isinstance(result, Fetched) and result.cached and result.stale
            assert (result.pixels.tobytes(), result.sha256) == (pixels(1).tobytes(), before.sha256)
        after = cache.find(url_key(httpx.URL(urls[0])))
        assert after is not None and after.fetched_at == before.fetched_at
        answers[0] = Answer(body=png(2))
        (one, _), counts = again(cache, urls, manners=manners)
        assert isinstance(one, Fetched) and one.pixels.tobytes() == pixels(2).tobytes() and not one.stale
        assert counts == {"fetched": 1, "cached": 1}


def test_what_is_kept_outlasts_a_host_that_is_silent_or_gone(tmp_path: Path) -> None:
    """A deadline that passes, nobody who listens, and a host that is given up say nothing of the image either."""
    answers, ended = [Answer(body=png(1))], threading.Event()
    with ImageCache(tmp_path / "images") as cache:
        with web(lambda asked: answers[0]) as place:
            urls = [f"{place.url}/{number}" for number in range(6)]
            again(cache, urls)
            answers[0] = Answer(body=png(1), hold=ended)
            limits = Limits(seconds=0.2, allow_private=True)
            _, slow = again(cache, urls[:1], limits=limits, manners=Manners(retries=0))
            ended.set()
        _, gone = again(cache, urls, manners=Manners(at_once=1, retries=0, silences=3, silent_seconds=0))
    assert (slow, gone) == ({"stale": 1}, {"stale": 6})


def test_an_answer_that_there_is_no_image_any_more_counts(tmp_path: Path) -> None:
    """What the server says of the file is a failure, whatever was there before."""
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
    with web(lambda asked: answers[asked.path[1:]]) as place, ImageCache(tmp_path / "images") as cache:
        urls = [f"{place.url}/{reason}" for reason in wrong]
        again(cache, urls)
        answers = wrong
        results, counts = again(cache, urls)
        refused, _ = again(cache, urls[:1], limits=Limits())
    assert [r.reason for r in results if isinstance(r, Failed)] == list(wrong) and counts == dict.fromkeys(wrong, 1)
    assert isinstance(refused[0], Failed) and refused[0].reason == "private_address"

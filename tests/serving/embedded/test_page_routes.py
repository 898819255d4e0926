"""The page's routes alone: one file, bound to what it holds, and the model's view of a picture."""

from __future__ import annotations

import asyncio
import io
import re
import threading

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette

from models.taxonomy import Taxonomy
from pipeline.contract.limits import MAX_IMAGE_BYTES
from serving.embedded import page
from serving.embedded.page import routes
from serving.images.fitting import fit_file


def picture(size: tuple[int, int] = (60, 40)) -> bytes:
    """A coloured picture as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 200, (*size, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def answered(method: str, path: str, body: bytes = b"", model: str = "fashion") -> httpx.Response:
    """The answer of the page's routes alone."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(Starlette(routes=routes(lambda: [model])))
        async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
            return await client.request(method, path, content=body)

    return asyncio.run(ask())


def test_the_page_holds_all_that_it_needs() -> None:
    """One file, no other host; what the browser may run is bound to its text, and no name can break out of it."""
    answer = answered("GET", "/", model="a</script><script>alert(1)")
    policy = answer.headers["content-security-policy"]
    assert answer.status_code == 200 and answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in policy and "unsafe" not in policy and policy.count("'sha256-") == 2
    assert not re.findall(r"https?://|[\"'(]//|@import", answer.text)
    assert "alert(1)" in answer.text and "</script><script>alert" not in answer.text
    assert all(colour in answer.text for colour in Taxonomy.load().colours)


def test_what_the_model_sees_is_returned_or_refused() -> None:
    """784 grey levels for a file; a sentence and 400 for what is no image or too large."""
    answer = answered("POST", "/ui/fitted", picture())
    assert answer.json()["pixels"] == fit_file(picture()).ravel().tolist()
    for body, message in ((b"", "no readable image"), (bytes(MAX_IMAGE_BYTES + 2**20), "at most 20 MB")):
        refusal = answered("POST", "/ui/fitted", body)
        assert refusal.status_code == 400 and message in refusal.json()["error"]


def test_few_pictures_are_fitted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many visitors wait for each other: what large pictures take is bounded, and each gets its answer."""
    running, most, lock = 0, 0, threading.Lock()

    def counted(encoded: bytes) -> np.ndarray:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        try:
            return fit_file(encoded)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(page, "fit_file", counted)

    async def ask_together() -> list[httpx.Response]:
        transport = httpx.ASGITransport(Starlette(routes=routes(lambda: ["fashion"])))
        async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
            return await asyncio.gather(*(client.post("/ui/fitted", content=picture((1000, 1000))) for _ in range(8)))

    assert [answer.status_code for answer in asyncio.run(ask_together())] == [200] * 8
    assert most == page.MAX_CONCURRENT_IMAGES

"""The routes of the page without a server: the page as one file with its security policy, and the fitted image."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import re
import threading

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette

from models.taxonomy import Taxonomy
from pipeline.contract.image_limits import MAX_IMAGE_BYTES
from serving.embedded import page
from serving.embedded.page import routes
from serving.images.fitting import fit_file


def picture(size: tuple[int, int] = (60, 40)) -> bytes:
    """A coloured picture as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 200, (*size, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def answered(method: str, path: str, body: bytes = b"", *models: str) -> httpx.Response:
    """The answer of the page's routes alone."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(Starlette(routes=routes(lambda: models or ("fashion",))))
        async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
            return await client.request(method, path, content=body)

    return asyncio.run(send())


def test_the_page_is_self_contained() -> None:
    """One file without any group, no other host, only its own script, and no model name can escape its element."""
    answer = answered("GET", "/", b"", "a</script><script>alert(1)")
    policy = answer.headers["content-security-policy"]
    assert answer.status_code == 200 and answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in policy and "unsafe" not in policy and policy.count("'sha256-") == 2
    assert not re.findall(r"https?://|[\"'(]//|@import", answer.text)
    assert "alert(1)" in answer.text and "</script><script>alert" not in answer.text
    assert not any(name in answer.text for name in (*Taxonomy.load().groups, *Taxonomy.load().colours[1:]))


def test_the_page_knows_the_models_in_order_and_the_limits() -> None:
    """The first model is selected; the page refuses a larger file before it sends it."""
    page = answered("GET", "/", b"", "shoes", "bags")
    found = re.search(r'<script type="application/json" id="config">(.*?)</script>', page.text)
    assert found is not None
    assert json.loads(found[1]) == {"models": ["shoes", "bags"], "maxBytes": MAX_IMAGE_BYTES, "side": 28}
    assert '"fashion"' not in page.text and "fashion" in answered("GET", "/").text


def test_no_answer_of_the_page_is_kept_or_sent_on() -> None:
    """A new page is shown at once; the policy allows the page's own style and script, by their digest."""
    page, fitted, refused = (
        answered("GET", "/"),
        answered("POST", "/ui/fitted", picture()),
        answered("POST", "/ui/fitted"),
    )
    for answer in (page, fitted, refused):
        assert answer.headers["cache-control"] == "no-cache" and answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    for kind in ("style", "script"):
        (text,) = re.findall(rf"<{kind}>(.*?)</{kind}>", page.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert policy[f"{kind}-src"] == f"'sha256-{digest}'"
    assert (policy["connect-src"], policy["frame-ancestors"], policy["img-src"]) == ("'self'", "'none'", "blob: data:")
    assert answered("GET", "/ui/fitted").status_code == answered("POST", "/").status_code == 405


def test_the_fitted_image_is_returned_or_refused() -> None:
    """784 grey levels for an image; 400 with a reason for other files and too large ones."""
    answer = answered("POST", "/ui/fitted", picture())
    assert answer.json()["pixels"] == fit_file(picture()).ravel().tolist()
    for body, message in ((b"", "no readable image"), (bytes(MAX_IMAGE_BYTES + 2**20), "at most 20 MB")):
        refusal = answered("POST", "/ui/fitted", body)
        assert refusal.status_code == 400 and message in refusal.json()["error"]


def test_few_images_are_fitted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at a time, since each needs up to half a gigabyte: the others wait, and each gets its answer."""
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
    assert most == 2

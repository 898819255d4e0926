"""A web page to try the model in a browser, with the one route that it needs beside the REST interface.

| path | answer |
| --- | --- |
| `GET /` | the page, one file that loads nothing from another host |
| `POST /ui/fitted` | the 28 x 28 grey levels that the model gets for the image file in the body |
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from pipeline.contract.image_limits import IMAGE_SIDE, MAX_IMAGE_BYTES
from serving.images.encoding import ImageError
from serving.images.fitting import fit_file

TEMPLATE: Final = Path(__file__).with_name("page.html")
MAX_CONCURRENT_IMAGES: Final = 2
"""Images that are fitted at the same time; the largest allowed one needs 400 to 500 MiB meanwhile."""
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def routes(models: Callable[[], Sequence[str]]) -> list[Route]:
    """Returns the routes of the page.

    Args:
        models: Returns the names of the served models; the page selects the first.
    """

    async def page(request: Request) -> Response:
        html, policy = _render(tuple(models()))
        return HTMLResponse(html, headers={**HEADERS, "Content-Security-Policy": policy})

    slots = asyncio.Semaphore(MAX_CONCURRENT_IMAGES)

    async def fitted(request: Request) -> Response:
        encoded = await _read_body(request)
        try:
            async with slots:
                pixels = await run_in_threadpool(fit_file, encoded)
        except ImageError as error:
            return JSONResponse({"error": error.one_line}, 400, HEADERS)
        return JSONResponse({"pixels": pixels.ravel().tolist()}, headers=HEADERS)

    return [Route("/", page), Route("/ui/fitted", fitted, methods=["POST"])]


async def _read_body(request: Request) -> bytes:
    """Reads a body up to the first chunk beyond the limit, which `fit_file` then reports."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_IMAGE_BYTES:
            break
    return bytes(body)


@lru_cache(maxsize=8)
def _render(models: tuple[str, ...]) -> tuple[str, str]:
    """Returns the page for these models, and a security policy that allows its own style and script only."""
    from jinja2 import Environment

    template = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    html = template.render(configuration={"models": models, "maxBytes": MAX_IMAGE_BYTES, "side": IMAGE_SIDE})
    style, script = (re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)[0] for tag in ("style", "script"))
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; img-src blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html, policy


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

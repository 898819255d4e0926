"""The page to try the model in a browser, and what it needs beside the REST interface.

| path | answer |
| --- | --- |
| `GET /` | the page, one file without anything from another host |
| `POST /ui/fitted` | the 28 x 28 grey levels that the model sees of the image file in the body |
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from models.taxonomy import Taxonomy
from pipeline.contract.limits import MAX_IMAGE_BYTES
from serving.images.encoding import ImageError
from serving.images.fitting import fit_file

PAGE: Final = Path(__file__).with_name("page.html")
MOST_AT_ONCE: Final = 2
"""Pictures that are fitted; the largest that is taken needs 400 to 500 MiB meanwhile."""
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def routes(models: Callable[[], Sequence[str]], taxonomy: Taxonomy | None = None) -> list[Route]:
    """Returns the routes of the page.

    Args:
        models: Gives the names of the models that are served, the one to begin with first.
        taxonomy: Names and colours of the answer's groups. Defaults to the five groups of the shop.
    """
    taxonomy = taxonomy or Taxonomy.load()

    async def page(request: Request) -> Response:
        html, policy = _document(tuple(models()), taxonomy)
        return HTMLResponse(html, headers={**HEADERS, "Content-Security-Policy": policy})

    few = asyncio.Semaphore(MOST_AT_ONCE)

    async def fitted(request: Request) -> Response:
        encoded = await _body(request)
        try:
            async with few:
                pixels = await run_in_threadpool(fit_file, encoded)
        except ImageError as error:
            return JSONResponse({"error": error.one_line}, 400, HEADERS)
        return JSONResponse({"pixels": pixels.ravel().tolist()}, headers=HEADERS)

    return [Route("/", page), Route("/ui/fitted", fitted, methods=["POST"])]


async def _body(request: Request) -> bytes:
    """Reads no more of a body than the limit, and lets `fit_file` say that there is more."""
    read = bytearray()
    async for chunk in request.stream():
        read += chunk
        if len(read) > MAX_IMAGE_BYTES:
            break
    return bytes(read)


@lru_cache(maxsize=8)
def _document(models: tuple[str, ...], taxonomy: Taxonomy) -> tuple[str, str]:
    """The page for these models, and the policy that lets the browser run what it holds and nothing else."""
    source = PAGE.read_text(encoding="utf-8")
    style, script = (re.findall(rf"<{tag}>(.*?)</{tag}>", source, re.DOTALL)[0] for tag in ("style", "script"))
    # A name could close the element that holds it, if "<" were left as it is.
    config = json.dumps(_config(models, taxonomy)).replace("<", "\\u003c")
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; img-src blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return source.replace(">CONFIG<", f">{config}<", 1), policy


def _config(models: tuple[str, ...], taxonomy: Taxonomy) -> dict[str, object]:
    return {
        "models": models,
        "groups": [
            {"name": name, "colour": colour} for name, colour in zip(taxonomy.groups, taxonomy.colours, strict=True)
        ],
        "garments": [
            {"name": name, "group": group} for name, group in zip(taxonomy.garments, taxonomy.group_of, strict=True)
        ],
    }


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

"""A headless Chromium in which a test opens a page, with the page's errors and requests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from playwright.sync_api import Page, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
]


@dataclass
class Opened:
    """A page, the errors of its console, and the addresses that it requested."""

    page: Page
    errors: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)

    def draw_everything(self) -> None:
        """Waits until every figure is drawn, also those outside the window."""
        self.page.evaluate("() => document.querySelectorAll('.plot').forEach(draw)")
        self.page.wait_for_function("() => [...document.querySelectorAll('.plot')].every(p => p.dataset.drawn)")


@contextmanager
def opened(file: Path, width: int = 1440, scheme: Literal["light", "dark"] = "light") -> Iterator[Opened]:
    """Opens a local file."""
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        view = Opened(page)
        page.on("console", lambda message: view.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: view.errors.append(str(error)))
        page.on("request", lambda request: view.addresses.append(request.url))
        page.goto(file.resolve().as_uri())
        try:
            yield view
        finally:
            browser.close()

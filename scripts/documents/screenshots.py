"""Screenshots of a page's blocks with a headless Chromium, for the documents that show them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WIDTH = 900
TIME_OUT = 180_000
"""Milliseconds until a step in the browser fails."""
HIDE_CAPTIONS = "figcaption, nav { display: none !important } .columns { display: block !important }"
IS_DRAWN = "name => [...document.querySelectorAll(`#${name} .plot`)].every(plot => plot.dataset.drawn)"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def save_screenshots(page: Path, files: Mapping[str, Path], style: str = "") -> None:
    """Writes a PNG of each named block of the page, in light colours and without its caption.

    Args:
        page: The HTML page.
        files: The PNG file of each block, by the block's name.
        style: CSS for the screenshots alone. Defaults to none.
    """
    with open_page(page, WIDTH) as tab:
        tab.add_style_tag(content=HIDE_CAPTIONS + style)
        for name, file in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            tab.locator(f"#{name}").scroll_into_view_if_needed()
            tab.wait_for_function(IS_DRAWN, arg=name)
            tab.locator(f"#{name}").screenshot(path=file, animations="disabled")


def remove_others(directory: Path, names: set[str]) -> None:
    """Removes the PNG files of a directory whose names are not among the given ones."""
    for file in directory.glob("*.png"):
        if file.name not in names:
            file.unlink()


@contextmanager
def open_page(page: Path, width: int, dark: bool = False, scale: int = 1) -> Iterator[Any]:
    """Opens the page in a headless Chromium; `scale` is the number of device pixels for each pixel of the page."""
    with browser_tab(width, dark, scale) as tab:
        tab.goto(page.resolve().as_uri())
        yield tab


@contextmanager
def browser_tab(width: int, dark: bool = False, scale: int = 1) -> Iterator[Any]:
    """Starts a headless Chromium with an empty tab."""
    from playwright.sync_api import sync_playwright

    browser_path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        scheme = "dark" if dark else "light"
        view = {"width": width, "height": 900}
        tab = browser.new_page(viewport=view, color_scheme=scheme, device_scale_factor=scale)
        tab.set_default_timeout(TIME_OUT)
        try:
            yield tab
        finally:
            browser.close()

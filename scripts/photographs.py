"""Photographs of a page's blocks in a headless Chromium, for the documents that show them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WIDTH = 900
BARE = "figcaption, nav { display: none !important } .columns { display: block !important }"
DRAWN = "name => [...document.querySelectorAll(`#${name} .plot`)].every(plot => plot.dataset.drawn)"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def photograph(page: Path, files: Mapping[str, Path]) -> None:
    """Writes a PNG of each named block of the page, as it looks by day and without its caption.

    Args:
        page: The page.
        files: Where each block's picture goes, by the block's name.
    """
    with opened(page, WIDTH) as shown:
        shown.add_style_tag(content=BARE)
        for name, file in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            shown.locator(f"#{name}").scroll_into_view_if_needed()
            shown.wait_for_function(DRAWN, arg=name)
            shown.locator(f"#{name}").screenshot(path=file, animations="disabled")


def remove_others(directory: Path, kept: set[str]) -> None:
    """Removes the pictures of a directory that are not among those kept, by their names."""
    for file in directory.glob("*.png"):
        if file.name not in kept:
            file.unlink()


@contextmanager
def opened(page: Path, width: int, dark: bool = False) -> Iterator[Any]:
    """Opens the page in a headless Chromium."""
    from playwright.sync_api import sync_playwright

    browser_path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
        shown.goto(page.resolve().as_uri())
        try:
            yield shown
        finally:
            browser.close()

"""Draws plotly figures and HTML fragments as PNG files with a headless Chromium, on white.

A picture's PNG holds the digest of what it shows. So a test without a browser notices a picture that is out of date,
and only changed pictures are drawn again.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.documents.screenshots import open_page

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from analysis.pages.section import Images

SCALE = 2
"""Pixels of the PNG for each pixel of the figure's layout, for sharp text on fine screens."""
WIDTH = 900
COLOURS = 256
"""Colours of a PNG; by maximum coverage, the few pixels of a legend keep theirs."""
DIGITS = 6
KEY = "content"
"""The name of the PNG's text chunk that holds the digest."""

GALLERY_STYLE = """
body { margin: 0; background: white; font-family: 'Liberation Sans', Arial, sans-serif; color: #1f2328 }
#picture { display: grid; gap: 18px 8px; padding: 8px; box-sizing: border-box }
figure { margin: 0; font-size: 14px; line-height: 1.3; text-align: center }
img { image-rendering: pixelated; width: 128px; display: block; margin: 0 auto 5px; border-radius: 4px }
b { font-weight: 600 }
"""


@dataclass(frozen=True)
class Card:
    """An image of a gallery with the lines of text below it; the first line is bold."""

    image: Images
    lines: tuple[str, ...]


@dataclass(frozen=True)
class CardGallery:
    """Images in a grid, each with a few words.

    Attributes:
        cards: Row by row.
        columns: Cards in a row.
        width: Of the picture, in pixels.
    """

    cards: tuple[Card, ...]
    columns: int = 5
    width: int = 800

    def html(self) -> str:
        """Returns the gallery as a page."""
        from html import escape

        from analysis.evaluation.report import png_data_uri

        cells = "".join(
            f'<figure><img src="{png_data_uri(card.image)}"><b>{escape(card.lines[0])}</b>'
            + "".join(f"<br>{escape(line)}" for line in card.lines[1:])
            + "</figure>"
            for card in self.cards
        )
        grid = f"width: {self.width}px; grid-template-columns: repeat({self.columns}, 1fr)"
        return f'<style>{GALLERY_STYLE}</style><div id="picture" style="{grid}">{cells}</div>'


def draw(pictures: Mapping[Path, go.Figure | CardGallery]) -> list[Path]:
    """Draws the pictures whose files are missing or out of date, and returns these files.

    Args:
        pictures: What to draw, by its PNG file. A figure has the width and height of its layout.
    """
    missing = {file: picture for file, picture in pictures.items() if digest_in(file) != content_digest(picture)}
    if missing:
        with tempfile.TemporaryDirectory() as directory:
            blank = Path(directory) / "blank.html"
            blank.write_text("<!doctype html><meta charset=utf-8><body></body>", encoding="utf-8")
            with open_page(blank, WIDTH, scale=SCALE) as tab:
                for file, picture in missing.items():
                    _draw(tab, picture, file)
    return list(missing)


def content_digest(picture: go.Figure | CardGallery) -> str:
    """Returns the digest of what a picture shows; the last digits of numbers may differ between machines."""
    content = picture.html() if isinstance(picture, CardGallery) else _rounded(json.loads(picture.to_json()))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def digest_in(file: Path) -> str | None:
    """Returns the digest that a drawn PNG holds; None where there is no such file."""
    from PIL import Image

    if not file.exists():
        return None
    with Image.open(file) as image:
        return image.info.get(KEY)


def _draw(tab: Any, picture: go.Figure | CardGallery, file: Path) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    if isinstance(picture, CardGallery):
        tab.set_content(picture.html())
    else:
        from plotly.offline import get_plotlyjs

        tab.set_content("<style>body { margin: 0; background: white }</style><div id=picture></div>")
        tab.add_script_tag(content=get_plotlyjs())
        layout = picture.layout
        tab.evaluate(f"document.getElementById('picture').style = 'width: {layout.width}px; height: {layout.height}px'")
        tab.evaluate(
            "figure => Plotly.newPlot('picture', figure.data, figure.layout, {staticPlot: true})",
            json.loads(picture.to_json()),
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    tab.locator("#picture").screenshot(path=file, animations="disabled")
    with Image.open(file) as drawn:
        few = drawn.convert("RGB").quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    content = PngInfo()
    content.add_text(KEY, content_digest(picture))
    few.save(file, optimize=True, pnginfo=content)


def _rounded(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _rounded(value) for name, value in content.items() if name != "template"}
    if isinstance(content, list):
        return [_rounded(value) for value in content]
    return f"{content:.{DIGITS}g}" if isinstance(content, float) else content

"""The page in a real browser: figures are drawn, points show their images, light and dark, wide and narrow."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.pages.figure_style import figure, matrix
from analysis.pages.page import as_text, write_page
from analysis.pages.section import Gallery, Listing, Picture, Row, Section
from tests.analysis.exploration.browser import opened

POINT_POSITION = """([x, y]) => {
    const plot = document.getElementById("plot-points"), layout = plot._fullLayout, box = plot.getBoundingClientRect();
    return [box.left + layout._size.l + layout.xaxis.d2p(x), box.top + layout._size.t + layout.yaxis.d2p(y)];
}"""
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 28, 28), np.uint8)


def sections() -> list[Section]:
    """Two sections with a block of every kind."""
    points = figure("first direction", "second direction")
    points.add_scattergl(x=[0, 1, 2], y=[0, 1, 0], mode="markers", customdata=[2, 1, 0], marker={"size": 30})
    shares = matrix([[1.0, 0.0], [0.1, 0.9]], ["Coat", "Bag"])
    bars = figure("images", "garment")
    bars.add_bar(x=[3, 5], y=["T-shirt/top", "Coat"], orientation="h")
    table = pd.DataFrame({"garment": ["Coat", "<b>Bag</b>"], "share": [0.123456, -2.0], "images": [12345, 7]})
    first = Section(
        "first",
        "First",
        "The **mean** is 3.",
        "So we do it.",
        [
            Picture("points", points, "Points that are images.", thumbnails=IMAGES[:3]),
            Listing("table", table, "A table."),
            Picture("shares", shares, "Shares."),
        ],
    )
    rows = [Row("Upper part", IMAGES, colour="#0072B2"), Row("Bags", IMAGES[:2], ["sure", "unsure"])]
    gallery = Gallery("images", rows, "Images.")
    return [
        first,
        Section("second", "Second </script>", "More.", "So we stop.", [gallery, Picture("bars", bars, "Bars.")]),
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as a file."""
    file = tmp_path_factory.mktemp("page") / "exploration.html"
    file.write_text(write_page(sections(), ["**One** thing."], "12 images"), encoding="utf-8")
    return file


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_page_opens_without_errors_and_without_network(page: Path, width: int, scheme: str) -> None:
    """Every figure is drawn, nothing is requested but the page, nothing is wider than the window."""
    with opened(page, width, "dark" if scheme == "dark" else "light") as browser_page:
        browser_page.draw_everything()
        assert browser_page.errors == []
        assert [a for a in browser_page.addresses if not a.startswith(("data:", "blob:"))] == [page.resolve().as_uri()]
        assert browser_page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        widths = browser_page.page.eval_on_selector_all(
            ".plot", "all => all.map(p => [p.clientWidth, p.querySelector('svg').clientWidth])"
        )
        assert all(available == drawn > 300 for available, drawn in widths)


def test_point_under_the_pointer_shows_its_image(page: Path) -> None:
    """The number in `customdata` decides which image is shown beside the pointer."""
    with opened(page) as browser_page:
        browser_page.draw_everything()
        x, y = browser_page.page.evaluate(POINT_POSITION, [1, 1])
        browser_page.page.mouse.move(x, y)
        thumbnail = browser_page.page.locator("#touched .thumb")
        thumbnail.wait_for(state="visible")
        # The middle point has the number 1, whose image was the second that the sprite got.
        assert thumbnail.evaluate("e => e.style.backgroundPosition") == "-112px 0px"


def test_axes_follow_the_colour_scheme(page: Path) -> None:
    """A change from light to dark changes the colour of the figures' text without a reload."""
    colour = "document.querySelector('#plot-bars .xtick text').style.fill"
    with opened(page) as browser_page:
        browser_page.draw_everything()
        day = browser_page.page.evaluate(colour)
        browser_page.page.emulate_media(color_scheme="dark")
        browser_page.page.wait_for_function(f"{colour} !== '{day}'")


def test_text_in_transparent_cells_is_legible_in_the_dark(page: Path) -> None:
    """A nearly transparent cell of a heatmap has light text on the dark background, and dark text in the light."""
    fill = "[...document.querySelectorAll('#plot-shares .hm text')].map(t => t.style.fill)"
    with opened(page, scheme="dark") as browser_page:
        browser_page.draw_everything()
        assert browser_page.page.evaluate(fill) == ["rgb(232, 234, 237)"] * 4
        browser_page.page.emulate_media(color_scheme="light")
        browser_page.page.wait_for_function(f"new Set({fill}).size === 2")


def test_contents_lead_to_every_section(page: Path) -> None:
    """Each link of the contents has its section, in order."""
    with opened(page) as browser_page:
        links = browser_page.page.eval_on_selector_all("nav a", "all => all.map(a => a.hash.slice(1))")
        found = browser_page.page.eval_on_selector_all("main > section", "all => all.map(s => s.id)")
        assert links == found == ["short", "first", "second"]


def test_table_cells_are_text() -> None:
    """Numbers have few digits and a true minus; what looks like HTML stays text."""
    table = sections()[0].blocks[1]
    assert isinstance(table, Listing)
    assert as_text(table.table) == [["Coat", "0.1235", "12,345"], ["<b>Bag</b>", "−2", "7"]]


def test_names_from_the_data_cannot_write_html(page: Path) -> None:
    """A tag in a table or a title is shown as text."""
    text = page.read_text(encoding="utf-8")
    assert "<b>Bag</b>" not in text and "&lt;b&gt;Bag&lt;/b&gt;" in text and "Second &lt;/script&gt;" in text


def embedded(page: Path) -> dict[str, Any]:
    """Returns the figures that the page's script draws, by the name of their element."""
    text = page.read_text(encoding="utf-8")
    start = text.index('{"plot-points"')
    found, _ = json.JSONDecoder().raw_decode(text[start:])
    return dict(found)


def test_figures_have_their_height_and_the_cells_of_their_images(page: Path) -> None:
    """A figure without a height of its own gets the default one; its images have the first cells of the sheet."""
    figures, text = embedded(page), page.read_text(encoding="utf-8")
    assert list(figures) == ["plot-points", "plot-shares", "plot-bars"]
    assert [figures[name]["cells"] for name in figures] == [[0, 1, 2], None, None]
    assert figures["plot-bars"]["data"][0]["x"] == [3, 5]
    assert figures["plot-bars"]["layout"]["xaxis"]["title"]["text"] == "images"
    heights = re.findall(r'id="plot-(\w+)" style="height:(\d+)px"', text)
    assert heights == [("points", "420"), ("shares", "420"), ("bars", "420")]


def test_images_stand_in_their_rows_with_title_colour_and_note(page: Path) -> None:
    """The first three images are those of the figure, so the same image in a gallery has the same cell."""
    text = page.read_text(encoding="utf-8")
    rows = re.findall(r'<div class="strip"><b>(.*?)</b><div class="cells">(.*?)</div></div>', text)
    assert [title for title, _ in rows] == ['<i class="bar" style="background:#0072B2"></i>Upper part', "Bags"]
    cells = [
        re.findall(r"background-position:-(\d+)px -(\d+)px\"></span>(.*?)</div>", row + "</div>") for _, row in rows
    ]
    assert cells[0] == [(str(56 * number), "0", "") for number in range(12)]
    assert cells[1] == [("0", "0", "sure"), ("56", "0", "unsure")]


def test_findings_decisions_and_captions_stand_with_their_section(page: Path) -> None:
    """The main findings come first, then each section: finding, blocks in order, decision; numbers to the right."""
    text = page.read_text(encoding="utf-8")
    parts = ["<h1>What is in the data</h1>", '<p class="soft">12 images</p>', "<li><strong>One</strong> thing.</li>"]
    parts += ["<h2>First</h2>", "The <strong>mean</strong> is 3.", "Points that are images.", "A table.", "Shares."]
    parts += ["So we do it.", "<h2>Second", "More.", "Images.", "Bars.", "So we stop."]
    positions = [text.index(part, text.index("<body>")) for part in parts]
    assert positions == sorted(positions)
    assert '<th>garment</th><th class="n">share</th><th class="n">images</th>' in text
    assert '<td>Coat</td><td class="n">0.1235</td><td class="n">12,345</td>' in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(float("nan"), "–"), (0.0, "0"), (1.0, "1"), (1234.5678, "1235"), (-0.00012345, "−0.0001234"), (True, "True")],
)
def test_a_cell_is_text_of_few_digits(value: object, text: str) -> None:
    """Four significant digits, separators in whole numbers, a dash for what is not defined."""
    assert as_text(pd.DataFrame({"a": pd.Series([value], dtype=object)})) == [[text]]


def test_a_matrix_has_its_rows_down_and_shares_in_its_cells() -> None:
    """The first row is on top, the values are as given, and many names make it taller."""
    drawn = matrix([[1.0, 0.0], [0.1, 0.9]], ["Coat", "Bag"])
    (cells,) = drawn.data
    assert [list(row) for row in cells.z] == [[1.0, 0.0], [0.1, 0.9]]
    assert list(cells.x) == list(cells.y) == ["Coat", "Bag"] and cells.texttemplate == "%{z:.0%}"
    assert drawn.layout.yaxis.autorange == "reversed" and drawn.layout.xaxis.autorange is None
    assert matrix([[0.0] * 20] * 20, [str(i) for i in range(20)]).layout.height == 880


def test_axes_have_the_titles_that_are_given() -> None:
    """The first title is that of the horizontal axis."""
    drawn = figure("images", "error, %", height=300)
    assert (drawn.layout.xaxis.title.text, drawn.layout.yaxis.title.text) == ("images", "error, %")
    assert (drawn.layout.height, figure().layout.height) == (300, 420)

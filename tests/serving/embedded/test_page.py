"""The page in a real browser with a real server: all ways to enter an image, the answers and the errors."""

from __future__ import annotations

import base64
import http.client
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from models.taxonomy import Taxonomy
from pipeline.contract.image_limits import MAX_IMAGE_BYTES
from serving.engines.server_process import ServerProcess
from serving.images.fitting import fit_file
from serving.versions import push
from tests.serving.embedded.conftest import Start
from tests.serving.exports import TWO_GROUPS, export_small, without_signature

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
SAMPLES = ("Shirt", "Trousers", "Dress", "Boot", "Bag", "Mug")
PASS_A_FILE = """([name, type, data, kind]) => {
    const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, { type }));
    document.body.dispatchEvent(kind === "drop"
        ? new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true })
        : new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true }));
}"""
SEEN = "() => [...document.getElementById('fitted').getContext('2d').getImageData(0, 0, 28, 28).data]"

Open = Callable[..., Page]

expect.set_options(timeout=300_000)  # Playwright's five seconds are too few on a busy machine


def picture(kind: str = "PNG") -> bytes:
    """A dark T on white, 120 x 160."""
    pixels = np.full((160, 120, 3), 255, np.uint8)
    pixels[20:50, 20:100] = pixels[50:140, 45:75] = (90, 40, 120)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def post(server: ServerProcess, path: str, body: bytes | str) -> tuple[int, Any]:
    """Returns the status and the document of an answer."""
    url = urlsplit(server.rest_url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=60)
    try:
        connection.request("POST", path, body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def predicted(server: ServerProcess, file: bytes) -> dict[str, Any]:
    """What the server answers about a file."""
    instances = [{"b64": base64.b64encode(file).decode()}]
    body = json.dumps({"signature_name": "serving_bytes", "instances": instances})
    status, document = post(server, "/v1/models/fashion:predict", body)
    assert status == 200, document
    answer: dict[str, Any] = document["predictions"][0]
    return answer


def headline(answer: dict[str, Any]) -> str:
    """What the page is to say first."""
    groups = [group for group, chosen in zip(Taxonomy.load().groups, answer["prediction_set"], strict=True) if chosen]
    if not answer["abstain"]:
        return f"{answer['group']}, {100 * answer['confidence']:.1f}%"
    names = " or ".join([", ".join(groups[:-1]), groups[-1]] if len(groups) > 1 else groups)
    return "The model does not decide" + (f": {names}" if names else "")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, which `make browser` provides."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, server: ServerProcess) -> Iterator[Open]:
    """Opens the page; an error of the browser or a request to another host fails the test."""
    contexts, problems = [], []

    def open_page(of: ServerProcess = server, width: int = 1440, scheme: Any = "light", allow: str = "$^") -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda message: (
                problems.append(message.text)
                if message.type in ("error", "warning") and not re.search(allow, message.text)
                else None
            ),
        )
        page.on(
            "request",
            lambda sent: None if sent.url.startswith((of.rest_url, "blob:", "data:")) else problems.append(sent.url),
        )
        page.goto(of.rest_url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_every_sample_is_answered_at_every_width(visit: Open, width: int, scheme: str) -> None:
    """All drawings get an answer that fits the window, in the light and the dark colour scheme."""
    page = visit(width=width, scheme=scheme)
    expect(page.get_by_role("status").first).to_have_text("fashion: version 1, ready")
    for name in SAMPLES:
        page.get_by_role("button", name=name).click()
        expect(page.locator("#seen")).to_have_text("What the model saw: 28 × 28 pixels")
        expect(page.locator("#headline")).not_to_be_empty()
        expect(page.locator("#error")).to_be_hidden()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(page.locator("#groups tr")).to_have_count(5)


@pytest.mark.parametrize("way", ["file", "drop", "paste"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_page_shows_the_servers_answer(visit: Open, server: ServerProcess, way: str, kind: str) -> None:
    """For every way to enter a file, group, set, probabilities and the model's view are those of the server."""
    file, page = picture(kind), visit()
    if way == "file":
        page.locator("#file").set_input_files({"name": "shirt.bin", "mimeType": "image/x", "buffer": file})
    else:
        page.evaluate(PASS_A_FILE, ["shirt.bin", "image/x", base64.b64encode(file).decode(), way])
    answer = predicted(server, file)
    expect(page.locator("#headline")).to_have_text(headline(answer))
    expect(page.locator("#name")).to_have_text("shirt.bin")
    expect(page.locator("#facts")).to_contain_text(re.compile(r"fashion.*, answered in \d+ ms\."))
    percentages = page.locator("#groups td.n").all_text_contents()
    assert percentages == [f"{100 * p:.1f}%" for p in answer["group_probabilities"]]
    marks = page.locator("#groups .mark").all_text_contents()
    assert [mark == "possible" for mark in marks] == answer["prediction_set"]
    assert page.locator("#groups th").all_text_contents() == list(Taxonomy.load().groups)
    expect(page.locator("#seen")).to_have_text("What the model saw: 28 × 28 pixels")
    assert page.evaluate(SEEN)[::4] == fit_file(file).ravel().tolist()


def shown(page: Page, table: str) -> list[tuple[str, str]]:
    """The names in a table of the page, each with the colour of its bar."""
    read = "all => all.map(row => [row.cells[0].textContent, getComputedStyle(row.querySelector('i')).backgroundColor])"
    return [(name, colour) for name, colour in page.locator(f"#{table} tr").evaluate_all(read)]


def css(colour: str) -> str:
    """A hex colour as the browser computes it."""
    return f"rgb({', '.join(str(int(colour[start : start + 2], 16)) for start in (1, 3, 5))})"


def test_names_and_colours_are_those_of_the_model(visit: Open, start: Start, tmp_path: Path) -> None:
    """A model with other groups shows its own names, in its order; one that does not tell them shows numbers."""
    model = export_small(tmp_path / "model", taxonomy=TWO_GROUPS)
    push(model.saved_model, tmp_path / "fashion")
    running = start(tmp_path / "fashion")
    page = visit(running, allow="400|ERR_CONNECTION_REFUSED")
    page.locator("#file").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": picture()})
    expect(page.locator("#groups tr")).to_have_count(2)
    assert shown(page, "groups") == list(zip(TWO_GROUPS.groups, map(css, TWO_GROUPS.colours), strict=True))
    colours = [css(TWO_GROUPS.colours[group]) for group in TWO_GROUPS.group_of]
    assert shown(page, "garments") == list(zip(TWO_GROUPS.garments, colours, strict=True))

    push(without_signature(model, "taxonomy", tmp_path / "older").saved_model, tmp_path / "fashion")
    expect(page.locator("#notice")).to_have_text("Version 2 has taken over from version 1.")
    page.locator("#file").set_input_files({"name": "b.png", "mimeType": "image/png", "buffer": picture()})
    expect(page.locator("#facts")).to_contain_text("version 2")
    answer = predicted(running, picture())
    names = ["Group 0", "Group 1"]
    names[TWO_GROUPS.groups.index(answer["group"])] = answer["group"]
    assert [name for name, _ in shown(page, "groups")] == names


def test_a_picture_in_another_format_is_converted(visit: Open) -> None:
    """WebP, which the model does not read, reaches it as PNG."""
    page = visit()
    page.locator("#file").set_input_files({"name": "shirt.webp", "mimeType": "image/webp", "buffer": picture("WEBP")})
    expect(page.locator("#name")).to_have_text("shirt.png")
    expect(page.locator("#headline")).not_to_be_empty()


def test_the_command_does_the_same(visit: Open, server: ServerProcess, tmp_path: Path) -> None:
    """The shell command prints the answer that the page shows, for any file name."""
    name, page = 'it\'s a "shirt" $HOME.png', visit()
    (tmp_path / name).write_bytes(picture())
    page.locator("#file").set_input_files(str(tmp_path / name))
    expect(page.locator("#headline")).not_to_be_empty()
    command = page.locator("#curl").text_content() or ""
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, check=True, timeout=600)
    assert json.loads(done.stdout)["predictions"] == [predicted(server, picture())]


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"<html>", "notes.txt cannot be read as an image. Expected: PNG, JPEG, GIF or BMP."),
        (picture()[:16] + b"\x00\x00\xff\xff" * 2 + picture()[24:], "An image of 65535 x 65535 pixels is too large."),
        (b"BM" + bytes(MAX_IMAGE_BYTES), "The file is too large. Expected: at most 20 MB. Received: 20.0 MB."),
    ],
    ids=["text", "vast", "large"],
)
def test_a_refused_file_is_explained(visit: Open, file: bytes, message: str) -> None:
    """The error of a file has no text of TensorFlow's around it, and the next image is classified again."""
    page = visit(allow="400")
    page.locator("#file").set_input_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": file})
    expect(page.get_by_role("alert")).to_contain_text(message)
    expect(page.get_by_role("alert")).not_to_contain_text("[")
    page.get_by_role("button", name="Bag").click()
    expect(page.locator("#headline")).not_to_be_empty()
    expect(page.locator("#error")).to_be_hidden()


def test_the_page_works_with_the_keyboard(visit: Open) -> None:
    """Tab reaches the file chooser and the samples, Enter picks one, and the answer is announced."""
    page = visit()
    page.keyboard.press("Tab")
    expect(page.locator("#file")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Shirt")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#answer[role=status] #headline")).not_to_be_empty()
    page.get_by_text("The garments behind it").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#garments tr")).to_have_count(10)
    assert all(label.strip() for label in page.locator("button, summary, th").all_text_contents())


def test_the_page_notices_a_new_version_and_a_stopped_server(
    visit: Open, start: Start, small: Path, other: Path, tmp_path: Path
) -> None:
    """The page reports when another version has taken over, and when the server is gone."""
    push(small, tmp_path / "fashion")
    running = start(tmp_path / "fashion")
    page = visit(running, allow="ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET")
    expect(page.locator("#status")).to_have_text("fashion: version 1, ready")
    push(other, tmp_path / "fashion")
    expect(page.locator("#notice")).to_have_text("Version 2 has taken over from version 1.")
    expect(page.locator("#status")).to_contain_text("version 2, ready")
    running.stop()
    expect(page.locator("#status")).to_contain_text("The server does not answer.")
    page.get_by_role("button", name="Bag").click()
    expect(page.get_by_role("alert")).to_have_text("The server does not answer. Is it still running?")


def test_the_page_can_be_turned_off(start: Start, base: Path) -> None:
    """With --ui=false the server has no page."""
    running = start(base, "--ui=false")
    assert urlsplit(running.rest_url).hostname == "127.0.0.1"
    url = urlsplit(running.rest_url)
    for path in ("/", "/ui/fitted"):
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=60)
        connection.request("GET", path)
        assert connection.getresponse().status == 404
        connection.close()

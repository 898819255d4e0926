"""The documentation site: complete, without broken links, and without any other host."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.documents import site
from scripts.documents.parsing import links

HOME = '<html><head><link rel="stylesheet" href="a.css"></head><body><h1 id="top">Home</h1>{body}</body></html>'


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a broken link fails here."""
    if not site.MERMAID.exists() and shutil.which("npm") is None:
        pytest.skip("needs npm once, for Mermaid's script")
    return site.build(tmp_path_factory.mktemp("site"))


@pytest.fixture
def address(built: Path) -> Iterator[str]:
    """The address of the site's server."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(built))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.slow
def test_every_document_and_every_public_module_has_a_page(built: Path) -> None:
    """Documents, source files that documents link to, and the API reference are there; templates are not."""
    pages = {str(page.relative_to(built)) for page in built.rglob("*.html")}
    assert {"index.html", "contributing.html", "deployment.html", "decisions/index.html"} <= pages
    assert {"source/pipeline/definition.py.html", "api/models/taxonomy.html", "api/components/trainer.html"} <= pages
    assert not [page for page in pages if "templates" in page]
    assert 'id="models.taxonomy.Taxonomy.members"' in (built / "api/models/taxonomy.html").read_text(encoding="utf-8")
    assert "Number of epochs" in (built / "api/components/trainer.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_search_index_has_the_text_of_documents_and_docstrings(built: Path) -> None:
    """The search finds a word of the runbook and a class of the code."""
    index = json.dumps(json.loads((built / "search.json").read_text(encoding="utf-8")))
    assert "runbook.html" in index
    assert "TaxonomyError" in index


@pytest.mark.slow
def test_pages_need_no_other_host_in_a_browser(built: Path, address: str) -> None:
    """A page with a diagram draws it from a local script, the search answers, and nothing else is requested."""
    from playwright.sync_api import sync_playwright

    from tests.analysis.exploration.browser import BROWSERS, FLAGS

    with sync_playwright() as playwright:
        installed = next(filter(None, map(shutil.which, BROWSERS)), None)
        browser = playwright.chromium.launch(executable_path=installed, args=FLAGS)
        page = browser.new_page()
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"{address}/architecture.html")
        diagram = page.locator("div.mermaid")
        diagram.wait_for()
        box = diagram.bounding_box()
        assert box is not None
        assert box["height"] > 100
        page.keyboard.press("Control+k")
        page.keyboard.type("taxonomy")
        page.locator("a[href*='taxonomy']:visible").first.wait_for()
        browser.close()
    assert requests
    assert [url for url in requests if not url.startswith((address, "data:", "blob:"))] == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="missing.html">x</a>', "the link missing.html leads nowhere"),
        ('<a href="#nowhere">x</a>', "the link #nowhere has no such anchor"),
        ('<a href="index.html#nowhere">x</a>', "the link index.html#nowhere has no such anchor"),
        ('<img src="missing.png">', "the link missing.png leads nowhere"),
        ('<img src="https://elsewhere.example/x.png">', "https://elsewhere.example/x.png is on another host"),
        ('<script src="//elsewhere.example/x.js"></script>', "//elsewhere.example/x.js is on another host"),
    ],
)
def test_the_check_names_what_is_broken(tmp_path: Path, body: str, problem: str) -> None:
    """A broken link or anchor, or a resource on another host, is named with its page."""
    (tmp_path / "a.css").touch()
    (tmp_path / "index.html").write_text(HOME.format(body=body), encoding="utf-8")
    assert site.check(tmp_path) == [f"index.html: {problem}"]


def test_the_check_accepts_what_is_there(tmp_path: Path) -> None:
    """Links to other hosts, to anchors and to pages are no problem."""
    (tmp_path / "a.css").touch()
    body = '<a href="https://elsewhere.example/">x</a><a href="#top">x</a><a href="index.html#top">x</a>'
    (tmp_path / "index.html").write_text(HOME.format(body=body), encoding="utf-8")
    assert site.check(tmp_path) == []


def test_a_link_of_a_document_to_a_missing_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the document and the link."""
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "page.md"
    page.write_text("[x](../pipeline/missing.py)\n", encoding="utf-8")
    monkeypatch.setattr(site, "ROOT", tmp_path)
    monkeypatch.setattr(site, "DOCS", tmp_path / "docs")
    monkeypatch.setattr(site, "documents", lambda: [page])
    with pytest.raises(site.SiteError, match=r"docs/page.md:1: the link ../pipeline/missing.py leads nowhere"):
        site.stage()


def test_every_document_is_in_the_navigation_and_on_the_map() -> None:
    """A new page of `docs/` needs an entry in both; pages of folders are found by themselves."""
    pages = {page.name for page in site.DOCS.glob("*.md")} - {"README.md"}
    named = json.dumps(site.NAVIGATION)
    on_map = {link.target for link in links((site.DOCS / "README.md").read_text(encoding="utf-8"))}
    assert {page for page in pages if f'"{page}"' not in named} == set()
    assert pages - on_map == set()


def test_headings_lists_and_tables_suit_the_generator() -> None:
    """Headings get the anchors of a Git host; lists and tables get blank lines; nested lists are indented by four."""
    text = "# A `b` / c\ntext\n- one\n  - two\n- three\n\n```\ntext\n- code\n```\ntext\n| a |\n| --- |\n"
    assert site.python_markdown(text) == (
        "# A `b` / c { #a-b--c }\ntext\n\n- one\n    - two\n- three\n\n```\ntext\n- code\n```\ntext\n\n| a |\n| --- |\n"
    )

"""Builds the documentation site from README, CONTRIBUTING, CHANGELOG, `docs/` and the docstrings: `make site`.

The generator, Zensical, reads one folder. So the documents are copied into `build/site/source/`, where links to files
of the repository lead to pages that show the file, and the API reference is added. Afterwards every link, anchor and
reference of the built pages is checked: a broken link, or a script, style or image on another host, is an error.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import os
import posixpath
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from scripts.documents.api_reference import PACKAGES, api_pages, page_of
from scripts.documents.parsing import DOCS, ROOT, documents, headings, links, mask_code
from scripts.documents.style import check_links

BUILD = ROOT / "build" / "site"
MERMAID = ROOT / "build" / "mermaid.min.js"
OUTSIDE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LANGUAGES = {".py": "python", ".toml": "toml", ".sql": "sql", ".sh": "bash", ".yml": "yaml", ".yaml": "yaml"}
LANGUAGES |= {".html": "html", ".json": "json", ".jsonl": "json", ".cfg": "ini", "Makefile": "makefile"}
NOT_SEARCHED = ["---", "search:", "  exclude: true", "---", ""]
# A larger file, such as a table of a million rows, is offered as a download and not shown.
SHOWN_BYTES = 100_000

OPERATION = ["runbook.md", "kpis.md", "delivery.md", "serving.md", "capacity.md", "security.md", "privacy.md"]
NAVIGATION: dict[str, Any] = {
    "Documents": "documents.md",
    "Guide": "guide.md",
    "Stories": ["exploration.md", "experiments.md", "deployment.md"],
    "Model": [
        "evaluation.md",
        "performance.md",
        "label_review.md",
        "labelling_policy.md",
        {"Experiments": "experiments/"},
    ],
    "Catalogue": ["catalogue_query.md", "catalogue_source.md"],
    "Operation": [*OPERATION, "tools.md", "conformance.md"],
    "Reference": [
        "cli.md",
        "parameters.md",
        "performance.md",
        "architecture.md",
        {"Decisions": "decisions/"},
        {"API": ["api/index.md"]},
    ],
    "Project": ["contributing.md", "changelog.md"],
}


class SiteError(Exception):
    """The site has a link that leads nowhere, or a reference to another host."""


def build(directory: Path = BUILD) -> Path:
    """Builds and checks the site, and returns the folder of its pages.

    Args:
        directory: Where `source/`, the generator's configuration and `html/` are written; what it holds is removed.

    Raises:
        SiteError: The generator reports a problem, a link leads nowhere, or a page needs another host.
    """
    shutil.rmtree(directory, ignore_errors=True)
    _write(stage(), directory)
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--clean", "--strict"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        output = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
        raise SiteError(output.partition("Traceback")[0])
    if problems := check(directory / "html"):
        raise SiteError("\n".join(problems))
    return directory / "html"


def stage() -> dict[str, str | Path]:
    """Returns the site's source: path to Markdown, or to the file of the repository that is copied.

    Raises:
        SiteError: A document links to a file or an anchor that does not exist.
    """
    found = [page for page in documents() if page.exists()]
    problems = [
        f"{page.relative_to(ROOT)}:{problem}"
        for page in found
        for problem in check_links(page.read_text(encoding="utf-8"), page)
    ]
    if problems:
        raise SiteError("\n".join(problems))
    targets = {str(page.relative_to(ROOT)): _target(page) for page in found}
    pages: dict[str, str | Path] = {}
    for page in found:
        pages[_target(page)] = _staged(page, targets, pages)
    return pages | api_pages()


def _target(page: Path) -> str:
    name = str(page.relative_to(ROOT))
    if name in OUTSIDE:
        return OUTSIDE[name]
    target = str(page.relative_to(DOCS))
    if target == "README.md":
        return "documents.md"
    return re.sub(r"(^|/)README\.md$", r"\1index.md", target)


def _staged(page: Path, targets: dict[str, str], pages: dict[str, str | Path]) -> str:
    """Returns a document for the site, and adds the files that it refers to."""
    text, here = page.read_text(encoding="utf-8"), posixpath.dirname(_target(page))
    replaced = []
    for link in links(text):
        if link.external or link.target.startswith("#"):
            continue
        path, _, anchor = link.target.partition("#")
        file = (page.parent / unquote(path)).resolve()
        target = _linked(str(file.relative_to(ROOT)), file, link.image, targets, pages)
        relative = posixpath.relpath(target, here or ".")
        replaced.append((link.start, link.target, f"{relative}#{anchor}" if anchor else relative))
    for start, old, new in reversed(replaced):
        text = text[:start] + new + text[start + len(old) :]
    return python_markdown(text)


def _linked(name: str, file: Path, image: bool, targets: dict[str, str], pages: dict[str, str | Path]) -> str:
    """Returns the path in the site of a file that a document refers to, and adds it where it is not there yet."""
    if name in targets:
        return targets[name]
    if file.is_dir() and f"{name}/README.md" in targets:
        return targets[f"{name}/README.md"]
    if file.is_dir():
        target = f"source/{name}/index.md"
        pages[target] = _folder_page(name)
    elif image or file.suffix in (".png", ".svg", ".jpg", ".html", ".ipynb") or file.stat().st_size > SHOWN_BYTES:
        target = name.removeprefix("docs/")
        pages[target] = file
    else:
        target = f"source/{name}.md"
        pages[target] = _source_page(name, file)
    return target


def _source_page(name: str, file: Path) -> str:
    language = LANGUAGES.get(file.suffix or file.name, "text")
    lines = [*NOT_SEARCHED, f"# {file.name}", "", f"`{name}`", ""]
    if file.suffix == ".py" and name.split("/")[0] in PACKAGES:
        module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        reference = posixpath.relpath(page_of(module), posixpath.dirname(f"source/{name}"))
        lines[-2] += f" ([API reference]({reference}))"
    return "\n".join([*lines, f"````` {language}", file.read_text(encoding="utf-8").rstrip(), "`````", ""])


def _folder_page(name: str) -> str:
    listed = subprocess.run(["git", "ls-files", name], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [*NOT_SEARCHED, f"# {name}/", "", "The files of this folder:", ""]
    return "\n".join([*lines, *[f"- `{file}`" for file in listed.stdout.split("\n") if file], ""])


def python_markdown(text: str) -> str:
    """Returns a document in the generator's dialect, where it differs from a Git host's.

    Headings get their anchors explicitly, a list or table that follows a paragraph gets a blank line, and nested lists
    are indented by four.
    """
    for heading in reversed(headings(text)):
        text = f"{text[: heading.end]} {{ #{heading.anchor} }}{text[heading.end :]}"
    text = text.replace("<details>", '<details markdown="1">')
    lines, masked = text.split("\n"), mask_code(text).split("\n")
    result: list[str] = []
    depth_of: list[int] = []
    for line, visible in zip(lines, masked, strict=True):
        before = result[-1] if result else ""
        item = re.match(r"( *)(?:[-*+]|\d+[.)]) +\S", visible)
        if item:
            indent = len(item[1])
            while depth_of and depth_of[-1] >= indent:
                depth_of.pop()
            if not depth_of and before.strip() and not _in_list(result):
                result.append("")
            line = "    " * len(depth_of) + line.lstrip()
            depth_of.append(indent)
        elif depth_of and visible.strip() and not visible.startswith(" ") and not before.strip():
            depth_of = []
        elif depth_of and line.startswith("  ") and not before.strip():
            line = "    " * len(depth_of) + line.lstrip()
        elif visible.startswith("|") and before.strip() and not before.startswith("|"):
            result.append("")
        result.append(line)
    return "\n".join(result)


def _in_list(lines: list[str]) -> bool:
    """Whether the paragraph at the end of the lines belongs to a list item."""
    for line in reversed(lines):
        if not line.strip():
            return False
        if re.match(r" *(?:[-*+]|\d+[.)]) +\S", line):
            return True
    return False


def _write(pages: dict[str, str | Path], directory: Path) -> None:
    import yaml

    source = directory / "source"
    for name, content in pages.items():
        file = source / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            shutil.copyfile(content, file)
        else:
            file.write_text(content, encoding="utf-8")
    got = subprocess.run(["bash", str(ROOT / "scripts" / "get_mermaid.sh"), str(MERMAID)], check=False)
    if got.returncode:
        raise SiteError("Mermaid's script is missing; the message above says how to get it.")
    scripts = source / "assets"
    scripts.mkdir(parents=True)
    shutil.copyfile(MERMAID, scripts / "mermaid.min.js")
    shutil.copyfile(Path(__file__).with_name("site.css"), scripts / "site.css")
    (directory / "mkdocs.yml").write_text(yaml.safe_dump(_configuration(pages), sort_keys=False), encoding="utf-8")


def _configuration(pages: dict[str, str | Path]) -> dict[str, Any]:
    """Returns the generator's configuration, with the names that MkDocs and Material for MkDocs have."""
    switch = [
        {"media": f"(prefers-color-scheme: {name})", "scheme": scheme, "toggle": {"icon": icon, "name": title}}
        for name, scheme, icon, title in (
            ("light", "default", "lucide/sun", "Switch to the dark scheme"),
            ("dark", "slate", "lucide/moon", "Switch to the light scheme"),
        )
    ]
    return {
        "site_name": "Grouped fashion",
        "docs_dir": "source",
        "site_dir": "html",
        # Pages are files, so the site can also be opened without a server.
        "use_directory_urls": False,
        "theme": {
            "font": False,
            "palette": switch,
            "features": [
                "content.code.copy",
                "navigation.indexes",
                "navigation.sections",
                "navigation.top",
                "navigation.prune",
                "search.highlight",
                "toc.follow",
            ],
        },
        "plugins": ["search"],
        "extra": {"generator": False},
        "extra_css": ["assets/site.css"],
        "extra_javascript": ["assets/mermaid.min.js"],
        "markdown_extensions": [
            "attr_list",
            "md_in_html",
            "sane_lists",
            "tables",
            "footnotes",
            {"toc": {"permalink": True}},
            "pymdownx.betterem",
            "pymdownx.tilde",
            "pymdownx.tasklist",
            "pymdownx.details",
            {"pymdownx.highlight": {"anchor_linenums": False}},
            {"pymdownx.superfences": {"custom_fences": [{"name": "mermaid", "class": "mermaid"}]}},
        ],
        "nav": _navigation(pages),
    }


def _navigation(pages: dict[str, str | Path]) -> list[Any]:
    entries = [{title: _entries(members, pages)} for title, members in NAVIGATION.items()]
    return [{"Home": "index.md"}, *[entry for entry in entries if all(entry.values())]]


def _entries(members: Any, pages: dict[str, str | Path]) -> Any:
    """Returns the part of a section that exists: a page, the pages of a folder with its index first, or a list."""
    if isinstance(members, dict):
        return {title: _entries(member, pages) for title, member in members.items()}
    if isinstance(members, list):
        found = [_entries(member, pages) for member in members]
        return [entry for entry in found if entry and (not isinstance(entry, dict) or all(entry.values()))]
    if members.endswith("/"):
        below = [page for page in pages if page.startswith(members) and page.endswith(".md")]
        return sorted(below, key=lambda page: (not page.endswith("/index.md"), page))
    return members if members in pages else None


class _Page(HTMLParser):
    """Collects the ids, the links and the resources of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.resources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids |= {found[name] for name in ("id", "name") if name in found and (name == "id" or tag == "a")}
        if tag in ("a", "area") and "href" in found:
            self.links.append(found["href"])
        if tag == "link" and found.get("rel") not in ("canonical", "next", "prev", "alternate", "edit"):
            self.resources.append(found.get("href", ""))
        if tag != "a":
            self.resources += [found[name] for name in ("src", "poster", "data") if found.get(name)]
            self.resources += [part.split()[0] for part in found.get("srcset", "").split(",") if part.strip()]


def check(site: Path) -> list[str]:
    """Returns what is broken in a built site: links and anchors that lead nowhere, resources of other hosts."""
    parsed: dict[Path, _Page] = {}
    for file in sorted(site.rglob("*.html")):
        parsed[file] = _Page()
        parsed[file].feed(file.read_text(encoding="utf-8"))
    return [problem for file in parsed for problem in _problems(file, parsed, site)]


def _problems(file: Path, parsed: dict[Path, _Page], site: Path) -> Iterator[str]:
    page, name = parsed[file], file.relative_to(site)
    for resource in page.resources:
        if urlsplit(resource).netloc:
            yield f"{name}: {resource} is on another host"
    for link in dict.fromkeys(page.links + page.resources):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc or file.name == "404.html":
            continue
        target = Path(os.path.normpath(file.parent / unquote(parts.path))) if parts.path else file
        target = target / "index.html" if target.is_dir() else target
        if not target.exists():
            yield f"{name}: the link {link} leads nowhere"
        elif parts.fragment and target in parsed and unquote(parts.fragment) not in parsed[target].ids | {"__skip"}:
            yield f"{name}: the link {link} has no such anchor"


def serve(site: Path, port: int) -> None:
    """Serves the built site on loopback until it is interrupted."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        print(f"http://127.0.0.1:{server.server_port}/ (Ctrl+C stops)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def main() -> int:
    """Builds the site; with `--serve` also serves it."""
    parser = argparse.ArgumentParser(prog="make site", description=main.__doc__)
    parser.add_argument("--serve", action="store_true", help="serve the site on loopback after the build")
    parser.add_argument("--port", type=int, default=8000, help="the port of --serve (default 8000; 0 for any free one)")
    arguments = parser.parse_args()
    begin = time.monotonic()
    try:
        site = build()
    except SiteError as broken:
        print(f"The documentation site is broken.\n{broken}\nNext: correct the documents above.", file=sys.stderr)
        return 1
    pages = sum(1 for _ in site.rglob("*.html"))
    print(f"{pages} pages in {time.monotonic() - begin:.0f} s: {site / 'index.html'}")
    if arguments.serve:
        serve(site, arguments.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())

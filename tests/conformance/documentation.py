"""Writes the generated part of docs/conformance.md: `python -m tests.conformance.documentation`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.conformance.cases import DEVIATIONS, IN_PROCESS, MAIN, Case, load_cases

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "conformance.md"
BEGIN, END = "<!-- generated from here -->", "<!-- to here -->"
INTERFACES = {
    "clsreg": "classify and regress",
    "col": "reading the columnar format",
    "err": "errors of predict",
    "errbody": "the body of an error",
    "grpc": "gRPC",
    "http": "HTTP, CORS, gzip, metrics",
    "httpcode": "codes and statuses",
    "life": "versions, configuration, batching, warm-up",
    "predict": "predict",
    "resp": "writing answers",
    "row": "reading the row format",
    "status": "status and metadata",
    "url": "paths and methods",
}


BASES = {
    "test": "a test of TensorFlow Serving that asserts it",
    "documentation": "TensorFlow Serving's documentation",
    "source": "the source of TensorFlow Serving, which states it directly",
    "inferred": "the source of TensorFlow Serving, by inference",
}


def generated() -> str:
    """Returns the counts, the deviations, and the cases that are checked in process."""
    cases = load_cases()
    return "\n".join([*_counts(cases), "", *_deviations(), "", *_in_process(cases)])


def _counts(cases: Iterable[Case]) -> Iterable[str]:
    total, main, inside = Counter[str](), Counter[str](), Counter[str]()
    for case in cases:
        area = case.id.split("-")[0]
        total[area] += 1
        main[area] += case.server == MAIN
        inside[area] += case.server == IN_PROCESS
    bases = Counter(case.basis for case in cases)
    yield "## Counts\n"
    yield "| area | all cases | any server | server with special flags | in process |"
    yield "| --- | --- | --- | --- | --- |"
    for area, name in INTERFACES.items():
        yield f"| {name} | {total[area]} | {main[area]} | {total[area] - main[area] - inside[area]} | {inside[area]} |"
    rest = total.total() - main.total() - inside.total()
    yield f"| **all** | **{total.total()}** | **{main.total()}** | **{rest}** | **{inside.total()}** |"
    yield "\n## Evidence\n"
    yield "| the fact comes from | cases |"
    yield "| --- | --- |"
    for basis, text in BASES.items():
        yield f"| {text} | {bases[basis]} |"
    yield "| a run of the real server | 0 |"


def _deviations() -> Iterable[str]:
    yield "## Deviations of the embedded server\n"
    yield "| case | difference | effect for a client |"
    yield "| --- | --- | --- |"
    for name, deviation in DEVIATIONS.items():
        yield f"| `{name}` | {deviation.difference} | {deviation.reason} |"


def _in_process(cases: Iterable[Case]) -> Iterable[str]:
    names = ", ".join(f"`{case.id}`" for case in cases if case.server == IN_PROCESS)
    yield "## Checked in process\n"
    yield "No request provokes this behaviour in a working server, or no answer shows it. These cases call the"
    yield f"modules of the embedded server, and the suite skips them for any other server:\n{names}."


def main() -> None:
    """Writes the generated part into the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{generated()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()

"""What `make bench-catalogue` prints of whole processes: every way beside psql, with its memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scripts.bench_catalogue import ASKED
from scripts.bench_extraction import report
from tests.sql.catalogue import Catalogue


def test_every_way_stands_beside_psql(
    dsn: str, put: Callable[[Catalogue], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """CSV, Parquet and the ORM's iterator, each as times of psql, and with a memory that a Python can have."""
    put(Catalogue(products=dict.fromkeys(range(1, 21), "Shirt")))
    report(dsn, ASKED, repeat=1)
    lines = capsys.readouterr().out.splitlines()
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    head, _, psql, *others = table
    assert head == ["", "all rows, s", "times psql", "its own processor, s", "most memory, MiB"]
    assert psql[0] == "psql, COPY to a file" and psql[2] == "1.00"
    rows = {cells[0]: cells for cells in others}
    assert list(rows) == [
        "`fashion catalogue query --out *.csv`",
        "`fashion catalogue query --out *.parquet`",
        "the ORM's `iterator`, in a transaction, to nowhere",
    ]
    for name, cells in rows.items():
        times, _, bound = cells[2].partition(" ")
        assert float(times) > 1 and bound == ("(at most 2.5)" if "ORM" in name else "")
        assert 20 < float(cells[4]) < 500

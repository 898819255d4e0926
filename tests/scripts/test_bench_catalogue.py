"""The table of `make bench-catalogue` for whole processes: every way compared with psql, with its memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scripts.bench_catalogue import PARAMETERS, report_processes
from tests.sql.catalogue import Catalogue


def test_every_way_is_compared_with_psql(
    dsn: str, put: Callable[[Catalogue], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """CSV, Parquet and the ORM's iterator have their time as a multiple of psql's, and a plausible memory."""
    put(Catalogue(products=dict.fromkeys(range(1, 21), "Shirt")))
    report_processes(dsn, PARAMETERS, repeat=1)
    lines = capsys.readouterr().out.splitlines()
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    head, _, psql, *others = table
    assert head == ["", "all rows, s", "times psql", "its own CPU, s", "peak memory, MiB"]
    assert psql[0] == "psql, COPY to a file" and psql[2] == "1.00"
    rows = {cells[0]: cells for cells in others}
    assert list(rows) == [
        "`fashion catalogue query --out *.csv`",
        "`fashion catalogue query --out *.parquet`",
        "the ORM's `iterator`, in a transaction, discarded",
    ]
    for name, cells in rows.items():
        times, _, bound = cells[2].partition(" ")
        assert float(times) > 1 and bound == ("(at most 2.5)" if "ORM" in name else "")
        assert 20 < float(cells[4]) < 500

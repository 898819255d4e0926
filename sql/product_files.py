"""Products as files: Parquet and CSV, written batch by batch, and there only when they are whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from errno import EISDIR
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from sql.extract import Product

SCHEMA: Final = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("url", pa.string()),
        pa.field("description", pa.string()),
    ]
)
GROUP_ROWS: Final = 50_000
GROUP_BYTES: Final = 4 * 2**20


def write_file(batches: Iterable[list[Product]], path: Path) -> int:
    """Writes products into a Parquet or CSV file, by its suffix; returns how many.

    It is written beside the path and renamed when it is whole: what stood there before stays until then.

    Raises:
        ValueError: The suffix is another.
        OSError: The file cannot be written.
    """
    write = WRITERS.get(path.suffix.lower())
    if write is None:
        raise ValueError(f"{path.suffix or 'no suffix'}, instead of {' or '.join(WRITERS)}")
    if path.is_dir():  # the last step would find out
        raise IsADirectoryError(EISDIR, "It is a folder", str(path))
    # Of a name that nobody else has: another command may be writing the same file.
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as sink:
            rows = write(batches, sink)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return rows


def write_csv(batches: Iterable[list[Product]], sink: IO[bytes]) -> int:
    """Writes products as CSV in UTF-8 (RFC 4180, lines end in a line feed); returns how many.

    As in PostgreSQL's CSV, a NULL is an empty field, and texts stand in quotes, the empty one too.
    """
    rows = 0
    with pyarrow.csv.CSVWriter(sink, SCHEMA) as writer:
        for batch in batches:
            writer.write_batch(_columns(batch))
            rows += len(batch)
    return rows


def write_parquet(batches: Iterable[list[Product]], sink: IO[bytes]) -> int:
    """Writes products as Parquet, in row groups of about 50,000 rows or 4 MiB; returns how many."""
    rows = 0
    # Hardly a value comes twice: a dictionary costs time and memory before it is given up.
    with pyarrow.parquet.ParquetWriter(sink, SCHEMA, use_dictionary=False) as writer:
        group: list[Any] = []
        for batch in batches:
            group.append(_columns(batch))
            rows += len(batch)
            if sum(b.num_rows for b in group) >= GROUP_ROWS or sum(b.nbytes for b in group) >= GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(group))
                group = []
        if group:
            writer.write_table(pa.Table.from_batches(group))
    return rows


WRITERS: Final[dict[str, Callable[[Iterable[list[Product]], IO[bytes]], int]]] = {
    ".parquet": write_parquet,
    ".csv": write_csv,
}


def _columns(batch: list[Product]) -> Any:
    columns = zip(*batch, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)

"""Writing products to Parquet and CSV files, batch by batch and atomically."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from errno import EISDIR, ENOENT
from glob import escape
from itertools import chain
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from pipeline.contract.files import atomic_path
from sql.extract import Product

SCHEMA: Final = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("url", pa.string()),
        pa.field("description", pa.string()),
    ]
)
"""The columns of a catalogue with numbers as ids; other ids are texts."""
GROUP_ROWS: Final = 50_000
GROUP_BYTES: Final = 4 * 2**20


def write_file(batches: Iterable[list[Product]], path: Path) -> int:
    """Writes products into a Parquet or CSV file, by its suffix; returns how many.

    The file appears when it is complete; an earlier one stays until then.

    Raises:
        ValueError: The suffix is another.
        OSError: The file cannot be written.
    """
    write = WRITERS.get(path.suffix.lower())
    if write is None:
        raise ValueError(f"{path.suffix or 'no suffix'}, instead of {' or '.join(WRITERS)}")
    # Before the first row is read; the rename at the end would fail too.
    if path.is_dir():
        raise IsADirectoryError(EISDIR, "It is a folder", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(ENOENT, os.strerror(ENOENT), str(path.parent))
    _remove_stale(path)
    with atomic_path(path) as hidden, hidden.open("wb") as sink:
        # Until this process ends, however it ends.
        fcntl.flock(sink, fcntl.LOCK_EX)
        return write(batches, sink)


def _remove_stale(path: Path) -> None:
    """Removes what killed processes left of earlier versions of a file: unfinished files that no process writes."""
    for stale in path.parent.glob(f".{escape(path.stem)}.*.unfinished{escape(path.suffix)}"):
        with suppress(OSError), stale.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stale.unlink()


def write_csv(batches: Iterable[list[Product]], sink: IO[bytes]) -> int:
    """Writes products as CSV in UTF-8 (RFC 4180, lines end in a line feed); returns how many.

    As in PostgreSQL's CSV, NULL is an empty field, and every text is quoted, the empty one too.
    """
    rows = 0
    schema, batches = _schema_of(batches)
    with pyarrow.csv.CSVWriter(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(_record_batch(batch, schema))
            rows += len(batch)
    return rows


def write_parquet(batches: Iterable[list[Product]], sink: IO[bytes]) -> int:
    """Writes products as Parquet, in row groups of about 50,000 rows or 4 MiB; returns how many."""
    rows = 0
    schema, batches = _schema_of(batches)
    # Values hardly repeat: a dictionary would cost time and memory before the writer drops it.
    with pyarrow.parquet.ParquetWriter(sink, schema, use_dictionary=False) as writer:
        group: list[Any] = []
        for batch in batches:
            group.append(_record_batch(batch, schema))
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


def _schema_of(batches: Iterable[list[Product]]) -> tuple[Any, Iterable[list[Product]]]:
    """Returns the schema for products and the products again; ids are numbers, or else texts."""
    rest = iter(batches)
    first = next(rest, [])
    numbers = not first or isinstance(first[0].id, int)
    schema = SCHEMA if numbers else SCHEMA.set(0, pa.field("id", pa.string(), nullable=False))
    return schema, chain([first] if first else [], rest)


def _record_batch(batch: list[Product], schema: Any) -> Any:
    if pa.types.is_string(schema.field("id").type):
        batch = [product._replace(id=str(product.id)) for product in batch]
    columns = zip(*batch, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)

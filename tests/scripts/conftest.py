"""The PostgreSQL of the tests of `sql/`, for the benchmarks that read a catalogue."""

from tests.sql.conftest import dsn, put

__all__ = ["dsn", "put"]

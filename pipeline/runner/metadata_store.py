"""The metadata store: a SQLite file that records every execution in the terms of ML Metadata.

An **Execution** is a stage that ran (or was reused) with its properties; an **Artifact** a directory it wrote; an
**Event** says that an execution read or wrote an artifact; a **Context** is a run, and an **Association** puts
executions into it. See https://github.com/google/ml-metadata/blob/master/g3doc/get_started.md.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from pipeline.contract.disk_space import full_disk_error
from pipeline.contract.errors import UserError

SCHEMA = """
CREATE TABLE Artifact (
    id INTEGER PRIMARY KEY, type TEXT NOT NULL, uri TEXT NOT NULL, digest TEXT NOT NULL, create_time REAL NOT NULL);
CREATE TABLE ArtifactProperty (
    artifact_id INTEGER NOT NULL REFERENCES Artifact(id), name TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (artifact_id, name));
CREATE TABLE Execution (
    id INTEGER PRIMARY KEY, type TEXT NOT NULL, state TEXT NOT NULL, cache_key TEXT NOT NULL,
    start_time REAL NOT NULL, end_time REAL);
CREATE TABLE ExecutionProperty (
    execution_id INTEGER NOT NULL REFERENCES Execution(id), name TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (execution_id, name));
CREATE TABLE Event (
    execution_id INTEGER NOT NULL REFERENCES Execution(id), artifact_id INTEGER NOT NULL REFERENCES Artifact(id),
    type TEXT NOT NULL CHECK (type IN ('INPUT', 'OUTPUT')), name TEXT NOT NULL,
    PRIMARY KEY (execution_id, type, name));
CREATE TABLE Context (id INTEGER PRIMARY KEY, type TEXT NOT NULL, name TEXT NOT NULL, create_time REAL NOT NULL);
CREATE TABLE ContextProperty (
    context_id INTEGER NOT NULL REFERENCES Context(id), name TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (context_id, name));
CREATE TABLE Association (
    context_id INTEGER NOT NULL REFERENCES Context(id), execution_id INTEGER NOT NULL REFERENCES Execution(id),
    PRIMARY KEY (context_id, execution_id));
CREATE INDEX ExecutionByKey ON Execution (type, cache_key, state);
CREATE INDEX EventByArtifact ON Event (artifact_id);
"""
"""The tables of version 1. A new store begins with them and goes through the migrations like an old one."""

MIGRATIONS: tuple[tuple[str, ...], ...] = ()
"""The SQL statements from each version to the next: the first entry leads from version 1 to 2. Entries only append."""


@dataclass(frozen=True)
class ArtifactRecord:
    """A row of Artifact with its properties; `properties["manifest"]` holds the SHA-256 of every file."""

    id: int
    type: str
    uri: str
    digest: str
    create_time: float
    properties: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ExecutionRecord:
    """A row of Execution with its properties; `state` is RUNNING, COMPLETE, CACHED, FAILED or CANCELED."""

    id: int
    type: str
    state: str
    cache_key: str
    start_time: float
    end_time: float | None
    properties: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """The duration in seconds; 0 while the execution runs."""
        return (self.end_time or self.start_time) - self.start_time


class StoreVersionError(UserError):
    """Another version of this project wrote the metadata store."""


class MetadataStore:
    """Reads and writes the metadata store, until it is closed; every method that writes is one transaction."""

    def __init__(self, path: Path, read_only: bool = False) -> None:
        """Opens the store: creates one where there is none, and migrates one that an earlier version wrote.

        Args:
            path: The file.
            read_only: Whether to work on a copy in memory, which needs no right to write. Defaults to False.

        Raises:
            UserError: The file is damaged.
            StoreVersionError: A later version of this project wrote it.
        """
        self.path = path
        with self._readable():
            if not read_only:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(":memory:" if read_only else path, isolation_level=None, timeout=10)
            try:
                if read_only and path.exists():
                    _load(path, self._db)
                self._db.row_factory = sqlite3.Row
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
                self._open_version()
            except BaseException:
                self._db.close()
                raise

    def __enter__(self) -> MetadataStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _version(self) -> int:
        version: int = self._db.execute("PRAGMA user_version").fetchone()[0]
        return version

    def _open_version(self) -> None:
        latest = 1 + len(MIGRATIONS)
        if self._version() == 0 and not self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
            self._db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = 1; COMMIT;")
        while 1 <= self._version() < latest:
            self._migrate()
        if self._version() != latest:
            raise StoreVersionError(
                f"The workspace {self.path.parent} was written by another version of this project.",
                expected=f"a metadata store of version {latest} or earlier",
                received=f"version {self._version()}",
                next_step="fashion run --workspace NEW_DIRECTORY, or start over with: fashion clean --all",
            )

    def _migrate(self) -> None:
        """Goes from one version to the next in one transaction, unless another process has done so meanwhile."""
        with self._transaction() as db:
            if (version := self._version()) > len(MIGRATIONS):
                return
            for statement in MIGRATIONS[version - 1]:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {version + 1}")

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise full_disk_error(error, self.path.parent) or UserError(
                f"The metadata store {self.path} cannot be used.",
                expected="a file that this user may read and write, on a disk with room",
                received=str(error),
                next_step="free the disk or the file, then run again",
            ) from None
        except sqlite3.DatabaseError as error:
            raise UserError(
                f"The metadata store {self.path} is damaged.",
                expected="an intact SQLite file",
                received=str(error),
                next_step="fashion repair",
            ) from None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._readable():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                # On a full disk SQLite has rolled back by itself.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _rows(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        with self._readable():
            return self._db.execute(statement, values).fetchall()

    # Writing

    def start_run(self, name: str, properties: Mapping[str, Any]) -> int:
        """Records a run (a Context of type `pipeline_run`); returns its id."""
        with self._transaction() as db:
            cursor = db.execute(
                "INSERT INTO Context (type, name, create_time) VALUES ('pipeline_run', ?, ?)", (name, time.time())
            )
            return _insert_properties(db, "Context", cursor.lastrowid, properties)

    def start_execution(self, run: int, type: str, key: str, properties: Mapping[str, Any]) -> int:
        """Records that a stage starts (RUNNING) in a run; returns the execution's id."""
        with self._transaction() as db:
            cursor = db.execute(
                "INSERT INTO Execution (type, state, cache_key, start_time) VALUES (?, 'RUNNING', ?, ?)",
                (type, key, time.time()),
            )
            execution = _insert_properties(db, "Execution", cursor.lastrowid, properties)
            db.execute("INSERT INTO Association VALUES (?, ?)", (run, execution))
            return execution

    def finish_execution(
        self,
        execution: int,
        state: str,
        inputs: Mapping[str, int] | None = None,
        outputs: Mapping[str, Mapping[str, Any]] | None = None,
        reused: Mapping[str, int] | None = None,
        properties: Mapping[str, Any] | None = None,
        end_time: float | None = None,
    ) -> dict[str, int]:
        """Records the end of an execution with its inputs and outputs, in one transaction.

        Args:
            execution: The execution's id.
            state: COMPLETE, CACHED, FAILED or CANCELED.
            inputs: Input name to artifact id.
            outputs: Output name to a new artifact: `type`, `uri`, `digest`, `properties`.
            reused: Output name to the id of an artifact that an earlier execution wrote.
            properties: Further facts about the execution.
            end_time: The Unix time in seconds. Defaults to now.

        Returns:
            Output name to artifact id.
        """
        written = dict(reused or {})
        with self._transaction() as db:
            for name, new in (outputs or {}).items():
                cursor = db.execute(
                    "INSERT INTO Artifact (type, uri, digest, create_time) VALUES (?, ?, ?, ?)",
                    (new["type"], new["uri"], new["digest"], time.time()),
                )
                written[name] = _insert_properties(db, "Artifact", cursor.lastrowid, new["properties"])
            events = [(execution, i, "INPUT", n) for n, i in (inputs or {}).items()]
            events += [(execution, i, "OUTPUT", n) for n, i in written.items()]
            db.executemany("INSERT INTO Event (execution_id, artifact_id, type, name) VALUES (?, ?, ?, ?)", events)
            ended = time.time() if end_time is None else end_time
            db.execute("UPDATE Execution SET state = ?, end_time = ? WHERE id = ?", (state, ended, execution))
            _insert_properties(db, "Execution", execution, properties or {})
        return written

    def adopt_execution(
        self,
        execution: Mapping[str, Any],
        properties: Mapping[str, Any],
        inputs: Mapping[str, str],
        outputs: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Records a finished execution from the file beside its outputs; `inputs` maps names to artifact uris.

        Files of earlier releases have no end time: such an execution took no known time.
        """
        known = {artifact.uri: artifact.id for artifact in self.artifacts()}
        with self._transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO Execution (id, type, state, cache_key, start_time)"
                " VALUES (:id, :type, 'RUNNING', :cache_key, :start_time)",
                execution,
            )
        read = {name: known[uri] for name, uri in inputs.items() if uri in known}
        end = execution.get("end_time", execution["start_time"])
        self.finish_execution(execution["id"], "COMPLETE", read, outputs, properties=properties, end_time=end)

    def record_artifact(self, artifact: ArtifactRecord) -> int:
        """Records an artifact that no stage wrote, such as a served version, unless it is known; returns its id."""
        known = self._artifacts("uri = ? AND digest = ?", artifact.uri, artifact.digest)
        if known:
            return known[0].id
        with self._transaction() as db:
            cursor = db.execute(
                "INSERT INTO Artifact (type, uri, digest, create_time) VALUES (?, ?, ?, ?)",
                (artifact.type, artifact.uri, artifact.digest, time.time()),
            )
            return _insert_properties(db, "Artifact", cursor.lastrowid, artifact.properties)

    def check(self) -> None:
        """Reads the whole file; raises UserError when a part of it is damaged."""
        found = self._rows("PRAGMA quick_check")[0][0]
        if found != "ok":
            raise UserError(
                f"The metadata store {self.path} is damaged.",
                expected="an intact SQLite file",
                received=found,
                next_step="fashion repair",
            )

    def abandon_running(self) -> list[ExecutionRecord]:
        """Marks executions that a killed process left RUNNING as FAILED; returns them."""
        abandoned = self._executions("state = 'RUNNING'")
        with self._transaction() as db:
            db.execute("UPDATE Execution SET state = 'FAILED', end_time = start_time WHERE state = 'RUNNING'")
        return abandoned

    # Reading

    def _executions(self, condition: str, *values: Any) -> list[ExecutionRecord]:
        rows = self._rows(f"SELECT * FROM Execution WHERE {condition} ORDER BY id", *values)
        return [ExecutionRecord(**dict(r), properties=self._properties("Execution", r["id"])) for r in rows]

    def _artifacts(self, condition: str, *values: Any) -> list[ArtifactRecord]:
        rows = self._rows(f"SELECT * FROM Artifact WHERE {condition} ORDER BY id", *values)
        return [ArtifactRecord(**dict(r), properties=self._properties("Artifact", r["id"])) for r in rows]

    def _properties(self, kind: str, id: int) -> dict[str, Any]:
        rows = self._rows(f"SELECT name, value FROM {kind}Property WHERE {kind.lower()}_id = ?", id)
        return {row["name"]: json.loads(row["value"]) for row in rows}

    def latest_execution(self, type: str, key: str | None = None) -> ExecutionRecord | None:
        """Returns the newest execution of a stage that has outputs, written or reused (with a cache key, if given)."""
        rows = self._rows(
            "SELECT MAX(id) AS id FROM Execution WHERE type = ? AND state IN ('COMPLETE', 'CACHED')"
            " AND cache_key = coalesce(?, cache_key)",
            type,
            key,
        )
        return None if rows[0]["id"] is None else self.execution(rows[0]["id"])

    def finished_executions(self, type: str) -> list[ExecutionRecord]:
        """Returns the executions of a stage that ran to their end, newest first; reused results do not count."""
        return self._executions("type = ? AND state = 'COMPLETE'", type)[::-1]

    def latest_executions(self) -> list[ExecutionRecord]:
        """Returns the newest execution with outputs of every stage."""
        return self._executions(
            "id IN (SELECT MAX(id) FROM Execution WHERE state IN ('COMPLETE', 'CACHED') GROUP BY type)"
        )

    def execution(self, id: int) -> ExecutionRecord | None:
        """Returns an execution by its id."""
        return next(iter(self._executions("id = ?", id)), None)

    def artifact(self, id: int) -> ArtifactRecord | None:
        """Returns an artifact by its id."""
        return next(iter(self._artifacts("id = ?", id)), None)

    def artifacts(self, type: str | None = None) -> list[ArtifactRecord]:
        """Returns all artifacts, or those of a type, oldest first."""
        return self._artifacts("1") if type is None else self._artifacts("type = ?", type)

    def events(self, execution: int, type: str) -> dict[str, ArtifactRecord]:
        """Returns the artifacts that an execution read (`INPUT`) or wrote (`OUTPUT`), by name."""
        rows = self._rows("SELECT name, artifact_id FROM Event WHERE execution_id = ? AND type = ?", execution, type)
        return {row["name"]: self._artifacts("id = ?", row["artifact_id"])[0] for row in rows}

    def producer(self, artifact: int) -> ExecutionRecord | None:
        """Returns the execution that wrote an artifact (not those that reused it)."""
        condition = "id = (SELECT MIN(execution_id) FROM Event WHERE artifact_id = ? AND type = 'OUTPUT')"
        return next(iter(self._executions(condition, artifact)), None)

    def run_executions(self, run: int) -> list[ExecutionRecord]:
        """Returns the executions of a run in the order in which they started."""
        return self._executions("id IN (SELECT execution_id FROM Association WHERE context_id = ?)", run)

    def latest_run(self) -> tuple[int, dict[str, Any]] | None:
        """Returns the id of the newest run with its properties, the pipeline's name among them."""
        rows = self._rows("SELECT id, name FROM Context ORDER BY id DESC LIMIT 1")
        return next(
            ((row["id"], {"pipeline": row["name"], **self._properties("Context", row["id"])}) for row in rows), None
        )


def _load(path: Path, target: sqlite3.Connection) -> None:
    """Copies a store into a connection, and writes nothing beside it."""
    try:
        if not path.with_name(f"{path.name}-shm").exists():
            # No process has the store open. A reader would create this file, and leave it for the owner.
            raise sqlite3.OperationalError
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as source:
            source.backup(target)
    except sqlite3.OperationalError:
        # Even a reader of a store in WAL mode needs files beside it, which cannot be written in this directory.
        with TemporaryDirectory() as directory:
            for name in (path.name, f"{path.name}-wal"):
                with suppress(FileNotFoundError):
                    shutil.copyfile(path.with_name(name), Path(directory, name))
            with closing(sqlite3.connect(Path(directory, path.name))) as source:
                source.backup(target)


def _insert_properties(db: sqlite3.Connection, kind: str, id: int | None, properties: Mapping[str, Any]) -> int:
    assert id is not None
    db.executemany(
        f"INSERT OR REPLACE INTO {kind}Property VALUES (?, ?, ?)",
        [(id, name, json.dumps(value, sort_keys=True)) for name, value in properties.items()],
    )
    return id

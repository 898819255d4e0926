"""Tests of serving.versions: what a server that polls the directory finds there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.contract.files import exclusive_lock
from serving.versions import (
    RECORD,
    VersionError,
    _read_record,
    digest,
    hiding_directories,
    newest_other,
    push,
    rollback,
    versions,
)
from tests.serving.conftest import content, saved_model, visible

ROOT = Path(__file__).parents[2]

KILLED_AT = """
import os, signal, sys
from pathlib import Path
from serving.versions import push, rollback

left = int(sys.argv[1])

def stop(event, arguments):
    global left
    writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if writes or event in {"os.mkdir", "os.rename", "os.remove", "os.rmdir"}:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

base, source = Path(sys.argv[2]), sys.argv[3]
sys.addaudithook(stop)
push(Path(source), base, keep=2) if source else rollback(base)
"""

FULL = """
import resource, sys
from pathlib import Path
from serving.versions import push

resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    push(Path(sys.argv[1]), Path(sys.argv[2]))
except OSError:
    sys.exit(3)
"""


WAITING = """
import sys
from pathlib import Path
from serving.versions import push, rollback

sys.addaudithook(lambda event, _: print(event, flush=True) if event == "fcntl.flock" else None)
base, source = Path(sys.argv[1]), sys.argv[2]
push(Path(source), base) if source else rollback(base)
print("done", flush=True)
"""


def run(script: str, *arguments: object) -> int:
    """Runs a script in a separate process; returns its exit status."""
    return subprocess.run([sys.executable, "-c", script, *map(str, arguments)], cwd=ROOT, check=False).returncode


def test_no_versions(base: Path) -> None:
    """A directory that does not exist has no versions."""
    assert versions(base) == []


def test_push_copies_the_whole_model(base: Path, models: list[Path], tmp_path: Path) -> None:
    """A version has every file of the model, and the extra ones where SavedModel keeps them."""
    extra = tmp_path / "extra"
    extra.write_text("requests")
    version = push(models[0], base, {"warm": extra})
    names = {p.relative_to(version.path).as_posix() for p in version.path.rglob("*") if p.is_file()}
    assert names == {
        "saved_model.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
        "assets.extra/warm",
        RECORD.as_posix(),
    }
    assert (version.number, version.path, version.source) == (1, base / "1", None)


def test_same_model_again(base: Path, models: list[Path]) -> None:
    """Pushing the model of the newest version again adds no version."""
    first = push(models[0], base)
    assert push(models[0], base) == first
    assert visible(base) == ["1"]


def test_the_digest_is_of_names_and_bytes(models: list[Path], tmp_path: Path) -> None:
    """A file under another name is another model, and so is a byte more; the record does not count."""
    before = digest(models[0])
    (models[0] / RECORD).parent.mkdir()
    (models[0] / RECORD).write_text("{}")
    assert digest(models[0]) == before
    index = models[0] / "variables/variables.index"
    renamed = index.rename(index.with_name("variables.indices"))
    assert digest(models[0]) != before
    renamed.rename(index)
    assert digest(models[0]) == before
    index.write_text(index.read_text() + " ")
    assert digest(models[0]) != before


def test_damaged_newest_is_pushed_again(base: Path, models: list[Path]) -> None:
    """A newest version whose files were changed does not count as the model that was pushed."""
    (push(models[0], base).path / "variables/variables.index").write_text("changed")
    assert push(models[0], base).number == 2


def test_push_keeps_the_newest(base: Path, models: list[Path]) -> None:
    """After a push the newest `keep` versions remain."""
    for model in models:
        push(model, base, keep=2)
    assert visible(base) == ["3", "4"]


def test_newest_is_never_pruned(base: Path, models: list[Path]) -> None:
    """Even with `keep=0` the newest version stays: the server would have nothing to serve."""
    push(models[0], base)
    push(models[1], base, keep=0)
    assert visible(base) == ["2"]


def test_readable_by_the_server(base: Path, models: list[Path]) -> None:
    """A server that runs as another user can read a version."""
    assert push(models[0], base).path.stat().st_mode & 0o005 == 0o005


def test_foreign_names_stay(base: Path, models: list[Path]) -> None:
    """Other entries of the directory are neither listed nor removed, and their numbers are not used again."""
    (base / "notes").mkdir(parents=True)
    (base / "7").mkdir()
    assert push(models[0], base, keep=1).number == 8
    assert [v.number for v in versions(base)] == [8]
    assert visible(base) == ["7", "8", "notes"]


def test_names_beyond_int64_do_not_count(base: Path, models: list[Path]) -> None:
    """A server ignores a number that does not fit into 64 bits: it is no version, and none follows it."""
    for name in ("9223372036854775808", "9" * 100):
        saved_model(base / name, "foreign")
    assert versions(base) == [] and hiding_directories(base) == []
    assert push(models[0], base).number == 1


def test_no_number_is_left(base: Path, models: list[Path]) -> None:
    """Above the highest number of 64 bits no version could be served, so the push is refused."""
    (base / "9223372036854775807").mkdir(parents=True)
    with pytest.raises(
        VersionError, match="no higher version number.*\n.*\nReceived: .*/9223372036854775807\nNext: mv "
    ):
        push(models[0], base)
    assert visible(base) == ["9223372036854775807"]


def test_directories_that_hide_the_newest_version(base: Path, models: list[Path]) -> None:
    """A directory without a model is no version, but a server would load it first if its number is the highest."""
    assert hiding_directories(base) == []
    (base / "1").mkdir(parents=True)
    assert hiding_directories(base) == [base / "1"]
    (base / "1").rmdir()
    push(models[0], base)
    (base / "0").mkdir()
    assert hiding_directories(base) == []
    push(models[1], base, keep=1)
    (base / "1").mkdir()
    assert hiding_directories(base) == [], "lower than the newest version"
    push(models[0], base)
    shutil.rmtree(base / "1")
    (base / "99999999999").mkdir()
    assert [version.number for version in versions(base)] == [2, 3]
    assert hiding_directories(base) == [base / "99999999999"]


def test_the_newest_version_with_another_model(base: Path, models: list[Path], tmp_path: Path) -> None:
    """It is the highest one whose model differs; warm-up requests and the record make no other model."""
    assert newest_other(base, models[0]) is None
    extra = tmp_path / "extra"
    extra.write_text("requests")
    for model in (models[0], models[1], models[2]):
        push(model, base, {"warm": extra})
    found = [newest_other(base, model) for model in (models[2], models[1], models[3])]
    assert [version.number for version in found if version] == [2, 3, 3]
    assert newest_other(base, push(models[0], base / "alone").path) and not newest_other(base / "alone", models[0])


def test_no_saved_model(base: Path, tmp_path: Path) -> None:
    """A directory without a SavedModel is refused before anything is written."""
    with pytest.raises(VersionError, match="There is no SavedModel to push.\nExpected: .*/saved_model.pb"):
        push(tmp_path, base)
    assert not base.exists()


@pytest.mark.slow
@pytest.mark.parametrize("action", ["push", "rollback"])
def test_killed_at_every_step(action: str, base: Path, models: list[Path]) -> None:
    """After SIGKILL at any step, only complete versions are visible, and the next push removes the leftovers."""
    for model in models[:2]:
        push(model, base)
    for step in range(1, 200):
        newest = versions(base)[-1].number
        source = models[2 + step % 2] if action == "push" else ""
        code = run(KILLED_AT, step, base, source)
        existing = versions(base)
        assert visible(base) == sorted(str(v.number) for v in existing)
        assert all(_read_record(v.path)["digest"] == v.digest for v in existing)
        assert existing[-1].number in {newest, newest + 1}
        push(models[step % 2], base, keep=2)
        assert {p.name for p in base.iterdir() if p.name.startswith(".")} == {".lock"}
        if code == 0:
            break
    assert code == 0 and step > 8


@pytest.mark.parametrize("action", ["push", "rollback"])
def test_one_writer_at_a_time(action: str, base: Path, models: list[Path]) -> None:
    """A second writer waits for the lock of the first before it reads the numbers or writes anything."""
    push(models[0], base)
    push(models[1], base)
    source = models[2] if action == "push" else ""
    command = [sys.executable, "-c", WAITING, str(base), str(source)]
    with exclusive_lock(base / ".lock"):
        child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert child.stdout and child.stdout.readline() == "fcntl.flock\n"
        assert sorted(path.name for path in base.iterdir()) == [".lock", "1", "2"]
        # A version of the first writer, which the second one must count.
        saved_model(base / "5", "first")
    assert child.communicate()[0] == "done\n" and child.returncode == 0
    assert [version.number for version in versions(base)] == [1, 2, 5, 6]


@pytest.mark.parametrize("action", ["push", "rollback"])
def test_a_version_is_on_the_disk_before_it_is_visible(
    action: str, base: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut there is no version with empty files: all are synced before the rename, and then its entry."""
    push(models[0], base)
    push(models[1], base)
    synced, renamed = set[str](), list[Path]()
    fsync, rename = os.fsync, Path.rename

    def record_fsync(descriptor: int) -> None:
        synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def check_rename(self: Path, target: Path) -> Path:
        if target.parent == base and target.name.isdecimal():
            assert {str(path) for path in [self, *self.rglob("*")]} <= synced
            renamed.append(target)
            synced.clear()
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "rename", check_rename)
    version = push(models[2], base) if action == "push" else rollback(base)
    assert renamed == [version.path] and str(base) in synced


def test_full_disk(base: Path, models: list[Path]) -> None:
    """A push that cannot write leaves the directory unchanged."""
    push(models[0], base)
    assert run(FULL, models[1], base) == 3
    assert {p.name for p in base.iterdir()} == {"1", ".lock"}


class Pushes(RuleBasedStateMachine):
    """Compares any order of pushes and rollbacks with a list of the expected versions."""

    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.root = Path(self.directory.name)
        self.base = self.root / "base"
        self.expected: list[tuple[int, str]] = []
        self.highest = 0

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            self.directory.cleanup()

    @rule(name=st.sampled_from("abc"), keep=st.integers(1, 4))
    def push(self, name: str, keep: int) -> None:
        source = self.root / name
        version = push(source if source.exists() else saved_model(source, name), self.base, keep=keep)
        if not self.expected or self.expected[-1][1] != name:
            self.expected.append((self.highest + 1, name))
        self.expected = self.expected[-keep:]
        assert version.number == self.expected[-1][0]

    @precondition(lambda self: len({name for _, name in self.expected}) > 1)
    @rule(data=st.data())
    def rollback(self, data: st.DataObject) -> None:
        number, name = data.draw(st.sampled_from([v for v in self.expected if v[1] != self.expected[-1][1]]))
        restored = rollback(self.base, number)
        assert restored.source == number and restored.digest == digest(self.base / str(number))
        self.expected.append((self.highest + 1, name))

    @invariant()
    def directory_is_as_expected(self) -> None:
        if hasattr(self, "base"):
            found = [(v.number, content(v.path).removeprefix("graph ")) for v in versions(self.base)]
            assert found == self.expected
            newest = self.expected[-1][0] if self.expected else 0
            assert newest >= self.highest
            self.highest = newest


TestPushes = Pushes.TestCase
TestPushes.__doc__ = "Numbers grow, the newest stays, `keep` applies, and a rollback equals its source, in any order."
TestPushes.settings = settings(max_examples=10, stateful_step_count=10, deadline=None)

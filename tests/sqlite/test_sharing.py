"""Who may read: a group that is given the history and may write nothing, whatever becomes of the writer meanwhile."""

from __future__ import annotations

import grp
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from domstat.sink import SinkContext
from domstat_sinks.sqlite import SqliteSink, connect
from domstat_sinks.sqlite.sharing import BESIDE
from domstat_sinks.sqlite.sink import SqliteSettings
from heard import Log

from .sealings import numbers, steady

STRANGER = 65_534
"""A user whom nothing here belongs to."""

GROUP = "daemon"
"""Any group that is not root's."""

READER = """
import sys
from domstat_sinks.sqlite import connect

ask = "SELECT count(*) FROM samples"
try:
    connection = connect(sys.argv[1])
    print(connection.execute(ask).fetchone()[0], flush=True)
    for line in sys.stdin:
        print(connection.execute(ask).fetchone()[0], flush=True)
except Exception as error:
    print(f"{type(error).__name__}: {error}", flush=True)
"""
"""Reads once, and again for every line that it is sent."""

PARAMS = 4
"""Values of a steady tick."""


class Shared:
    """A history that is written by this process, in a folder of its own."""

    def __init__(self, folder: Path, group: str | None = GROUP) -> None:
        self.path = folder / "shared" / "history.db"
        self.log = Log()
        self._settings = SqliteSettings(path=str(self.path), group=group)
        self.sink = SqliteSink(self._settings)
        self.ticks = 0

    def open(self) -> None:
        self.sink = SqliteSink(self._settings)
        self.sink.open(SinkContext("history", self.path.parent, self.log, lambda _record, _reason: None))

    def write(self, count: int = 1) -> None:
        for one in numbers(self.ticks, self.ticks + count):
            self.sink.write([one])
        self.ticks += count

    def modes(self) -> dict[str, int]:
        return {path.name: stat.S_IMODE(path.stat().st_mode) for path in self.path.parent.iterdir()}


def as_stranger(gid: int) -> list[str]:
    """Return the words before a command that have another user run it, whose one group is this."""
    return ["setpriv", f"--reuid={STRANGER}", f"--regid={gid}", "--clear-groups", "--"]


class Reader:
    """Another user's process with a connection of its own."""

    def __init__(self, path: Path, group: str | None) -> None:
        gid = STRANGER if group is None else grp.getgrnam(group).gr_gid
        self._process = subprocess.Popen(
            [*as_stranger(gid), sys.executable, "-c", READER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.first = self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def again(self) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that anybody may enter, unlike pytest's."""
    if os.geteuid() != 0:
        pytest.skip("another user is needed, and so root: run ./dev test as root or with sudo")
    with tempfile.TemporaryDirectory(prefix="domstat-test-") as name:
        Path(name).chmod(0o755)
        if subprocess.run([*as_stranger(STRANGER), sys.executable, "-c", "import domstat"], check=False).returncode:
            pytest.skip("another user may not read this tree")
        yield Path(name)


@pytest.fixture
def shared(open_to_all: Path) -> Iterator[Shared]:
    made = Shared(open_to_all)
    made.open()
    made.write(3)
    yield made
    made.sink.close()


@contextmanager
def reading(path: Path, group: str | None = GROUP) -> Iterator[Reader]:
    with closing(Reader(path, group)) as reader:
        yield reader


def ask(path: Path, group: str | None = GROUP) -> str:
    """Return what another user is answered by a connection of its own."""
    with reading(path, group) as reader:
        return reader.first


def test_a_group_may_read_what_is_shared_and_nobody_may_write_but_the_owner(shared: Shared) -> None:
    assert shared.modes() == {
        "history.db": 0o640,
        "history.db-wal": 0o640,
        "history.db-shm": 0o640,
        "history.db.lock": 0o600,
    }
    assert stat.S_IMODE(shared.path.parent.stat().st_mode) == 0o750
    gid = grp.getgrnam(GROUP).gr_gid
    for path in (shared.path.parent, shared.path, *(shared.path.with_name(f"history.db{of}") for of in BESIDE)):
        assert path.stat().st_gid == gid
    assert shared.log.said == []


def test_a_reader_sees_every_commit_and_never_holds_the_writer_up(shared: Shared) -> None:
    with reading(shared.path) as reader:
        assert reader.first == str(3 * PARAMS)
        for _ in range(5):
            shared.write()
            assert reader.again() == str(shared.ticks * PARAMS)
        with closing(sqlite3.connect(shared.path)) as other:
            busy, *_ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            assert busy == 0, "an idle reader keeps nobody from folding the WAL"
        shared.write()
        assert reader.again() == str(shared.ticks * PARAMS)


def test_a_writer_that_ended_well_can_be_read_after(shared: Shared) -> None:
    shared.sink.close()
    assert shared.path.with_name("history.db-wal").stat().st_size == 0, "all of it is in the file"
    assert ask(shared.path) == str(3 * PARAMS)


def test_a_writer_that_begins_while_somebody_reads_is_not_held_up_and_is_seen(shared: Shared) -> None:
    shared.sink.close()
    with reading(shared.path) as reader:
        assert reader.first == str(3 * PARAMS)
        shared.open()
        shared.write(130)
        assert reader.again() == str(shared.ticks * PARAMS)
        shared.sink.close()
        assert reader.again() == str(shared.ticks * PARAMS)
        shared.open()
        shared.write()
        assert reader.again() == str(shared.ticks * PARAMS)
    assert shared.log.said == []


def test_a_writer_that_was_killed_has_everything_that_it_committed_read(open_to_all: Path) -> None:
    shared = Shared(open_to_all)
    child = os.fork()
    if not child:
        shared.open()
        shared.write(70)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    with reading(shared.path) as reader:
        assert reader.first == str(70 * PARAMS)
        shared.open()
        shared.ticks = 70
        shared.write()
        assert reader.again() == str(71 * PARAMS)
        shared.sink.close()


def test_who_is_not_of_the_group_is_told_whom_to_ask(shared: Shared) -> None:
    assert ask(shared.path, group=None) == (
        f"PermissionError: [Errno 13] you may not enter its folder; ask for a snapshot: "
        f"domstat history snapshot FILE: '{shared.path}'"
    )
    shared.path.parent.chmod(0o755)
    assert ask(shared.path, group=None) == (
        f"PermissionError: [Errno 13] only root and the group {GROUP} may read it; ask for a snapshot: "
        f"domstat history snapshot FILE: '{shared.path}'"
    )


def test_a_history_without_a_group_is_its_owners_alone(open_to_all: Path) -> None:
    alone = Shared(open_to_all, group=None)
    alone.open()
    alone.write()
    assert set(alone.modes().values()) == {0o600}
    alone.path.parent.chmod(0o755)
    assert "only root may read it" in ask(alone.path)
    alone.sink.close()


def test_one_that_others_may_read_but_lacks_what_is_beside_it_says_so(shared: Shared) -> None:
    shared.sink.close()
    for ending in BESIDE:
        shared.path.with_name(f"history.db{ending}").unlink()
    assert "nobody has made it ready for those who only read; start the agent on it" in ask(shared.path)
    shared.open()
    assert ask(shared.path) == str(3 * PARAMS)


def test_a_file_that_was_there_before_is_shared_as_it_is_opened(open_to_all: Path) -> None:
    before = Shared(open_to_all, group=None)
    before.open()
    before.write()
    before.sink.close()
    after = Shared(open_to_all)
    after.open()
    assert (after.modes()["history.db"], after.modes()["history.db-wal"]) == (0o640, 0o640)
    assert [event for _, event, _ in after.log.said] == ["history_not_shared"]
    (facts,) = (facts for _, _, facts in after.log.said)
    assert facts["error"] == f"the group {GROUP} may not enter {after.path.parent}; choose a path in another folder"
    after.sink.close()


def test_a_group_that_is_not_there_costs_no_tick(open_to_all: Path) -> None:
    shared = Shared(open_to_all, group="no-such-group")
    shared.open()
    shared.write()
    assert [facts["error"] for _, _, facts in shared.log.said] == ["there is no group no-such-group"]
    shared.sink.close()


def test_one_that_began_anew_after_it_was_removed_is_shared_again(shared: Shared) -> None:
    shared.path.unlink()
    shared.sink.write([steady(500)])
    assert ask(shared.path) == str(PARAMS)


def test_an_agent_that_may_not_give_the_group_anything_says_so(open_to_all: Path) -> None:
    log = _of_another_user(open_to_all, lambda: Shared(open_to_all / "own"))
    assert (
        log == f"the agent's user is not of the group {GROUP}, and cannot give it {open_to_all}/own/shared/history.db"
    )


def _of_another_user(folder: Path, make: Callable[[], Shared]) -> str:
    """Open and write a history as another user; return what was said of sharing it."""
    own = folder / "own"
    own.mkdir()
    os.chown(own, STRANGER, STRANGER)
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        os.setgroups([])
        os.setgid(STRANGER)
        os.setuid(STRANGER)
        made = make()
        made.open()
        made.write()
        os.write(write_end, str(made.log.said[0][2]["error"]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write_end)
    with os.fdopen(read_end) as said:
        return said.read()


def test_the_owner_reads_as_ever(shared: Shared) -> None:
    with closing(connect(shared.path)) as connection:
        assert connection.execute("SELECT count(*) FROM samples").fetchone() == (3 * PARAMS,)

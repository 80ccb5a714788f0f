"""How the agent is, for whoever asks: a report, and the Unix socket on which it is given.

Whoever connects is sent one report as JSON, and that is all; nothing is read from them. One is served at a time, within
a second, and reports are not made more often than four times a second, so that asking costs the agent nothing that
matters. The socket is the agent's own user's, or a group's.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from domstat import __version__
from domstat.deliver.account import JournalAccount, SinkAccount, account_of, journal_account
from domstat.deliver.bounds import Why
from domstat.deliver.courier import Courier, State
from domstat.deliver.spool import Spool
from domstat.line import Line
from domstat.text import span

LATE_INTERVALS = 3
LATE_S_MIN = 30.0
"""A stream without a good tick for so many intervals, and at least so long, is in trouble: one that is slow is not."""

STUCK_S = 60.0
"""A sink that takes nothing for longer, or answers nothing: a server that restarts is back by then."""

RECENT_S = 600.0
"""Records that were lost are trouble for so long after the last: somebody shall see it."""

SEND_S = 1.0
"""How long whoever asks may take to read the answer; the next one waits meanwhile."""

WAITING_MAX = 16
"""Askers that wait for their turn; more are refused by the system."""

FRESH_S = 0.25
"""A report so young is given again."""

ANSWER_BYTES_MAX = 16 << 20
"""A report is some 300 bytes a stream."""

PATH_BYTES_MAX = 100
"""Longer paths do not fit into a socket's address, of 108 bytes."""


class StreamAccount(Struct, frozen=True):
    """One stream. *failing* says why its newest tick failed; *silent_s* how long ago the last good one was.

    What is counted is counted since the agent's start; *quarantined* are the guests that hang now.
    """

    host: str
    collect: str
    interval_s: float
    ticks: int
    ticked_ms: int | None
    silent_s: float
    failing: str | None
    skipped: int
    failed: int
    quarantined: int
    workers_killed: int
    reconnects: int
    clock_steps: int

    @property
    def is_late(self) -> bool:
        """Whether it has had no good tick for far too long, though none may have failed."""
        return self.silent_s > max(LATE_S_MIN, LATE_INTERVALS * self.interval_s)


class ReloadAccount(Struct, frozen=True):
    """How often the configuration was begun and ended to be read again, and what became of it the last time.

    *refused* says why it was not taken over, *changed* what it has changed, a line for each. *path* is the file's.
    """

    begun: int = 0
    ended: int = 0
    refused: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    path: str | None = None


class Report(Struct, frozen=True):
    """How the agent is. *reasons* say why it is not *healthy*."""

    healthy: bool
    reasons: tuple[str, ...]
    version: str
    pid: int
    uptime_s: float
    streams: tuple[StreamAccount, ...]
    sinks: tuple[SinkAccount, ...]
    journal: JournalAccount
    reloads: ReloadAccount = ReloadAccount()


class Reloads:
    """What becomes of reloads, for whoever asked for one."""

    def __init__(self, path: Path | None = None) -> None:
        self.account = ReloadAccount(path=None if path is None else str(path.absolute()))

    def begin(self) -> None:
        """Count one more: it takes into account what the file says from now on."""
        self.account = replace(self.account, begun=self.account.begun + 1)

    def end(self, refused: Sequence[str], changed: Sequence[str]) -> None:
        """Note why the last one was refused, or else what it has changed."""
        was = self.account
        self.account = replace(was, ended=was.begun, refused=tuple(refused), changed=tuple(changed))


class Rises:
    """Which counters have risen of late."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float | None]] = {}
        """By name, the newest value and when it last rose, in seconds of the monotonic clock."""

    def note(self, name: str, value: int, now_s: float) -> bool:
        """Note a counter that began at 0; return whether it rose within the last ten minutes."""
        before, rose_at = self._seen.get(name, (0, None))
        if value > before:
            rose_at = now_s
        self._seen[name] = (value, rose_at)
        return rose_at is not None and now_s - rose_at <= RECENT_S


class Reporter:
    """Makes reports. Used by one thread at a time, but for the watching of losses, which the schedule does too."""

    def __init__(
        self, lines: Mapping[str, Line], couriers: Sequence[Courier], spool: Spool, reloads: Reloads | None = None
    ) -> None:
        """Lines and couriers may come and go meanwhile."""
        self._reloads = reloads or Reloads()
        self._lines = lines
        self._couriers = couriers
        self._spool = spool
        self._began_s = time.monotonic()
        self._rises = Rises()

    def report(self) -> Report:
        """Say how the agent is now."""
        now_s = time.monotonic()
        streams = tuple(_stream_account(line) for line in tuple(self._lines.values()))
        sinks = tuple(account_of(courier, self._spool) for courier in tuple(self._couriers))
        journal = journal_account(self._spool)
        uptime_s = round(now_s - self._began_s, 3)
        reloads = self._reloads.account
        reasons = (
            *(reason for stream in streams for reason in _troubles_of_stream(stream)),
            *(reason for sink in sinks for reason in _troubles_of_sink(sink, uptime_s)),
            *([f"the journal cannot be written: {journal.failing}"] if journal.failing is not None else []),
            *([f"the configuration was refused: {reloads.refused[0]}"] if reloads.refused else []),
            *self.watch(),
        )
        return Report(not reasons, reasons, __version__, os.getpid(), uptime_s, streams, sinks, journal, reloads)

    def watch(self) -> list[str]:
        """See whether records were lost since this was last asked; say which losses are not long ago."""
        now_s = time.monotonic()
        said = []
        for courier in tuple(self._couriers):
            lost = {why: count for why, count in courier.counts.dropped_by.copy().items() if why is not Why.ENDED}
            if self._rises.note(f"sink {courier.name}", sum(lost.values()), now_s):
                counted = ", ".join(f"{why}: {count}" for why, count in lost.items())
                said.append(f"the sink {courier.name} lost records ({counted})")
        lost_by_journal = self._spool.figures().lost
        if self._rises.note("journal", lost_by_journal, now_s):
            said.append(f"{lost_by_journal} records never came into the journal")
        return said


def _stream_account(line: Line) -> StreamAccount:
    tally = line.tally
    return StreamAccount(
        line.host,
        line.collect,
        line.interval_s,
        line.ticks,
        line.ticked_ms,
        round(line.silent_s, 3),
        line.trouble,
        tally.skipped,
        tally.failed,
        tally.quarantined,
        tally.workers_killed,
        tally.reconnects,
        tally.clock_steps,
    )


def _troubles_of_stream(stream: StreamAccount) -> Iterator[str]:
    name = f"the stream {stream.host}/{stream.collect}"
    if stream.failing is not None:
        yield f"{name} fails: {stream.failing}"
    elif stream.is_late:
        yield f"{name} had no tick for {span(stream.silent_s)}"


def _troubles_of_sink(sink: SinkAccount, uptime_s: float) -> Iterator[str]:
    name, error = f"the sink {sink.name}", f": {sink.last_error}" if sink.last_error else ""
    behind_s = min(sink.lag_s, uptime_s)  # after a start a sink has some time, however old what waits for it is
    if sink.state in {State.STOPPED, State.BROKEN}:
        yield f"{name} is {sink.state}{error}"
    elif sink.busy_s > STUCK_S:
        yield f"{name} has been stuck for {span(sink.busy_s)}"
    elif not sink.is_good and behind_s > STUCK_S:
        yield f"{name} has taken nothing for {span(behind_s)}{error}"
    if sink.unwell:
        yield f"{name} says: {sink.unwell}"


# The socket.


class StatusError(Exception):
    """No agent answers; the message says why."""


class Server:
    """Gives reports on a Unix socket. To be started and stopped while the state directory is locked."""

    def __init__(self, path: Path, group: str | None, report: Callable[[], Struct], log: Any) -> None:
        """*group*: whose members may ask too."""
        self._path = path
        self._group = group
        self._report = report
        self._log = log
        self._socket: socket.socket | None = None
        self._file: tuple[int, int] | None = None
        self._stopping = threading.Event()
        self._answer: tuple[float, bytes] = (float("-inf"), b"")
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def start(self) -> None:
        """Begin to answer. Where that cannot be the agent goes on without, and the log says why."""
        try:
            self._socket = self._listen(_group_id(self._group))
        except (OSError, LookupError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error.args[0])
            hint = "nobody can ask for the agent's status; see agent.status_socket and agent.status_group"
            self._log.error("status_not_offered", path=str(self._path), error=reason, hint=hint)
            return
        self._thread.start()

    def stop(self) -> None:
        """Answer no more, and leave no socket behind."""
        if self._socket is None:
            return
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # which ends the waiting for the next
        self._thread.join(SEND_S + FRESH_S)
        self._socket.close()
        with contextlib.suppress(OSError):
            if _identity(self._path) == self._file:
                self._path.unlink()

    def _listen(self, group_id: int | None) -> socket.socket:
        """Make the socket. Raises OSError."""
        _make_folder(self._path.parent, group_id)
        _make_way(self._path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _address(self._path) as address:
                listener.bind(address)
            self._file = _identity(self._path)
            # Nobody can connect before it listens, and then it is already whose it shall be.
            if group_id is not None:
                os.chown(self._path, -1, group_id)
                self._warn_if_shut_out(group_id)
            self._path.chmod(0o600 if group_id is None else 0o660)
            listener.listen(WAITING_MAX)
        except BaseException:
            listener.close()
            if self._file is not None:
                self._path.unlink(missing_ok=True)
            raise
        return listener

    def _warn_if_shut_out(self, group_id: int) -> None:
        folder = self._path.parent.stat()
        is_open = folder.st_mode & stat.S_IXOTH or (folder.st_gid == group_id and folder.st_mode & stat.S_IXGRP)
        if not is_open:
            self._log.warning(
                "status_out_of_reach",
                path=str(self._path),
                group=self._group,
                hint="the group may not enter its folder; set agent.status_socket to a path in another",
            )

    def _run(self) -> None:
        assert self._socket is not None  # noqa: S101 - it was made before the thread was started
        while not self._stopping.is_set():
            try:
                asker, _ = self._socket.accept()
            except OSError:  # it was shut down; or there are no descriptors left, which may pass
                self._stopping.wait(SEND_S)
                continue
            with asker, contextlib.suppress(OSError):  # whoever asked has gone, or does not read
                asker.settimeout(SEND_S)
                asker.sendall(self._answer_now())

    def _answer_now(self) -> bytes:
        """Return a report that is fresh enough; nothing if it cannot be made."""
        made_at, answer = self._answer
        if time.monotonic() - made_at < FRESH_S:
            return answer
        try:
            answer = msgspec.json.encode(self._report()) + b"\n"
        except Exception as error:  # noqa: BLE001 - whoever asks is told nothing, the log once, and the next may ask
            if not self._failing:
                self._log.error("status_not_made", exc_info=error)
            self._failing, answer = True, b""
        self._answer = (time.monotonic(), answer)
        return answer


def ask(path: Path, timeout_s: float) -> bytes:
    """Ask the agent that answers at *path* how it is; return its report as JSON. Raises StatusError."""
    until = time.monotonic() + timeout_s
    answer = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, _address(path) as address:
            connection.settimeout(timeout_s)
            connection.connect(address)
            while piece := connection.recv(1 << 16):
                answer += piece
                if len(answer) > ANSWER_BYTES_MAX:
                    raise StatusError(f"what answers at {path} is no agent: it does not end")
                connection.settimeout(max(0.001, until - time.monotonic()))
    except FileNotFoundError:
        raise StatusError(f"no agent runs: there is no socket at {path}") from None
    except ConnectionRefusedError:
        raise StatusError(f"no agent runs: the one that made the socket {path} has ended") from None
    except PermissionError:
        raise StatusError(f"{path} is not yours to ask: see agent.status_group in the configuration") from None
    except (TimeoutError, BlockingIOError):
        raise StatusError(f"the agent at {path} does not answer within {span(timeout_s)}") from None
    except OSError as error:
        raise StatusError(f"{path}: {error.strerror or error}") from error
    if not answer:
        raise StatusError(f"the agent at {path} cannot say how it is: see its log")
    return bytes(answer)


def read(answer: bytes) -> Report:
    """Read a report. Raises StatusError where it is none that this domstat knows."""
    try:
        return msgspec.json.decode(answer, type=Report)
    except msgspec.DecodeError as error:
        raise StatusError(f"the agent is of another version, or it is none: {error}") from error


def _group_id(group: str | None) -> int | None:
    """Return a group's number. Raises LookupError."""
    if group is None:
        return None
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise LookupError(f'there is no group "{group}"') from None


def _make_folder(folder: Path, group_id: int | None) -> None:
    """Make the socket's folder if it is not there, such that *group_id* may enter it."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    if group_id is not None:
        os.chown(folder, -1, group_id)
        folder.chmod(0o750)


def _make_way(path: Path) -> None:
    """Remove the socket of an agent that has ended; whatever else is there stays. Raises OSError."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "there is something else at that path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, _address(path) as address:
        probe.settimeout(SEND_S)
        try:
            probe.connect(address)
        except ConnectionRefusedError:
            path.unlink()
            return
        except (TimeoutError, BlockingIOError):
            pass  # somebody is there, and busy
    raise OSError(errno.EADDRINUSE, "another agent answers there")


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """Give a name of a socket that fits into its address, however long the path is."""
    if len(os.fsencode(path)) <= PATH_BYTES_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino

"""What a call costs elsewhere: CPU time burnt in libvirtd, in the guests' QEMU processes, and in the worker.

A tick's bill is paid by its host: nearly all of it by libvirtd, which asks the guests one by one, and by the guests'
own processes, which answer. ``/proc`` of this machine tells, where it may be read and the daemon runs here.

Of QEMU's threads two have to do with a question: the one that serves the monitor (``IO mon_iothread``, since QEMU
2.12), and the main thread. The first does nothing else, and burns three quarters of it all; the second also works for
the guest's own devices. What it burns for those is taken off, estimated from its rate since it was last measured, or
since it was started: at one per cent of a CPU per guest, 200 guests would otherwise look like four times the cost.

Two things are not told apart: what libvirtd and the monitors did for others during the call, and, on KVM, the moment
for which a virtual CPU's thread is interrupted to read its statistics.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator

from msgspec import Struct

from domstat.collect import wire

SCAN_INTERVAL_NS = 60_000_000_000
"""Looking for a guest's process reads a file of every process of the machine (8 us each): at most once a minute."""

PROCESSES_MAX = 50_000
"""Guests' processes remembered: three times what one answer of libvirt can hold."""

CMDLINE_BYTES_MAX = 131_072
"""How much of a command line is read. libvirt's are 3 to 20 KiB long, and ``-uuid`` is in their first half."""

THREADS_MAX = 16
"""Threads among which the monitor's is looked for: it is among the first, started before any virtual CPU's."""

UNSEEN_SHARE_MAX = 0.1
"""Guests that come or go during a call are left out, but a sum over fewer than nine in ten would say too little."""

_FILE_BYTES_MAX = 4096
"""More than any of the small files has: ``stat`` has some 350 bytes, the others fewer."""

_MONITOR_THREAD = b"mon_iothread"
_PASSES_ON = b"virtproxyd"
"""A daemon that does none of the work, which the one behind it does."""

_CPUCLOCK_SCHED = 2
_JIFFY_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_UNREADABLE = (OSError, ValueError, IndexError)
"""What comes of a process that has ended, that may not be looked at, or whose files are not what they should be."""


def boot_ns() -> int:
    """Return the boot-time clock, in nanoseconds: the one that processes' starts are given in."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Reading(Struct, frozen=True, gc=False):
    """What a guest's process had spent by a moment of the boot-time clock: its main thread, and its monitor's."""

    main_ns: int
    monitor_ns: int
    boot_ns: int


class Meter:
    """Measures what one call at a time costs, from :meth:`begin` to :meth:`end`. Never raises.

    A measurement reads six small files a guest, 70 us: meant for one tick in many. *daemon_pid* gives the pid of the
    daemon that the worker is connected to, None where it is not this machine's; *proc* and *clock* are for tests.
    """

    def __init__(
        self, daemon_pid: Callable[[], int | None], proc: str = "/proc", clock: Callable[[], int] = boot_ns
    ) -> None:
        self._daemon_pid = daemon_pid
        self._proc = proc
        self._guests = _Guests(proc, clock)
        self._begun: _Begun | None = None

    def begin(self, uuids: Collection[str]) -> None:
        """Note what everybody has spent so far, just before a call that asks the guests *uuids*."""
        daemon = self._daemon_pid()
        guests = self._guests.read(uuids) if daemon else None
        # The worker's own clock last, and first at the end: reading the others is no part of the call.
        self._begun = _Begun(daemon, guests, len(uuids), self._libvirtd_ns(daemon), time.process_time_ns())

    def end(self) -> wire.Cost:
        """Return what has been spent since :meth:`begin`, call it once after each."""
        worker_ns = time.process_time_ns()
        begun, self._begun = self._begun, None
        if begun is None:
            return wire.Cost(None, None, None)
        libvirtd_ns = self._libvirtd_ns(begun.daemon)
        return wire.Cost(
            None if libvirtd_ns is None or begun.libvirtd_ns is None else libvirtd_ns - begun.libvirtd_ns,
            None if begun.guests is None else self._guests.spent(begun.guests, begun.asked),
            worker_ns - begun.worker_ns,
        )

    def _libvirtd_ns(self, pid: int | None) -> int | None:
        """Return the CPU time of the whole daemon, threads that ended included.

        From its own CPU clock (clock_getcpuclockid(3)), whose number is made of the pid: ``/proc`` counts the whole in
        steps of 10 ms, and forgets threads.
        """
        if not pid:
            return None
        try:
            if _read(f"{self._proc}/{pid}/comm").strip() == _PASSES_ON:
                return None
            return time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED)
        except _UNREADABLE:
            return None


class _Begun(Struct, frozen=True, gc=False):
    """What a measurement began with."""

    daemon: int | None
    guests: dict[str, Reading] | None
    asked: int
    libvirtd_ns: int | None
    worker_ns: int


class _Guests:
    """Finds the guests' processes, remembers them, and adds up what they spend."""

    def __init__(self, proc: str, clock: Callable[[], int]) -> None:
        self._proc = proc
        self._clock = clock
        self._known: dict[str, _Process] = {}
        self._scan_at_ns = 0

    def read(self, uuids: Collection[str]) -> dict[str, Reading]:
        """Read what each of these guests has spent; those whose process is not seen are left out."""
        found = dict(self._read_known(uuids))
        if len(found) < len(uuids) and self._clock() >= self._scan_at_ns:
            self._scan()
            found = dict(self._read_known(uuids))
        return found

    def spent(self, begun: dict[str, Reading], asked: int) -> int | None:
        """Add up what the guests have spent for others than themselves since *begun*.

        None if too few of those *asked* are seen.
        """
        monitors = mains = seen = 0
        for uuid, ended in self._read_known(begun):
            process, began = self._known[uuid], begun[uuid]
            monitors += ended.monitor_ns - began.monitor_ns
            mains += ended.main_ns - began.main_ns - background_ns(process.last, began, ended)
            process.last = ended
            seen += 1
        if asked - seen > asked * UNSEEN_SHARE_MAX:
            return None
        # Of a single guest less than nothing may remain; cut there, all guests together would come out too high.
        return monitors + max(0, mains)

    def _read_known(self, uuids: Collection[str]) -> Iterator[tuple[str, Reading]]:
        for uuid in uuids:
            process = self._known.get(uuid)
            reading = process.read(self._clock()) if process else None
            if reading:
                yield uuid, reading

    def _scan(self) -> None:
        """Look for guests among all processes. Where two claim to be one guest, neither is believed."""
        found: dict[str, _Process | None] = {}
        for folder in _folders(self._proc):
            try:
                uuid = uuid_of(_read(f"{folder}/cmdline", CMDLINE_BYTES_MAX))
                if uuid is not None:
                    found[uuid] = None if uuid in found else self._process(uuid, folder)
            except _UNREADABLE:
                continue  # it has just ended, or is not ours to look at
            if len(found) >= PROCESSES_MAX:
                break
        self._known = {uuid: process for uuid, process in found.items() if process}
        self._scan_at_ns = self._clock() + SCAN_INTERVAL_NS

    def _process(self, uuid: str, folder: str) -> _Process:
        known = self._known.get(uuid)
        new = _Process(folder)
        return known if known and (known.folder, known.started) == (folder, new.started) else new


class _Process:
    """A guest's process: how to read it, and what it had spent when it was last measured."""

    __slots__ = ("_main", "_monitor", "folder", "last", "started")

    def __init__(self, folder: str) -> None:
        """Begin with what it has spent since its start. Raises one of _UNREADABLE."""
        self.folder = folder
        self._main = f"{folder}/task/{folder.rpartition('/')[2]}"
        self._monitor: str | None = None
        _, self.started = _stat(self._main)
        self.last = Reading(0, 0, self.started * _JIFFY_NS)

    def read(self, now_ns: int) -> Reading | None:
        """Read what it has spent by now; None if it has ended, or another process has its number."""
        try:
            if _stat(self._main)[1] != self.started:
                return None
            self._monitor = self._monitor or self._find_monitor()
            monitor_ns = _thread_ns(self._monitor) if self._monitor else 0
            return Reading(_thread_ns(self._main), monitor_ns, now_ns)
        except _UNREADABLE:
            return None

    def _find_monitor(self) -> str | None:
        threads = os.listdir(f"{self.folder}/task")  # noqa: PTH208 - pathlib costs memory
        for name in threads[:THREADS_MAX]:  # the kernel lists them in the order of their start
            if _MONITOR_THREAD in _read(f"{self.folder}/task/{name}/comm"):
                return f"{self.folder}/task/{name}"
        return None  # just starting, or older than QEMU 2.12: then the main thread does it all


def background_ns(last: Reading, began: Reading, ended: Reading) -> int:
    """Estimate what a main thread would have spent from *began* to *ended* anyway, by its rate from *last* to *began*.

    Calls that were not measured are in that rate. They make up as much of it as a call does of an interval.
    """
    known_ns = began.boot_ns - last.boot_ns
    if known_ns <= 0:
        return 0
    return (began.main_ns - last.main_ns) * (ended.boot_ns - began.boot_ns) // known_ns


def uuid_of(cmdline: bytes) -> str | None:
    """Return the guest that a process with this command line is, as libvirt starts them; None if it is none."""
    _, found, rest = cmdline.partition(b"\0-uuid\0")
    return rest.partition(b"\0")[0].decode() if found else None


def _folders(proc: str) -> list[str]:
    try:
        return [f"{proc}/{name}" for name in os.listdir(proc) if name.isdecimal()]  # noqa: PTH208 - pathlib costs memory
    except OSError:
        return []


def _thread_ns(folder: str) -> int:
    """Return the CPU time of a thread; in steps of 10 ms where the kernel was built without scheduler statistics.

    Such a kernel has no file, or zeros in it. Raises one of _UNREADABLE.
    """
    try:
        exact = int(_read(f"{folder}/schedstat").split()[0])
    except FileNotFoundError:
        exact = 0
    return exact or _stat(folder)[0]


def _stat(folder: str) -> tuple[int, int]:
    """Return a thread's CPU time in nanoseconds, and its start in clock ticks since boot. Raises one of _UNREADABLE."""
    fields = _read(f"{folder}/stat").rpartition(b")")[2].split()  # its name may contain anything, brackets too
    return (int(fields[11]) + int(fields[12])) * _JIFFY_NS, int(fields[19])


def _read(path: str, limit: int = _FILE_BYTES_MAX) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, limit)
    finally:
        os.close(fd)

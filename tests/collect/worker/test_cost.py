"""What a call costs elsewhere is found in /proc: a made one with chosen figures, and the real one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from domstat.collect import wire
from domstat.collect.worker import cost
from domstat.collect.worker.cost import Meter, Reading, background_ns, uuid_of

SECOND = 1_000_000_000
MS = 1_000_000
JIFFY = SECOND // os.sysconf("SC_CLK_TCK")
WEB, DB = str(uuid.uuid4()), str(uuid.uuid4())
QEMU = ["/usr/bin/qemu-system-x86_64", "-name", "guest=web,debug-threads=on", "-S", "-smp", "2"]


class FakeProc:
    """A /proc to be written into, and a boot-time clock to be turned."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 1000 * SECOND
        self.scans = 0
        self.daemon: int | None = os.getpid()
        self.process(os.getpid(), ["/usr/sbin/libvirtd"])
        (root / "uptime").write_text("not a process")

    def meter(self) -> Meter:
        return Meter(lambda: self.daemon, str(self.root), self.clock)

    def clock(self) -> int:
        return self.now

    def process(self, pid: int, words: list[str], started_s: float = 0) -> None:
        folder = self.root / str(pid)
        (folder / "task").mkdir(parents=True, exist_ok=True)
        (folder / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in words))
        (folder / "comm").write_text(words[0].rpartition("/")[2][:15] + "\n" if words else "\n")
        self.thread(pid, pid, 0, started_s=started_s)

    def guest(self, pid: int, uuid: str, main_ns: int = 0, monitor_ns: int = 0, started_s: float = 0) -> None:
        self.process(pid, [*QEMU, "-uuid", uuid, "-display", "none"], started_s)
        self.thread(pid, pid, main_ns, started_s=started_s)
        self.thread(pid, pid + 1, 0, name="worker")
        self.thread(pid, pid + 2, monitor_ns, name="IO mon_iothread")
        self.thread(pid, pid + 3, 777 * SECOND, name="CPU 0/KVM")

    def thread(self, pid: int, tid: int, ns: int, name: str = "qemu (1) x", started_s: float = 0) -> None:
        folder = self.root / str(pid) / "task" / str(tid)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "comm").write_text(name + "\n")
        (folder / "schedstat").write_text(f"{ns} 5 6\n")
        self.jiffies(pid, tid, ns // JIFFY, name, started_s)

    def jiffies(self, pid: int, tid: int, count: int, name: str = "qemu", started_s: float = 0) -> None:
        ticks = int(started_s * os.sysconf("SC_CLK_TCK"))
        fields = f"S {'0 ' * 10}{count - count // 3} {count // 3} {'0 ' * 6}{ticks} 0 0\n"
        (self.root / str(pid) / "task" / str(tid) / "stat").write_text(f"{tid} ({name}) {fields}")

    def end(self, pid: int) -> None:
        folder = self.root / str(pid)
        folder.rename(self.root / f"ended-{pid}-{time.monotonic_ns()}")


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeProc:
    fake = FakeProc(tmp_path)
    scan = cost._Guests._scan

    def counted(guests: cost._Guests) -> None:
        fake.scans += 1
        scan(guests)

    monkeypatch.setattr(cost._Guests, "_scan", counted)
    return fake


class BusyProcess:
    """A real process that says it is a guest, and works when told to."""

    def __init__(self, uuid: str) -> None:
        code = "import sys\nfor line in sys.stdin: sum(i * i for i in range(2_000_000)); print('done', flush=True)"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, "-uuid", uuid], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.pid = self._process.pid

    def work(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        self._process.stdout.readline()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def busy() -> Iterator[BusyProcess]:
    process = BusyProcess(DB)
    yield process
    process.end()


def _burn(ns: int) -> None:
    until = time.process_time_ns() + ns
    while time.process_time_ns() < until:
        pass


def test_what_the_guests_monitors_spend_is_counted_but_not_what_their_virtual_cpus_do(proc: FakeProc) -> None:
    proc.guest(100, WEB, monitor_ns=5 * SECOND)
    proc.guest(200, DB, monitor_ns=8 * SECOND)
    meter = proc.meter()
    meter.begin([WEB, DB])
    proc.guest(100, WEB, monitor_ns=5 * SECOND + 3 * MS)
    proc.guest(200, DB, monitor_ns=8 * SECOND + 4 * MS)
    proc.thread(200, 203, 999 * SECOND, name="CPU 0/KVM")
    assert meter.end().qemu == 7 * MS


def test_what_a_main_thread_burns_for_its_guest_anyway_is_taken_off(proc: FakeProc) -> None:
    # A tenth of a CPU since its start a thousand seconds ago: of a call of 2 s that is 200 ms.
    proc.guest(100, WEB, main_ns=100 * SECOND)
    meter = proc.meter()
    meter.begin([WEB])
    proc.now += 2 * SECOND
    proc.guest(100, WEB, main_ns=100 * SECOND + 201 * MS, monitor_ns=3 * MS)
    assert meter.end().qemu == 4 * MS


def test_the_rate_that_is_taken_off_is_the_one_since_the_last_measurement(proc: FakeProc) -> None:
    proc.guest(100, WEB, main_ns=100 * SECOND)
    meter = proc.meter()
    meter.begin([WEB])
    meter.end()
    proc.now += 10 * SECOND  # in which the guest does nothing any more
    meter.begin([WEB])
    proc.now += 2 * SECOND
    proc.guest(100, WEB, main_ns=100 * SECOND + MS, monitor_ns=3 * MS)
    assert meter.end().qemu == 4 * MS


def test_guests_that_rest_during_a_call_make_it_no_cheaper_than_their_monitors(proc: FakeProc) -> None:
    proc.guest(100, WEB, main_ns=500 * SECOND)
    meter = proc.meter()
    meter.begin([WEB])
    proc.now += 2 * SECOND
    proc.guest(100, WEB, main_ns=500 * SECOND, monitor_ns=3 * MS)
    assert meter.end().qemu == 3 * MS


def test_one_guest_that_rests_makes_up_for_one_that_works_more_than_usual(proc: FakeProc) -> None:
    proc.guest(100, WEB, main_ns=100 * SECOND)
    proc.guest(200, DB, main_ns=100 * SECOND)
    meter = proc.meter()
    meter.begin([WEB, DB])
    proc.now += SECOND
    proc.guest(100, WEB, main_ns=100 * SECOND + 150 * MS)
    proc.guest(200, DB, main_ns=100 * SECOND + 60 * MS)
    assert meter.end().qemu == 10 * MS


def test_a_clock_that_stands_still_gives_no_rate() -> None:
    reading = Reading(5, 0, 100)
    assert background_ns(reading, Reading(9, 0, 100), Reading(20, 0, 200)) == 0


def test_a_qemu_without_a_thread_for_its_monitor_does_it_all_in_the_main_thread(proc: FakeProc) -> None:
    proc.process(100, [*QEMU, "-uuid", WEB])
    meter = proc.meter()
    meter.begin([WEB])
    proc.thread(100, 100, 4 * MS)
    assert meter.end().qemu == 4 * MS


def test_a_monitors_thread_that_was_not_there_yet_is_found_later(proc: FakeProc) -> None:
    proc.process(100, [*QEMU, "-uuid", WEB])
    meter = proc.meter()
    meter.begin([WEB])
    meter.end()
    proc.guest(100, WEB)
    meter.begin([WEB])
    proc.guest(100, WEB, monitor_ns=3 * MS)
    assert meter.end().qemu == 3 * MS


@pytest.mark.parametrize("lacking", ["no file", "zeros"])
def test_a_kernel_without_scheduler_statistics_is_read_in_jiffies(proc: FakeProc, lacking: str) -> None:
    proc.guest(100, WEB)
    meter = proc.meter()
    for thread in (100, 102):
        file = proc.root / "100" / "task" / str(thread) / "schedstat"
        file.unlink() if lacking == "no file" else file.write_text("0 0 0\n")
    meter.begin([WEB])
    proc.jiffies(100, 100, 5, name="qemu) S (x")
    proc.jiffies(100, 102, 3)
    assert meter.end().qemu == 8 * JIFFY


def test_guests_processes_are_looked_for_once(proc: FakeProc) -> None:
    proc.guest(100, WEB)
    meter = proc.meter()
    for _ in range(3):
        meter.begin([WEB])
        assert meter.end().qemu == 0
        proc.now += 1000 * SECOND
    assert proc.scans == 1


def test_a_guest_that_is_new_is_looked_for_and_the_others_keep_their_last_reading(proc: FakeProc) -> None:
    proc.guest(100, WEB, main_ns=100 * SECOND)
    meter = proc.meter()
    meter.begin([WEB])
    meter.end()
    proc.now += 100 * SECOND
    proc.guest(200, DB, started_s=1090)
    meter.begin([WEB, DB])
    proc.now += SECOND
    proc.guest(100, WEB, main_ns=100 * SECOND + 2 * MS)  # idle since it was last measured
    assert meter.end().qemu == 2 * MS
    assert proc.scans == 2


def test_guests_that_are_not_found_are_looked_for_once_a_minute_at_most(proc: FakeProc) -> None:
    meter = proc.meter()
    for _ in range(13):
        meter.begin([WEB])
        assert meter.end().qemu is None
        proc.now += 10 * SECOND
    assert proc.scans == 3


@pytest.mark.parametrize("number", [300, 100])
def test_a_guest_that_was_started_anew_is_found_again(proc: FakeProc, number: int) -> None:
    proc.guest(100, WEB, main_ns=50 * SECOND)
    meter = proc.meter()
    meter.begin([WEB])
    meter.end()
    proc.end(100)
    proc.now += 100 * SECOND
    proc.guest(number, WEB, started_s=1099)
    meter.begin([WEB])
    proc.guest(number, WEB, monitor_ns=3 * MS, started_s=1099)
    assert meter.end().qemu == 3 * MS


def test_another_guest_under_a_guests_old_number_is_not_taken_for_it(proc: FakeProc) -> None:
    proc.guest(100, WEB)
    meter = proc.meter()
    meter.begin([WEB])
    meter.end()
    proc.end(100)
    proc.guest(100, DB, started_s=1050)
    proc.now += 100 * SECOND
    meter.begin([WEB])
    assert meter.end().qemu is None
    meter.begin([DB])
    proc.guest(100, DB, monitor_ns=3 * MS, started_s=1050)
    assert meter.end().qemu == 3 * MS


def test_a_guest_that_ends_during_the_call_is_left_out_of_many(proc: FakeProc) -> None:
    uuids = [str(uuid.UUID(int=number)) for number in range(1, 21)]
    for number, name in enumerate(uuids):
        proc.guest(1000 + 10 * number, name)
    meter = proc.meter()
    meter.begin(uuids)
    for number, name in enumerate(uuids):
        proc.guest(1000 + 10 * number, name, monitor_ns=MS)
    proc.end(1000)
    assert meter.end().qemu == 19 * MS


def test_too_few_guests_seen_are_no_figure_at_all(proc: FakeProc) -> None:
    proc.guest(100, WEB)
    meter = proc.meter()
    meter.begin([WEB, DB])
    assert meter.end().qemu is None


def test_of_two_processes_that_claim_to_be_one_guest_neither_is_believed(proc: FakeProc) -> None:
    for pid in (100, 200, 300):
        proc.guest(pid, WEB)
    meter = proc.meter()
    meter.begin([WEB])
    assert meter.end().qemu is None


def test_no_guests_cost_nothing(proc: FakeProc) -> None:
    meter = proc.meter()
    meter.begin([])
    assert meter.end().qemu == 0
    assert proc.scans == 0


def test_a_machine_with_more_guests_than_are_remembered_gives_no_figure_but_stays_bounded(
    proc: FakeProc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "PROCESSES_MAX", 1)
    proc.guest(100, WEB)
    proc.guest(200, DB)
    meter = proc.meter()
    meter.begin([WEB, DB])
    assert meter.end().qemu is None
    assert len(meter._guests._known) == 1


def test_a_daemon_elsewhere_leaves_only_the_workers_own_figure(proc: FakeProc) -> None:
    proc.guest(100, WEB)
    proc.daemon = None
    meter = proc.meter()
    meter.begin([WEB])
    _burn(5 * MS)
    spent = meter.end()
    assert (spent.libvirtd, spent.qemu) == (None, None)
    assert spent.worker is not None
    assert 5 * MS <= spent.worker < 50 * MS
    assert proc.scans == 0


def test_a_daemon_that_only_passes_calls_on_is_not_the_one_that_works(proc: FakeProc) -> None:
    proc.guest(100, WEB)
    proc.process(os.getpid(), ["/usr/sbin/virtproxyd"])
    meter = proc.meter()
    meter.begin([WEB])
    proc.guest(100, WEB, monitor_ns=3 * MS)
    spent = meter.end()
    assert (spent.libvirtd, spent.qemu) == (None, 3 * MS)


def test_a_daemon_that_is_gone_or_hidden_has_no_figure(proc: FakeProc) -> None:
    proc.daemon = 4_999_999  # above any number a process can have
    proc.process(proc.daemon, ["/usr/sbin/libvirtd"])
    meter = proc.meter()
    meter.begin([])
    assert meter.end().libvirtd is None
    proc.daemon = 4_999_998
    meter.begin([])
    assert meter.end().libvirtd is None


def test_the_daemons_time_is_that_of_all_its_threads(proc: FakeProc) -> None:
    meter = proc.meter()  # the fake daemon has this process's number
    meter.begin([])
    _burn(20 * MS)
    libvirtd = meter.end().libvirtd
    assert libvirtd is not None
    assert libvirtd >= 20 * MS


def test_a_proc_that_cannot_be_listed_gives_no_figure_and_raises_nothing(tmp_path: Path) -> None:
    meter = Meter(os.getpid, str(tmp_path / "nowhere"))
    meter.begin([WEB])
    spent = meter.end()
    assert (spent.libvirtd, spent.qemu) == (None, None)


@pytest.mark.parametrize("damage", ["", "7 (qemu) S 1 2 3\n", "no brackets at all", "1 (x) " + "y " * 40])
def test_files_that_are_not_what_they_should_be_raise_nothing(proc: FakeProc, damage: str) -> None:
    proc.guest(100, WEB)
    meter = proc.meter()
    meter.begin([WEB])
    (proc.root / "100" / "task" / "100" / "stat").write_text(damage)
    assert meter.end().qemu is None
    proc.now += 100 * SECOND
    meter.begin([WEB])
    assert meter.end().qemu is None


def test_an_end_without_a_beginning_tells_nothing(proc: FakeProc) -> None:
    meter = proc.meter()
    assert meter.end() == wire.Cost(None, None, None)
    meter.begin([])
    meter.end()
    assert meter.end() == wire.Cost(None, None, None)


def test_a_measurement_that_was_given_up_does_not_disturb_the_next(proc: FakeProc) -> None:
    proc.guest(100, WEB)
    meter = proc.meter()
    meter.begin([WEB])  # the call failed
    proc.guest(100, WEB, monitor_ns=SECOND)
    meter.begin([WEB])
    proc.guest(100, WEB, monitor_ns=SECOND + 3 * MS)
    assert meter.end().qemu == 3 * MS


def test_a_guest_is_known_by_its_command_line() -> None:
    def line(*words: str) -> bytes:
        return b"".join(word.encode() + b"\0" for word in words)

    assert uuid_of(line("qemu", "-uuid", WEB, "-display", "none")) == WEB
    assert uuid_of(line("qemu", "-uuid", WEB)) == WEB
    assert uuid_of(line("grep", f"-uuid {WEB}")) is None
    assert uuid_of(line("qemu", "-name", "guest=-uuid")) is None
    assert uuid_of(b"") is None


def test_a_real_process_is_found_and_measured(busy: BusyProcess) -> None:
    busy.work()
    meter = Meter(lambda: busy.pid)
    meter.begin([DB])
    busy.work()
    spent = meter.end()
    assert spent.libvirtd is not None
    assert spent.qemu is not None
    assert spent.libvirtd > 10 * MS
    # Its one thread is the main thread of a guest that was just as busy before: what is left is less, but no nonsense.
    assert 0 <= spent.qemu <= spent.libvirtd


def test_nothing_heavy_is_loaded_with_it() -> None:
    code = (
        "import sys, domstat.collect.wire; before = set(sys.modules)\n"
        "import domstat.collect.worker.cost\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert loaded == ["domstat.collect.worker", "domstat.collect.worker.cost"]

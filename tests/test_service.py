"""The agent as a whole, on libvirt's test driver and on stand-ins: it ticks, it says what goes wrong, it ends."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec import Struct

from domstat import config
from domstat.catalog import GROUPS
from domstat.collect.wire import Globs
from domstat.config import Config
from domstat.deliver.journal import FILE
from domstat.model import Batch, Kind, Record
from domstat.service import STOP_S, Service
from domstat.sink import Fatal, Finished, SinkContext
from domstat.state import StateError
from domstat.watching import make_block
from heard import Log

PATIENCE_S = 90.0
INTERVAL_S = 0.1
LONG_S = 8.0
"""Longer than any tick on a busy machine, and less than a silent host is waited for."""
BUSY_S = 10.0
"""So much longer a busy machine may take for the end of an agent that waits for nobody."""
WITHOUT_SURVEY = "survey = { enabled = false }"
NEVER_S = 4e9
"""Multiples of it since 1970 are in 2096 and later: what comes that often comes into no test."""


class NoSettings(Struct, frozen=True):
    """Nothing to set."""


class Keeper:
    """A sink that keeps what it is given; *take* may raise instead."""

    Settings: ClassVar[type[Struct]] = NoSettings
    taken: ClassVar[list[Batch]] = []
    take: ClassVar[Callable[[Sequence[Batch]], None]]

    def __init__(self, settings: NoSettings) -> None:
        self.settings = settings

    def open(self, context: SinkContext) -> None:
        pass

    def write(self, batches: Sequence[Batch]) -> None:
        type(self).take(batches)

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def keeper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domstat.service.ACCOUNT_EVERY_S", NEVER_S)  # or an account would come at any full minute
    monkeypatch.setattr(config, "load_sink", lambda _name: Keeper)
    Keeper.taken = []
    Keeper.take = staticmethod(Keeper.taken.extend)


Configured = Callable[..., Config]


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    """Make a configuration: of one host that has *more* in its table, or of *hosts*, and of *sinks*."""

    def make(more: str = WITHOUT_SURVEY, *, hosts: str = "", sinks: str = '[[sinks]]\ntype = "keeper"\n') -> Config:
        one = f'[[hosts]]\nuri = "test:///default"\nname = "h"\n{more}\n'
        return config.parse(f'[agent]\nstate_dir = "{tmp_path}"\ninterval = "100ms"\n{hosts or one}{sinks}')

    return make


@pytest.fixture
def patient_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have stopping wait until every sink has what was collected, however busy the machine is."""
    monkeypatch.setattr("domstat.service.STOP_S", PATIENCE_S)


@contextmanager
def running(service: Service) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        yield thread
    finally:
        service.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def records(kind: Kind, host: str = "h") -> list[Record]:
    """Return what the sink was given of one kind."""
    return [
        record for batch in list(Keeper.taken) for record in batch.records if (record.kind, record.host) == (kind, host)
    ]


# --- ticks


def test_every_tick_reaches_the_sink_in_order(log: Log, configured: Configured) -> None:
    with running(Service(configured(), log)):
        until(lambda: len(records(Kind.GUEST)) >= 3)
    times = [record.time_ms for record in records(Kind.GUEST)]
    assert times == sorted(set(times))
    assert {batch.stream for batch in Keeper.taken} == {("h", "default")}
    assert log.facts("tick")["guests"] == 1


def test_a_tick_tells_of_the_host_the_guests_and_the_agent(log: Log, configured: Configured) -> None:
    with running(Service(configured(), log)):
        until(lambda: Keeper.taken)
    first = Keeper.taken[0].records
    assert [record.kind for record in first] == [Kind.HOST, Kind.GUEST, Kind.AGENT]
    assert first[0].params["host.cpus"]
    assert first[2].params["agent.guests"] == 1


def test_blocks_are_streams_of_their_own_of_which_the_first_tells_of_the_host(log: Log, configured: Configured) -> None:
    blocks = '[[hosts.collect]]\ngroups = ["state"]\n[[hosts.collect]]\nname = "b"\ngroups = ["vcpu"]\n'
    with running(Service(configured(f"{WITHOUT_SURVEY}\n{blocks}"), log)):
        until(lambda: {record.collect for record in records(Kind.GUEST)} == {"default", "b"})
    assert {record.collect for record in records(Kind.HOST)} == {"default"}
    assert {record.collect for record in records(Kind.AGENT)} == {"default", "b"}


def test_a_block_asks_for_what_is_configured(configured: Configured) -> None:
    host = configured(
        f'{WITHOUT_SURVEY}\ndomains = {{ include = ["web-*"] }}\nfields = {{ exclude = ["net.*"] }}\n'
        '[[hosts.collect]]\ngroups = ["state", "block"]\nprobe = ["perf"]\nbacking = true\ninternals = true\n'
    ).hosts[0]
    block = make_block(host.blocks[0], host, with_host=True)
    assert (block.domains, block.fields) == (Globs(("web-*",)), Globs(exclude=("net.*",)))
    asked = block.ask(block.probe)
    assert asked.stats == GROUPS["state"] | GROUPS["block"] | GROUPS["perf"]
    assert (asked.internals, asked.host, block.backing) == (True, True, True)
    assert not make_block(host.blocks[0], host).ask().host


# --- several hosts

STAND_INS = """
import sys, threading, time
from domstat.collect.worker.__main__ import main
from standins import Daemon, Domain, Refused

def connect(uri, writable):
    if "closed" in uri:
        raise Refused(38)
    if "silent" in uri:
        time.sleep(600)
    daemon = Daemon("web-1")
    if "hung" in uri:
        daemon.guests[0].hang()
        daemon.free_stats = 0
    connection, note = daemon.connect(uri, writable)
    if "eventful" in uri:
        threading.Thread(target=happen, args=(connection, daemon.guests[0]), daemon=True).start()
    return connection, note

def happen(connection, guest):
    while not connection.registered:
        time.sleep(0.01)
    for event, detail in ((2, 0), (3, 0), (4, 0), (5, 1)):
        connection.registered[0](connection, Domain(connection, guest), event, detail, None)

main(connect)
"""


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The command of workers whose hypervisors are what their URI says: well, closed, silent, hung or eventful."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    return (sys.executable, "-P", "-c", STAND_INS)


def hosts(*names: str) -> str:
    return "".join(f'[[hosts]]\nuri = "fake:///{name}"\nname = "{name}"\n{WITHOUT_SURVEY}\n' for name in names)


def test_neither_a_dead_host_nor_a_silent_one_delays_another(
    log: Log, configured: Configured, stand_ins: tuple[str, ...]
) -> None:
    service = Service(configured(hosts=hosts("silent", "closed", "well")), log, stand_ins)
    with running(service):
        until(lambda: len(records(Kind.GUEST, "well")) >= 15)
    stamps = [batch.stamp.boot_ns for batch in Keeper.taken if batch.host == "well" and len(batch.records) > 1]
    assert max(late - early for early, late in pairwise(stamps)) < LONG_S * 1e9
    assert (records(Kind.GUEST, "silent"), records(Kind.GUEST, "closed")) == ([], [])
    assert {record.gap.reason for record in records(Kind.GAP, "closed") if record.gap} == {"host-down"}


def test_a_host_that_is_lost_is_one_line_however_many_blocks_it_has(
    log: Log, configured: Configured, stand_ins: tuple[str, ...]
) -> None:
    blocks = '[[hosts.collect]]\ngroups = ["state"]\n[[hosts.collect]]\nname = "b"\ngroups = ["vcpu"]\n'
    service = Service(configured(hosts=hosts("closed") + blocks), log, stand_ins)
    with running(service):
        until(lambda: all(line.tally.failed >= 3 for line in service.lines.values()))
    assert log.events("error") == ["host_lost"]
    assert set(log.events("warning")) <= {"interval_too_short"}, "which a busy machine may be told"
    assert {record.collect for record in records(Kind.GAP, "closed")} == {"default", "b"}


def test_what_happens_to_guests_is_delivered_as_it_happens(
    log: Log, configured: Configured, stand_ins: tuple[str, ...]
) -> None:
    with running(Service(configured(hosts=hosts("eventful")), log, stand_ins)):
        until(lambda: len(records(Kind.EVENT, "eventful")) >= 4)
    found = records(Kind.EVENT, "eventful")
    assert [record.event.type for record in found if record.event] == ["started", "paused", "resumed", "stopped"]
    assert {(record.collect, record.domain.name) for record in found if record.domain} == {("events", "web-1")}


# --- the survey


def test_a_survey_is_a_stream_of_its_own(log: Log, configured: Configured) -> None:
    service = Service(configured('survey = { interval = "1s" }'), log)
    assert list(service.lines) == ["h/default", "h/survey"]
    assert service.lines["h/survey"].interval_s == 1
    with running(service):
        until(lambda: records(Kind.POOL))
    (pool, *_) = records(Kind.POOL)
    assert (pool.collect, pool.params["pool.capacity"]) == ("survey", 107374182400)


def test_no_survey_is_made_where_none_is_wanted(log: Log, configured: Configured) -> None:
    assert list(Service(configured(), log).lines) == ["h/default"]


# --- what was not collected


@pytest.mark.usefixtures("patient_stop")
def test_what_was_missed_since_the_agent_before_is_delivered_first(
    log: Log, configured: Configured, tmp_path: Path
) -> None:
    with running(Service(configured(), log)):
        until(lambda: len(records(Kind.GUEST)) >= 2)
    # What a busy machine let pass has been said already, up to the end of that gap.
    said_ms = [record.gap.end - 1 for record in records(Kind.GAP) if record.gap is not None]
    last = max([*said_ms, *(record.time_ms for record in records(Kind.GUEST))]) // 100 * 100
    time.sleep(5 * INTERVAL_S)
    Keeper.taken.clear()
    with running(Service(configured(), log)):
        until(lambda: records(Kind.GUEST))
    gap = Keeper.taken[0].records[0].gap
    assert gap is not None
    assert (gap.start, gap.reason) == (last + round(1000 * INTERVAL_S), "agent-stopped")
    assert gap.start < gap.end <= records(Kind.GUEST)[0].time_ms


def test_a_stream_that_is_configured_no_more_is_not_waited_for(log: Log, configured: Configured) -> None:
    with running(Service(configured(), log)):
        until(lambda: records(Kind.GUEST))
    Keeper.taken.clear()
    other = f'[[hosts]]\nuri = "test:///default"\nname = "other"\n{WITHOUT_SURVEY}\n'
    with running(Service(configured(hosts=other), log)):
        until(lambda: records(Kind.GUEST, "other"))
    gaps = [record.gap.reason for host in ("h", "other") for record in records(Kind.GAP, host) if record.gap]
    assert "agent-stopped" not in gaps


@pytest.mark.usefixtures("patient_stop")
def test_the_first_tick_after_a_restart_goes_on_from_the_last_before_it(log: Log, configured: Configured) -> None:
    with running(Service(configured(), log)):
        until(lambda: len(records(Kind.GUEST)) >= 2)
    before = records(Kind.GUEST)[-1]
    Keeper.taken.clear()
    with running(Service(configured(), log)):
        until(lambda: records(Kind.GUEST))
    after = records(Kind.GUEST)[0]
    assert after.interval_s is not None
    assert after.interval_s == pytest.approx((after.time_ms - before.time_ms) / 1000, abs=0.1)


def test_two_agents_never_share_a_state_directory(log: Log, configured: Configured) -> None:
    with running(Service(configured(), log)):
        until(lambda: records(Kind.GUEST))
        with pytest.raises(StateError, match=f"used by another agent \\(process {os.getpid()}\\)"):
            Service(configured(), log).run()


def test_a_sink_that_is_configured_no_more_is_named_with_what_is_kept_for_it(log: Log, configured: Configured) -> None:
    two = '[[sinks]]\ntype = "keeper"\n[[sinks]]\ntype = "keeper"\nname = "gone"\n'
    with running(Service(configured(sinks=two), log)):
        until(lambda: records(Kind.GUEST))
    with running(Service(configured(), log)):
        pass
    assert log.facts("sink_not_configured")["sink"] == "gone"


def test_a_clock_that_was_set_is_said_and_counted_by_every_stream(log: Log, configured: Configured) -> None:
    service = Service(configured('survey = { interval = "1h" }'), log)
    service._step(-3600.0)
    assert log.facts("clock_stepped")["by_s"] == -3600
    assert [line.tally.clock_steps for line in service.lines.values()] == [1, 1]


def suspended() -> list[Record]:
    return [record for record in records(Kind.GAP) if record.gap and record.gap.reason == "suspended"]


def test_a_machine_that_slept_leaves_a_gap_in_the_streams_that_missed_a_tick(log: Log, configured: Configured) -> None:
    service = Service(configured('survey = { interval = "1h" }'), log)
    with running(service):
        until(lambda: records(Kind.GUEST))
        service._suspend(60.0)
        until(suspended)
    (record,) = suspended()
    assert record.collect == "default"
    assert record.gap
    assert record.gap.end - record.gap.start == 60_000
    assert log.facts("machine_slept")["for_s"] == 60


def test_a_journal_that_cannot_be_written_is_no_reason_to_stop(
    log: Log, configured: Configured, tmp_path: Path
) -> None:
    (tmp_path / FILE).mkdir()
    with running(Service(configured(), log)):
        until(lambda: len(records(Kind.GUEST)) >= 3)
    assert log.events().count("journal_not_written") >= 1
    assert log.events("error").count("journal_not_written") == 1


# --- the end


def test_it_ends_by_itself_when_nobody_takes_anything_any_more(log: Log, configured: Configured) -> None:
    def go_away(_batches: Sequence[Batch]) -> None:
        raise Finished("gone")

    Keeper.take = staticmethod(go_away)
    service = Service(configured(), log)
    with running(service) as thread:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert log.events("error") == []


@pytest.mark.usefixtures("patient_stop")
def test_stopping_hands_over_what_was_collected(log: Log, configured: Configured) -> None:
    slow = threading.Event()

    def dawdle(batches: Sequence[Batch]) -> None:
        slow.wait(0.3)
        Keeper.taken.extend(batches)

    Keeper.take = staticmethod(dawdle)
    service = Service(configured(), log)
    with running(service):
        until(lambda: service.lines["h/default"].ticks >= 4)
        ticks = service.lines["h/default"].ticks
    assert len(records(Kind.GUEST)) >= ticks


def test_a_sink_that_hangs_takes_no_time_from_the_others_at_stop(
    log: Log, configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    forever = threading.Event()

    def hang_in_a(batches: Sequence[Batch]) -> None:
        if threading.current_thread().name == "courier-a":
            forever.wait()
        Keeper.taken.extend(batches)

    Keeper.take = staticmethod(hang_in_a)
    two = "".join(f'[[sinks]]\ntype = "keeper"\nname = "{name}"\n' for name in ("a", "b"))
    monkeypatch.setattr("domstat.service.STOP_S", 2 * STOP_S)  # a busy machine takes time from the other, too
    service = Service(configured(sinks=two), log)
    with running(service):
        until(lambda: service.lines["h/default"].ticks >= 2)
    assert [facts["sink"] for _, event, facts in log.said if event == "sink_hangs_at_stop"] == ["a"]
    forever.set()


def test_sinks_that_fail_are_said_to_have_failed(log: Log, configured: Configured) -> None:
    def refuse(_batches: Sequence[Batch]) -> None:
        raise Fatal("a wrong token")

    Keeper.take = staticmethod(refuse)
    assert not Service(configured(), log).run()


def test_a_sink_that_hangs_does_not_keep_the_agent(log: Log, configured: Configured) -> None:
    forever = threading.Event()

    def hang(_batches: Sequence[Batch]) -> None:
        forever.wait()

    Keeper.take = staticmethod(hang)
    service = Service(configured(), log)
    with running(service):
        until(lambda: service.lines["h/default"].ticks >= 2)
        began = time.monotonic()
        service.stop()
    assert time.monotonic() - began < STOP_S + BUSY_S
    assert log.facts("sink_hangs_at_stop")["sink"] == "keeper"
    forever.set()


@pytest.mark.parametrize("what", ["hung", "silent"])
def test_a_worker_that_hangs_does_not_keep_the_agent(
    log: Log, configured: Configured, stand_ins: tuple[str, ...], what: str
) -> None:
    service = Service(configured(hosts=hosts(what, "well")), log, stand_ins)
    with running(service):
        until(lambda: len(records(Kind.GUEST, "well")) >= 2)
        until(lambda: service.lines[f"{what}/default"].tally.skipped)
        began = time.monotonic()
        service.stop()
    assert time.monotonic() - began < STOP_S + BUSY_S
    assert log.events("error") == []


def children() -> set[int]:
    """Return the pids of this process's children that have not ended."""
    found = set()
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid() and state != "Z":
                found.add(int(folder.name))
    return found


def test_no_worker_is_left_behind_whatever_it_was_doing(
    log: Log, configured: Configured, stand_ins: tuple[str, ...]
) -> None:
    before = children()
    surveyed = hosts("silent").replace(WITHOUT_SURVEY, 'survey = { interval = "1s" }')
    service = Service(configured(hosts=surveyed + hosts("hung", "well")), log, stand_ins)
    with running(service):
        until(lambda: len(children() - before) == 4)
    until(lambda: children() <= before)

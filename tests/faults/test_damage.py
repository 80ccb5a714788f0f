"""A journal that is damaged, restored or removed: that is noticed or does no harm, and collecting goes on."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from domstat.deliver import courier as courier_module
from domstat.deliver import files
from domstat.deliver import journal as journal_module
from domstat.deliver import memory as memory_module
from domstat.deliver import spool as spool_module
from domstat.deliver.bounds import Limits, Why
from domstat.deliver.courier import Courier, Outlet
from domstat.deliver.journal import FILE, Journal
from domstat.deliver.memory import Parcel
from domstat.deliver.parcels import packed
from domstat.deliver.past import recall
from domstat.deliver.spool import Spool
from domstat.state import StateError, StateLock
from faked import eventually
from heard import Log
from records import COLLECT, HOST, UUID, batch, gap_record, guest_record, host_record
from shown import Show

from .oracle import seed
from .rig import made
from .takers import Dead, Living

FUTURE_MS = 4_000_000_000_000
BATCHES = 12
"""Batches in the journal that is damaged; the sink that is ahead has them all, the other none."""

STRIDES = {"short": 4096, "long": 64}
"""Where bytes are flipped: one in every so many."""

AFTER = [*range(FUTURE_MS + BATCHES, FUTURE_MS + BATCHES + 3)]
"""What is collected afterwards."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier_module, "BACKOFF_BASE_S", 0.001)
    monkeypatch.setattr(journal_module, "RESERVE_BYTES", 4096)
    monkeypatch.setattr(memory_module, "TAIL_RECORDS_MAX", 2)
    monkeypatch.setattr(memory_module, "TAIL_BATCHES_MIN", 1)
    monkeypatch.setattr(spool_module, "RETRY_S", 0.005)


class Agent:
    """A spool with a sink that is ahead and one that is behind, at work in threads of their own."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.log = Log()
        self.spool = Spool(folder / FILE, Limits(1 << 30, 86_400.0, 3600.0), self.log)
        self.spool.open()
        self.ahead, self.behind = Living(), Dead()
        sinks = {"ahead": self.ahead, "behind": self.behind, **options.pop("more", {})}
        self.couriers = {
            name: Courier(
                Outlet(name, lambda sink=sink: sink, backoff_max_s=0.005, **options),  # type: ignore[misc]
                self.spool,
                folder,
                self.log,
            )
            for name, sink in sinks.items()
        }
        for courier in self.couriers.values():
            courier.start()
        self.spool.start()

    def collect(self, *tags: int) -> None:
        """Collect these, and wait until the sink that is ahead has them."""
        for tag in tags:
            self.spool.offer(made(tag, 1))
        assert eventually(lambda: set(tags) <= set(self.ahead.times)), "collecting goes on"

    def catch_up(self) -> None:
        """Revive the other sink, and wait until it has all that there is for it."""
        self.behind.is_alive = True
        assert eventually(lambda: not self.spool.expects("behind")), "it gets what comes, whatever is damaged"

    def said_loss(self) -> bool:
        """Whether anything was said about the journal's not being what it was."""
        dropped = any(Why.DAMAGED in courier.counts.dropped_by for courier in self.couriers.values())
        return dropped or bool({"journal_damaged", "journal_not_written", "position_damaged"} & set(self.log.events()))

    def stop(self) -> None:
        """Stop."""
        for courier in self.couriers.values():
            assert courier.stop(60)
        assert self.spool.stop(60)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A folder with a journal that is as it should be, and closed."""
    folder = tmp_path / "whole"
    folder.mkdir()
    agent = Agent(folder)
    agent.collect(*range(FUTURE_MS, FUTURE_MS + BATCHES))
    agent.stop()
    return folder


def go_on_with(folder: Path) -> str:
    """Have an agent go on with a journal, and say what came of it."""
    agent = Agent(folder)
    agent.collect(*AFTER)
    agent.catch_up()
    agent.stop()
    wanted = {*range(FUTURE_MS, FUTURE_MS + BATCHES), *AFTER}
    has_all = wanted <= set(agent.behind.times)
    kept = list(folder.glob(f"{FILE}.damaged-*"))
    if kept:
        return "set aside" if "journal_damaged" in agent.log.events() else "set aside, and nothing said"
    if not has_all:
        return "said" if agent.said_loss() else f"lost in silence: {sorted(wanted - set(agent.behind.times))}"
    return "said" if agent.said_loss() else "harmless"


def flip(whole: Path, folder: Path, stride: int, ending: str = "") -> dict[str, Any]:
    """Flip a bit in every so many bytes of a journal's file, one at a time; return what came of it."""
    chosen = seed()
    chance = random.Random(chosen)
    size = (whole / f"{FILE}{ending}").stat().st_size
    outcomes: Counter[str] = Counter()
    wrong: dict[int, str] = {}
    for begin in range(0, size, stride):
        at = min(size - 1, begin + chance.randrange(stride))
        damaged = folder / f"at-{at}"
        shutil.copytree(whole, damaged)
        with (damaged / f"{FILE}{ending}").open("r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << chance.randrange(8)]))
        try:
            outcome = go_on_with(damaged)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next place is looked at
            outcome = f"failed: {error!r}"[:200]
        outcomes[outcome.partition(":")[0]] += 1
        if outcome not in {"set aside", "said", "harmless"}:
            wrong[at] = outcome
        shutil.rmtree(damaged)
    return {"test": "damage", "seed": chosen, "bytes": size, "outcomes": dict(outcomes), "wrong": wrong}


def test_a_bit_flipped_in_some_pages_is_noticed_or_does_no_harm(whole: Path, tmp_path: Path, show: Show) -> None:
    figures = flip(whole, tmp_path, STRIDES["short"])
    show(figures)
    assert figures["wrong"] == {}


@pytest.mark.faults
def test_a_bit_flipped_anywhere_is_noticed_or_does_no_harm(whole: Path, tmp_path: Path, show: Show) -> None:
    figures = flip(whole, tmp_path, STRIDES["long"])
    show(figures)
    assert figures["wrong"] == {}


@pytest.mark.parametrize("left_bytes", [512, 4096, 5000, -4096, -1])
def test_a_journal_that_is_cut_off_is_begun_anew_and_that_is_said(whole: Path, left_bytes: int) -> None:
    path = whole / FILE
    path.write_bytes(path.read_bytes()[:left_bytes])
    assert go_on_with(whole) in {"set aside", "said"}


@pytest.mark.parametrize("left_bytes", [0, 1])
def test_a_journal_that_is_empty_is_as_good_as_none(whole: Path, left_bytes: int) -> None:
    path = whole / FILE
    path.write_bytes(path.read_bytes()[:left_bytes])
    agent = Agent(whole)
    agent.collect(*AFTER)
    agent.catch_up()
    agent.stop()
    assert agent.behind.times == AFTER


def test_something_else_in_the_journals_place_is_set_aside(whole: Path) -> None:
    (whole / FILE).write_bytes(b"this is no journal " * 1000)
    assert go_on_with(whole) == "set aside"


def test_a_journal_that_is_removed_while_it_is_used_is_begun_anew(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    agent.collect(FUTURE_MS, FUTURE_MS + 1)
    for path in tmp_path.glob(f"{FILE}*"):
        path.unlink()
    agent.collect(*range(FUTURE_MS + 2, FUTURE_MS + 6))
    agent.catch_up()
    agent.stop()
    assert agent.behind.times[-4:] == [*range(FUTURE_MS + 2, FUTURE_MS + 6)]
    assert "journal_damaged" in agent.log.events()
    lacking = len(set(agent.ahead.times) - set(agent.behind.times))
    assert agent.couriers["behind"].counts.dropped == lacking
    journal = Journal(tmp_path / FILE)
    assert journal.newest() >= 6
    journal.close()


@pytest.mark.parametrize("change", ["replace(position, 'low', 'los')", "replace(position, '0', '9')", "x'ff'"])
def test_a_sink_whose_position_is_damaged_gets_everything_again(whole: Path, change: str) -> None:
    with closing(sqlite3.connect(whole / FILE)) as connection, connection:
        connection.execute(f"UPDATE cursor SET position = {change} WHERE sink = 'behind'")
    agent = Agent(whole)
    agent.collect(*AFTER)
    agent.catch_up()
    agent.stop()
    assert agent.behind.times == [*range(FUTURE_MS, FUTURE_MS + BATCHES), *AFTER]
    assert agent.ahead.times == AFTER, "and nobody else does"
    assert agent.log.events("error") == ["position_damaged"]
    again = Agent(whole)
    again.stop()
    assert again.log.events("error") == [], "it is said once"


def test_a_journal_that_a_sink_finds_damaged_is_set_aside_and_the_sink_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Agent(tmp_path, batches=2)
    agent.collect(*range(FUTURE_MS, FUTURE_MS + BATCHES))
    journal = agent.spool.journal
    assert journal is not None

    def fail(*_arguments: Any) -> list[Any]:
        raise sqlite3.DatabaseError("database disk image is malformed")

    monkeypatch.setattr(journal, "read", fail)
    agent.catch_up()
    agent.collect(*AFTER)
    agent.catch_up()
    agent.stop()
    assert agent.behind.times[-len(AFTER) :] == AFTER
    assert agent.couriers["behind"].counts.dropped == len(set(agent.ahead.times) - set(agent.behind.times)) > 0
    assert agent.couriers["behind"].pending == 0
    assert "journal_damaged" in agent.log.events()


def test_a_journal_damaged_while_it_is_used_goes_on_anew_with_what_is_still_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_module, "TAIL_RECORDS_MAX", 4)
    agent = Agent(tmp_path, batches=1)  # a sink that fails holds no more than this in its hands, whenever it began
    agent.collect(*range(FUTURE_MS, FUTURE_MS + BATCHES))
    journal = agent.spool.journal
    assert journal is not None
    broken = [sqlite3.DatabaseError("database disk image is malformed")]
    append = journal.append

    def fail(*arguments: Any) -> None:
        if broken:
            raise broken.pop()
        append(*arguments)

    monkeypatch.setattr(journal, "append", fail)
    agent.collect(*AFTER)
    assert eventually(lambda: agent.spool._committed == agent.spool._next - 1)
    agent.catch_up()
    agent.stop()
    kept = Journal(tmp_path / FILE)
    numbers = [number for number, _, _ in kept.read(0, None, 99)]
    kept.close()
    assert len(numbers) > len(AFTER), "the newest that the old one had are in the new one too"
    lacking = len(set(agent.ahead.times) - set(agent.behind.times))
    assert agent.couriers["behind"].counts.dropped == lacking > 0
    assert all(courier.pending == 0 for courier in agent.couriers.values())


@pytest.mark.parametrize("with_wal", [True, False])
def test_a_journal_restored_from_an_older_backup_costs_no_sink_what_is_collected_from_then_on(
    whole: Path, tmp_path: Path, with_wal: bool
) -> None:
    backup = tmp_path / "backup"
    shutil.copytree(whole, backup)
    agent = Agent(whole)
    agent.collect(*AFTER)
    if with_wal:  # as a copy of a file in use is: with what is not in the file itself yet
        for ending in ("", "-wal"):
            shutil.copy(whole / f"{FILE}{ending}", backup / f"{FILE}{ending}")
    agent.collect(AFTER[-1] + 1, AFTER[-1] + 2)
    agent.stop()
    for path in whole.glob(f"{FILE}*"):
        path.unlink()
    for path in backup.glob(f"{FILE}*"):
        shutil.copy(path, whole / path.name)
    restored = Agent(whole)
    later = [AFTER[-1] + 10, AFTER[-1] + 11]
    restored.collect(*later)
    restored.catch_up()
    restored.stop()
    assert restored.ahead.times[-2:] == restored.behind.times[-2:] == later
    assert set(restored.behind.times) >= {*range(FUTURE_MS, FUTURE_MS + BATCHES), *(AFTER if with_wal else ()), *later}
    assert restored.behind.times == sorted(restored.behind.times)


def test_a_new_sink_begins_with_the_oldest_that_a_full_journal_has(tmp_path: Path) -> None:
    limits = Limits(64 << 10, 86_400.0, 3600.0)
    spool = Spool(tmp_path / FILE, limits, Log())
    spool.open()
    dead = Courier(Outlet("dead", Dead), spool, tmp_path, Log())
    spool.enlist(dead, oldest=False)
    for tag in range(FUTURE_MS, FUTURE_MS + 100):
        spool.offer(made(tag, 1))
        spool._pack_all()
        spool._commit_some()
        spool._trim()
    journal = spool.journal
    assert journal is not None
    there = len(journal.read(0, None, 999))
    assert 0 < there < 100
    assert dead.counts.dropped == 100 - there
    journal.close()
    new = Living()
    agent = Agent(tmp_path, more={"new": new}, oldest=True)
    assert eventually(lambda: not agent.spool.expects("new"))
    agent.stop()
    assert new.times == [*range(FUTURE_MS + 100 - there, FUTURE_MS + 100)]
    assert agent.couriers["new"].counts.received == there


def test_two_agents_never_write_one_journal(tmp_path: Path) -> None:
    first, second = StateLock(tmp_path), StateLock(tmp_path)
    first.take()
    try:
        with pytest.raises(StateError, match="used by another agent"):
            second.take()
    finally:
        first.let_go()
    second.take()
    second.let_go()


def test_a_journal_in_use_can_be_looked_at_and_is_not_changed_by_that(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    agent.collect(FUTURE_MS)
    with closing(files.look(tmp_path / FILE)) as looking, pytest.raises(sqlite3.OperationalError):
        looking.execute("DELETE FROM batch")
    agent.collect(FUTURE_MS + 1)
    agent.stop()


def test_what_was_known_before_a_long_outage_is_known_after_a_restart(tmp_path: Path) -> None:
    journal = Journal(tmp_path / FILE)
    told = [batch(guest_record(), host_record())] + [batch(gap_record(time_ms=i), time_ms=i) for i in range(60)]
    journal.append([packed(Parcel(number, one)) for number, one in enumerate(told, 1)], {})
    recalled = recall(journal, [(HOST, COLLECT)])
    journal.close()
    assert recalled.guests[HOST, COLLECT].keys() == {UUID}
    assert recalled.hosts.keys() == {(HOST, COLLECT)}

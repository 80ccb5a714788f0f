"""Guests that come and go for years leave nothing in the writer's memory: what it holds follows from who is there."""

from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path

import pytest

from domstat.catalog import ValueType
from domstat.collect.sample import Keyed, Sample, Sampled
from domstat.model import Batch, Domain, Figures, Kind, Moment, Record, Stamp
from domstat_sinks.sqlite.heads.layout import Column, Shape
from domstat_sinks.sqlite.heads.rows import HeadRow, LayoutRead
from domstat_sinks.sqlite.keeping import upkeep
from domstat_sinks.sqlite.packed.slices import Columns
from domstat_sinks.sqlite.rollups.rollplan import ShapePlan
from domstat_sinks.sqlite.rollups.unfinished import Unfinished
from domstat_sinks.sqlite.writer import Writer

START_MS = 1_790_000_000_000
STAYING = 3
EVERY = 4
"""Ticks for which a guest that passes by is there."""

SLICE = 60

BETWEEN_TICKS = (Shape, Keyed)
WITHIN_SLICES = (LayoutRead, HeadRow, ShapePlan, Columns, Unfinished)
"""What is remembered from tick to tick, and what from slice to slice only where few come and go."""


class Guest:
    """One guest, whose NIC has an address that no other ever had."""

    def __init__(self, number: int) -> None:
        mac = f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"
        keys = ("cpu.time", "vcpu.current", "balloon.rss", f"net.rx.bytes[{mac}]", f"net.tx.bytes[{mac}]")
        self._naming = Keyed(keys)
        self._domain = Domain(f"6a2f41a3-c54c-4a5e-9b5b-{number:012x}", f"g-{number}", number)
        self._before: Sample | None = None

    def record(self, stamp: Stamp, moment: Moment) -> Record:
        tick = stamp.time_ms // 10_000 % 100_000
        sample = Sample(
            self._naming, (tick * 10**9, 2, 4096 + tick % 7, tick * 900, tick * 70), moment, self._domain.id
        )
        before, self._before = self._before, sample
        figures = Figures(self._naming.params(sample.values)) if before is None else Sampled(sample, before)
        return Record(
            kind=Kind.GUEST, host="h", collect="c", time_ms=stamp.time_ms, domain=self._domain, figures=figures
        )


def remembered() -> list[object]:
    """Return what there is in this process that is remembered of guests."""
    gc.collect()
    counted = (*BETWEEN_TICKS, *WITHIN_SLICES)
    return [one for one in gc.get_objects() if type(one) in counted]


def test_guests_that_passed_by_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "STEP_S", 3600.0)  # all that is due after every tick: nothing hangs on the clock
    others = remembered()  # held on to, so that nothing of this writer's has the identity of one of them
    writer = Writer(tmp_path / "history.db")
    writer._connection.execute("PRAGMA synchronous = OFF")
    guests = [Guest(number) for number in range(STAYING)]
    passing = STAYING
    for tick in range(40 * SLICE):
        if tick % EVERY == 0:
            guests[STAYING:] = [Guest(passing)]
            passing += 1
        stamp = Stamp(START_MS + tick * 10_000, 10**9 + tick * 10**10, "b", 10**6)
        moment = Moment(stamp.time_ms, stamp.boot_ns, stamp.boot_id)
        writer.write(
            [Batch(host="h", collect="c", stamp=stamp, records=tuple(g.record(stamp, moment) for g in guests))]
        )
    of_others = set(map(id, others))
    left = Counter(type(one).__name__ for one in remembered() if id(one) not in of_others)
    writer.close()
    assert left.keys() == {kind.__name__ for kind in BETWEEN_TICKS}
    assert max(left.values()) < passing / 2, left


def test_guests_that_differ_in_their_nics_alone_have_all_other_names_in_common() -> None:
    def names(mac: str) -> list[tuple[str, str | None]]:
        columns = (Column("vcpu.time", "0", ValueType.U64), Column("net.rx.bytes", mac, ValueType.U64))
        return [name for of in ShapePlan("guest", columns).names for name in of]

    (cpu, nic), (other_cpu, other_nic) = names("52:54:00:00:00:01"), names("52:54:00:00:00:02")
    assert cpu is other_cpu
    assert nic != other_nic
    assert names("52:54:00:00:00:01")[1] is not nic, "a guest's own is not remembered when it has gone"

"""Figures over time: one row a guest, a host, a pool or a device, whoever told them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from msgspec.structs import replace

from capacity.made import DAY_MS, GIB, GIB_KIB, HOUR_MS, START_MS, Made
from domstat.capacity import gather, grid
from domstat.capacity.gather import Figures, Key, Selection
from domstat.capacity.grid import FIVE_MINUTES_MS
from domstat.capacity.settings import Capacity
from domstat.history import Aggregate, OnDamaged, Select, Series
from domstat.model import Kind
from domstat.settings import Duration


@pytest.fixture
def made() -> Made:
    found = Made(count=48)
    found.host("kvm1", {"host.cpus": 16, "host.memory.total": 64 * GIB_KIB})
    return found


def figures(history: Made, **selection: object) -> Figures:
    return Figures(history, history.until_ms, selection=Selection(**selection))  # type: ignore[arg-type]


def test_values_are_in_base_units(made: Made) -> None:
    found = figures(made)
    memory = found.hosts("host.memory.total", found.past())
    assert memory.row(Key(host="kvm1")).tolist() == [64 * GIB] * 48


def test_devices_are_added_up_or_the_greatest_is_taken(made: Made) -> None:
    uuid = made.guest("web", {"net.rx.bytes[a]": 5.0, "net.rx.bytes[b]": 7.0})
    found = figures(made)
    over = found.past()
    assert set(found.guests("net.rx.bytes", over, rate=True).row(Key(uuid=uuid))) == {12.0}
    greatest = found.guests("net.rx.bytes", over, rate=True, devices=grid.greatest)
    assert set(greatest.row(Key(uuid=uuid))) == {7.0}
    assert set(found.disks("net.rx.bytes", over, rate=True).row(Key(uuid=uuid, device="b"))) == {7.0}


def test_a_guest_that_moved_is_one_row_or_one_for_each_host(made: Made) -> None:
    uuid = made.guest("web", {"cpu.cores": np.full(24, 1.0)}, host="kvm1")
    made.guest("web", {"cpu.cores": np.full(24, 2.0)}, host="kvm2", first=24)
    found = figures(made)
    over = found.past()
    assert found.guests("cpu.cores", over).row(Key(uuid=uuid)).tolist() == [1.0] * 24 + [2.0] * 24
    assert found.guests("cpu.cores", over).covered(Key(uuid=uuid)) == 1.0
    by_host = found.guests("cpu.cores", over, by_host=True)
    assert np.isnan(by_host.row(Key(host="kvm2", uuid=uuid))[:24]).all()
    assert by_host.covered(Key(host="kvm2", uuid=uuid)) == 0.5


def test_what_two_blocks_tell_of_one_thing_is_taken_once(made: Made) -> None:
    uuid = made.guest("web", {"cpu.cores": np.full(30, 1.0)})
    made.guest("web", {"cpu.cores": np.full(48, 1.5)}, collect="often")
    found = figures(made)
    assert set(found.guests("cpu.cores", found.past()).row(Key(uuid=uuid))) == {1.5}


def test_each_kind_of_figure_is_read_once(made: Made) -> None:
    made.guest("web", {"cpu.cores": 1.0})
    found = figures(made)
    found.guests("cpu.cores", found.past())
    reads = made.reads
    found.guests("cpu.cores", found.past(), by_host=True)
    assert made.reads == reads
    found.guests("cpu.cores", found.past(), Aggregate.MAX)
    assert made.reads == reads + 1


def test_no_more_matrices_are_remembered_than_there_may_be(made: Made) -> None:
    found = figures(made)
    for count in range(1, gather.MATRICES_MAX + 3):
        found.hosts("host.cpus", grid.Grid(START_MS, HOUR_MS, count))
    assert len(found._matrices) == gather.MATRICES_MAX


def test_only_some_guests_are_read_where_only_these_are_wanted(made: Made) -> None:
    uuid = made.guest("web", {"cpu.cores": 1.0})
    made.guest("db", {"cpu.cores": 1.0})
    found = figures(made)
    assert found.guests("cpu.cores", found.past(), only=(uuid,)).keys == (Key(uuid=uuid),)


def test_the_window_is_as_long_as_is_set_but_no_longer_than_the_history() -> None:
    history = Made(count=24 * 60)
    history.host("kvm1", {"host.cpus": 16})
    now_ms = history.until_ms
    assert figures(history).window().since_ms == now_ms - 30 * DAY_MS
    week = Figures(history, now_ms, Capacity(window=Duration(7 * 86_400)))
    assert week.window().since_ms == now_ms - 7 * DAY_MS
    assert figures(history).past().since_ms == START_MS
    assert figures(history, since_ms=now_ms - 2 * DAY_MS).window().since_ms == now_ms - 2 * DAY_MS


def test_steps_are_five_minutes_until_that_is_too_much(made: Made) -> None:
    found = figures(made)
    assert found.window(1).step_ms == FIVE_MINUTES_MS
    assert found.window(gather.CELLS_MAX).step_ms == HOUR_MS


def test_a_grid_without_steps_needs_no_reading(made: Made) -> None:
    found = figures(made)
    reads = made.reads
    assert found.hosts("host.cpus", grid.Grid(START_MS, HOUR_MS, 0)).keys == ()
    assert made.reads == reads


def test_several_fields_can_be_read_at_once_and_are_not_read_again(made: Made) -> None:
    made.guest("web", {"cpu.cores": 1.0, "balloon.rss": 2.0})
    found = figures(made)
    over = found.past()
    reads = made.reads
    for _ in range(2):
        found.expect((Kind.GUEST,), ("cpu.cores", "balloon.rss"), over)
    assert found.guests("cpu.cores", over).values.mean() == 1.0
    assert found.guests("balloon.rss", over).values.mean() == 2048.0
    assert made.reads == reads + 1


def test_rates_and_maxima_can_be_read_at_once_too(made: Made) -> None:
    uuid = made.guest("web", {"cpu.cores": 1.0, "net.rx.bytes[a]": 5.0, "net.tx.bytes[a]": 7.0})
    found = figures(made)
    over = found.past()
    reads = made.reads
    found.expect((Kind.GUEST,), ("net.rx.bytes", "net.tx.bytes"), over, rate=True)
    found.expect((Kind.GUEST,), ("cpu.cores",), over, Aggregate.MAX)
    for field, of_all in (("net.rx.bytes", {5.0}), ("net.tx.bytes", {7.0})):
        assert set(found.guests(field, over, rate=True).row(Key(uuid=uuid))) == of_all
    assert set(found.guests("cpu.cores", over, Aggregate.MAX).row(Key(uuid=uuid))) == {1.0}
    assert made.reads == reads + 2
    found.guests("cpu.cores", over)
    assert made.reads == reads + 3


def test_the_same_can_be_asked_of_some_hosts_alone(made: Made) -> None:
    made.host("kvm2", {"host.cpus": 4})
    found = figures(made)
    part = found.on(["kvm2"])
    assert part.hosts("host.cpus", found.past()).keys == (Key(host="kvm2"),)
    assert found.on(["kvm2"]) is part
    assert found.on(["kvm1", "kvm2"]) is found


def test_what_is_later_than_the_moment_that_is_asked_about_is_not_looked_at(made: Made) -> None:
    made.pool("images", {"pool.allocation": np.arange(48.0)})
    asked = Figures(made, START_MS + 30 * HOUR_MS)
    days = grid.Grid(START_MS, DAY_MS, 2)
    assert asked.pools("pool.allocation", days, Aggregate.LAST).values.tolist() == [[23.0, 29.0]]


class Generous(Made):
    """Counts a pause as seen, as roll-ups do where counters went on."""

    def read(self, select: Select, on_damaged: OnDamaged | None = None) -> Iterator[Series]:
        return (replace(one, coverage=1.0) for one in super().read(select, on_damaged))


def test_a_hole_is_not_covered_whatever_the_history_counts_as_seen() -> None:
    history = Generous(count=48)
    history.host("kvm1", {"host.cpus": 16})
    uuid = history.guest("web", {"cpu.cores": np.where(np.arange(48) // 12 == 1, np.nan, 1.0)})
    found = figures(history)
    assert found.guests("cpu.cores", found.past()).covered(Key(uuid=uuid)) == 0.75

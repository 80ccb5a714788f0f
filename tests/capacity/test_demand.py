"""What hosts are asked for: by their own records, or by their guests."""

from __future__ import annotations

import math

import numpy as np

from capacity.made import GIB, GIB_KIB, Made
from domstat.capacity import demand
from domstat.capacity.demand import ALL, Demand, Resource
from domstat.capacity.gather import Figures, Key, Selection
from domstat.capacity.grid import HOUR_MS, Grid

COUNT = 48


def made() -> Made:
    found = Made(count=COUNT)
    found.host("kvm1", {"host.cpus": 16, "host.cpu.utilization": 0.25, "host.memory.used": float(40 * GIB)})
    found.guest("web", {"cpu.cores": 1.0, "balloon.rss": 2 * GIB_KIB, "balloon.current": 4 * GIB_KIB})
    found.guest("db", {"cpu.cores": 2.0, "balloon.current": 8 * GIB_KIB})
    return found


def asked(history: Made, resource: Resource, **selection: tuple[str, ...]) -> dict[str, Demand]:
    found = Figures(history, history.until_ms, selection=Selection(**selection))  # type: ignore[arg-type]
    return demand.of_hosts(found, resource, found.past())


def test_a_host_s_own_records_say_what_it_is_asked_for() -> None:
    cpu = asked(made(), Resource.CPU)["kvm1"]
    assert (set(cpu.values), cpu.now, cpu.source) == ({4.0}, 4.0, "host.cpu.utilization * host.cpus")
    assert asked(made(), Resource.MEMORY)["kvm1"].now == 40 * GIB


def test_utilization_is_of_the_threads_there_were_at_the_time() -> None:
    history = Made(count=COUNT)
    history.host("kvm1", {"host.cpus": np.repeat([8.0, 16.0], 24), "host.cpu.utilization": 0.5})
    assert asked(history, Resource.CPU)["kvm1"].values.tolist() == [4.0] * 24 + [8.0] * 24


def test_without_a_host_s_records_its_guests_are_added_up() -> None:
    history = made()
    history.guest("lone", {"cpu.cores": 0.5, "balloon.rss": GIB_KIB}, host="kvm2")
    history.guest("other", {"cpu.cores": 0.25, "balloon.current": GIB_KIB}, host="kvm2")
    cpu, memory = (asked(history, of)["kvm2"] for of in (Resource.CPU, Resource.MEMORY))
    assert (cpu.now, memory.now) == (0.75, 2 * GIB)
    assert "guests, added up" in cpu.source


def test_where_some_guests_are_meant_only_these_count() -> None:
    cpu = asked(made(), Resource.CPU, guests=("web",))["kvm1"]
    assert cpu.now == 1.0


def test_a_guest_counts_where_it_was() -> None:
    history = Made(count=COUNT)
    history.guest("web", {"cpu.cores": np.ones(24)}, host="kvm1")
    history.guest("web", {"cpu.cores": np.ones(24)}, host="kvm2", first=24)
    found = asked(history, Resource.CPU)
    assert np.array_equal(found["kvm1"].values, [1.0] * 24 + [math.nan] * 24, equal_nan=True)
    assert np.array_equal(found["kvm2"].values, [math.nan] * 24 + [1.0] * 24, equal_nan=True)


def test_guests_take_what_is_resident_or_what_they_are_given() -> None:
    history = made()
    found = Figures(history, history.until_ms)
    rows = demand.memory_of_guests(found, found.past())
    by_name = {guest.name: rows.row(Key(uuid=guest.uuid))[-1] for guest in found.fleet.guests}
    assert by_name == {"web": 2 * GIB, "db": 8 * GIB}


def test_hosts_are_added_up_but_not_where_one_was_not_seen() -> None:
    over = Grid(0, HOUR_MS, 4)
    rows = ([1.0, 1.0, math.nan, 1.0], [math.nan, 2.0, 2.0, 2.0])
    parts = [Demand(f"kvm{i}", Resource.CPU, over, np.array(row), 1.0, "") for i, row in enumerate(rows)]
    total = demand.of_all(parts, Resource.CPU, over)
    assert total.host == ALL
    assert np.array_equal(total.values, [1.0, 3.0, math.nan, 3.0], equal_nan=True)


def test_a_host_of_which_nothing_is_known_is_asked_for_nothing_that_is_known() -> None:
    history = Made(count=COUNT)
    history.pool("images", {"pool.capacity": 10.0}, host="kvm9")
    found = asked(history, Resource.CPU)["kvm9"]
    assert (found.now, found.quantile(0.95), found.covered) == (None, None, 0.0)

"""What can be taken back: guests that are off, and guests that run and do nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity.made import DAY_MS, GIB, GIB_KIB, HOUR_MS, MINUTE_MS, START_MS, Figures, Made
from domstat.capacity.gather import Figures as Asked
from domstat.capacity.gather import Selection
from domstat.capacity.grid import Grid
from domstat.capacity.reclaim import Candidate, Kind, Reclaim, hours_named, reclaim, regular_hours
from domstat.capacity.settings import Capacity
from domstat.history import OnDamaged, Select, Series
from domstat.settings import Duration

DAYS = 30
HOURS = 24 * DAYS
HOST = {"host.cpus": 16, "host.memory.total": 64 * GIB_KIB}


def made() -> Made:
    one = Made(START_MS, HOUR_MS, HOURS)
    one.host("kvm1", HOST)
    return one


def guest(
    history: Made, name: str, cpu: Figures = 0.01, *, disk: Figures = 10.0, net: Figures = 10.0, first: int = 0
) -> str:
    vcpus = 4
    return history.guest(
        name,
        {
            "vcpu.current": vcpus,
            "cpu.utilization": cpu,
            "balloon.current": 8 * GIB_KIB,
            "balloon.rss": 3 * GIB_KIB,
            "block.rd.bytes[vda]": disk,
            "block.wr.bytes[vda]": 0.0,
            "block.capacity[vda]": 40 * GIB,
            "block.allocation[vda]": 10 * GIB,
            "block.physical[vda]": 10 * GIB,
            "net.rx.bytes[52:54:00:00:00:01]": net,
            "net.tx.bytes[52:54:00:00:00:01]": 0.0,
        },
        first=first,
    )


def answer(history: Made, **changed: object) -> Reclaim:
    base = msgspec.structs.replace(Capacity(), **changed)
    return reclaim(Asked(history, history.until_ms, base))


def by_name(found: tuple[Candidate, ...]) -> Mapping[str, Candidate]:
    return {one.name: one for one in found}


class Noting(Made):
    """A history that notes whose disks were asked for."""

    def __init__(self) -> None:
        super().__init__(START_MS, HOUR_MS, HOURS)
        self.asked: set[str] = set()

    def read(self, select: Select, on_damaged: OnDamaged | None = None) -> Iterator[Series]:
        if "block.rd.bytes" in select.fields:
            self.asked.update(select.guests)
        return super().read(select, on_damaged)


def test_who_is_busy_by_its_cpu_alone_is_not_asked_for_its_disks() -> None:
    history = Noting()
    history.host("kvm1", HOST)
    guest(history, "busy", 0.6)
    quiet = guest(history, "quiet")
    nightly = guest(history, "nightly", hours_busy((2, 3, 4, 5)))
    guest(history, "all day", hours_busy((8, 9, 10, 11, 12, 13)))
    found = answer(history)
    assert [one.name for one in found.candidates] == ["quiet"]
    assert [one.name for one in found.regular] == ["nightly"]
    assert history.asked == {quiet, nightly}


def test_where_all_are_busy_nobody_is_asked_for_disks() -> None:
    history = Noting()
    history.host("kvm1", HOST)
    guest(history, "busy", 0.6)
    assert (answer(history).candidates, history.asked) == ((), set())


def hours_busy(hours: tuple[int, ...], days: range = range(DAYS), rest: float = 0.01) -> npt.NDArray[np.float64]:
    row = np.full(HOURS, rest)
    for day in days:
        for hour in hours:
            row[day * 24 + hour] = 0.6
    return row


def test_a_guest_that_does_nothing_is_idle_and_one_that_works_is_not() -> None:
    history = made()
    guest(history, "idle-1")
    guest(history, "busy-1", cpu=0.3)
    found = answer(history)
    assert [one.name for one in found.candidates] == ["idle-1"]
    assert found.candidates[0].kind is Kind.IDLE
    assert not found.unjudged


@pytest.mark.parametrize("works", [{"cpu": 0.06}, {"disk": 150_000.0}, {"net": 250_000.0}])
def test_work_of_any_one_kind_makes_a_guest_busy(works: dict[str, float]) -> None:
    history = made()
    guest(history, "one-1", works.get("cpu", 0.01), disk=works.get("disk", 10.0), net=works.get("net", 10.0))
    assert not answer(history).candidates


def test_what_comes_back_of_an_idle_guest_is_what_it_really_takes_of_the_host() -> None:
    history = made()
    guest(history, "idle-1", cpu=0.02)
    one = answer(history).candidates[0]
    assert one.memory.value == 3 * GIB, "resident, not what it is given"
    assert one.cores.value == pytest.approx(0.02 * 4), "what it uses, not its vCPUs"
    assert one.vcpus.value == 4
    assert one.disk.value == 10 * GIB
    assert "deleted" in one.disk.source


def test_a_guest_may_be_busy_for_five_hours_in_a_hundred_at_odd_times() -> None:
    history = made()
    odd = np.full(HOURS, 0.01)
    odd[np.arange(0, HOURS, 25)] = 0.5  # 4 %, every day an hour later
    guest(history, "odd-1", cpu=odd)
    much = np.full(HOURS, 0.01)
    much[np.arange(0, HOURS, 17)] = 0.5  # 6 %
    guest(history, "much-1", cpu=much)
    found = answer(history)
    assert [one.name for one in found.candidates] == ["odd-1"]
    assert found.candidates[0].share.value == pytest.approx(1 - len(np.arange(0, HOURS, 25)) / HOURS)


@pytest.mark.parametrize("hours", [(2,), (2, 3), (22, 23, 0, 1)])
def test_a_nightly_backup_is_told_with_its_hours_and_is_not_reclaimable(hours: tuple[int, ...]) -> None:
    history = made()
    guest(history, "backup-1", cpu=hours_busy(hours))
    found = answer(history)
    assert not found.candidates, "though of all hours it may be idle in 95 %"
    assert [one.name for one in found.regular] == ["backup-1"]
    assert found.regular[0].kind is Kind.REGULAR
    assert found.regular[0].busy_hours == hours_named(tuple(sorted(hours)))


def test_who_works_regularly_for_five_hours_a_day_is_simply_busy() -> None:
    history = made()
    guest(history, "office-1", cpu=hours_busy((9, 10, 11, 12, 13)))
    found = answer(history)
    assert not found.candidates
    assert not found.regular


def test_a_job_that_ran_on_a_few_days_only_is_not_regular() -> None:
    history = made()
    guest(history, "idle-1", cpu=hours_busy((2,), range(0, DAYS, 5)))
    assert [one.name for one in answer(history).candidates] == ["idle-1"]


def test_a_guest_that_is_off_gives_back_all_its_volumes_and_says_since_when() -> None:
    history = made()
    sizes = {"vcpu.maximum": 2, "balloon.maximum": 4 * GIB_KIB}
    volumes = {
        "volume.capacity[vda]": 80 * GIB,
        "volume.allocation[vda]": 30 * GIB,
        "volume.capacity[vdb]": 40 * GIB,
        "volume.allocation[vdb]": 12 * GIB,
    }
    history.guest("old-1", {"cpu.time": np.full(24 * 4, 0.1)})
    history.off("old-1", sizes | volumes, first=24 * 5)
    history.event(START_MS + 5 * DAY_MS, "old-1", "stopped")
    one = answer(history).candidates[0]
    assert (one.name, one.kind) == ("old-1", Kind.OFF)
    assert one.off_days.value == 25
    assert one.disk.value == 42 * GIB
    assert one.memory.value == 0, "it has none any more"
    assert not one.note


def test_a_guest_that_was_off_all_along_may_be_off_for_longer_and_says_so() -> None:
    history = made()
    history.off("old-1", {"vcpu.maximum": 2, "balloon.maximum": GIB_KIB})
    one = answer(history).candidates[0]
    assert one.off_days.value == DAYS
    assert "perhaps" in one.note
    assert one.disk.value is None
    assert one.disk.note == "nothing is known of its disks"


def test_a_guest_that_is_off_for_a_few_days_is_counted_and_not_listed() -> None:
    history = made()
    history.guest("new-1", {"cpu.time": np.full(24 * 20, 0.1)})
    history.off("new-1", {"vcpu.maximum": 2}, first=24 * 20)
    history.event(START_MS + 20 * DAY_MS, "new-1", "stopped")
    found = answer(history)
    assert not found.candidates
    assert found.lately_off == 1
    assert [one.name for one in answer(history, off_after=Duration(5 * 86_400)).candidates] == ["new-1"]


def test_a_guest_that_was_idle_before_it_went_off_is_counted_once_as_off() -> None:
    history = made()
    uuid = guest(history, "old-1", cpu=np.full(24 * 6, 0.01), disk=np.full(24 * 6, 0.0), net=np.full(24 * 6, 0.0))
    assert history.off("old-1", {"vcpu.maximum": 2, "volume.allocation[vda]": 5 * GIB}, first=24 * 7) == uuid
    history.event(START_MS + 7 * DAY_MS, "old-1", "stopped")
    found = answer(history)
    assert [(one.name, one.kind) for one in found.candidates] == [("old-1", Kind.OFF)]


def test_off_ranks_above_idle_and_much_memory_above_little() -> None:
    history = made()
    guest(history, "small-1")
    history.guest(
        "large-1", {"vcpu.current": 1, "cpu.utilization": 0.0, "balloon.rss": 5 * GIB_KIB, "balloon.current": GIB_KIB}
    )
    history.off("old-1", {"vcpu.maximum": 2})
    assert [one.name for one in answer(history).candidates] == ["old-1", "large-1", "small-1"]


def test_a_guest_that_was_seen_for_an_hour_is_not_judged() -> None:
    history = made()
    guest(history, "new-1", first=HOURS - 1)
    found = answer(history)
    assert not found.candidates
    assert [(one.name, one.reason) for one in found.unjudged] == [
        ("new-1", "not enough history: 0.0 days of the 7d that it takes")
    ]


def test_a_guest_that_was_not_seen_for_most_of_the_time_is_not_judged() -> None:
    history = made()
    holes = np.full(HOURS, 0.01)
    holes[: HOURS * 2 // 3] = np.nan
    holes[0] = 0.01
    guest(history, "gaps-1", cpu=holes)
    assert answer(history).unjudged[0].reason == "only 33 % of the time was seen"


def test_a_third_of_holes_changes_no_verdict() -> None:
    history = made()
    holes = hours_busy((), rest=0.01)
    holes[np.arange(HOURS) % 3 == 0] = np.nan
    guest(history, "idle-1", cpu=holes)
    assert answer(history).candidates[0].share.value == 1.0


def test_a_guest_of_whose_disks_nothing_is_known_is_not_judged() -> None:
    history = made()
    history.guest("blind-1", {"vcpu.current": 1, "cpu.utilization": 0.0, "block.capacity[vda]": GIB})
    history.guest("mute-1", {"vcpu.current": 1})
    reasons = {one.name: one.reason for one in answer(history).unjudged}
    assert reasons == {
        "blind-1": "nothing is known of what its disks do",
        "mute-1": "nothing is known of its CPU",
    }


def test_guests_of_a_host_that_has_vanished_are_not_judged() -> None:
    history = made()
    history.host("kvm2", {key: np.full(HOURS // 2, value) for key, value in HOST.items()})
    history.guest("lost-1", {"vcpu.current": 1, "cpu.utilization": np.full(HOURS // 2, 0.0)}, host="kvm2")
    found = answer(history)
    assert not found.candidates
    assert found.unjudged[0].reason == "its host is not seen any more"


def test_a_guest_that_moved_is_one_guest_on_the_host_where_it_is_now() -> None:
    history = made()
    history.host("kvm2", HOST)
    half = HOURS // 2
    for host, first in (("kvm1", 0), ("kvm2", half)):
        history.guest("moving-1", {"vcpu.current": 1, "cpu.utilization": np.full(half, 0.01)}, host=host, first=first)
    assert [(one.name, one.host) for one in answer(history).candidates] == [("moving-1", "kvm2")]


def test_a_short_span_is_looked_at_in_five_minutes() -> None:
    history = Made(START_MS, 5 * MINUTE_MS, 12)
    history.host("kvm1", HOST)
    history.guest("idle-1", {"vcpu.current": 1, "cpu.utilization": 0.0})
    history.guest("busy-1", {"vcpu.current": 1, "cpu.utilization": 0.9})
    found = answer(history, idle_after=Duration(1800))
    assert [one.name for one in found.candidates] == ["idle-1"]
    assert found.hours.step_ms == 5 * MINUTE_MS


def test_a_shorter_window_than_it_takes_gives_no_verdict() -> None:
    history = made()
    guest(history, "idle-1")
    since_ms = history.until_ms - 3 * DAY_MS
    found = reclaim(Asked(history, history.until_ms, Capacity(), Selection(since_ms=since_ms)))
    assert not found.candidates
    assert found.unjudged[0].reason.startswith("not enough history: 3.0 days")


def test_a_history_with_nobody_in_it_has_an_answer() -> None:
    found = answer(made())
    assert (found.candidates, found.regular, found.unjudged, found.lately_off) == ((), (), (), 0)


def test_every_share_can_be_worked_out_from_its_inputs() -> None:
    history = made()
    guest(history, "idle-1", cpu=np.where(np.arange(HOURS) % 29 == 0, 0.4, 0.01))
    for figure in (answer(history).candidates[0].share, answer(history).candidates[0].cores):
        values = {name: of.value for name, of in figure.inputs}
        assert figure.value == pytest.approx(eval(figure.formula, {}, values))


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.12), st.floats(0.0, 0.4))
def test_the_verdict_is_that_of_counting_by_hand(seed: int, busy: float, holes: float) -> None:
    draw = np.random.default_rng(seed)
    cpu = np.where(draw.random(HOURS) < busy, 0.3, 0.02)
    cpu[draw.random(HOURS) < holes] = np.nan
    disk = np.where(draw.random(HOURS) < busy / 4, 2e5, 10.0)
    history = made()
    guest(history, "one-1", cpu=cpu, disk=disk)
    known = [hour for hour in range(HOURS) if not np.isnan(cpu[hour])]
    idle = [hour for hour in known if cpu[hour] < 0.05 and disk[hour] < 100_000]
    found = answer(history)
    assert bool(found.candidates) == (len(idle) >= 0.95 * len(known))
    if found.candidates:
        assert found.candidates[0].share.value == pytest.approx(len(idle) / len(known))


@settings(max_examples=50)
@given(st.sets(st.integers(0, 23)), st.integers(0, 23), st.integers(3, 12))
def test_regular_hours_are_found_wherever_the_window_begins(hours: set[int], begins: int, days: int) -> None:
    over = Grid(START_MS + begins * HOUR_MS, HOUR_MS, days * 24)
    is_busy = np.isin((np.arange(over.count) + begins) % 24, list(hours))
    assert regular_hours(is_busy, np.ones(over.count, dtype=bool), over) == tuple(sorted(hours))


def test_hours_are_named_in_spans() -> None:
    assert hours_named((1, 2, 3, 13)) == "01:00-04:00, 13:00-14:00 UTC"
    assert hours_named(()) == ""

"""Every figure of the planner's answers, of thirty hours of ticks, against what the samples themselves come to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import islice

import pytest
from msgspec import Struct

from capacity import arithmetic, naive
from capacity.little import (
    BEGIN_MS,
    CPUS,
    GIB,
    GUESTS,
    HOUR_MS,
    HOURS,
    MEMORY,
    NOW_MS,
    OFF,
    OFF_H,
    POOLS,
    Guest,
    batches,
)
from capacity.naive import Samples, Steps, quantile
from capacity.told import answers, figures_in, opened
from domstat.capacity.contention import contention
from domstat.capacity.demand import ALL, Resource
from domstat.capacity.explained import Figure
from domstat.capacity.gather import Figures
from domstat.capacity.profile import Profile, Size
from domstat.capacity.reclaim import reclaim
from domstat.capacity.remaining import Like, Remaining, remaining
from domstat.capacity.rightsize import Sizing, Verdict, rightsize
from domstat.capacity.runway import Status, runway
from domstat.capacity.settings import Capacity
from domstat.capacity.standing import Standing
from domstat.capacity.summary import Summary, summary
from domstat.capacity.top import How, top
from domstat.settings import Duration
from domstat.sink import SinkContext
from domstat_sinks.sqlite import SqliteSink
from domstat_sinks.sqlite.sink import SqliteSettings

STEP_MS = 300_000
"""A window of less than two days is looked at in five minutes throughout."""

SETTINGS = Capacity(idle_after=Duration(12 * 3600), off_after=Duration(6 * 3600), size_after=Duration(20 * 3600))
"""Thirty hours are enough for all that takes weeks otherwise."""

NEAR = 0.001
"""Roll-ups keep what is measured to 0.05 %."""

HOSTS = tuple(CPUS)
RUNNING = tuple(guest for guest in GUESTS if guest.until_h == HOURS)
NAMES = {guest.name: guest for guest in RUNNING}
VOLUME = 8 * GIB
"""What a guest that is off holds."""


class Both(Struct, frozen=True):
    """The samples, and who answers from the history that they were written into."""

    samples: Samples
    figures: Figures


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Write what happens through the sink, and open it."""
    folder = tmp_path_factory.mktemp("little")
    told = list(batches())
    sink = SqliteSink(SqliteSettings())
    sink.open(SinkContext("history", folder, None, lambda _record, _reason: None))
    written = iter(told)
    while group := list(islice(written, 64)):
        sink.write(group)
    while sink.settle():
        pass
    sink.close()
    with opened(folder) as history:
        yield Both(Samples(told), Figures(history, NOW_MS, SETTINGS))


def near(value: float) -> object:
    return pytest.approx(value, rel=NEAR, abs=1e-9)


def known(steps: Steps) -> Steps:
    """Leave out the tick at which the question is asked: its step is not over."""
    return naive.before(steps, NOW_MS)


# What is worked out of the samples.


def host_demand(samples: Samples, host: str, resource: Resource) -> Steps:
    of = samples.host_cores if resource is Resource.CPU else samples.host_memory
    if host != ALL:
        return known(of(host, STEP_MS))
    each = [known(of(one, STEP_MS)) for one in HOSTS]
    return {start: sum(row[start] for row in each) for start in each[0].keys() & each[1].keys()}


def allocated_of(guests: tuple[Guest, ...], resource: Resource) -> float:
    return {
        Resource.CPU: sum(guest.vcpus for guest in guests),
        Resource.MEMORY: sum(guest.memory - guest.ballooned for guest in guests),
        Resource.STORAGE: sum(40 * GIB * len(guest.disks) for guest in guests),
    }[resource]


def on(host: str) -> tuple[Guest, ...]:
    return tuple(guest for guest in RUNNING if host in {ALL, guest.host})


def off_on(host: str) -> list[str]:
    return [name for name, (where, _) in OFF.items() if host in {ALL, where}]


def pool_daily(samples: Samples, host: str) -> list[float]:
    pool = POOLS[host][0]
    return list(samples.level("pool.allocation", pool, 24 * HOUR_MS, naive.last).values())


def newest_of_pool(samples: Samples, host: str) -> float:
    """Return what was read last before the question."""
    return naive.last(list(known(samples.level("pool.allocation", POOLS[host][0], STEP_MS, naive.last)).values()))


def cores(samples: Samples, guest: str) -> Steps:
    return known(samples.rate("cpu.time", guest, STEP_MS, scale=1e-9))


def resident(samples: Samples, guest: str) -> Steps:
    return known(samples.level("balloon.rss", guest, STEP_MS, naive.mean, 1024))


# Summary and runway.


def summaries(both: Both) -> dict[str, Summary]:
    return {one.host: one for one in summary(both.figures)}


def standings(both: Both) -> dict[tuple[str, Resource], Standing]:
    return {(one.host, one.resource): one for found in summaries(both).values() for one in found.standings}


@pytest.mark.parametrize("host", [ALL, *HOSTS])
@pytest.mark.parametrize("resource", [Resource.CPU, Resource.MEMORY])
def test_how_a_host_stands_is_what_its_samples_say(both: Both, host: str, resource: Resource) -> None:
    found = standings(both)[host, resource]
    sizes = CPUS if resource is Resource.CPU else MEMORY
    total = sum(sizes.values()) if host == ALL else sizes[host]
    asked = host_demand(both.samples, host, resource)
    peak, out = quantile(asked.values(), 0.95), allocated_of(on(host), resource)
    assert found.total.value == total
    assert found.usable.value == near(0.8 * total)
    assert found.allocated.value == out
    assert found.ratio.value == near(out / total)
    assert found.now.value == near(asked[max(asked)])
    assert found.peak.value == near(peak)
    assert found.remaining.value == near(max(0, 0.8 * total - peak))
    assert found.room.value == near(max(0, total * (4 if resource is Resource.CPU else 1) - out))
    assert found.coverage.value == pytest.approx(len(asked) * STEP_MS / (HOURS * HOUR_MS), abs=0.005)


@pytest.mark.parametrize("host", [ALL, *HOSTS])
def test_how_a_hosts_pools_stand_is_what_their_samples_say(both: Both, host: str) -> None:
    found = standings(both)[host, Resource.STORAGE]
    hosts = HOSTS if host == ALL else (host,)
    total = sum(POOLS[one][1] for one in hosts)
    out = allocated_of(on(host), Resource.STORAGE) + 40 * GIB * len(off_on(host))
    newest = {one: newest_of_pool(both.samples, one) for one in hosts}
    assert found.total.value == total
    assert found.allocated.value == out
    assert found.now.value == near(sum(newest.values()))
    assert found.peak.value == near(sum(newest.values())), "of two days the second"
    assert found.remaining.value == near(sum(0.8 * POOLS[one][1] - newest[one] for one in hosts))
    assert found.room.value == near(total - out)


@pytest.mark.parametrize("host", [ALL, *HOSTS])
def test_who_is_there_is_counted(both: Both, host: str) -> None:
    found = summaries(both)[host]
    assert (found.running, found.off) == (len(on(host)), len(off_on(host)))
    idle = [guest.name for guest in on(host) if guest.name == "idle-1"]
    back = {
        Resource.CPU: sum(naive.mean(list(cores(both.samples, name).values())) for name in idle),
        Resource.MEMORY: sum(newest_resident(both.samples, name) for name in idle),
        Resource.STORAGE: sum(held_by(both.samples, name) for name in idle) + VOLUME * len(off_on(host)),
    }
    assert {of: figure.value for of, figure in found.reclaimable.items()} == {of: near(back[of]) for of in back}
    most = max(found.standings, key=lambda one: (one.peak.value or 0) / (one.usable.value or 1))
    assert found.constrained is most.resource


def newest_resident(samples: Samples, guest: str) -> float:
    found = resident(samples, guest)
    return found[max(found)]


def held_by(samples: Samples, guest: str) -> float:
    return sum(
        min(samples.last("block.physical", guest, disk), samples.last("block.allocation", guest, disk))
        for disk in NAMES[guest].disks
    )


def test_of_thirty_hours_there_is_no_runway_and_what_is_asked_now_is_the_last_whole_day(both: Both) -> None:
    found = runway(both.figures)
    assert {one.status for one in found} == {Status.YOUNG}
    assert {one.expected.value for one in found} == {None}
    first = BEGIN_MS // (24 * HOUR_MS) * 24 * HOUR_MS
    for one in found:
        if one.resource is Resource.CPU and one.host:
            hourly = naive.before(both.samples.host_cores(one.host, HOUR_MS), first + 24 * HOUR_MS)
            assert one.demand.value == near(quantile(hourly.values(), 0.95))
        if one.resource is Resource.STORAGE:
            assert one.demand.value == near(newest_of_pool(both.samples, one.host))


# Remaining.


def profile_of(samples: Samples, guest: Guest) -> dict[str, float]:
    return {
        "cores": quantile(cores(samples, guest.name).values(), 0.95),
        "resident": quantile(resident(samples, guest.name).values(), 0.95),
        "held": held_by(samples, guest.name),
        "vcpus": guest.vcpus,
        "memory": guest.memory - guest.ballooned,
        "disk": 40 * GIB * len(guest.disks),
    }


def average(samples: Samples) -> dict[str, float]:
    each = [profile_of(samples, guest) for guest in RUNNING]
    return {name: naive.mean([one[name] for one in each]) for name in each[0]}


def assert_profile(found: Profile, each: dict[str, float]) -> None:
    assert {name: getattr(found, name).value for name in each} == {name: near(value) for name, value in each.items()}


def fits(both: Both, host: str, each: dict[str, float]) -> tuple[int, int]:
    """Return how many guests fit on a host by demand and by allocation."""
    by_demand, by_allocation = [], []
    for resource, size, use in ((Resource.CPU, "vcpus", "cores"), (Resource.MEMORY, "memory", "resident")):
        total = CPUS[host] if resource is Resource.CPU else MEMORY[host]
        peak = quantile(host_demand(both.samples, host, resource).values(), 0.95)
        by_demand.append((0.8 * total - peak) / each[use])
        room = total * (4 if resource is Resource.CPU else 1) - allocated_of(on(host), resource)
        by_allocation.append(room / each[size])
    _, capacity, _ = POOLS[host]
    by_demand.append((0.8 * capacity - newest_of_pool(both.samples, host)) / each["held"])
    out = allocated_of(on(host), Resource.STORAGE) + 40 * GIB * len(off_on(host))
    by_allocation.append((capacity - out) / each["disk"])
    return max(0, math.floor(min(by_demand))), max(0, math.floor(min(by_allocation)))


def assert_fits(both: Both, found: tuple[Remaining, ...], each: dict[str, float]) -> None:
    counted = {one.host: (one.guests.value, one.guests_by_allocation.value) for one in found}
    each_host = {host: fits(both, host, each) for host in HOSTS}
    assert counted == {**each_host, ALL: tuple(map(sum, zip(*each_host.values(), strict=True)))}


def test_as_many_average_guests_fit_as_go_into_what_is_left(both: Both) -> None:
    found = remaining(both.figures)
    assert_profile(found.each, average(both.samples))
    assert_fits(both, found.hosts, average(both.samples))
    assert any(one.guests.value for one in found.hosts)


@pytest.mark.parametrize("guest", RUNNING, ids=lambda guest: guest.name)
def test_as_many_guests_like_one_fit_as_go_into_what_is_left(both: Both, guest: Guest) -> None:
    found = remaining(both.figures, Like(guest.name))
    assert_profile(found.each, profile_of(both.samples, guest))
    assert_fits(both, found.hosts, profile_of(both.samples, guest))


def test_a_guest_of_a_size_is_taken_to_use_it_as_the_average_guest_does(both: Both) -> None:
    usual = average(both.samples)
    each = {
        "vcpus": 3.0, "memory": 6.0 * GIB, "disk": usual["disk"], "held": usual["held"],
        "cores": 3 * usual["cores"] / usual["vcpus"], "resident": 6 * GIB * usual["resident"] / usual["memory"],
    }  # fmt: skip
    found = remaining(both.figures, Size(vcpus=3, memory=6 * GIB))
    assert_profile(found.each, each)
    assert_fits(both, found.hosts, each)


# Reclaim.


def test_who_is_off_or_idle_is_who_the_samples_say_it_is(both: Both) -> None:
    found = {one.name: one for one in reclaim(both.figures).candidates}
    assert found.keys() == {*OFF, *idle_guests(both.samples)} == {"old-1", "old-2", "idle-1"}
    for name, (_, since_h) in OFF.items():
        assert found[name].off_days.value == pytest.approx((HOURS - since_h) / 24)
        assert found[name].disk.value == VOLUME
    idle, use = found["idle-1"], cores(both.samples, "idle-1")
    assert idle.share.value == near(len(idle_steps(both.samples, "idle-1")) / len(use))
    assert idle.cores.value == near(naive.mean(list(use.values())))
    assert idle.memory.value == near(newest_resident(both.samples, "idle-1"))
    assert idle.disk.value == near(held_by(both.samples, "idle-1"))
    assert (reclaim(both.figures).regular, reclaim(both.figures).unjudged) == ((), ())


def idle_steps(samples: Samples, name: str) -> set[int]:
    disk = known(samples.together(("block.rd.bytes", "block.wr.bytes"), name, STEP_MS))
    net = known(samples.together(("net.rx.bytes", "net.tx.bytes"), name, STEP_MS))
    use = cores(samples, name)
    return {
        start
        for start in use
        if use[start] / NAMES[name].vcpus < 0.05 and disk[start] < 100_000 and net[start] < 200_000
    }


def idle_guests(samples: Samples) -> set[str]:
    return {name for name in NAMES if len(idle_steps(samples, name)) >= 0.95 * len(cores(samples, name))}


# Rightsize.


def sizings(both: Both, resource: Resource) -> dict[str, Sizing]:
    return {one.name: one for one in rightsize(both.figures).sizings if one.resource is resource}


def even(vcpus: float) -> float:
    return 2.0 * math.ceil(vcpus / 2) if math.ceil(vcpus) > 2 else max(1.0, math.ceil(vcpus))


def stepped(memory: float) -> float:
    step = GIB if memory > GIB else GIB // 4
    return step * max(1, math.ceil(memory / step))


@pytest.mark.parametrize("guest", RUNNING, ids=lambda guest: guest.name)
def test_vcpus_are_sized_by_the_samples(both: Both, guest: Guest) -> None:
    found, use = sizings(both, Resource.CPU)[guest.name], cores(both.samples, guest.name).values()
    sustained = quantile(use, 0.95)
    assert found.demand.value == near(sustained)
    assert found.p99.value == near(quantile(use, 0.99))
    assert found.peak.value == near(max(use))
    hourly = naive.since(known(both.samples.steal(guest.name, HOUR_MS)), NOW_MS - 7 * 24 * HOUR_MS)
    waits = quantile(hourly.values(), 0.95)
    assert found.evidence.value == near(waits)
    need = sustained / 0.8
    wanted: tuple[Verdict, float | None]
    if need > guest.vcpus:
        wanted = (Verdict.UNDERSIZED, min(even(need), CPUS[guest.host]))
    elif guest.vcpus - even(need) < 1:
        wanted = (Verdict.FITS, guest.vcpus)
    elif waits >= 0.1 and guest.vcpus - even(need + waits * guest.vcpus / 0.8) < 1:
        wanted = (Verdict.WAITS, None)
    else:
        wanted = (Verdict.OVERSIZED, even(need))
    assert (found.verdict, found.recommended.value) == wanted


SPEAKING = {"web-1", "bully-1", "victim-1", "swap-1", "copy-1", "relay-1", "db-1"}


@pytest.mark.parametrize("guest", RUNNING, ids=lambda guest: guest.name)
def test_memory_is_sized_by_the_samples_where_the_balloon_driver_speaks(both: Both, guest: Guest) -> None:
    found = sizings(both, Resource.MEMORY)[guest.name]
    if guest.name not in SPEAKING:
        assert (found.verdict, found.recommended.value) == (Verdict.STALE, None)
        return
    use = known(both.samples.used(guest.name, STEP_MS, max)).values()
    need = quantile(use, 0.95) / 0.8
    assert found.demand.value == near(quantile(use, 0.95))
    assert found.p99.value == near(quantile(use, 0.99))
    assert found.peak.value == near(max(use))
    assert found.evidence.value == pytest.approx(0, abs=2 / 1440), "it spoke within the last minutes"
    given = guest.memory - guest.ballooned
    if need > given:
        wanted = (Verdict.UNDERSIZED, stepped(need))
    elif given - stepped(need) < (GIB if need > GIB else GIB // 4):
        wanted = (Verdict.FITS, given)
    else:
        wanted = (Verdict.OVERSIZED, stepped(need))
        assert found.back.value == near(max(0, newest_resident(both.samples, guest.name) - stepped(need)))
    assert (found.verdict, found.recommended.value) == wanted


def test_there_is_one_of_each_verdict(both: Both) -> None:
    of_cpu = {one.verdict for one in sizings(both, Resource.CPU).values()}
    of_memory = {one.verdict for one in sizings(both, Resource.MEMORY).values()}
    assert of_cpu | of_memory >= {Verdict.UNDERSIZED, Verdict.OVERSIZED, Verdict.FITS, Verdict.STALE}


# Contention.

HALF_MS = NOW_MS - HOURS * HOUR_MS // 2
"""Of a short history the later half is asked about, and the one before is usual."""
AT_LEAST = 4
"""Steps in 20 minutes."""


def waiting_steps(samples: Samples) -> dict[tuple[str, str], tuple[set[int], Steps, Steps]]:
    """Return, by guest and by what it waits for, when it does, what it waits then, and what came before by the hour."""
    found = {}
    for name, guest in NAMES.items():
        for what, least in LEAST.items():
            span = naive.since(known(sign(samples, name, what, STEP_MS)), HALF_MS)
            waits = {start for start, value in span.items() if value >= least}
            past = naive.before(sign(samples, name, what, HOUR_MS), HALF_MS)
            found[name, what] = (naive.lasting(waits, STEP_MS, AT_LEAST), span, past)
        for way in ("rd", "wr"):
            for disk in guest.disks:
                span = naive.since(known(samples.latency(way, name, disk, STEP_MS)), HALF_MS)
                past = naive.before(samples.latency(way, name, disk, HOUR_MS), HALF_MS)
                requests = samples.rate(f"block.{way}.reqs", name, STEP_MS, disk)
                waits = {
                    start
                    for start, value in span.items()
                    if value >= 0.01 and value >= 2 * (naive.usual(past, start) or math.inf) and requests[start] >= 1
                }
                found[name, f"block.{way}.latency[{disk}]"] = (naive.lasting(waits, STEP_MS, AT_LEAST), span, past)
    return {key: one for key, one in found.items() if one[0]}


LEAST = {"vcpu.steal": 0.1, "balloon.swap_in + balloon.swap_out": 1 << 20, "balloon.major_fault": 1000}
"""Signs of waiting, and from what on they are."""


def sign(samples: Samples, guest: str, what: str, step_ms: int) -> Steps:
    if what == "vcpu.steal":
        return samples.steal(guest, step_ms)
    return samples.together(what.split(" + "), guest, step_ms, 1024 if "swap" in what else 1)


def test_who_waits_and_for_how_long_is_what_the_samples_say(both: Both) -> None:
    found = {(one.name, one.what): one for one in contention(both.figures).waits}
    wanted = waiting_steps(both.samples)
    assert found.keys() == wanted.keys()
    assert {name for name, _ in found} == {"victim-1", "swap-1", "slow-1"}
    for key, (waits, span, past) in wanted.items():
        one = found[key]
        assert one.share.value == near(len(waits) / len(span))
        assert one.typical.value == near(median([span[start] for start in waits]))
        assert one.worst.value == near(max(span[start] for start in waits))
        assert one.usual.value == near(median([naive.usual(past, start) or 0.0 for start in waits]))
        assert one.last_ms == max(waits) + STEP_MS
        assert one.is_unusual


def median(values: list[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def test_the_bully_is_who_the_samples_say_it_is(both: Both) -> None:
    (bully,) = contention(both.figures).bullies
    assert (bully.host, bully.name, bully.victims, bully.times) == ("kvm1", "bully-1", ("victim-1",), 1)
    waits = waiting_steps(both.samples)["victim-1", "vcpu.steal"][0]
    use = {name: cores(both.samples, name) for name, guest in NAMES.items() if guest.host == "kvm1"}
    own = use["bully-1"]
    assert bully.share.value == near(
        sum(own[start] for start in waits) / sum(of[start] for of in use.values() for start in waits)
    )
    past = naive.before(both.samples.rate("cpu.time", "bully-1", HOUR_MS, scale=1e-9), HALF_MS)
    asked = naive.since(own, HALF_MS)
    high = {start for start, value in asked.items() if value > (naive.usual(past, start, 0.9) or math.inf)}
    assert bully.coincidence.value == near(len(waits & high) / len(waits))
    assert bully.hours.value == near(len(waits) * STEP_MS / HOUR_MS)
    assert bully.use.value == near(median([own[start] for start in waits & high]))
    assert bully.usual.value == near(median([naive.usual(past, start, 0.9) or 0.0 for start in waits & high]))
    apart, low = waits - high, asked.keys() - high
    if apart:
        assert bully.lift.value == near((len(waits & high) / len(high)) / (len(apart) / len(low)))
    else:
        assert bully.lift.note == "others never wait otherwise"


# Top.

TAKEN: dict[How, Callable[[Steps], float]] = {
    How.MEAN: lambda row: naive.mean(list(row.values())),
    How.MAX: lambda row: max(row.values()),
    How.MIN: lambda row: min(row.values()),
    How.P95: lambda row: quantile(row.values(), 0.95),
    How.LAST: lambda row: row[max(row)],
}


def rows_of(samples: Samples, field: str) -> dict[str, Steps]:
    match field:
        case "cpu.cores":
            return {guest.name: cores(samples, guest.name) for guest in GUESTS}
        case "block.wr.bytes" | "net.rx.bytes":
            return {guest.name: known(samples.together((field,), guest.name, STEP_MS)) for guest in GUESTS}
        case "memory.used":
            speaking = [guest.name for guest in GUESTS if guest.spoke(0.0)]
            return {name: known(samples.used(name, STEP_MS, naive.mean)) for name in speaking}
        case "vcpu.steal":
            return {guest.name: known(samples.steal(guest.name, STEP_MS)) for guest in GUESTS}
        case "host.cpu.utilization":
            return {
                host: {start: value / CPUS[host] for start, value in known(samples.host_cores(host, STEP_MS)).items()}
                for host in HOSTS
            }
        case _:
            return {POOLS[host][0]: known(samples.level(field, POOLS[host][0], STEP_MS, naive.mean)) for host in HOSTS}


RANKED = (
    "cpu.cores", "block.wr.bytes", "net.rx.bytes", "memory.used", "vcpu.steal", "host.cpu.utilization",
    "pool.allocation",
)  # fmt: skip


@pytest.mark.parametrize("how", TAKEN)
@pytest.mark.parametrize("field", RANKED)
def test_the_first_ones_are_those_that_the_samples_make_first(both: Both, field: str, how: How) -> None:
    rows = {name: row for name, row in rows_of(both.samples, field).items() if row}
    values = {name: TAKEN[how](row) for name, row in rows.items()}
    found = top(both.figures, field, how, count=20)
    ranked = {one.name or one.host: one for one in found.ranked}
    assert {name: one.value.value for name, one in ranked.items()} == {name: near(values[name]) for name in values}
    in_order = [one.value.value or 0.0 for one in found.ranked]
    assert in_order == sorted(in_order, reverse=True)
    steps = HOURS * HOUR_MS // STEP_MS
    assert {name: one.coverage.value for name, one in ranked.items()} == {
        name: near(len(row) / steps) for name, row in rows.items()
    }


def test_what_a_counter_grew_by_is_its_rate_for_as_long_as_was_seen(both: Both) -> None:
    found = {one.name: one.value.value for one in top(both.figures, "block.wr.bytes", How.INCREASE).ranked}
    rows = rows_of(both.samples, "block.wr.bytes")
    assert found == {name: near(naive.mean(list(row.values())) * len(row) * 300) for name, row in rows.items()}


# All of it.


def test_what_explains_a_figure_comes_to_it(both: Both) -> None:
    figures: list[Figure] = [figure for answer in answers(both.figures).values() for figure in figures_in(answer)]
    assert arithmetic.check(figures) > 100


def test_the_little_world_has_what_it_is_to_have(both: Both) -> None:
    samples = both.samples
    assert sum(one.increase is None for one in samples.of("cpu.time", "web-1")) == 2, "started anew once"
    assert max(one.seconds for one in samples.of("cpu.time", "web-1")) > 3600, "nobody looked for an hour"
    assert len(samples.of("cpu.time", "old-2")) == OFF_H * 60
    assert BEGIN_MS % (24 * HOUR_MS) == 3 * HOUR_MS

"""Scenarios with a known truth: what happens to hosts, guests and pools, and what ought to be found of it. Pure.

Each is a function of when it ends, which is "now", and of how many days it has; the same arguments make the same
scenario. :func:`domstat_bench.scenario_writer.write` puts one into a history::

    scenario = scenarios.named("cpu-growth")
    scenario_writer.write(scenario.world, folder)
    scenario.truths[0].full_ms
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from domstat_bench.scenario_courses import DAY_MS, HOUR_MS, WEEK_MS, Change, Course
from domstat_bench.scenario_fleet import fleet_world
from domstat_bench.scenario_truth import (
    Bully,
    Gone,
    Idle,
    Moved,
    Newcomer,
    Off,
    Restarted,
    Scenario,
    Shift,
    Silent,
    Unseen,
    cpu_trend,
    disk_trend,
    memory_trend,
    pool_trend,
)
from domstat_bench.scenario_world import GIB, KIB, Disk, Guest, Host, Pool, Sleeper, World

END_MS = 1_795_392_000_000
"""Monday 2026-11-23, 00:00 UTC."""

DAYS = 120

FULL_IN_DAYS = 60
"""When what grows is full: so many days after the end."""

_CPUS = 16
_STEADY = Course(level=1.0, noise=0.05, drift=0.03)
_WEEKLY = Course(level=1.0, swing=0.5, weekend=0.5, noise=0.05, drift=0.03)
_WEEKLY_PEAK = 1.64
"""What is at its level on average by the clock has its 95th percentile so far above it in a week of ``_WEEKLY``."""


def uuid_of(number: int) -> str:
    """Return a guest's uuid."""
    return f"3d9e0f52-71aa-4c0b-9d7e-{number:012x}"


def mac_of(number: int) -> str:
    """Return the address of a guest's NIC."""
    return f"52:54:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def plain_guest(number: int, name: str = "", cores: float = 0.5, memory: float = 1.5 * GIB) -> Guest:
    """Make a guest that does the same all along."""
    return Guest(
        uuid=uuid_of(number),
        name=name or f"web-{number}",
        mac=mac_of(number),
        cores=replace(_STEADY, level=cores),
        memory=replace(_STEADY, level=memory, noise=0.01),
        steal=Course(level=0.002, noise=0.3),
        rx=Course(level=200_000.0 * cores, noise=0.2),
        tx=Course(level=300_000.0 * cores, noise=0.2),
        disks=(Disk(reads=Course(level=20 * cores, noise=0.2), writes=Course(level=30 * cores, noise=0.2)),),
        labels=(("title", f"plain {number}"),),
    )


def _world(end_ms: int, days: int, *hosts: Host) -> World:
    return World(begin_ms=end_ms - days * DAY_MS, end_ms=end_ms, hosts=hosts)


def _host(*guests: Guest, name: str = "kvm1", cpus: int = _CPUS) -> Host:
    return Host(name=name, cpus=cpus, memory_kib=64 * GIB // KIB, guests=guests, pools=(_POOL,))


_POOL = Pool(capacity=1024 * GIB, allocation=Course(level=300.0 * GIB))


def _guests(count: int) -> tuple[Guest, ...]:
    return tuple(plain_guest(number) for number in range(count))


def cpu_growth(end_ms: int = END_MS, days: int = DAYS) -> Scenario:
    """Let four guests need more CPU every day; the host's 16 CPUs are all busy FULL_IN_DAYS days after the end."""
    world = _growing(end_ms, days, _STEADY, 1.0)
    return Scenario(name="cpu-growth", world=world, truths=(cpu_trend(world, world.hosts[0]),))


def weekly_growth(end_ms: int = END_MS, days: int = DAYS) -> Scenario:
    """Let the same grow while nights and weekends are quieter; it is the peaks that fill the host by then."""
    world = _growing(end_ms, days, _WEEKLY, _WEEKLY_PEAK)
    return Scenario(name="weekly-growth", world=world, truths=(cpu_trend(world, world.hosts[0]),))


def _growing(end_ms: int, days: int, rhythm: Course, peak: float) -> World:
    """Let four guests begin with a quarter of what they need when the host is full, *peak* times their level."""
    need = (_CPUS - 0.3) / 4 / peak
    level = 0.25 * need
    cores = replace(rhythm, level=level, growth=(need - level) / (days + FULL_IN_DAYS))
    return _world(end_ms, days, _host(*(replace(guest, vcpus=8, cores=cores) for guest in _guests(4))))


def memory_growth(end_ms: int = END_MS, days: int = DAYS) -> Scenario:
    """Let four guests use more memory every day; the host's is full FULL_IN_DAYS days after the end."""
    need = (64 * GIB - 4 * GIB) / 4 / 1.15 - 0.2 * GIB
    level = 0.3 * need
    memory = Course(level=level, growth=(need - level) / (days + FULL_IN_DAYS), noise=0.01, drift=0.01)
    guests = tuple(replace(guest, memory_kib=24 * GIB // KIB, memory=memory) for guest in _guests(4))
    world = _world(end_ms, days, _host(*guests))
    return Scenario(name="memory-growth", world=world, truths=(memory_trend(world, world.hosts[0]),))


def pool_growth(end_ms: int = END_MS, days: int = DAYS) -> Scenario:
    """Let a storage pool fill."""
    level = 0.3 * _POOL.capacity
    growth = (_POOL.capacity - level) / (days + FULL_IN_DAYS)
    pool = replace(_POOL, allocation=Course(level=level, growth=growth, drift=0.003))
    world = _world(end_ms, days, replace(_host(*_guests(2)), pools=(pool,)))
    return Scenario(name="pool-growth", world=world, truths=(pool_trend(world, world.hosts[0]),))


def disk_growth(end_ms: int = END_MS, days: int = DAYS) -> Scenario:
    """Let a guest's thin disk grow to its capacity."""
    capacity, level = 80 * GIB, 20.0 * GIB
    growth = (capacity - level) / (days + FULL_IN_DAYS)
    disk = Disk(capacity=capacity, allocation=Course(level=level, growth=growth), writes=Course(level=20.0, noise=0.2))
    first, *others = _guests(2)
    world = _world(end_ms, days, _host(replace(first, disks=(disk,)), *others))
    return Scenario(name="disk-growth", world=world, truths=(disk_trend(world, world.hosts[0]),))


def weekly(end_ms: int = END_MS, days: int = DAYS) -> Scenario:
    """Make days busier than nights, and weeks than weekends, and let nothing grow."""
    guests = tuple(replace(guest, vcpus=4, cores=replace(_WEEKLY, level=1.2)) for guest in _guests(4))
    world = _world(end_ms, days, _host(*guests))
    host = world.hosts[0]
    return Scenario(name="weekly", world=world, truths=(cpu_trend(world, host), memory_trend(world, host)))


def level_shift(end_ms: int = END_MS, days: int = DAYS) -> Scenario:
    """Let a guest need three more CPUs from one day on, a third before the end; that is no growth."""
    at_ms = end_ms - days // 3 * DAY_MS
    first, *others = _guests(4)
    shifted = replace(first, vcpus=8, cores=replace(first.cores, changes=(Change(at_ms, add=3.0),)))
    world = _world(end_ms, days, _host(shifted, *others))
    shift = Shift("kvm1", first.name, "cpu.cores", at_ms, first.cores.level, first.cores.level + 3.0)
    return Scenario(name="level-shift", world=world, truths=(shift, cpu_trend(world, world.hosts[0])))


def new_guest(end_ms: int = END_MS, days: int = DAYS) -> Scenario:
    """Bring a guest with much to do, for the last twelve days only."""
    since_ms = end_ms - 12 * DAY_MS
    newcomer = replace(plain_guest(9, "new-1", cores=3.0), vcpus=4, from_ms=since_ms)
    world = _world(end_ms, days, _host(*_guests(3), newcomer))
    truths = (Newcomer("kvm1", "new-1", since_ms), cpu_trend(world, world.hosts[0]))
    return Scenario(name="new-guest", world=world, truths=truths)


def gaps(end_ms: int = END_MS, days: int = DAYS) -> Scenario:
    """Leave out a third of ``cpu-growth``: eight hours of each day, at another time."""
    made = cpu_growth(end_ms, days)
    begins = [made.world.begin_ms + day * DAY_MS + day * 7 % 16 * HOUR_MS for day in range(days - 1)]
    host = replace(made.world.hosts[0], gaps=tuple((at, at + 8 * HOUR_MS) for at in begins))
    world = replace(made.world, hosts=(host,))
    unseen = Unseen("kvm1", 8 * (days - 1) / (24 * days))
    return Scenario(name="gaps", world=world, truths=(unseen, *made.truths))


def dead_balloon(end_ms: int = END_MS, days: int = DAYS) -> Scenario:
    """Silence a guest's balloon driver 20 days ago; another's never spoke."""
    since_ms = end_ms - 20 * DAY_MS
    first, second, *others = _guests(4)
    silent, mute = replace(first, speaks_until_ms=since_ms), replace(second, speaks_until_ms=0)
    world = _world(end_ms, days, _host(silent, mute, *others))
    truths = (Silent("kvm1", first.name, since_ms), Silent("kvm1", second.name, 0))
    return Scenario(name="dead-balloon", world=world, truths=truths)


def powered_off(end_ms: int = END_MS, days: int = DAYS) -> Scenario:
    """Shut a guest down 35 days ago, which holds 42 GiB of disk; another was off all along."""
    since_ms = end_ms - 35 * DAY_MS
    first, *others = _guests(4)
    held = (("vda", 80 * GIB, 30 * GIB), ("vdb", 40 * GIB, 12 * GIB))
    sleepers = (
        Sleeper(uuid=first.uuid, name=first.name, from_ms=since_ms, volumes=held),
        Sleeper(uuid=uuid_of(77), name="old-1"),
    )
    world = _world(end_ms, days, replace(_host(replace(first, until_ms=since_ms), *others), sleepers=sleepers))
    truths = (Off("kvm1", first.name, since_ms, 42 * GIB), Off("kvm1", "old-1", world.begin_ms, 10 * GIB))
    return Scenario(name="powered-off", world=world, truths=truths)


def resets(end_ms: int = END_MS, days: int = DAYS) -> Scenario:
    """Start a guest anew in every week, and once within the last hour; it is as busy as ever."""
    first, *others = _guests(2)
    begin_ms = end_ms - days * DAY_MS
    weekly_ms = tuple(range(begin_ms + 3 * DAY_MS + 5 * HOUR_MS, end_ms - HOUR_MS, WEEK_MS))
    at_ms = (*weekly_ms, end_ms - HOUR_MS // 2)
    world = _world(end_ms, days, _host(replace(first, resets=at_ms), *others))
    truth = Restarted(first.name, "cpu.time", at_ms, first.cores.level)
    return Scenario(name="resets", world=world, truths=(truth,))


def nightly_backup(end_ms: int = END_MS, days: int = DAYS) -> Scenario:
    """Let a guest do nothing but an hour's backup each night, another never anything, and a third be busy."""
    backup = _at_night(plain_guest(1, "backup-1", cores=0.004))
    idle = _doing_nothing(plain_guest(2, "idle-1"))
    world = _world(end_ms, days, _host(plain_guest(0, "web-0"), backup, idle))
    return Scenario(name="nightly-backup", world=world, truths=(Idle(("idle-1",), ("backup-1", "web-0")),))


def _at_night(guest: Guest) -> Guest:
    """Let a guest work from two to three o'clock, and hardly at all besides."""
    night = (2.0, 3.0)
    disk = Disk(
        reads=Course(level=400.0, hours=night, rest=0.0, noise=0.1), read_bytes=262_144,
        writes=Course(level=2.0, hours=night, rest=0.02, noise=0.1),
    )  # fmt: skip
    return replace(
        guest,
        cores=Course(level=1.2, hours=night, rest=0.004, noise=0.1),
        tx=Course(level=60e6, hours=night, rest=1e-6, noise=0.1),
        rx=Course(level=400_000.0, hours=night, rest=1e-4, noise=0.1),
        disks=(disk,),
    )


def _doing_nothing(guest: Guest) -> Guest:
    disk = Disk(writes=Course(level=0.02), reads=Course(level=0.001))
    return replace(
        guest, cores=Course(level=0.004, noise=0.1), rx=Course(level=40.0), tx=Course(level=10.0), disks=(disk,)
    )


def moved(end_ms: int = END_MS, days: int = DAYS) -> Scenario:
    """Migrate a guest from one host to another, 25 days ago."""
    at_ms = end_ms - 25 * DAY_MS
    guest = replace(plain_guest(50, "moving-1", cores=1.5), vcpus=4)
    first = _host(*_guests(2), replace(guest, until_ms=at_ms))
    second = _host(plain_guest(10), replace(guest, from_ms=at_ms), name="kvm2")
    truth = Moved(guest.uuid, guest.name, "kvm1", "kvm2", at_ms)
    return Scenario(name="moved", world=_world(end_ms, days, first, second), truths=(truth,))


def bully(end_ms: int = END_MS, days: int = DAYS) -> Scenario:
    """Let a guest take most of its host on three afternoons, while two others wait for it and a third does not.

    On the other host somebody waits all the time, for nobody's sake.
    """
    quiet, noisy = 0.004, 0.25
    afternoons = [end_ms - day * DAY_MS + 13 * HOUR_MS for day in (5, 4, 2)]
    windows = tuple((at, at + 4 * HOUR_MS) for at in afternoons)
    waits = Course(level=quiet, noise=0.2, changes=tuple(Change(*window, add=noisy - quiet) for window in windows))
    takes = Course(level=1.0, noise=0.05, changes=tuple(Change(*window, add=11.0) for window in windows))
    one = replace(plain_guest(30, "bully-1"), vcpus=14, cores=takes)
    victims = [replace(plain_guest(31 + i, f"victim-{i}", cores=1.0), steal=waits) for i in (0, 1)]
    bystander = replace(plain_guest(40, "bystander-1", cores=0.8), steal=Course(level=quiet, noise=0.2))
    waiting = replace(plain_guest(41, "elsewhere-1", cores=0.8), steal=Course(level=0.06, noise=0.2))
    hosts = (_host(one, *victims, bystander), _host(waiting, name="kvm2"))
    truth = Bully(
        "kvm1", one.name, tuple(guest.name for guest in victims), (bystander.name,), windows, quiet, noisy
    )  # fmt: skip
    return Scenario(name="bully", world=_world(end_ms, days, *hosts), truths=(truth,))


def one_hour(end_ms: int = END_MS, days: int = 0) -> Scenario:  # noqa: ARG001 - as the others have it
    """Make a history of one hour, all of it ticks."""
    world = World(begin_ms=end_ms - HOUR_MS, end_ms=end_ms, hosts=(_host(*_guests(3)),))
    return Scenario(name="one-hour", world=world)


def one_guest(end_ms: int = END_MS, days: int = DAYS) -> Scenario:
    """Have one host with one guest."""
    world = _world(end_ms, days, _host(plain_guest(0)))
    return Scenario(name="one-guest", world=world, truths=(cpu_trend(world, world.hosts[0]),))


def vanished_host(end_ms: int = END_MS, days: int = DAYS) -> Scenario:
    """Lose one of two hosts, of which nothing has been seen for 40 days."""
    last_ms = end_ms - 40 * DAY_MS
    lost = replace(_host(plain_guest(60), plain_guest(61), name="kvm2"), until_ms=last_ms)
    world = _world(end_ms, days, _host(*_guests(2)), lost)
    return Scenario(name="vanished-host", world=world, truths=(Gone("kvm2", last_ms),))


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; DROP TABLE guest; --",
    "=cmd|'/c calc'!A1",
    "{{7*7}} ${7*7} %s %n",
    "a,b;c\td",
    "\u202egnp.exe",
    "e\u0301\U0001f4a5 " + "x" * 200,
    "[red]bold[/red]\x1b[31m",
    "../../etc/passwd",
    "*",
)
"""Names that guests may have, since whoever makes a guest names it."""


def hostile_names(end_ms: int = END_MS, days: int = DAYS) -> Scenario:
    """Name guests so that their names do harm, one of them off, another idle."""
    guests: Sequence[Guest] = [plain_guest(number, name, cores=0.2) for number, name in enumerate(HOSTILE)]
    idle = _doing_nothing(guests[0])
    off = Sleeper(uuid=uuid_of(99), name=HOSTILE[1] + " off")
    pool = replace(_POOL, name="<b>pool</b>")
    host = replace(_host(idle, *guests[1:]), sleepers=(off,), pools=(pool,))
    return Scenario(name="hostile-names", world=_world(end_ms, days, host))


def fleet(end_ms: int = END_MS, days: int = 365, hosts: int = 10, guests: int = 200) -> Scenario:
    """Make a believable fleet of guests of eight kinds (:mod:`.workload_kinds`), on so many hosts."""
    return Scenario(name="fleet", world=fleet_world(hosts, guests, end_ms - days * DAY_MS, end_ms))


SCENARIOS: dict[str, Callable[..., Scenario]] = {
    "cpu-growth": cpu_growth,
    "weekly-growth": weekly_growth,
    "memory-growth": memory_growth,
    "pool-growth": pool_growth,
    "disk-growth": disk_growth,
    "weekly": weekly,
    "level-shift": level_shift,
    "new-guest": new_guest,
    "gaps": gaps,
    "dead-balloon": dead_balloon,
    "powered-off": powered_off,
    "resets": resets,
    "nightly-backup": nightly_backup,
    "moved": moved,
    "bully": bully,
    "one-hour": one_hour,
    "one-guest": one_guest,
    "vanished-host": vanished_host,
    "hostile-names": hostile_names,
    "fleet": fleet,
}
"""By name; each takes *end_ms* and *days*."""


def named(name: str, end_ms: int = END_MS, days: int | None = None, **size: int) -> Scenario:
    """Make a scenario by its name, a fleet of a *size*. Raises KeyError."""
    longer = {} if days is None else {"days": days}
    return SCENARIOS[name](end_ms=end_ms, **longer, **size)

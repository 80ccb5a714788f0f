"""A guest moves between two hosts that one agent watches: it is on one of them at a time, and begins anew on each."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from domstat_lab import guests, image, life, migration
from domstat_lab.domain_xml import disk_file, disk_target
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.spec import DiskSpec, GuestSpec, tiny
from domstat_sinks.sqlite import connect
from real.conftest import Agent
from shown import Show

from . import happenings, truth
from .happenings import Expected
from .oracle import Told, seed
from .stored import stored_otherwise
from .truth import Deed, Eye, Look, Read, now_ms

PREFIX = "mover-"
TINY = tiny(f"{PREFIX}tiny", disks=(DiskSpec(3), DiskSpec(5, "qcow2")), scsi=True)
WRITING = GuestSpec(f"{PREFIX}linux", workloads=("writer",), disks=(DiskSpec(67),), nics=0)

INTERVAL_S = 0.25
"""A migration takes 0.7 s, so that there are ticks within it."""

STAYS_S = (0.6, 1.2)
"""How long, at random, a guest is left alone where it has come to."""

LONG_ROUNDS = 20
"""Of the long form, which takes some four minutes."""

PAUSED = 3
"""libvirt's number for the state."""

Pair: TypeAlias = dict[str, PrivateLibvirtd]


class Journey:
    """What is done to guests on two hosts, what is to be heard of it, and what was seen meanwhile."""

    def __init__(self, pair: Pair, with_seed: int) -> None:
        self.pair = pair
        self.agent: Agent | None = None
        """Who watches."""
        self.seed = with_seed
        self.deeds: dict[str, list[Deed]] = {host: [] for host in pair}
        self.expected: dict[str, list[Expected]] = {host: [] for host in pair}
        self.looks: dict[str, list[Look]] = {host: [] for host in pair}
        self.specs: list[GuestSpec] = []
        self._random = random.Random(with_seed)
        self._eyes = {host: Eye(lab.uri_ro, PREFIX) for host, lab in pair.items()}
        self._host = next(iter(pair))

    def start(self, spec: GuestSpec) -> None:
        """Start a guest on the first host."""
        guests.start(self.pair[self._host], [spec], image.ensure() if spec.kind == "linux" else None)
        guests.wait_booted(self.pair[self._host], [spec])
        self.specs.append(spec)

    @property
    def sizes(self) -> dict[tuple[str, str], int]:
        """Those of the disks, which stay where the guest was started."""
        first = next(iter(self.pair.values()))
        return {
            (spec.identity, str(disk_file(guests.guest_folder(first, spec.name), disk, disk_target(index)))): (
                disk.size_mib << 20
            )
            for spec in self.specs
            for index, disk in enumerate(spec.disks)
        }

    def look(self) -> None:
        """Look at both hosts."""
        for host, eye in self._eyes.items():
            self.looks[host].append(eye.look())

    def rest(self) -> None:
        """Do nothing for a while, until there are records of that, and look before and after."""
        self.look()
        ticks = self._ticks()
        time.sleep(self._random.uniform(*STAYS_S))
        assert self.agent is not None
        self.agent.wait_for(lambda: all(now >= ticks[host] + 2 for host, now in self._ticks().items()), "records")
        self.look()

    def _ticks(self) -> dict[str, int]:
        assert self.agent is not None
        streams = [tick["stream"] for tick in self.agent.events("tick")]
        return {host: streams.count(f"{host}/default") for host in self.pair}

    def migrate(self) -> None:
        """Move all guests to the other host, one after the other."""
        source, target = self._host, next(host for host in self.pair if host != self._host)
        for spec in self.specs:
            began_ms = now_ms()
            migration.migrate(self.pair[source], self.pair[target], spec.name)
            deed = Deed("migrate", spec.identity, began_ms, now_ms())
            self._note(source, spec, deed, ("paused", ("migrated",), False), ("migrated", ("out",), True))
            self._note(target, spec, deed, ("migrated", ("in",), True), ("resumed", ("migrated",), False))
            self.rest()
        self._host = target

    def save_and_restore(self) -> None:
        """Save all guests, and go on with them from what was saved, where they are."""
        for spec in self.specs:
            began_ms = now_ms()
            life.save(self.pair[self._host], spec.name)
            time.sleep(self._random.uniform(0, 2 * INTERVAL_S))
            life.restore(self.pair[self._host], spec.name)
            self._note(
                self._host,
                spec,
                Deed("save", spec.identity, began_ms, now_ms()),
                ("paused", ("paused",), False),
                ("stopped", ("saved",), True),
                ("started", ("restored",), True),
                ("resumed", ("unpaused", "from-snapshot"), False),
            )
            self.rest()

    def moves(self, *reads: Read) -> bool:
        """Whether a guest was on the move while it was read."""
        began_ms, ended_ms = min(read.record.time_ms for read in reads), max(read.ended_ms for read in reads)
        return any(
            (deed.what, deed.uuid) == ("migrate", reads[0].uuid)
            and deed.began_ms <= ended_ms
            and began_ms <= deed.ended_ms
            for deed in self.deeds[self._host]
        )

    def _note(self, host: str, spec: GuestSpec, deed: Deed, *heard: tuple[str, tuple[str, ...], bool]) -> None:
        self.deeds[host].append(deed)
        self.expected[host] += [
            Expected(
                uuid=spec.identity,
                name=spec.name,
                type=type_,
                reasons=reasons,
                must=must,
                since_ms=deed.began_ms,
                until_ms=deed.ended_ms,
            )
            for type_, reasons, must in heard
        ]

    def close(self) -> None:
        """Close the connections."""
        for eye in self._eyes.values():
            eye.close()


@pytest.fixture
def journey() -> Iterator[Journey]:
    if os.geteuid() != 0:
        pytest.skip("a private libvirtd needs root: run ./dev test as root or with sudo")
    with tempfile.TemporaryDirectory(prefix="domstat-lab-") as folder, migration.pair(Path(folder)) as (here, there):
        made = Journey({"here": here, "there": there}, seed())
        yield made
        made.close()


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[[Pair], Agent]]:
    """Start an agent that watches both."""
    agents: list[Agent] = []

    def start(pair: Pair) -> Agent:
        config = tmp_path / "domstat.toml"
        hosts = "".join(
            f'[[hosts]]\nname = "{host}"\nuri = "{lab.uri_ro}"\ndeadline = "4s"\nsurvey = {{ enabled = false }}\n'
            for host, lab in pair.items()
        )
        config.write_text(
            f'[agent]\nstate_dir = "{tmp_path}"\ninterval = "{INTERVAL_S * 1000:.0f}ms"\n{hosts}'
            '[[sinks]]\ntype = "sqlite"\n[[sinks]]\ntype = "stdout"\nformat = "json"\n'
        )
        agents.append(Agent(config, tmp_path / "stdout.jsonl"))
        return agents[-1]

    yield start
    for agent in agents:
        if agent.process.poll() is None:
            agent.process.kill()
            agent.process.wait()


def meetings(told: Told, journey: Journey) -> tuple[int, int]:
    """Count the guests that are in one tick on both hosts: those on the move then, and those that should not be.

    Who is on the move runs on one of them at a time: paused on the other, or read there before or afterwards.
    """
    rightly = wrongly = 0
    by_due: dict[int, dict[str, dict[str, Read]]] = {}
    for host in journey.pair:
        for reads in truth.reads_of(told, host, PREFIX):
            due = round(reads[0].record.time_ms / 1000 / INTERVAL_S)
            by_due.setdefault(due, {})[host] = {read.uuid: read for read in reads}
    for tick in by_due.values():
        if len(tick) == len(journey.pair):
            here, there = tick.values()
            for uuid in here.keys() & there.keys():
                is_right = journey.moves(here[uuid], there[uuid]) and not both_run(here[uuid], there[uuid])
                rightly, wrongly = rightly + is_right, wrongly + (not is_right)
    return rightly, wrongly


def both_run(one: Read, other: Read) -> bool:
    """Whether a guest is said to run on two hosts at once."""
    first, second = sorted((one, other), key=lambda read: read.record.time_ms)
    running = PAUSED not in {read.record.params["state.state"] for read in (one, other)}
    return running and second.record.time_ms < first.ended_ms


def travel(
    watch: Callable[[Pair], Agent], folder: Path, journey: Journey, specs: tuple[GuestSpec, ...], rounds: int
) -> tuple[dict[str, Any], list[str]]:
    """Have an agent watch guests that go there and back; return the figures, and examples of what is wrong."""
    for spec in specs:
        journey.start(spec)
    agent = journey.agent = watch(journey.pair)
    agent.wait_for(lambda: len({tick["stream"] for tick in agent.events("tick")}) == 2, "ticks of both hosts")
    journey.rest()
    for number in range(2 * rounds):
        journey.migrate()
        if number % 2 == 0:
            journey.save_and_restore()
    time.sleep(3 * INTERVAL_S)
    journey.look()
    agent.stop()
    return figures_of(agent, folder, journey)


def figures_of(agent: Agent, folder: Path, journey: Journey) -> tuple[dict[str, Any], list[str]]:
    told = Told(folder)
    figures: dict[str, Any] = {"test": "migration", "seed": journey.seed}
    figures["migrations"] = sum(deed.what == "migrate" for deed in journey.deeds["here"])
    figures["saved"] = sum(deed.what == "save" for deeds in journey.deeds.values() for deed in deeds)
    examples = []
    for host in journey.pair:
        ticks = truth.reads_of(told, host, PREFIX)
        of_host, wrong = truth.judge(ticks, journey.looks[host], journey.deeds[host], journey.sizes)
        events_wrong = happenings.wrong(journey.expected[host], told.events(host))
        figures[host] = of_host | {
            "gaps": sorted({gap.reason for gap in told.gaps(host)}),
            "events_wrong": len(events_wrong),
        }
        examples += [f"{host}: {each}" for each in (*wrong, *events_wrong)]
    moving, still = meetings(told, journey)
    figures |= {"on_both_while_moving": moving, "on_both": still}
    figures["stored_otherwise"] = stored_otherwise(folder, list(told.records()))
    figures["kept_of_both"] = hosts_of(folder, [spec.identity for spec in journey.specs]) == [2] * len(journey.specs)
    figures["errors"] = [event["event"] for event in agent.events() if event["level"] in {"error", "critical"}]
    return figures, examples


def hosts_of(folder: Path, uuids: list[str]) -> list[int]:
    """Count, for each of these guests, the hosts that the history has samples of it from."""
    connection = connect(folder / "history.db")
    query = "SELECT count(DISTINCT host) FROM samples WHERE uuid = ? AND field = 'cpu.time'"
    counts = [connection.execute(query, (uuid,)).fetchone()[0] for uuid in uuids]
    connection.close()
    return counts


def assert_held(figures: dict[str, Any], examples: list[str]) -> None:
    told = "\n".join([str(figures), *examples])
    for host in ("here", "there"):
        of_host = figures[host]
        assert {kind: of_host[kind] for kind in truth.KINDS if of_host[kind]} == {}, told
        assert of_host["incarnations_told"] == of_host["incarnations"], told
        assert (of_host["incarnations_invented"], of_host["events_wrong"]) == (0, 0), told
        assert set(of_host["gaps"]) <= {"overload"}, told
        assert of_host["compared"] > 0, told
    assert figures["on_both"] == 0, told
    assert (figures["stored_otherwise"], figures["kept_of_both"], figures["errors"]) == (0, True, []), told


def test_a_guest_that_migrates_there_and_back_is_one_guest_on_two_hosts(
    watch: Callable[[Pair], Agent], tmp_path: Path, journey: Journey, show: Show
) -> None:
    figures, examples = travel(watch, tmp_path, journey, (TINY,), 1)
    show(figures)
    assert_held(figures, examples)


@pytest.mark.faults
def test_guests_that_migrate_again_and_again_are_the_same_on_two_hosts(
    watch: Callable[[Pair], Agent], tmp_path: Path, journey: Journey, show: Show
) -> None:
    figures, examples = travel(watch, tmp_path, journey, (TINY, WRITING), LONG_ROUNDS)
    show(figures)
    assert_held(figures, examples)

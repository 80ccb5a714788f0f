"""A private libvirtd with real guests, shared by all tests here; and the agent as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from domstat.collect.block import Block
from domstat.collect.chronicle import Chronicle
from domstat.collect.hypervisor import Hypervisor
from domstat.collect.inventory import Inventory
from domstat.collect.stream import Stream
from domstat.collect.wire import ALL
from domstat.model import Batch, Event, Record
from domstat_lab import guests, image
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.spec import DiskSpec, GuestSpec, tiny

CORE = ("state", "cpu-total", "balloon", "vcpu", "interface", "block")

WRITER = GuestSpec("writer", workloads=("writer", "pinger"), title="It writes")
BURNER = GuestSpec("burner", workloads=("burner",))
SLEEPER = tiny("sleeper")
NAUGHTY = tiny("a\"b',c=d $x\\ {e}\x9b31m\u202e\t" + "n" * 150)
"""A name with quotes, commas, the start of an escape sequence and a mark that turns the text around."""

PATIENCE_S = 90.0
"""How long anything is waited for that is to come at once: no test fails because its machine is busy."""

OWN_DISK, OWN_DISK_BYTES = "own-disk", 256 << 20
"""A folder of the lab that is a file system nobody but a test writes to: what is free on it is known."""


@contextmanager
def own_disk(folder: Path) -> Iterator[None]:
    """Mount a file system on a folder of a lab that is not running yet: its libvirtd sees it where it is here."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={OWN_DISK_BYTES}", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


class Silent:
    """A logger for tests that do not look at the log."""

    def bind(self, **_facts: object) -> Silent:
        return self

    def __getattr__(self, _level: str) -> Callable[..., None]:
        return lambda *_args, **_facts: None


@pytest.fixture(scope="session")
def lab() -> Iterator[PrivateLibvirtd]:
    if os.geteuid() != 0:
        pytest.skip("a private libvirtd needs root: run ./dev test as root or with sudo")
    made = image.ensure()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="domstat-lab-")))
        stack.enter_context(own_disk(folder / OWN_DISK))
        running = stack.enter_context(PrivateLibvirtd(folder))
        guests.start(running, [WRITER, BURNER], made)
        guests.start(running, [SLEEPER, NAUGHTY])
        guests.wait_booted(running, [WRITER, BURNER])
        yield running


@pytest.fixture
def victim(lab: PrivateLibvirtd) -> Iterator[GuestSpec]:
    """A guest for one test to do to as it likes."""
    spec = tiny("victim", disks=(DiskSpec(1), DiskSpec(1), DiskSpec(1)))
    guests.start(lab, [spec])
    yield spec
    guests.destroy(lab, [spec.name])


class Collector:
    """A stream on the lab, collected by hand; events come as they come."""

    def __init__(self, uri: str, block: Block) -> None:
        self.happened: list[Record] = []
        """What happened to guests, oldest first."""
        inventory = Inventory()
        self._chronicle = Chronicle("lab", inventory, ALL, lambda batch: self.happened.extend(batch.records))
        self.hypervisor = Hypervisor("lab", uri, Silent(), on_happened=self._chronicle.hear)
        self.stream = Stream(self.hypervisor, inventory, block, Silent())

    def batches(self, deadline_s: float = 10.0) -> list[Batch]:
        """Collect one tick: all its batches."""
        batches = list(self.stream.collect(deadline_s))
        for batch in batches:
            self._chronicle.see(batch)
        return batches

    def tick(self, deadline_s: float = 10.0) -> dict[str, Record]:
        """Collect one tick: the guests' records by name."""
        records = [record for batch in self.batches(deadline_s) for record in batch.records if record.domain]
        by_name = {record.domain.name: record for record in records if record.domain}
        assert len(by_name) == len(records), "a guest has one record a tick"
        return by_name

    def guest(self, name: str) -> Record:
        return self.tick()[name]

    def events(self, name: str) -> list[Event]:
        """Return what happened to one guest so far."""
        about = (record for record in self.happened if record.domain and record.domain.name == name)
        return [record.event for record in about if record.event]


@pytest.fixture
def collect(lab: PrivateLibvirtd) -> Iterator[Callable[..., Collector]]:
    made: list[Collector] = []

    def make(groups: tuple[str, ...] = CORE, **options: Any) -> Collector:
        made.append(Collector(lab.uri_ro, Block("default", groups, **options)))
        return made[-1]

    yield make
    for collector in made:
        collector.hypervisor.close()


class Agent:
    """``domstat run`` as a process, its log read as events."""

    def __init__(self, config: Path, stdout: Path, env: dict[str, str] | None = None) -> None:
        self._log_path = stdout.with_suffix(".log")
        with stdout.open("wb") as out, self._log_path.open("wb") as err:
            command = [sys.executable, "-m", "domstat.cli", "run", "--config", str(config)]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env)

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the log's events so far, those called *name*; every line must be one, but for one half written."""
        lines = self._log_path.read_bytes().split(b"\n")[:-1]
        events = [json.loads(line) for line in lines]
        return [event for event in events if name in {None, event["event"]}]

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = PATIENCE_S) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"the agent ended: {self._log_path.read_text()}"
            assert time.monotonic() < until, f"no {what} in {seconds} s: {self._log_path.read_text()[-3000:]}"
            time.sleep(0.05)

    def wait_ticks(self, count: int) -> None:
        self.wait_for(lambda: len(self.events("tick")) >= count, f"{count} ticks")

    def wait_more_ticks(self, count: int) -> None:
        self.wait_ticks(len(self.events("tick")) + count)

    def stop(self, number: int = signal.SIGTERM) -> float:
        """End the agent; return how long it took, in seconds."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(PATIENCE_S)
        return time.monotonic() - began


@pytest.fixture
def run_agent(lab: PrivateLibvirtd, tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    agents: list[Agent] = []

    def run(
        extra: str = "",
        interval: str = "500ms",
        uri: str | None = None,
        sinks: str | None = None,
        env: dict[str, str] | None = None,
        log_level: str = "info",
        folder: Path = tmp_path,
    ) -> Agent:
        """Run an agent with *extra* in the host's table; without a survey, which would come at any five minutes."""
        survey = "" if "survey" in extra else "survey = { enabled = false }\n"
        config = folder / "domstat.toml"
        config.write_text(
            f'[agent]\nstate_dir = "{folder}"\ninterval = "{interval}"\nlog_level = "{log_level}"\n'
            f'[[hosts]]\nuri = "{uri or lab.uri_ro}"\nname = "lab"\n{survey}{extra}\n'
            + (sinks or '[[sinks]]\ntype = "sqlite"\n[[sinks]]\ntype = "stdout"\nformat = "json"\n')
        )
        agents.append(Agent(config, folder / "stdout.jsonl", env))
        return agents[-1]

    yield run
    for agent in agents:
        if agent.process.poll() is None:
            agent.process.kill()
            agent.process.wait()

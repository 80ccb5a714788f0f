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
from pathlib import Path
from typing import Any

import pytest

from domstat.collect.hypervisor import Hypervisor
from domstat.collect.inventory import Inventory
from domstat.collect.stream import Block, Stream, deadline_in
from domstat.model import Batch, Record
from domstat_lab import guests, image
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.spec import DiskSpec, GuestSpec, tiny

CORE = ("state", "cpu-total", "balloon", "vcpu", "interface", "block")

WRITER = GuestSpec("writer", workloads=("writer", "pinger"), title="It writes")
BURNER = GuestSpec("burner", workloads=("burner",))
SLEEPER = tiny("sleeper")
NAUGHTY = tiny("a\"b',c=d $x\\ {e}\x9b31m\u202e\t" + "n" * 150)
"""A name with quotes, commas, the start of an escape sequence and a mark that turns the text around."""


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
    with tempfile.TemporaryDirectory(prefix="domstat-lab-") as folder, PrivateLibvirtd(Path(folder)) as running:
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
    """A stream on the lab, collected by hand."""

    def __init__(self, uri: str, block: Block) -> None:
        self.hypervisor = Hypervisor("lab", uri, Silent())
        self.stream = Stream(self.hypervisor, Inventory(), block, Silent())

    def tick(self) -> Batch:
        return self.stream.collect(deadline_in(10))

    def guest(self, name: str) -> Record:
        return next(record for record in self.tick().records if record.domain and record.domain.name == name)


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

    def __init__(self, config: Path, stdout: Path) -> None:
        self._log_path = stdout.with_suffix(".log")
        with stdout.open("wb") as out, self._log_path.open("wb") as err:
            command = [sys.executable, "-m", "domstat.cli", "run", "--config", str(config)]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the log's events so far, those called *name*; every line must be one."""
        lines = self._log_path.read_text().splitlines()
        events = [json.loads(line) for line in lines]
        return [event for event in events if name in {None, event["event"]}]

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"the agent ended: {self._log_path.read_text()}"
            assert time.monotonic() < until, f"no {what} in {seconds} s: {self._log_path.read_text()[-3000:]}"
            time.sleep(0.05)

    def wait_ticks(self, count: int) -> None:
        self.wait_for(lambda: len(self.events("tick")) >= count, f"{count} ticks")

    def stop(self, number: int = signal.SIGTERM) -> float:
        """End the agent; return how long it took, in seconds."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(10)
        return time.monotonic() - began


@pytest.fixture
def run_agent(lab: PrivateLibvirtd, tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    agents: list[Agent] = []

    def run(extra: str = "", interval: str = "500ms", uri: str | None = None, sinks: str | None = None) -> Agent:
        config = tmp_path / "domstat.toml"
        config.write_text(
            f'[agent]\nstate_dir = "{tmp_path}"\ninterval = "{interval}"\n'
            f'[[hosts]]\nuri = "{uri or lab.uri_ro}"\nname = "lab"\n{extra}\n'
            + (sinks or '[[sinks]]\ntype = "sqlite"\n[[sinks]]\ntype = "stdout"\nformat = "json"\n')
        )
        agents.append(Agent(config, tmp_path / "stdout.jsonl"))
        return agents[-1]

    yield run
    for agent in agents:
        if agent.process.poll() is None:
            agent.process.kill()
            agent.process.wait()

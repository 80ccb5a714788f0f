"""What is lost when the store is away for an hour and the collector is killed meanwhile, scaled, by how it delivers.

The same ticks, the same store (VictoriaMetrics), the same outage and the same kills for each: domstat's journal and
couriers, influxdb-client's batching, and vmagent between collector and store.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from domstat_bench.agent_run import BenchError
from domstat_bench.outage_writer import BEGIN_MS, GUESTS, HOW, SCALE, STEP_MS, TICK_S
from domstat_bench.report import Table
from domstat_lab.servers import VictoriaMetrics, Vmagent

BEFORE_S = 2.0
DRAIN_S_MAX = 60.0
QUIET_S = 3.0
"""The store has everything that it will get once nothing new has come for so long."""


class Figures(Struct, frozen=True):
    """What became of the ticks; *taken* over by what delivers, of these *lost*, points *stored* more than once."""

    how: str
    seconds: float
    kills: int
    taken: int
    lost: int
    twice: int
    back_ticks: int
    """Ticks from the store's coming back to its having something new."""


class _Writer:
    """The process that collects and delivers; killed and started again as told."""

    def __init__(self, how: str, url: str, folder: Path) -> None:
        self._how, self._url, self._folder = how, url, folder
        self.taken: set[int] = set()
        self._next = 0
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Go on with the tick after the last that was due."""
        command = [sys.executable, "-P", "-m", "domstat_bench.outage_writer", self._how, self._url, str(self._folder)]
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *command, str(self._next)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,))
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith("\n"):
                self.taken.add(int(line))
        process.stdout.close()

    def end(self, number: signal.Signals) -> None:
        """End it; at once or, by SIGTERM, in its own way."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.wait()
        self._reader.join()
        assert process.stdin is not None
        process.stdin.close()
        self._next = max(self.taken, default=-1) + 2  # what was offered last may have arrived unsaid


def run(how: str, seconds: float, kills: int, seed: int) -> Figures:
    """Measure one way of delivering."""
    chance = random.Random(seed)
    at = sorted(chance.uniform(0, seconds) for _ in range(kills))
    with tempfile.TemporaryDirectory(prefix="domstat-bench-") as name:
        folder = Path(name)
        with VictoriaMetrics(folder / "store") as store, _between(how, store, folder) as (url, agent):
            writer = _Writer(how, url, folder)
            writer.start()
            _wait_for_the_first(writer)
            time.sleep(BEFORE_S)
            store.stop()
            began = time.monotonic()
            for moment in at:
                time.sleep(max(0.0, began + moment - time.monotonic()))
                _kill(writer, agent)
            time.sleep(max(0.0, began + seconds - time.monotonic()))
            newest = max(writer.taken, default=0)
            store.start()
            back = _wait_for_newer(store, newest)
            time.sleep(BEFORE_S)
            stored = _until_quiet(store, writer)
            taken = set(writer.taken)
            writer.end(signal.SIGKILL)
    lost = sum(len(taken - set(points)) for points in stored.values()) + (GUESTS - len(stored)) * len(taken)
    twice = sum(len(points) - len(set(points)) for points in stored.values())
    return Figures(how, seconds * SCALE, kills, len(taken) * GUESTS, lost, twice, back)


@contextmanager
def _between(how: str, store: VictoriaMetrics, folder: Path) -> Iterator[tuple[str, Vmagent | None]]:
    if how != "vmagent":
        yield store.url, None
        return
    with Vmagent(folder / "vmagent", f"{store.url}/api/v1/write") as agent:
        yield agent.url, agent


def _kill(writer: _Writer, agent: Vmagent | None) -> None:
    """Kill what delivers: the collector itself, or the agent behind it."""
    if agent is not None:
        agent.kill()
        agent.start()
    else:
        writer.end(signal.SIGKILL)
        writer.start()


def _points(store: VictoriaMetrics) -> dict[str, list[int]]:
    """Return the ticks of every guest that the store has."""
    found: dict[str, list[int]] = {}
    for series in store.export('{__name__="domstat_cpu_cpu.time"}'):
        ticks = [(stamp - BEGIN_MS) // STEP_MS for stamp in series["timestamps"]]
        found.setdefault(series["metric"]["uuid"], []).extend(ticks)
    return found


def _wait_for_the_first(writer: _Writer) -> None:
    until = time.monotonic() + DRAIN_S_MAX
    while not writer.taken:
        if time.monotonic() > until:
            raise BenchError(f"nothing was taken over within {DRAIN_S_MAX:g} s")
        time.sleep(TICK_S)


def _wait_for_newer(store: VictoriaMetrics, newest: int) -> int:
    began = time.monotonic()
    while time.monotonic() - began < DRAIN_S_MAX:
        if any(max(ticks, default=0) > newest for ticks in _points(store).values()):
            return round((time.monotonic() - began) / TICK_S)
        time.sleep(TICK_S)
    raise BenchError(f"nothing new reached the store within {DRAIN_S_MAX:g} s")


def _until_quiet(store: VictoriaMetrics, writer: _Writer) -> dict[str, list[int]]:
    """Return what the store has once nothing of what is older than now comes any more."""
    newest = max(writer.taken)
    until, before, since = time.monotonic() + DRAIN_S_MAX, -1, time.monotonic()
    while time.monotonic() < until:
        found = {uuid: [tick for tick in ticks if tick <= newest] for uuid, ticks in _points(store).items()}
        count = sum(map(len, found.values()))
        if count != before:
            before, since = count, time.monotonic()
        elif time.monotonic() - since > QUIET_S:
            writer.taken = {tick for tick in writer.taken if tick <= newest}
            return found
        time.sleep(0.2)
    raise BenchError("the store does not come to rest")


def table(measured: Sequence[Figures]) -> Table:
    """Show what was lost."""
    names = {
        "domstat": "domstat's journal",
        "client": "influxdb-client, batching",
        "vmagent": "vmagent",
    }
    rows = [
        [
            names[one.how],
            str(one.taken),
            str(one.lost),
            f"{one.lost / one.taken:.2%}",
            str(one.twice),
            str(one.back_ticks),
        ]
        for one in measured
    ]
    first = measured[0]
    note = (
        f"the store away for {first.seconds / 3600:.1f} h of ticks every 10 s ({SCALE} times faster),"
        f" what delivers killed {first.kills} times meanwhile; vmagent's own delays are not scaled: what it loses is"
        " what it took in the seconds before a kill"
    )
    columns = ["delivered by", "points taken over", "lost", "of them", "stored twice", "ticks until new data"]
    return Table("A store that is away, and kills", columns, rows, [note])


ALL = tuple(HOW)

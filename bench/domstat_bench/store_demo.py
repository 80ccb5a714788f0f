"""Recorded guests in the history: real ones, as the demo starts them, watched for minutes and stretched to hours.

They are asked ten times a second, and everything is stretched (see :mod:`domstat_bench.stretch`) until a tick comes
every ten seconds. So what a tick's counters counted is what a real guest does in a tenth of a second: a good deal less
varied than ten seconds of the same, and packed into fewer bits.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from domstat.history import EVER_MS
from domstat.model import Batch
from domstat_bench.agent_run import AgentRun, BenchError
from domstat_bench.store_ours import Sizes, path_in, sink_in, sizes_of
from domstat_bench.stretch import Stretch
from domstat_lab import guests, image
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.spec import GuestSpec
from domstat_sinks.sqlite import SqliteSink
from domstat_sinks.sqlite.sink import SqliteSettings

GUESTS = (
    GuestSpec("web-1", workloads=("burner", "pinger")),
    GuestSpec("db-1", workloads=("writer", "pinger")),
    GuestSpec("all-1", workloads=("burner", "writer", "pinger")),
    GuestSpec("idle-1"),
)
"""The demo's two, one that does everything, and one that does nothing."""

TICKS = 2_160
"""Six hours of one every ten seconds."""

INTERVAL_S = 0.1
FACTOR = 100

_TICK_TIMEOUT_S = 60.0
"""However busy the machine is, a tick has come by then."""

_CONFIG = """\
[agent]
state_dir = {state}
interval = "{interval_ms}ms"
[[hosts]]
uri = {uri}
name = "demo"
[[sinks]]
type = "sqlite"
"""


class Recorded(Struct, frozen=True):
    """What so many recorded guests come to in a history of *ticks*, over *span_ms*."""

    guests: int
    ticks: int
    samples: int
    span_ms: int
    sizes: Sizes


def run(ticks: int, folder: Path, say: Callable[[str], None]) -> Recorded:
    """Record so many ticks and write them into a history in *folder*. Raises BenchError, LabError."""
    say(f"recording {len(GUESTS)} guests, {ticks * INTERVAL_S:.0f} s")
    with recorded(GUESTS, ticks) as batches:
        say("writing what was recorded")
        return write(batches, len(GUESTS), folder)


@contextmanager
def recorded(specs: Sequence[GuestSpec], ticks: int) -> Iterator[Iterator[Batch]]:
    """Run guests with an agent that watches them for so many ticks; give what it collected. As root."""
    made = image.ensure()
    with tempfile.TemporaryDirectory(prefix="domstat-bench-", ignore_cleanup_errors=True) as name:
        state = Path(name) / "state"
        state.mkdir(mode=0o700)
        with PrivateLibvirtd(Path(name) / "lab") as lab:
            guests.start(lab, specs, made)
            guests.wait_booted(lab, specs)
            _watch(lab.uri_ro, ticks, state)
        with SqliteSink.history(SqliteSettings(), state) as history:
            yield history.batches(0, EVER_MS, _refuse)  # type: ignore[attr-defined]  # this history has them


def _watch(uri: str, ticks: int, state: Path) -> None:
    config = state / "domstat.toml"
    # JSON's strings are TOML's too.
    text = _CONFIG.format(state=json.dumps(str(state)), uri=json.dumps(uri), interval_ms=round(INTERVAL_S * 1000))
    config.write_text(text)
    with AgentRun.of(config) as agent:
        for _ in range(ticks):
            agent.next_tick(_TICK_TIMEOUT_S)


def _refuse(what: str) -> None:
    raise BenchError(f"what was recorded cannot be read: {what}")


def write(batches: Iterator[Batch], count: int, folder: Path) -> Recorded:
    """Stretch batches of so many guests and write them, one by one, as the agent does."""
    samples = ticks = first_ms = last_ms = 0
    stretch: Stretch | None = None
    with sink_in(folder) as sink:
        for batch in batches:
            stretch = stretch or Stretch(FACTOR, batch.stamp.time_ms, batch.stamp.time_ms)
            stretched = stretch.batch(batch)
            sink.write([stretched])
            first_ms, last_ms = first_ms or stretched.stamp.time_ms, stretched.stamp.time_ms
            found = sum(len(record.params) for record in stretched.records)
            samples, ticks = samples + found, ticks + bool(found)
        while sink.settle():
            pass
    return Recorded(count, ticks, samples, last_ms - first_ms, sizes_of(path_in(folder)))

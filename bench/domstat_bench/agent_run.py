"""The agent as it is used, ``domstat run`` with a configuration, watched from outside through its log."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from msgspec import Struct

from domstat_bench import measure
from domstat_lab import servers

SINKS = ("sqlite", "stdout")
"""What the agent writes to: a history on disk, committed durably, and JSON lines that nobody reads."""

STORE = "http://127.0.0.1:8428"
"""Where the sink influxdb writes, unless a store is started for the purpose."""

_SINK_TEXTS = {
    "sqlite": 'type = "sqlite"\npath = "history.db"',
    "stdout": 'type = "stdout"\nformat = "json"',
    "influxdb": 'type = "influxdb"\nurl = "{store}"',
    "prometheus": 'type = "prometheus"\nlisten = "127.0.0.1:{port}"',
}

_CONFIG = """\
[agent]
state_dir = {state_dir}
interval = "{interval}s"
[[hosts]]
uri = {uri}
name = "bench"
deadline = "{deadline}s"
survey = {{ enabled = false }}
"""
"""Without the survey, which is no part of a tick and would come with any of them."""

SETTLE_S = 0.25
QUIET_NS = 1_000_000
SETTLE_MAX_S = 10.0
"""After a tick's log event its sinks still write: CPU times are read once SETTLE_S brought less than QUIET_NS."""

END_S = 10.0


class BenchError(Exception):
    """The measurement could not be made; the text says why."""


class Tick(Struct, frozen=True):
    """One tick as the agent's log tells it."""

    guests: int
    params: int
    call_ms: float
    took_ms: float


def write_config(folder: Path, uri: str, interval_s: int, sinks: Sequence[str], store: str = STORE) -> Path:
    """Write a configuration whose state is below *folder*, and return its file; *store* is where influxdb writes."""
    file = folder / "domstat.toml"
    # JSON's strings are TOML's too.
    text = _CONFIG.format(
        state_dir=json.dumps(str(folder / "state")), uri=json.dumps(uri), interval=interval_s, deadline=interval_s * 0.9
    )
    texts = (_SINK_TEXTS[sink].replace("{store}", store).replace("{port}", str(servers.free_port())) for sink in sinks)
    file.write_text(text + "".join(f"[[sinks]]\n{sink}\n" for sink in texts))
    return file


@contextmanager
def store_for(sinks: Sequence[str]) -> Iterator[str]:
    """Start what the sink influxdb writes to, a VictoriaMetrics, if it is among *sinks*; its CPU time is its own."""
    if "influxdb" not in sinks:
        yield STORE
        return
    with (
        tempfile.TemporaryDirectory(prefix="domstat-bench-") as folder,
        servers.VictoriaMetrics(Path(folder)) as server,
    ):
        yield server.url


class AgentRun:
    """A running agent: its processes, and its ticks as they come."""

    def __init__(self, command: Sequence[str], stdout: Any = subprocess.DEVNULL) -> None:
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *command],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.failures = 0
        """Ticks that failed or were skipped so far: what was measured across one is not a tick's cost."""
        self._skipped = 0
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @classmethod
    def of(cls, config: Path) -> Self:
        """Start ``domstat run``."""
        return cls([str(Path(sys.executable).with_name("domstat")), "run", "--config", str(config)])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(END_S)
        assert self._process.stderr is not None
        self._process.stderr.close()

    @property
    def worker_pid(self) -> int:
        """The one worker process."""
        workers = measure.children(self.pid)
        if len(workers) != 1:
            raise BenchError(f"the agent has {len(workers)} workers, expected one")
        return workers[0]

    def pids(self) -> list[int]:
        """All processes of the agent."""
        return [self.pid, self.worker_pid]

    def next_tick(self, timeout_s: float) -> Tick:
        """Wait for the next tick's log event."""
        until = time.monotonic() + timeout_s
        while True:
            try:
                event = self._events.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise BenchError(f"the agent made no tick within {timeout_s:g} s") from None
            if event is None:
                raise BenchError("the agent ended, see above")
            if event["event"] == "tick":
                self.failures += event["skipped"] > self._skipped
                self._skipped = event["skipped"]
                return Tick(event["guests"], event["params"], event["call_ms"], event["took_ms"])
            if event["level"] in {"warning", "error"}:
                self.failures += 1
                print(f"agent: {json.dumps(event)}", file=sys.stderr)

    def settle(self) -> None:
        """Wait until the agent has nothing to do but wait."""
        until = time.monotonic() + SETTLE_MAX_S
        before = measure.cpu_ns_of(self.pids())
        while time.monotonic() < until:
            time.sleep(SETTLE_S)
            now = measure.cpu_ns_of(self.pids())
            if now - before < QUIET_NS:
                return
            before = now
        raise BenchError(f"the agent is not done with a tick after {SETTLE_MAX_S:g} s")

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            try:
                self._events.put(json.loads(line))
            except json.JSONDecodeError:
                print(f"agent: {line.rstrip()}", file=sys.stderr)
        self._events.put(None)

"""SIGTERM while every sink is down: the agent is gone at once, and what it collected waits for them."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from domstat.deliver.journal import FILE
from domstat.deliver.outside import kept_for_sinks, reading
from domstat.model import Kind

from .oracle import at_best

GONE_S, GONE_IN_FLIGHT_S = 2.0, 5.0
"""From the signal to the end of the process: with nothing on its way to a sink, and with a write that hangs."""

TICKS = 5
WAITS_S = 60.0


class Silent:
    """A server that takes connections and requests, and never answers."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    with ExitStack() as stack:
        made = Silent()
        stack.callback(made.close)
        yield made


def events_of(folder: Path, name: str) -> list[dict[str, object]]:
    lines = (folder / "log").read_text().split("\n")[:-1]
    return [event for event in map(json.loads, lines) if event["event"] == name]


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + WAITS_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def ended(folder: Path, urls: dict[str, str]) -> dict[str, object]:
    """Run an agent with a sink at each of these addresses, end it, and say how long that took and what is kept."""
    sinks = "".join(f'[[sinks]]\ntype = "influxdb"\nname = "{name}"\nurl = "{url}"\n' for name, url in urls.items())
    (folder / "domstat.toml").write_text(
        f'[agent]\nstate_dir = "{folder}"\ninterval = "100ms"\n'
        f'[[hosts]]\nuri = "test:///default"\nname = "h"\nsurvey = {{ enabled = false }}\n{sinks}'
    )
    command = [sys.executable, "-m", "domstat.cli", "run", "--config", str(folder / "domstat.toml")]
    with (folder / "log").open("wb") as log:
        agent = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_for(lambda: len(events_of(folder, "tick")) >= TICKS)
        if "down" in urls:
            wait_for(lambda: events_of(folder, "sink_retries"))
        began = time.monotonic()
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(WAITS_S) == 0
        took_s = time.monotonic() - began
    finally:
        agent.kill()
        agent.wait()
    ticks = len(events_of(folder, "tick"))
    with reading(folder / FILE) as journal:
        batches = list(journal.batches(0, 1 << 62, pytest.fail))
    kept = [batch for batch in batches if any(record.kind is Kind.GUEST for record in batch.records)]
    assert len(kept) == ticks, "every tick is in the journal"
    records = sum(len(batch.records) for batch in batches)
    assert kept_for_sinks(folder / FILE) == dict.fromkeys(sorted(urls), records), "and waits for every sink"
    return {"test": "sigterm", "sinks": sorted(urls), "took_s": round(took_s, 2), "ticks": ticks, "kept": len(kept)}


def test_it_is_gone_in_two_seconds_if_no_sink_can_be_reached(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"

    def in_time(figures: dict[str, object]) -> None:
        assert float(str(figures["took_s"])) < GONE_S

    at_best(
        lambda folder: ended(folder, {"down": url, "out": url.replace("127.0.0.1", "localhost")}), tmp_path, in_time
    )


def test_it_is_gone_in_five_if_a_write_is_under_way_that_is_never_answered(tmp_path: Path, silent: Silent) -> None:
    def in_time(figures: dict[str, object]) -> None:
        assert float(str(figures["took_s"])) < GONE_IN_FLIGHT_S

    at_best(lambda folder: ended(folder, {"silent": silent.url}), tmp_path, in_time)

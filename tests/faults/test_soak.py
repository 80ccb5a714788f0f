"""Two days of ticks in half an hour, with guests, sinks and configurations that change: nothing grows.

A tick every 100 ms; every few seconds a guest comes or goes, a host and a sink of the configuration change, a sink
fails for a while. What the agent and its workers hold is looked at all along: memory, threads, open files.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domstat_lab import guests
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.spec import tiny
from real.conftest import Agent

from .oracle import say
from .test_reload import config_of, replace_file, workers_of

INTERVAL_MS = 100
SHORT_S, LONG_S = 15.0, 1800.0
EVERY_S = 5.0
"""Between two changes."""

LOOK_S = 0.5
"""Between two looks at what is held."""

SETTLED = 3
"""Of so many parts of the time the first is left out: everything is there once, and caches are full, by then."""

GROWTH_MAX = {"pss_kib": 1_500.0, "threads": 0.6, "descriptors": 0.6}
"""What may be held more at the end than at the beginning, by the slope of all looks, over the whole of the long form:
2 days of ticks. Of memory it is the noise of the allocators; of the others less than one."""


def held(pid: int) -> dict[str, int] | None:
    """Return what an agent and its workers hold; None if one of them ended meanwhile."""
    try:
        processes = [pid, *workers_of(pid)]
        pss = [
            int(line.split()[1])
            for one in processes
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
            if line.startswith("Pss:")
        ]
        return {
            "pss_kib": sum(pss),
            "threads": len(list(Path(f"/proc/{pid}/task").iterdir())),
            "descriptors": len(list(Path(f"/proc/{pid}/fd").iterdir())),
            "workers": len(processes) - 1,
        }
    except (FileNotFoundError, ProcessLookupError):
        return None


@contextmanager
def looking(pid: int) -> Iterator[list[tuple[float, dict[str, int]]]]:
    """Look at what is held, all along: when, and what."""
    looks: list[tuple[float, dict[str, int]]] = []
    ends = threading.Event()

    def look() -> None:
        while not ends.wait(LOOK_S):
            found = held(pid)
            if found is not None:
                looks.append((time.monotonic(), found))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield looks
    finally:
        ends.set()
        thread.join()


def growth(looks: list[tuple[float, dict[str, int]]], what: str, usual: int) -> float:
    """Return by how much something grew over all looks, by the slope of those with the *usual* number of workers."""
    settled = looks[len(looks) // SETTLED :]
    chosen = [(at_s, found[what]) for at_s, found in settled if found["workers"] == usual]
    at_s, values = np.array(chosen).T
    return float(np.polyfit(at_s, values, 1)[0] * (at_s[-1] - at_s[0]))


@pytest.mark.parametrize("lasts_s", [SHORT_S, pytest.param(LONG_S, marks=pytest.mark.faults)])
def test_nothing_grows(
    lab: PrivateLibvirtd,
    run_agent: Callable[..., Agent],
    tmp_path: Path,
    lasts_s: float,
    capsys: pytest.CaptureFixture[str],
) -> None:
    agent = run_agent(interval=f"{INTERVAL_MS}ms")
    agent.wait_ticks(2)
    path = tmp_path / "domstat.toml"
    changes = 0
    began = time.monotonic()
    with looking(agent.process.pid) as looks:
        while time.monotonic() - began < lasts_s:
            spec = tiny(f"soak-{changes % 7}")
            guests.start(lab, [spec])
            text = config_of(tmp_path, lab.uri_ro, changes).replace(
                'interval = "500ms"', f'interval = "{INTERVAL_MS}ms"'
            )
            replace_file(path, text.encode())
            agent.process.send_signal(signal.SIGHUP)
            time.sleep(max(0.0, began + EVERY_S * (changes + 1) - time.monotonic()))
            guests.destroy(lab, [spec.name])
            changes += 1
        ticks = len(agent.events("tick"))
    agent.stop()

    workers = [found["workers"] for _, found in looks]
    usual = max(set(workers), key=workers.count)
    figures: dict[str, Any] = {
        "test": "soak",
        "seconds": round(looks[-1][0] - looks[0][0]),
        "ticks": ticks,
        "changes": changes,
        "looks": len(looks),
        "growth": {what: round(growth(looks, what, usual), 2) for what in GROWTH_MAX},
        "at_the_end": looks[-1][1],
        "errors": sorted({event["event"] for event in agent.events() if event["level"] == "error"}),
    }
    say(figures, capsys)
    assert figures["errors"] == []
    assert len(looks) > lasts_s / LOOK_S / 2
    if lasts_s == LONG_S:
        for what, most in GROWTH_MAX.items():
            assert figures["growth"][what] <= most, what

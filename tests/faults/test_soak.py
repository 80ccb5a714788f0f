"""Two days of ticks in half an hour, with guests, sinks and configurations that change: nothing grows.

A tick every 100 ms; every few seconds a guest comes or goes, a host and a sink of the configuration change, a sink
fails for a while. What the agent and its workers hold is looked at all along: memory, threads, open files.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domstat_bench.measure import children
from domstat_lab import guests
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.spec import tiny
from real.conftest import Agent
from shown import Show

from . import test_reload
from .test_reload import config_of, replace_file

INTERVAL_MS = 100
SHORT_S, LONG_S = 15.0, 1800.0
EVERY_S = 5.0
"""Between two changes."""

LOOK_S = 0.5
"""Between two looks at what is held."""

YOUNG_S = 2.0
"""A worker that began more lately may still be at its imports: less is held then than a moment later, by 6 MiB."""

SETTLED = 2
"""Of so many parts of the time the first is left out, in the long form a day of ticks: what a history does once a day
takes memory for the first time then."""

PARTS = 15
"""Parts of what is left, in the long form a minute each. What sealing and merging take they give back: of memory the
least of every part counts, since what leaks is held then too."""

GROWTH_MAX = {"pss_kib": 1_500.0, "threads": 0.6, "descriptors": 0.6}
"""What may be held more at the end than at the beginning, if all of the time, in the long form 2 days of ticks, were
like what is looked at. Of memory it is the noise of the allocators; of the others less than one."""


def often(config: str) -> str:
    """Return a configuration of the test of reloads with the ticks of this one."""
    theirs, own = (f'interval = "{ms}ms"' for ms in (test_reload.INTERVAL_MS, INTERVAL_MS))
    assert theirs in config
    return config.replace(theirs, own)


def held(pid: int) -> dict[str, int] | None:
    """Return what an agent and its workers hold; None if one of them ended meanwhile."""
    try:
        processes = [pid, *children(pid)]
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
            "youngest_s": int(min(age_s(one) for one in processes)),
        }
    except (FileNotFoundError, ProcessLookupError):
        return None


def age_s(pid: int) -> float:
    """Return how long ago a process began."""
    began = int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began


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
    """Return by how much something grows in the time of all looks, by the slope of the later ones; memory at rest."""
    chosen = settled(looks, what, usual)
    return slope(at_rest(chosen) if what == "pss_kib" else chosen) * (looks[-1][0] - looks[0][0])


def settled(looks: list[tuple[float, dict[str, int]]], what: str, usual: int) -> list[tuple[float, int]]:
    """Return when how much of something was held, after the first part, with the *usual* number of workers, all up."""
    after = looks[len(looks) // SETTLED :]
    return [
        (at_s, found[what]) for at_s, found in after if found["workers"] == usual and found["youngest_s"] >= YOUNG_S
    ]


def at_rest(chosen: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Return of each part of the time the look that found least; the parts are alike, none is a rest of some looks."""
    parts = np.array_split(np.arange(len(chosen)), PARTS)
    return [min((chosen[i] for i in part), key=lambda look: look[1]) for part in parts if len(part)]


def slope(chosen: list[tuple[float, int]]) -> float:
    """Return by how much a line through these looks rises in a second."""
    at_s, values = np.array(chosen).T
    return float(np.polyfit(at_s, values, 1)[0])


@pytest.mark.parametrize("lasts_s", [SHORT_S, pytest.param(LONG_S, marks=pytest.mark.faults)])
def test_nothing_grows(
    lab: PrivateLibvirtd,
    run_agent: Callable[..., Agent],
    tmp_path: Path,
    lasts_s: float,
    show: Show,
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
            replace_file(path, often(config_of(tmp_path, lab.uri_ro, changes)).encode())
            agent.process.send_signal(signal.SIGHUP)
            time.sleep(max(0.0, began + EVERY_S * (changes + 1) - time.monotonic()))
            guests.destroy(lab, [spec.name])
            changes += 1
        ticks = len(agent.events("tick"))
    agent.stop()

    workers = [found["workers"] for _, found in looks]
    usual = max(set(workers), key=workers.count)
    pss = settled(looks, "pss_kib", usual)
    kib = [held_kib for _, held_kib in pss]
    figures: dict[str, Any] = {
        "test": "soak",
        "seconds": round(looks[-1][0] - looks[0][0]),
        "ticks": ticks,
        "changes": changes,
        "looks": len(looks),
        "growth": {what: round(growth(looks, what, usual), 2) for what in GROWTH_MAX},
        "kib_a_minute": round(slope(pss) * 60, 2),
        "pss_kib": {"least": min(kib), "most": max(kib)},
        "at_rest": [held_kib for _, held_kib in at_rest(pss)],
        "at_the_end": looks[-1][1],
        "errors": sorted({event["event"] for event in agent.events() if event["level"] == "error"}),
    }
    show(figures)
    assert figures["errors"] == []
    assert len(looks) > lasts_s / LOOK_S / 2
    if lasts_s == LONG_S:
        for what, most in GROWTH_MAX.items():
            assert figures["growth"][what] <= most, what

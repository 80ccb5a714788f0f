"""Answers for the page's tests: of a fleet that grows, of one whose names mean harm, of one that is too young."""

from __future__ import annotations

from functools import cache

import numpy as np

from capacity.fleets import guest, two_hosts
from capacity.made import GIB, GIB_KIB, HOUR_MS, Made
from capacity.made import Figures as Laid
from domstat.capacity.gather import Figures
from domstat.capacity.settings import Capacity
from domstat.report import answers
from domstat.report.answers import Answers
from domstat.report.assets import Assets

PLAIN = Assets("body{}", "draw()", "plotly()")
"""In place of what the page is dressed in, where that is not the question."""

HOSTILE_HOST = "<b>kvm</b>"
HOSTILE_POOL = "\"'><img src=x onerror=hacked=1>%{y}"
HOSTILE_GUESTS = (
    "</script><script>hacked=1</script>",
    "<!--<script>",
    "]]>&lt;i&gt;&quot;<svg/onload=hacked=1>",
    "var(--ink)",
    "web\u202e\x1b[2J\x00gpj",
    '" onmouseover="hacked=1" x="',
    "<a href='javascript:hacked=1'>db</a>",
)

DAYS = 23
STEPS_A_DAY = 288


@cache
def growing() -> Answers:
    """Ask of kvm1, whose CPU and pool grow, and of kvm2, of which nothing does."""
    made = two_hosts()
    return answers.ask(Figures(made, made.until_ms))


@cache
def hostile() -> Answers:
    """Ask of a host that is full, and whose guests are each off, idle, too big or too small, and named to do harm."""
    made = Made(step_ms=HOUR_MS // 12, count=STEPS_A_DAY * DAYS)
    steps = np.arange(STEPS_A_DAY * DAYS)
    wave = 0.05 * np.sin(steps / STEPS_A_DAY * 2 * np.pi)
    made.host(HOSTILE_HOST, {
        "host.cpus": 16, "host.cpu.utilization": 0.5 + 0.25 * steps / len(steps) + wave,
        "host.memory.total": 64 * GIB_KIB, "host.memory.used": 60.0 * GIB,
    })  # fmt: skip
    grows: dict[str, Laid] = {
        "pool.capacity": 1000.0 * GIB,
        "pool.allocation": (500 + 250 * steps / len(steps)) * GIB,
        "pool.age": 0.0,
    }
    made.pool(HOSTILE_POOL, grows, host=HOSTILE_HOST)
    for place, name in enumerate(HOSTILE_GUESTS[:-1]):
        quiet = 0.01 if place % 2 else 3.9
        figures = guest(quiet + 0 * wave, 4, 4, 40) | {
            "cpu.utilization": quiet / 4, "block.rd.bytes[vda]": 10.0, "block.wr.bytes[vda]": 10.0,
            "block.allocation[vda]": (20 + 15 * steps / len(steps)) * GIB, "vcpu.steal[0]": 0.02,
        }  # fmt: skip
        made.guest(name, figures, host=HOSTILE_HOST)
    gone = {"vcpu.maximum": 2, "balloon.maximum": GIB_KIB, "volume.capacity[vda]": 50.0 * GIB}
    made.off(HOSTILE_GUESTS[-1], gone | {"volume.allocation[vda]": 30.0 * GIB}, host=HOSTILE_HOST)
    return answers.ask(Figures(made, made.until_ms))


@cache
def young() -> Answers:
    """Ask of an hour of one host without figures of its own, and of one guest."""
    made = Made(step_ms=HOUR_MS // 12, count=12)
    made.guest("web-1", guest(1.0, 2, 2, 10))
    return answers.ask(Figures(made, made.until_ms))


@cache
def lost() -> Answers:
    """Ask of a host that has not been seen for a month."""
    made = two_hosts()
    return answers.ask(Figures(made, made.until_ms + 30 * 24 * HOUR_MS))


@cache
def full() -> Answers:
    """Ask of the fleet that grows, with such a buffer that hosts are full already."""
    made = two_hosts()
    return answers.ask(Figures(made, made.until_ms, Capacity(cpu_buffer=0.7, memory_buffer=0.7)))


ALL = (growing, hostile, young, lost, full)

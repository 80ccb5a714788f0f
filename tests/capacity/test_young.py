"""Histories in which hardly anything is: an answer or a sentence to every question, never an error."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from capacity.fleets import asked
from capacity.made import GIB, GIB_KIB, HOUR_MS, Made
from domstat.capacity.ahead import Asked, ahead
from domstat.capacity.changes import Add, Remove
from domstat.capacity.gather import Figures
from domstat.capacity.remaining import remaining
from domstat.capacity.runway import runway
from domstat.capacity.summary import summary
from domstat.capacity.whatif import whatif

FIVE_MINUTES_MS = HOUR_MS // 12

QUESTIONS: dict[str, Callable[[Figures], object]] = {
    "summary": summary,
    "runway": runway,
    "remaining": remaining,
    "whatif": lambda figures: whatif(figures, [Add(2, "web"), Remove("web")]),
    "forecast": lambda figures: ahead(figures, Asked("cpu.cores")),
}


def young(steps: int, *, with_host: bool = True, with_guest: bool = True) -> Made:
    """Make a history of so many five minutes since midnight."""
    made = Made(step_ms=FIVE_MINUTES_MS, count=steps)
    if with_host:
        memory = {"host.memory.total": 64 * GIB_KIB, "host.memory.used": 10.0 * GIB}
        made.host("kvm1", {"host.cpus": 8, "host.cpu.utilization": 0.5, **memory})
        made.pool("images", {"pool.capacity": 100.0, "pool.allocation": 50.0, "pool.age": 0.0})
    if with_guest:
        made.guest(
            "web", {"vcpu.current": 2, "cpu.cores": 1.0, "block.capacity[vda]": 9.0, "block.allocation[vda]": 1.0}
        )
    return made


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("steps", [1, 3, 12, 13, 12 * 24])
@pytest.mark.parametrize("with_host", [True, False])
def test_minutes_are_an_answer_or_a_sentence(question: str, steps: int, with_host: bool) -> None:
    QUESTIONS[question](asked(young(steps, with_host=with_host)))


def test_a_host_that_nobody_runs_on_has_a_summary() -> None:
    (one,) = summary(asked(young(3, with_guest=False)))
    assert (one.running, [str(standing.resource) for standing in one.standings]) == (0, ["cpu", "memory", "storage"])


def test_minutes_after_midnight_a_host_says_what_it_is_asked_for_now() -> None:
    (one,) = summary(asked(young(3)))
    cpu = one.standings[0]
    assert (cpu.now.value, cpu.peak.value, cpu.total.value) == (4.0, 4.0, 8.0)

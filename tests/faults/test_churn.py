"""Guests come and go, and devices in them, all the time: no rate is wrong, no device taken for another, none unseen.

The test writes down what it did and when, and looks at the guests itself before and after (see :mod:`.truth`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from domstat_lab import image
from domstat_lab.libvirtd import PrivateLibvirtd
from real.conftest import Agent
from shown import Show

from . import happenings, truth
from .churn import PREFIX, Menagerie
from .oracle import Told, seed
from .stored import stored_otherwise
from .truth import Eye, Look

INTERVAL_S = 0.5
FIRST = ("attach", "replug_another", "replug_same")
"""What is done in any case, whatever chance brings, with a record after each."""

SHORT_DEEDS = 24
SHORT_PERIOD_S = 0.2
LONG_DEEDS = 300
LONG_PERIOD_S = 1.0
"""The long form takes five minutes or so. In the short one little is waited for."""

SETTINGS = 'deadline = "4s"\n[hosts.survey]\ninterval = "1s"'
"""The deadline is that of an interval of 10 s: no guest is stuck here, and a busy machine is no reason to think so.
Guests that are off are looked at as often as may be."""


@pytest.fixture
def menagerie(lab: PrivateLibvirtd) -> Iterator[Menagerie]:
    made = Menagerie(lab, seed(), image.ensure())
    yield made
    made.end()


@pytest.fixture
def eye(lab: PrivateLibvirtd) -> Iterator[Eye]:
    made = Eye(lab.uri_ro, PREFIX)
    yield made
    made.close()


def go_on(menagerie: Menagerie, eye: Eye, agent: Agent, deeds: int, period_s: float) -> list[Look]:
    """Do so many things to the guests, one a period; return what they were like before and after each."""
    looks = [eye.look()]
    for number in range(deeds):
        due = time.monotonic() + period_s
        if number < len(FIRST):
            menagerie.do(FIRST[number], menagerie.guests[-1])
            agent.wait_more_ticks(2)  # the second of which began afterwards
        else:
            menagerie.do_something()
        looks.append(eye.look())
        if (wait := due - time.monotonic()) > 0:
            time.sleep(wait)
            looks.append(eye.look())
    agent.wait_more_ticks(2)
    return [*looks, eye.look()]


def assert_held(figures: dict[str, Any], examples: list[str]) -> None:
    told = "\n".join([str(figures), *examples])
    assert {kind: figures[kind] for kind in truth.KINDS if figures[kind]} == {}, told
    assert figures["incarnations_invented"] == 0, told
    assert figures["replugs_seen"] == figures["replugs"] > 0, told
    assert figures["events_wrong"] == 0, told
    assert figures["stored_otherwise"] == 0, told
    assert set(figures["gaps"]) <= {"overload"}, told
    assert (figures["workers_killed"], figures["errors"]) == (0, []), told
    assert figures["compared"] > figures["records"] / 4, told


def churn(
    run_agent: Callable[..., Agent], folder: Path, menagerie: Menagerie, eye: Eye, deeds: int, period_s: float
) -> tuple[dict[str, Any], list[str]]:
    """Have an agent watch what is done to guests; return the figures, and examples of what is wrong."""
    agent = run_agent(extra=SETTINGS, interval=f"{INTERVAL_S * 1000:.0f}ms")
    agent.wait_ticks(2)
    looks = go_on(menagerie, eye, agent, deeds, period_s)
    agent.stop()
    told = Told(folder)
    figures, examples = truth.judge(truth.reads_of(told, "lab", PREFIX), looks, menagerie.deeds, menagerie.sizes)
    events_wrong = happenings.wrong(menagerie.expected, told.events())
    own = agent.events("tick")[-1]
    return {
        "test": "churn",
        "seed": menagerie.seed,
        "deeds": menagerie.counts,
        **figures,
        "events": len(told.events()),
        "events_wrong": len(events_wrong),
        "stored_otherwise": stored_otherwise(folder, list(told.records())),
        "gaps": sorted({gap.reason for gap in told.gaps()}),
        "skipped": own["skipped"],
        "workers_killed": own["workers_killed"],
        "errors": [event["event"] for event in agent.events() if event["level"] in {"error", "critical"}],
    }, [*examples, *events_wrong]


def test_guests_that_churn_are_told_apart_and_rated_truly(
    run_agent: Callable[..., Agent],
    tmp_path: Path,
    menagerie: Menagerie,
    eye: Eye,
    show: Show,
) -> None:
    menagerie.add_linux()
    menagerie.add_tiny(1, persistent=False)
    menagerie.add_tiny(2, persistent=True)
    figures, examples = churn(run_agent, tmp_path, menagerie, eye, SHORT_DEEDS, SHORT_PERIOD_S)
    show(figures)
    assert_held(figures, examples)


@pytest.mark.faults
def test_guests_that_churn_for_long_are_told_apart_and_rated_truly(
    run_agent: Callable[..., Agent],
    tmp_path: Path,
    menagerie: Menagerie,
    eye: Eye,
    show: Show,
) -> None:
    menagerie.add_linux()
    menagerie.add_tiny(3, persistent=False)
    menagerie.add_tiny(4, persistent=True)
    figures, examples = churn(run_agent, tmp_path, menagerie, eye, LONG_DEEDS, LONG_PERIOD_S)
    show(figures)
    assert_held(figures, examples)

"""What is no guest's figures, in a line each."""

from __future__ import annotations

from datetime import datetime

import pytest

from domstat.model import Kind
from domstat.units import MISSING
from domstat_sinks.lines import host_line, is_occurrence, occurrence_line, pool_line
from records import TIME_MS, event_record, gap_record, host_record, one_of_each, pool_record


def clock(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000).astimezone():%H:%M:%S}"


def test_the_host_is_one_line() -> None:
    line = host_line(host_record())
    assert line == "host · CPU 25% of 16 · memory 40G/64G · QEMU 7.2.22 · libvirt 9.0.0"


def test_what_the_host_does_not_say_is_a_dash_and_never_0() -> None:
    line = host_line(host_record(first=True, without=("host.version", "host.cpus"), derived={}))
    assert line == f"host · CPU {MISSING} of {MISSING} · memory {MISSING}/64G"


def test_a_pool_says_how_full_it_is() -> None:
    assert pool_line(pool_record()) == "pool images · 819G/1.0T · 205G free"


@pytest.mark.parametrize(
    ("derived", "said"),
    [({"pool.age": 59.0}, ""), ({"pool.age": 1500.0}, " · 25 min old"), ({}, " · of unknown age")],
)
def test_a_pool_says_how_old_its_figures_are_unless_they_are_fresh(derived: dict[str, float], said: str) -> None:
    assert pool_line(pool_record(derived=derived)) == f"pool images · 819G/1.0T · 205G free{said}"


@pytest.mark.parametrize(("state", "said"), [(0, " · inactive"), (2, ""), (3, " · degraded"), (9, " · state 9")])
def test_a_pool_that_does_not_run_says_so(state: int, said: str) -> None:
    assert pool_line(pool_record(extra={"pool.state": state})) == f"pool images · 819G/1.0T · 205G free{said}"


def test_an_event_says_when_where_who_and_what() -> None:
    lines = [
        occurrence_line(record)
        for record in (
            event_record(),
            event_record("device-removed", None, device="vdb"),
            event_record("crashed", None, domain=None),
        )
    ]
    said = ["web-1: started (booted)", "web-1: device-removed vdb", f"{MISSING}: crashed"]
    assert lines == [f"{clock(TIME_MS)} kvm1 · {what}" for what in said]


def test_a_gap_says_when_it_began_which_stream_has_it_and_why() -> None:
    line = occurrence_line(gap_record("host-down", lasted_ms=30_000))
    assert line == f"{clock(TIME_MS - 30_000)} kvm1 · default: nothing for 30 s (host-down)"


def test_events_and_gaps_alone_are_occurrences() -> None:
    assert {kind for kind, record in one_of_each().items() if is_occurrence(record)} == {Kind.EVENT, Kind.GAP}


@pytest.mark.parametrize("name", ["\x1b[31mred\x1b[0m", "two\nlines", "\u202egnp", "x" * 5000])
def test_nothing_hostile_acts_on_a_terminal(name: str) -> None:
    lines = [
        host_line(host_record(params={"host.version.libvirt": name, "host.version.hypervisor": name})),
        pool_line(pool_record(name)),
        occurrence_line(event_record(name, name, device=name, host=name)),
        occurrence_line(gap_record(name, collect=name)),
    ]
    assert all(line.isprintable() and len(line) <= 200 for line in lines)

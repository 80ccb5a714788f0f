"""The page's tables, of real answers."""

from __future__ import annotations

import re
from html import unescape

import pytest

from domstat.report import tables
from report.asked import HOSTILE_GUESTS, HOSTILE_HOST, growing, hostile, young


def rows_of(markup: str) -> list[list[str]]:
    """Read a table's cells as text."""
    rows = re.findall(r"<tr>(.*?)</tr>", markup, re.DOTALL)
    return [
        [unescape(re.sub(r"<[^>]*>", "", cell)) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in rows
    ]


def test_runways_come_soonest_first_with_interval_and_probability() -> None:
    heads, first, *_ = rows_of(tables.runways(growing().runways, "Time remaining"))
    assert dict(zip(heads, first, strict=True)) == {
        "what": "kvm1 CPU", "status": "short", "usable": "12.8 cores", "demand": "9.52 cores", "a day": "0.032 cores",
        "earliest": "102 days", "expected": "102 days", "latest": "102 days",
        "in 30 d": "0 %", "in 90 d": "0 %", "in 180 d": "100 %",
    }  # fmt: skip


def test_hosts_have_a_line_for_each_resource() -> None:
    _, *rows = rows_of(tables.standings(growing()))
    assert [row[:2] for row in rows][:5] == [
        ["all hosts", "CPU"], ["all hosts", "memory"], ["all hosts", "storage"], ["kvm1", "CPU"], ["kvm1", "memory"],
    ]  # fmt: skip


def test_what_still_fits_is_said_for_each_host_with_what_limits_it() -> None:
    heads, everywhere, kvm1, _ = rows_of(tables.remaining(growing()))
    assert heads[4:6] == ["guests by demand", "limited by"]
    assert everywhere[4] == "2 guests"
    assert kvm1[4:6] == ["1 guest", "CPU"]


def test_what_comes_back_is_said_for_each_host() -> None:
    _, *rows = rows_of(tables.reclaimable(growing().summaries))
    assert {row[0]: row[2] for row in rows} == {"all hosts": "30 GiB", "kvm1": "30 GiB", "kvm2": "0 B"}


def test_guests_that_do_nothing_and_those_of_the_wrong_size_are_named_as_they_are() -> None:
    answers = hostile()
    _, *idle = rows_of(tables.candidates(answers.reclaim.candidates, "Off or idle"))
    assert {row[0] for row in idle} == set(HOSTILE_GUESTS[1::2]) | {HOSTILE_GUESTS[-1]}
    assert {row[1] for row in idle} == {HOSTILE_HOST}
    _, *sizes = rows_of(tables.sizings(answers.sizes.sizings, "Sizes", ""))
    assert r"web\u202e\x1b[2J\x00gpj" in {row[0] for row in sizes}


def test_where_nothing_is_to_be_told_there_is_a_sentence() -> None:
    assert "<table" not in tables.waits(())
    assert "<table" not in tables.bullies(())
    assert "No guest is idle or off." in tables.candidates((), "Off or idle")


@pytest.mark.parametrize("made", [growing, young])
def test_since_when_hosts_are_known_and_how_much_of_them_was_seen(made: object) -> None:
    heads, first, *_ = rows_of(tables.seen(made()))  # type: ignore[operator]
    assert heads == ["host", "known since", "last seen", "of the window", "state"]
    assert first[0] == "kvm1"
    assert first[-1] == "up to date"

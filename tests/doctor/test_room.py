"""Whether there is room for what is kept, and whether the journal holds an outage."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from doctor.seen import DISK, GIB, SINK, only
from domstat.config import JournalSettings, parse
from domstat.deliver.bounds import Why
from domstat.doctor.finding import Finding, Verdict
from domstat.doctor.room import YOUNG_S, disks, outages
from domstat.doctor.scene import OutageSeen
from domstat.settings import Duration, Size

DAY_S = 86_400.0
BOUNDS = JournalSettings()


def disk(**changes: Any) -> Finding:
    return only(disks([replace(DISK, **changes)]))


def test_a_disk_that_holds_what_a_history_will_have_grown_to_is_well() -> None:
    found = disk()  # 6 GiB in 10 of 30 days: 12 more
    assert found.verdict is Verdict.OK
    assert found.found.startswith("the history grows by 614 MiB a day, to 18 GiB; 100 GiB free, of it 1.0 GiB")


def test_a_disk_that_will_be_full_before_anything_is_let_go_is_a_warning() -> None:
    found = disk(free_bytes=12 * GIB)  # of which the journal may take one
    assert found.verdict is Verdict.WARNING
    assert "needs 12 GiB more" in found.found
    assert found.found.endswith("full in 18d 08h")
    assert found.fix.startswith('max_bytes = "15GiB" in [[sinks]]')


def test_a_disk_that_is_full_within_a_fortnight_is_trouble() -> None:
    assert disk(free_bytes=5 * GIB).verdict is Verdict.TROUBLE


def test_a_history_that_is_as_old_as_it_gets_needs_no_more() -> None:
    assert disk(age_s=40 * DAY_S, free_bytes=2 * GIB).verdict is Verdict.OK


def test_a_history_with_a_bound_grows_to_that() -> None:
    assert disk(max_bytes=10 * GIB, free_bytes=6 * GIB).verdict is Verdict.OK
    assert disk(max_bytes=10 * GIB, free_bytes=4 * GIB).verdict is Verdict.TROUBLE


def test_what_is_kept_for_ever_is_looked_at_a_year_ahead() -> None:
    assert disk(keep_s=None).verdict is Verdict.WARNING
    assert disk(keep_s=None, free_bytes=300 * GIB).verdict is Verdict.OK


def test_how_a_young_history_grows_is_not_known_yet() -> None:
    found = disk(age_s=YOUNG_S - 1, free_bytes=3 * GIB)
    assert found.verdict is Verdict.OK
    assert "is known after 6h" in found.found
    assert disk(age_s=YOUNG_S, free_bytes=3 * GIB).verdict is Verdict.TROUBLE


def test_a_disk_without_room_for_the_journal_is_a_warning_and_a_full_one_trouble() -> None:
    short = disk(history_bytes=0, free_bytes=GIB)
    assert (short.verdict, short.fix) == (Verdict.WARNING, 'max_bytes = "256MiB" in [journal]; or a larger disk')
    full = disk(free_bytes=100 << 20)
    assert full.verdict is Verdict.TROUBLE
    assert full.fix.startswith("free some: du -xsh /var/lib/domstat")


def outage(seen: OutageSeen | None, **account: Any) -> Finding:
    past = [] if seen is None else [seen]
    return only(outages(BOUNDS, past, [replace(SINK, **account)], "no history"))


def test_a_sink_that_was_never_away_is_well() -> None:
    assert outage(OutageSeen("history", 59.0, 1 << 20, 0)).found == "no outage was seen"


def test_an_outage_that_could_have_been_twice_as_long_is_well() -> None:
    found = outage(OutageSeen("history", 3 * DAY_S, 400 << 20, 0))
    assert found.verdict is Verdict.OK
    assert found.found.endswith("3d 00h, 400 MiB; the journal keeps 7d, 1GiB")


@pytest.mark.parametrize(
    ("lag_s", "backlog", "fix"),
    [
        (4 * DAY_S, 100 << 20, 'max_age = "8d" and max_bytes = "1GiB" in [journal]'),
        (1 * DAY_S, 600 << 20, 'max_age = "7d" and max_bytes = "2GiB" in [journal]'),
        (6 * DAY_S, 2 * GIB, 'max_age = "12d" and max_bytes = "4GiB" in [journal]'),
    ],
)
def test_an_outage_that_was_half_of_what_the_journal_holds_is_a_warning(lag_s: float, backlog: int, fix: str) -> None:
    found = outage(OutageSeen("history", lag_s, backlog, 0))
    assert (found.verdict, found.fix) == (Verdict.WARNING, fix)


def test_the_bounds_that_are_proposed_are_ones_that_a_file_may_have_and_that_are_enough() -> None:
    seen = OutageSeen("history", 4.2 * DAY_S, 3 * GIB, 0)
    fix = outage(seen).fix.removesuffix(" in [journal]").replace(" and ", "\n")
    better = parse(f"[journal]\n{fix}\n").journal
    assert only(outages(better, [seen], [], "")).verdict is Verdict.OK


def test_records_that_gave_way_are_trouble_in_the_past_or_now() -> None:
    assert outage(OutageSeen("history", 70.0, 1, 5)).verdict is Verdict.TROUBLE
    now = outage(None, dropped={Why.AGE: 7})
    assert (now.verdict, now.found[:9]) == (Verdict.TROUBLE, "7 records")
    assert outage(None, dropped={Why.ENDED: 7}).verdict is Verdict.OK


def test_what_is_lost_within_bounds_that_seemed_enough_asks_for_larger_ones() -> None:
    assert outage(None, dropped={Why.SIZE: 7}).fix == 'max_age = "7d" and max_bytes = "2GiB" in [journal]'


def test_an_outage_that_goes_on_counts_too() -> None:
    assert outage(None, lag_s=5 * DAY_S).verdict is Verdict.WARNING


def test_without_a_history_and_an_agent_nothing_is_known() -> None:
    found = only(outages(JournalSettings(Size(GIB), Duration(DAY_S)), [], [], "no history yet"))
    assert (found.verdict, found.found) == (Verdict.UNKNOWN, "no history yet")

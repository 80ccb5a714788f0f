"""Names of files: every hour and host has its own, and they are read back as they were meant."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat_sinks.parquet.layout import (
    HOUR_MS,
    NAME_BYTES_MAX,
    NOBODY,
    Part,
    day_of,
    host_folder,
    hour_file,
    is_hour_file,
    part_file,
    part_of,
    slot_of,
)
from records import TIME_MS

HOSTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TIMES = st.integers(-62_135_596_800_000, 253_402_300_799_999)  # the years 1 to 9999


def test_an_hour_has_a_file_below_its_host_and_day() -> None:
    assert hour_file(slot_of("kvm1", TIME_MS), "") == "host=kvm1/day=2026-11-22/hour-22.parquet"
    assert hour_file(slot_of("kvm1", TIME_MS), "4f0c") == "host=kvm1/day=2026-11-22/hour-22-4f0c.parquet"


@pytest.mark.parametrize("last_ms", [0, 1_795_392_000_000])
def test_a_day_begins_at_midnight_in_utc(last_ms: int) -> None:
    assert slot_of("a", last_ms - 1) != slot_of("a", last_ms) == slot_of("a", last_ms + HOUR_MS - 1)


@pytest.mark.parametrize(
    ("host", "folder"),
    [
        ("a/../b", "host=a%2F..%2Fb"),
        ("..", "host=.."),
        ("kvm=1", "host=kvm%3D1"),
        ("*?[", "host=%2A%3F%5B"),
        ("ü", "host=%C3%BC"),
        ("", f"host={NOBODY}"),
    ],
)
def test_a_host_is_one_folder_whatever_it_is_called(host: str, folder: str) -> None:
    assert hour_file(slot_of(host, TIME_MS), "").split("/")[:-2] == [folder]


@given(HOSTS, TIMES, st.integers(0, 10**12 - 1))
def test_what_waits_says_by_its_name_what_it_is(host: str, time_ms: int, number: int) -> None:
    part = Part(slot_of(host, time_ms), number, "0a1b")
    assert part_of(part_file(part)) == part
    assert max(map(len, part_file(part).split("/"))) <= NAME_BYTES_MAX


@given(HOSTS, HOSTS)
def test_no_two_hosts_have_one_folder(one: str, other: str) -> None:
    assert (host_folder(one) == host_folder(other)) == (one == other)


@pytest.mark.parametrize("host", ["x" * 250, "x" * 251, "x" * 5000, "ü" * 41, "ü" * 42, "客" * 5000, NOBODY])
def test_a_name_that_no_folder_can_have_is_cut_and_stays_apart(host: str) -> None:
    folder = host_folder(host)
    assert len(folder) <= NAME_BYTES_MAX
    assert len({folder, host_folder(host + "x"), host_folder(host[:-1] + "y"), f"host={NOBODY}"}) == 4
    assert part_of(part_file(Part(slot_of(host, TIME_MS), 1, "ab"))) == Part(slot_of(host, TIME_MS), 1, "ab")
    unquote(folder, errors="strict")


@pytest.mark.parametrize(
    "name", ["lock", "host=a/2026-11-22T22-1-ab.rows", "host=a/2026-99-22T22-000000000001-ab.rows", "host=a/b/c.rows"]
)
def test_what_is_none_of_ours_is_passed_over(name: str) -> None:
    assert part_of(name) is None


@pytest.mark.parametrize("host", ["\udc80", "kvm\ud800"])
def test_a_host_that_is_no_text_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="its host"):
        slot_of(host, TIME_MS)


@pytest.mark.parametrize("time_ms", [-(1 << 60), 1 << 60])
def test_a_time_that_no_day_has_is_refused(time_ms: int) -> None:
    with pytest.raises(ValueError, match="in no year"):
        slot_of("kvm1", time_ms)


def test_each_agent_knows_its_own_files() -> None:
    assert is_hour_file("hour-22.parquet", "")
    assert is_hour_file("hour-22-4f0c.parquet", "4f0c")
    assert not is_hour_file("hour-22-4f0c.parquet", "")
    assert not is_hour_file("hour-22.parquet", "4f0c")
    assert not is_hour_file("mine.parquet", "")


def test_only_days_are_days() -> None:
    assert str(day_of("day=2026-11-22")) == "2026-11-22"
    assert day_of("day=yesterday") is None
    assert day_of("2026-11-22") is None

"""The table for a person."""

from __future__ import annotations

import io
import re
from datetime import datetime

import pytest
from rich.cells import cell_len
from rich.console import Console

from domstat.model import Batch, Partial, Record
from domstat_sinks.table import NAMES_MAX, NOTES_MAX, POOLS_MAX, BatchView, OccurrencesView
from records import (
    TIME_MS,
    agent_record,
    batch,
    event_record,
    gap_record,
    guest_record,
    host_record,
    pool_record,
    sleeper_record,
)

HEADINGS = [
    "guest",
    "state",
    "vCPU",
    "CPU",
    "cores",
    "steal",
    "memory",
    "rd/s",
    "wr/s",
    "IOPS",
    "w-lat",
    "rx/s",
    "tx/s",
]
WIDE = 160


def show(shown: Batch, width: int = WIDE) -> list[str]:
    return printed(BatchView(shown), width)


def printed(view: BatchView | OccurrencesView, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=False, color_system=None)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def cells(record: Record) -> dict[str, str]:
    """Return the one row's cells by heading, at a width where all columns are shown."""
    _, heading, row = show(batch(record))[:3]
    return dict(zip(heading.split(), row.replace("rss ", "rss_").split(), strict=True))


def test_a_row_says_what_a_person_asks_of_a_guest() -> None:
    assert cells(guest_record()) == {
        "guest": "web-1",
        "state": "running",
        "vCPU": "2",
        "CPU": "25%",
        "cores": "0.50",
        "steal": "2.0%",  # of the vCPU that has most
        "memory": "1.9G/4.0G",
        "rd/s": "4.0M",  # both disks
        "wr/s": "8.0M",
        "IOPS": "280",
        "w-lat": "1.5ms",
        "rx/s": "2.0M",
        "tx/s": "2.0M",
    }


def test_the_heading_says_where_and_when_and_what_it_took() -> None:
    time = datetime.fromtimestamp(TIME_MS / 1000).astimezone()
    heading = show(batch(guest_record(), guest_record(uuid="b"), call_ms=34))[0]
    assert heading == f"kvm1 · default · {time:%Y-%m-%d %H:%M:%S} · 2 guests · call 34 ms"


def test_rows_stand_as_given() -> None:
    lines = show(batch(*(guest_record(name, uuid=name) for name in ("b", "c", "a"))))
    assert [line.split()[0] for line in lines[2:]] == ["b", "c", "a"]


def test_missing_is_a_dash_and_never_0() -> None:
    row = cells(guest_record(params={}, rates={}, derived={}))
    assert set(row.values()) == {"web-1", "–"}  # noqa: RUF001


def test_a_first_record_has_state_but_no_rates() -> None:
    row = cells(guest_record(first=True))
    assert row["state"] == "running"
    assert {row[heading] for heading in ("CPU", "cores", "steal", "rd/s", "IOPS", "w-lat", "tx/s")} == {"–"}  # noqa: RUF001


def test_zero_is_0() -> None:
    row = cells(guest_record(rates={"block.rd.bytes[vda]": 0.0}, derived={"cpu.utilization": 0.0}))
    assert (row["rd/s"], row["CPU"]) == ("0", "0%")


@pytest.mark.parametrize(
    ("extra", "without"),
    [
        ({}, ("balloon.last-update",)),  # there is no driver
        ({"balloon.last-update": 0}, ()),  # it never spoke
        ({"balloon.last-update": TIME_MS // 1000 - 3600}, ()),  # it fell silent
    ],
)
def test_without_a_fresh_balloon_driver_memory_is_the_processes_and_says_so(
    extra: dict[str, int], without: tuple[str, ...]
) -> None:
    assert cells(guest_record(extra=extra, without=without))["memory"] == "rss_3.0G/4.0G"


def test_busy_disks_weigh_more_in_the_latency_of_writes() -> None:
    rates = {"block.wr.reqs[vda]": 900.0, "block.wr.reqs[vdb]": 100.0}
    derived = {"block.wr.latency[vda]": 0.001, "block.wr.latency[vdb]": 0.011}
    assert cells(guest_record(rates=rates, derived=derived))["w-lat"] == "2.0ms"


@pytest.mark.parametrize(("state", "word"), [(1, "running"), (3, "paused"), (6, "crashed")])
def test_states_have_virshs_words(state: int, word: str) -> None:
    assert cells(guest_record(extra={"state.state": state}))["state"] == word


def test_a_state_of_a_newer_libvirt_is_shown_by_number() -> None:
    assert "state 99" in show(batch(guest_record(extra={"state.state": 99})))[2]


def test_the_largest_numbers_fit() -> None:
    record = guest_record(extra={"balloon.current": 2**64 - 1, "balloon.rss": 2**64 - 1}, without=("balloon.last",))
    assert all(cell_len(line) <= 120 for line in show(batch(record), 120))


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 160])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    guests = [
        guest_record("database-primary.production.example.org", uuid="a", without=("balloon.last-update",)),
        guest_record("数据库" * 20, uuid="b", partial=Partial(("block",), 3.0)),
    ]
    lines = show(batch(*guests, event_record(reason="because " * 40), gap_record("why " * 60)), width)
    assert max(map(cell_len, lines)) <= width
    assert len(lines) == 7  # nothing wraps


def test_80_columns_show_what_matters_most() -> None:
    heading = show(batch(guest_record("a-name-of-medium-length", without=("balloon.last-update",))), 80)[1]
    assert heading.split() == [title for title in HEADINGS if title not in {"vCPU", "cores", "steal", "IOPS"}]


def test_120_columns_show_everything() -> None:
    assert show(batch(guest_record("a-name-of-medium-length")), 120)[1].split() == HEADINGS


def test_numbers_stand_right_aligned() -> None:
    busy = guest_record("busy", uuid="b", rates={"net.rx.bytes[x]": 999.0}, derived={})
    lines = show(batch(guest_record(rates={"net.rx.bytes[x]": 3.0}), busy), 120)[1:]
    ends = {line.index(text) + len(text) for line, text in zip(lines, ("rx/s", "3.0", "999"), strict=True)}
    assert len(ends) == 1


def test_a_partial_record_is_marked_and_the_mark_explained() -> None:
    whole, lacking = guest_record(), guest_record("db-1", uuid="b", partial=Partial(("vcpu", "block"), 12.4))
    lines = show(batch(whole, lacking))
    assert lines[2].startswith("web-1 ")
    assert lines[3].startswith("db-1* ")
    assert lines[4] == "* incomplete: 1 without block, vcpu; instead values up to 12 s old"


def test_the_mark_survives_a_name_that_is_too_long() -> None:
    row = show(batch(guest_record("n" * 5000, partial=Partial(("block",)))), 80)[2].split()
    assert row[0].endswith("n…*")
    assert row[1:] == ["running", "25%", "2.0%", "1.9G/4.0G", "4.0M", "8.0M", "1.5ms", "2.0M", "2.0M"]


@pytest.mark.parametrize(
    "name", ["\x1b[31mred\x1b[0m", "two\nlines", "a\rb", "\u202egnp", "[bold]x[/bold]", "[/]", "\x9b2J", "😀" * 30]
)
def test_a_hostile_name_is_shown_and_does_nothing(name: str) -> None:
    lines = show(batch(guest_record(name, partial=Partial((name,))), event_record(name, name, device=name)), 120)
    assert len(lines) == 5
    assert all(line.isprintable() for line in lines)
    if name.startswith("["):
        assert lines[2].startswith(name)


def test_a_hostile_host_is_shown_and_does_nothing() -> None:
    lines = show(batch(guest_record(), host="\x1b]0;x\x07", collect="a\nb"))
    assert len(lines) == 3
    assert lines[0].isprintable()


def test_the_host_is_a_line_above_and_the_rest_are_lines_below() -> None:
    lines = show(
        batch(host_record(), guest_record(), pool_record(), event_record(), gap_record("it slept"), agent_record())
    )
    assert [re.sub(r"^\d\d:\d\d:\d\d ", "", line.split("  ")[0]) for line in lines[1:]] == [
        "host · CPU 25% of 16 · memory 40G/64G · QEMU 7.2.22 · libvirt 9.0.0",
        "guest",
        "web-1",
        "pool images · 819G/1.0T · 205G free",
        "kvm1 · web-1: started (booted)",
        "kvm1 · default: nothing for 30 s (it slept)",
    ]


@pytest.mark.parametrize(
    ("stuck", "said"),
    [
        (0, []),
        (1, ["1 guest stuck; what needs an answer of theirs is missing"]),
        (2, ["2 guests stuck; what needs an answer of theirs is missing"]),
    ],
)
def test_the_agent_is_heard_of_only_when_guests_are_stuck(stuck: int, said: list[str]) -> None:
    assert show(batch(guest_record(), agent_record(extra={"agent.quarantined": stuck})))[3:] == said


def test_guests_that_are_off_are_named_and_no_rows() -> None:
    off = [sleeper_record(name, uuid=name) for name in ("old-1", "old-2")]
    heading, *lines = show(batch(*off, sleeper_record("bad", uuid="bad", extra={"state.state": 6}), collect="survey"))
    assert "· 3 off ·" in heading
    assert lines == ["shut off: old-1, old-2", "crashed: bad"]


def test_of_many_guests_that_are_off_only_some_are_named() -> None:
    lines = show(batch(*(sleeper_record(f"g{i}", uuid=f"{i}") for i in range(NAMES_MAX + 3))))
    assert lines[1].endswith(f"g{NAMES_MAX - 1} and 3 more")


def test_a_survey_says_what_it_found() -> None:
    heading, *lines = show(batch(pool_record("a"), pool_record("b"), sleeper_record(), collect="survey"))
    assert "· survey ·" in heading
    assert "· 2 pools · 1 off ·" in heading
    assert [line.partition(" · ")[0] for line in lines] == ["pool a", "pool b", "shut off: old-1"]


def test_many_pools_do_not_push_the_rest_away() -> None:
    lines = show(batch(*(pool_record(f"p{i}") for i in range(POOLS_MAX + 2)), sleeper_record()))
    assert lines[-2:] == ["and 2 more", "shut off: old-1"]


def test_many_events_do_not_push_the_table_away() -> None:
    events = [event_record("device-added", None, device=f"vd{letter}") for letter in "abcdefghij"]
    lines = show(batch(guest_record(), *events))
    assert len(lines) == 3 + NOTES_MAX + 1
    assert lines[-1] == "and 5 more"


def test_what_happened_stands_for_itself_without_a_heading() -> None:
    assert [line[9:] for line in show(batch(event_record(), collect="events"))] == ["kvm1 · web-1: started (booted)"]
    assert [line[9:] for line in show(batch(gap_record("host-down")))] == [
        "kvm1 · default: nothing for 30 s (host-down)"
    ]


def test_of_what_happened_lately_the_newest_is_shown() -> None:
    events = [event_record("device-added", None, device=f"vd{letter}") for letter in "abcdefgh"]
    lines = printed(OccurrencesView(events), WIDE)
    assert lines[0] == "3 more before"
    assert [line.rpartition(" ")[2] for line in lines[1:]] == ["vdd", "vde", "vdf", "vdg", "vdh"]
    assert printed(OccurrencesView([]), WIDE) == []


def test_a_batch_without_guests_is_a_heading_and_its_host() -> None:
    assert len(show(batch(host_record(), agent_record()))) == 2
    (heading,) = show(Batch(host="kvm1", collect="default", stamp=batch().stamp, records=()))
    assert "· 0 guests ·" in heading


def test_a_guest_without_a_name_is_its_uuid() -> None:
    assert show(batch(guest_record("", uuid="c0ffee")))[2].startswith("c0ffee ")

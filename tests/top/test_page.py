"""The page as text: hosts, guests, one guest, help; at 80 and at 160 columns; whatever guests are called."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.top.fleet import Fleet
from domstat.top.lines import Frame, Line, text_of, width_of
from domstat.top.page import HELP, compose, room_of
from domstat.top.view import View
from records import HOST, TIME_MS
from top.fleets import fleet, guest, stuck, tick, uuid_of

HOSTILE = "a\x1b[31m[bold]x[/]\u202e"
JAPANESE = "日本語のゲストの長い名前"


def some() -> Fleet:
    return fleet(guest(1, load=3.0), guest(2), stuck(3), guest(4, HOSTILE), guest(5, JAPANESE, load=0.0))


def lines(known: Fleet, view: View | None = None, width: int = 80, height: int = 24, late_s: float = 0.0) -> list[Line]:
    now_ms = TIME_MS + int(late_s * 1000)
    frame = Frame(width=width, height=height, now_ms=now_ms, zone=UTC, source="libvirt every 2s")
    return compose(
        view or View(), known.picture(), frame, lambda row, measure: known.hour(row.key, measure, row.time_ms)
    )


def shown(known: Fleet, view: View | None = None, width: int = 80, height: int = 24, late_s: float = 0.0) -> str:
    return text_of(lines(known, view, width, height, late_s))


GOLDEN = Path(__file__).parents[1] / "golden" / "top"

PAGES = {
    "list-80": (View(), 80, 12),
    "list-160": (View(), 160, 9),
    "guest-80": (View(opened=(HOST, uuid_of(1))), 80, 29),
}


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_as_it_was(name: str, update_golden: bool) -> None:
    view, width, height = PAGES[name]
    page = shown(some(), view, width=width, height=height) + "\n"
    path = GOLDEN / f"{name}.txt"
    if update_golden:
        path.parent.mkdir(exist_ok=True)
        path.write_text(page, encoding="utf-8")
    assert page == path.read_text(encoding="utf-8")


def test_help_fits_into_a_small_terminal() -> None:
    page = shown(some(), View(helping=True))
    assert "…" not in page
    assert all(line in page for line in HELP.splitlines())


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("view", [View(), View(opened=(HOST, uuid_of(1))), View(helping=True), View(typing=True)])
@given(width=st.integers(1, 200), height=st.integers(1, 60))
def test_a_page_is_as_large_as_the_terminal(several: bool, view: View, width: int, height: int) -> None:
    known = some()
    if several:
        known.take([tick(guest(6), host="kvm2")])
    page = lines(known, view, width=width, height=height)
    assert len(page) == height
    assert {sum(width_of(text) for text, _ in line) for line in page} == {width}


@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_guests_and_hosts_are_called_nothing_reaches_the_terminal_that_it_would_obey(
    name: str, host: str
) -> None:
    known = Fleet()
    known.take([tick(guest(1, name), host=host)])
    for view in (View(), View(opened=(host, uuid_of(1))), View(host=host, filter=name)):
        for width in (80, 160):
            assert all(text.isprintable() for line in lines(known, view, width=width) for text, _ in line)


def test_why_a_host_does_not_answer_cannot_do_harm_either() -> None:
    known = some()
    known.fail(HOST, "no\x1b]0;owned\x07 route")
    assert r"no\x1b]0;owned\x07 route" in shown(known)


@pytest.mark.parametrize(("width", "is_there"), [(131, False), (132, True)])
def test_on_wide_screens_the_last_hour_stands_beside_each_guest(width: int, is_there: bool) -> None:
    assert ("CPU, last hour" in shown(some(), width=width)) is is_there


def test_of_several_hosts_each_has_a_line_and_guests_say_on_wide_screens_where_they_are() -> None:
    known = some()
    known.take([tick(guest(6), host="kvm2")])
    page = shown(known, width=160).splitlines()
    assert [line.split()[0] for line in page[1:3]] == ["kvm1", "kvm2"]
    assert [line for line in page if line.startswith("web-6 ") and " kvm2       running" in line]


def test_one_host_of_several_can_be_looked_at() -> None:
    known = some()
    known.take([tick(guest(6), host="kvm2")])
    page = shown(known, View(host="kvm2"))
    assert "web-6" in page
    assert "web-1" not in page
    assert page.splitlines()[0].endswith("only on kvm2")


def test_what_is_looked_for_stands_above_and_is_said_when_nobody_is_like_that() -> None:
    page = shown(some(), View(filter="nobody"))
    assert 'only "nobody"' in page
    assert "no guest is like that" in page


def test_while_a_filter_is_typed_it_stands_below() -> None:
    assert shown(some(), View(typing=True, filter="we")).splitlines()[-1].startswith("/we▏")


def test_before_anything_has_come_the_page_says_that_it_waits() -> None:
    assert "waiting for the first figures" in shown(Fleet([HOST]))
    assert "no figures yet" in shown(Fleet([HOST]))


def test_a_host_without_guests_says_so() -> None:
    assert "no guest runs" in shown(fleet())


def test_why_there_is_nothing_is_said_in_full_and_harmless() -> None:
    trouble = "/var/lib/domstat/" + "deep/" * 20 + "history.db: \x1b[2Jpermission denied"
    frame = Frame(width=80, height=24, now_ms=TIME_MS, zone=UTC, source="the agent", trouble=trouble)
    page = text_of(compose(View(), some().picture(), frame, lambda _row, _measure: [])).splitlines()
    assert "".join(page[1:3]).replace(" ", "").endswith(r"\x1b[2Jpermissiondenied")
    assert page[3].startswith("kvm1")
    assert len(page) == 24


def test_a_pause_is_marked() -> None:
    assert shown(some(), View(paused=True)).splitlines()[0].endswith("PAUSED")


def test_the_column_that_is_sorted_by_is_marked_by_the_way_it_goes() -> None:
    assert "CPU▼" in shown(some())
    assert "CPU▲" in shown(some(), View(reversed=True))


def test_the_bar_is_on_one_whole_line() -> None:
    page = lines(some(), View(chosen=(HOST, uuid_of(2))))
    barred = [line for line in page if any(tone == "chosen" for _, tone in line)]
    assert len(barred) == 1
    assert text_of(barred).startswith("web-2 ")
    assert {tone for _, tone in barred[0]} == {"chosen"}


def test_a_stuck_guest_is_red() -> None:
    page = lines(some(), View(chosen=(HOST, uuid_of(2))))
    (row,) = [line for line in page if line[0][0].startswith("web-3 ")]
    assert (row[0][1], row[1]) == ("bad", (" STUCK    ", "bad"))


def test_a_list_that_does_not_fit_is_shown_from_where_it_is_scrolled_to() -> None:
    known = fleet(*(guest(number, load=9.0 - number / 10) for number in range(50)))
    view = View(first=20)
    page = shown(known, view).splitlines()
    frame = Frame(width=80, height=24, now_ms=TIME_MS, zone=UTC, source="")
    room = room_of(view, known.picture(), frame)
    assert [line.split()[0] for line in page[4:-1]] == [f"web-{number}" for number in range(20, 20 + room)]


def test_a_guest_that_has_gone_is_said_to_have() -> None:
    assert "this guest has gone" in shown(some(), View(opened=(HOST, uuid_of(99))))


def test_an_open_guest_can_be_scrolled_to_its_last_device_and_no_further() -> None:
    page = shown(some(), View(opened=(HOST, uuid_of(1)), first=1000), height=20).splitlines()
    assert page[-2].startswith("52:54:00:aa:bb:02")


@pytest.mark.parametrize("name", ["list-80", "guest-80"])
def test_pages_in_the_documentation_are_real_ones(name: str) -> None:
    page = (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")
    assert page in (GOLDEN.parents[2] / "docs" / "top.md").read_text(encoding="utf-8")

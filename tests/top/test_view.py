"""Keys change what is looked at: order, filter, host, the bar, one guest, pause, help."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.top.fleet import Picture
from domstat.top.view import FILTER_MAX, View, listed, place_of, pressed, scrolled
from records import HOST
from top.fleets import fleet, guest, stuck, tick, uuid_of

ROOM = 5


def picture() -> Picture:
    known = fleet(
        guest(1, "db-1", load=2.0), guest(2, "web-1", load=3.0), guest(3, "web-2", load=1.0), stuck(4, "db-2")
    )
    known.take([tick(guest(5, "far", load=9.0), host="kvm2")])
    return known.picture()


def press(keys: Sequence[str], view: View | None = None, of: Picture | None = None) -> View:
    """Press keys by textual's names; a single letter writes itself."""
    view = view or View()
    for key in keys:
        view = pressed(
            view, key, key if len(key) == 1 else {"slash": "/", "space": " "}.get(key), of or picture(), ROOM
        )
    return view


def names(view: View) -> list[str]:
    return [row.name for row in listed(view, picture())]


def bar(view: View) -> str:
    rows = listed(view, picture())
    return rows[place_of(view, rows)].name


def test_in_the_beginning_whoever_uses_most_cpu_is_first() -> None:
    assert names(View()) == ["far", "web-1", "db-1", "db-2", "web-2"]


def test_the_other_way_round_is_a_key() -> None:
    assert names(press("r")) == ["db-2", "web-2", "db-1", "web-1", "far"]
    assert names(press("rr")) == names(View())


@pytest.mark.parametrize("key", list("cmdnslg"))
def test_every_order_has_a_key_and_begins_the_usual_way_round(key: str) -> None:
    view = press(["r", "down", key])
    assert (view.order.key, view.reversed, view.chosen) == (key, False, None)


def test_names_go_from_a_to_z() -> None:
    assert names(press("g")) == ["db-1", "db-2", "far", "web-1", "web-2"]
    assert names(press("gr")) == ["web-2", "web-1", "far", "db-2", "db-1"]


def test_who_has_no_value_is_last_whichever_way_it_goes() -> None:
    assert names(press("d"))[-1] == "db-2"
    assert names(press("dr"))[-1] == "db-2"


def test_a_filter_is_typed_and_kept() -> None:
    view = press(["slash", *"WEB", "enter"])
    assert (view.filter, view.typing) == ("WEB", False)
    assert names(view) == ["web-1", "web-2"]


def test_while_a_filter_is_typed_keys_are_its_letters() -> None:
    view = press(["slash", *"qcr?", "down", "backspace"])
    assert (view.filter, view.typing, view.quitting, view.helping) == ("qcr", True, False, False)


def test_escape_drops_the_filter_also_later() -> None:
    assert press(["slash", "w", "escape"]).filter == ""
    assert press(["slash", "w", "enter", "escape"]).filter == ""


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("b-*", []), ("*-1", ["web-1", "db-1"]), ("[dw]*2", ["db-2", "web-2"]), (uuid_of(5)[-4:], ["far"]), ("[", [])],
)
def test_a_filter_can_be_a_pattern_or_a_part_of_the_uuid(wanted: str, found: list[str]) -> None:
    assert names(press(["slash", *wanted])) == found


def test_a_filter_has_an_end() -> None:
    assert len(press(["slash", *"a" * 100]).filter) == FILTER_MAX


def test_h_goes_through_the_hosts_and_back_to_all() -> None:
    assert [press("h" * times).host for times in range(4)] == [None, HOST, "kvm2", None]
    assert names(press("hh")) == ["far"]


def test_escape_shows_all_hosts_again() -> None:
    assert press(["h", "escape"]).host is None


def test_the_bar_moves_and_stops_at_the_ends() -> None:
    assert bar(press(["down", "down", "up"])) == "web-1"
    assert bar(press(["up"])) == "far"
    assert bar(press(["end"])) == "web-2"
    assert bar(press(["pagedown"])) == "web-2"
    assert bar(press(["end", "home"])) == "far"


def test_the_bar_stays_on_its_guest_when_others_overtake_it() -> None:
    view = press(["down"])
    known = fleet(guest(1, "db-1", load=9.0), guest(2, "web-1", load=0.5))
    rows = listed(view, known.picture())
    assert rows[place_of(view, rows)].name == "web-1"
    assert place_of(view, rows) == 1


def test_at_the_top_the_bar_stays_at_the_top_whoever_is_there() -> None:
    assert press(["down", "up"]).chosen is None


def test_enter_opens_the_guest_under_the_bar_and_escape_goes_back_to_it() -> None:
    view = press(["down", "enter"])
    assert view.opened == (HOST, uuid_of(2))
    assert press(["escape"], view).opened is None
    assert bar(press(["escape"], view)) == "web-1"


def test_an_open_guest_is_scrolled() -> None:
    view = press(["enter", "down", "down", "pagedown", "up"])
    assert view.first == 2 + ROOM - 1 - 1
    assert press(["home"], view).first == 0


def test_without_guests_keys_do_no_harm() -> None:
    for key in ("enter", "down", "end", "h", "r"):
        press([key], of=Picture())


def test_pause_help_and_quit() -> None:
    assert press("p").paused
    assert not press(["p", "space"]).paused
    assert press(["question_mark"]).helping
    assert not press(["question_mark", "x"]).helping
    assert press("q").quitting
    assert press(["question_mark", "q"]).quitting
    assert press(["enter", "q"]).quitting


def test_the_bar_is_always_on_the_screen() -> None:
    view = scrolled(press(["end"]), picture(), 2)
    assert view.first == 3
    assert scrolled(press(["up"], view), picture(), 2).first == 3
    assert scrolled(press(["home"], view), picture(), 2).first == 0


def test_a_list_that_has_become_shorter_leaves_no_empty_screen() -> None:
    assert scrolled(View(first=4), picture(), ROOM).first == 0


KEYS = ["up", "down", "pageup", "pagedown", "home", "end", "enter", "escape", "backspace", "slash", "space", "tab",
        "question_mark", "ctrl+q", *"cmdnslgrhpjkxé日"]  # fmt: skip


@given(st.lists(st.sampled_from(KEYS), max_size=30), st.integers(1, 10))
def test_whatever_is_pressed_the_bar_is_on_the_screen_and_the_list_without_a_hole(keys: list[str], room: int) -> None:
    view = scrolled(press(keys), picture(), room)
    rows = listed(view, picture())
    if not view.opened and rows:
        assert view.first <= place_of(view, rows) < view.first + room
        assert view.first <= max(0, len(rows) - room)

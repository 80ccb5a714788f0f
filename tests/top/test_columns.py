"""Columns give way on narrow screens, the least important first; every order has a key of its own."""

from __future__ import annotations

import pytest

from domstat.top.columns import COLUMNS, NAME_MIN, ORDERS, chosen
from domstat.top.guest import Row, row_of
from domstat.top.lines import width_of
from domstat.units import MISSING
from records import guest_record
from top.fleets import stuck


def titles(width: int, *, several_hosts: bool = False) -> list[str]:
    return [column.title for column in chosen(width, several_hosts=several_hosts)[0]]


def test_at_80_columns_there_is_everything_that_guests_are_sorted_by() -> None:
    assert titles(80) == ["state", "CPU", "memory", "rd/s", "wr/s", "lat", "rx/s", "tx/s", "steal"]


def test_of_several_hosts_the_latency_gives_way_before_the_network_does_and_the_host_stays_on_wide_screens() -> None:
    assert "host" not in titles(80, several_hosts=True)
    assert titles(160, several_hosts=True)[0] == "host"


def test_on_a_very_narrow_screen_the_cpu_is_last_to_go() -> None:
    assert titles(NAME_MIN + 6) == ["CPU"]
    assert titles(10) == []


@pytest.mark.parametrize("width", [1, 20, 40, 60, 80, 100, 132, 160, 250])
def test_columns_and_the_name_fill_the_width(width: int) -> None:
    columns, name = chosen(width, several_hosts=True)
    assert name + sum(column.width + 1 for column in columns) == width
    assert name >= min(width, NAME_MIN)


def test_every_order_has_its_key_and_every_sorted_column_its_order() -> None:
    keys = [order.key for order in ORDERS]
    assert len(set(keys)) == len(keys)
    assert {column.sort for column in COLUMNS} - {None} <= set(keys)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.title)
def test_a_cell_of_a_usual_guest_fits_into_its_column(column: object) -> None:
    assert width_of(column.cell(row_of((guest_record(),)))) <= column.width  # type: ignore[attr-defined]


def cell(row: Row, title: str) -> str:
    return next(column.cell(row) for column in COLUMNS if column.title == title)


def tone(row: Row, title: str) -> str:
    return next(column.tone(row) for column in COLUMNS if column.title == title)


def test_a_stuck_guest_says_so_in_red() -> None:
    assert (cell(row_of((stuck(1),)), "state"), tone(row_of((stuck(1),)), "state")) == ("STUCK", "bad")


def test_a_paused_guest_is_yellow_and_a_running_one_plain() -> None:
    assert tone(row_of((guest_record(extra={"state.state": 3}),)), "state") == "warn"
    assert tone(row_of((guest_record(),)), "state") == "plain"


def test_memory_is_used_and_given_or_what_the_process_holds() -> None:
    assert cell(row_of((guest_record(),)), "memory") == "1.9G/4.0G"
    assert cell(row_of((guest_record(without=("balloon.last-update",)),)), "memory") == "rss 3.0G"
    assert cell(row_of((guest_record(without=("balloon.",)),)), "memory") == MISSING

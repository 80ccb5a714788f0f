"""The screen as textual draws it, with keys pressed: what a person sees is the page, and nothing is markup."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC
from typing import TypeAlias

import pytest
from textual.pilot import Pilot

from domstat.top.draw import STYLES, TopApp
from domstat.top.feed import Arrived, Failed, Past, Tell, Told
from domstat.top.guest import Key
from domstat.top.ring import BIN_MS
from records import HOST, TIME_MS
from top.fleets import guest, stuck, tick, uuid_of

Screen: TypeAlias = "Callable[[Pilot[None], Scripted], Awaitable[None]]"
HOSTILE = "a[bold]b[/]\x1b[31m[@click=app.quit]x"


class Scripted:
    """A feed that tells what a test has it tell."""

    def __init__(self, *told: Told) -> None:
        self.asked: list[tuple[Key, int]] = []
        self.stopped = False
        self._first = told
        self.tell: Tell = lambda _told: None

    def start(self, tell: Tell) -> None:
        self.tell = tell
        for told in self._first:
            tell(told)

    def ask(self, key: Key, until_ms: int) -> None:
        self.asked.append((key, until_ms))

    def stop(self) -> None:
        self.stopped = True


def some() -> Arrived:
    return Arrived((tick(guest(1, load=3.0), guest(2), stuck(3), guest(4, HOSTILE, load=2.0)),))


def run(see: Screen, *told: Told, size: tuple[int, int] = (80, 24)) -> Scripted:
    """Show what a feed tells on a screen that is only thought of, and look at it."""
    feed = Scripted(*(told or (some(),)))

    async def look() -> None:
        app = TopApp(feed, "libvirt every 2s", UTC, [HOST], gather_s=0.001)
        async with app.run_test(size=size) as pilot:
            await settled(pilot)
            await see(pilot, feed)

    asyncio.run(look())
    return feed


async def settled(pilot: Pilot[None]) -> None:
    """Have everything that has been told taken, and drawn."""
    await pilot.pause()
    while pilot.app._is_due:  # type: ignore[attr-defined]
        await pilot.pause()
    await pilot.pause()


def cells(pilot: Pilot[None]) -> list[str]:
    """Return what is on the screen, line by line, as the terminal would have it."""
    return [strip.text.rstrip() for strip in pilot.app.screen._compositor.render_strips()]


def names(pilot: Pilot[None]) -> list[str]:
    return [line.split()[0] for line in cells(pilot)[4:-1] if line]


def test_the_screen_shows_the_page_and_fills_the_terminal() -> None:
    async def see(pilot: Pilot[None], _feed: Scripted) -> None:
        lines = cells(pilot)
        assert len(lines) == 24
        assert lines[0].startswith("domstat top · 22:15:04 · libvirt every 2s · 4 guests by CPU")
        assert lines[1].startswith("kvm1       CPU ██░░░░░░  25% of 16")
        assert names(pilot) == ["web-1", r"a[bold]b[/]\x1b[3…", "web-2", "web-3"]
        assert lines[-1].startswith("cmdnslg sort")

    run(see)


def test_a_name_is_no_markup_and_no_escape_sequence() -> None:
    async def see(pilot: Pilot[None], _feed: Scripted) -> None:
        (line,) = [line for line in cells(pilot) if line.startswith("a[bold]")]
        assert r"a[bold]b[/]\x1b[31m[@click=app.quit]x"[:30] in line

    run(see, size=(160, 24))


def test_keys_sort_reverse_filter_open_and_leave() -> None:
    async def see(pilot: Pilot[None], feed: Scripted) -> None:
        await pilot.press("g")
        assert names(pilot)[1:] == ["web-1", "web-2", "web-3"]
        await pilot.press("r")
        assert names(pilot)[:3] == ["web-3", "web-2", "web-1"]
        await pilot.press("slash", *"web", "enter")
        assert names(pilot) == ["web-3", "web-2", "web-1"]
        await pilot.press("down", "enter")
        assert cells(pilot)[3] == "web-2"
        assert feed.asked == [((HOST, uuid_of(2)), TIME_MS)]
        await pilot.press("escape")
        assert names(pilot) == ["web-3", "web-2", "web-1"]
        await pilot.press("question_mark")
        assert any(line.startswith("Sort by") for line in cells(pilot))
        await pilot.press("x", "q")
        assert pilot.app._exit

    assert run(see).stopped


def test_control_c_leaves_also_while_a_filter_is_typed() -> None:
    async def see(pilot: Pilot[None], _feed: Scripted) -> None:
        await pilot.press("slash", "w", "ctrl+c")
        assert pilot.app._exit

    run(see)


def test_what_comes_is_drawn_and_a_pause_stops_that_until_it_ends() -> None:
    async def see(pilot: Pilot[None], feed: Scripted) -> None:
        await pilot.press("p")
        feed.tell(Arrived((tick(guest(9, load=9.0), time_ms=TIME_MS + 6_000),)))
        await settled(pilot)
        assert "22:15:04" in cells(pilot)[0]
        assert cells(pilot)[0].endswith("PAUSED")
        assert names(pilot)[0] == "web-1"
        await pilot.press("p")
        assert "22:15:10" in cells(pilot)[0]
        assert names(pilot) == ["web-9"]

    run(see)


def test_the_last_hour_is_filled_from_what_the_feed_knows_of_it() -> None:
    async def see(pilot: Pilot[None], feed: Scripted) -> None:
        await pilot.press("enter")
        past = tuple((TIME_MS - ago * BIN_MS, (0.75, *[None] * 7)) for ago in range(50, 0, -1))
        feed.tell(Past((HOST, uuid_of(1)), past))
        await settled(pilot)
        (line,) = [line for line in cells(pilot) if line.startswith("CPU ")]
        assert "█" * 20 in line

    run(see)


def test_trouble_is_on_the_screen_harmless_and_goes_when_figures_come_again() -> None:
    async def see(pilot: Pilot[None], feed: Scripted) -> None:
        assert cells(pilot)[1] == "history.db: no"
        feed.tell(some())
        await settled(pilot)
        assert cells(pilot)[1].startswith("kvm1       CPU")
        feed.tell(Failed(HOST, "gone\x1b[2J"))
        await settled(pilot)
        assert cells(pilot)[1].endswith(r"gone\x1b[2J")
        feed.tell(some())
        await settled(pilot)
        assert "CPU" in cells(pilot)[1]

    run(see, Failed(None, "history.db: no"))


@pytest.mark.parametrize("size", [(80, 24), (160, 50), (40, 10), (20, 3)])
def test_the_page_follows_the_size_of_the_terminal(size: tuple[int, int]) -> None:
    async def see(pilot: Pilot[None], _feed: Scripted) -> None:
        assert len(cells(pilot)) == 24
        await pilot.resize_terminal(*size)
        await settled(pilot)
        assert len(cells(pilot)) == size[1]
        assert max(map(len, cells(pilot))) <= size[0]

    run(see)


def test_colours_are_the_terminals_own() -> None:
    colors = [color for style in STYLES.values() for color in (style.color, style.bgcolor) if color]
    assert colors
    assert all(color.number is not None and color.number < 16 for color in colors)

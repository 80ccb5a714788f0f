"""The page on a terminal, and the keys that are pressed there. The only module of this package that knows one.

Pieces of text become cells as they are: nothing in them is read as markup, whoever named a guest.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import tzinfo

from rich.segment import Segment
from rich.style import Style
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.events import Key as KeyPressed
from textual.events import Resize
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from domstat.top.feed import Arrived, Failed, Feed, Past, Told
from domstat.top.fleet import Fleet, Picture
from domstat.top.guest import Row
from domstat.top.lines import Frame, Line, Tone
from domstat.top.page import compose, room_of
from domstat.top.view import View, pressed, scrolled

GATHER_S = 0.2
"""What arrives within so short a time is drawn at once: twenty hosts need not make twenty pages."""

AGE_S = 1.0
"""How often the page is drawn although nothing has come: the age of what there is is part of it."""

STYLES: dict[Tone, Style] = {
    "plain": Style.null(),
    "dim": Style(dim=True),
    "strong": Style(bold=True),
    "bad": Style(color="red", bold=True),
    "warn": Style(color="yellow"),
    "bar": Style(color="green"),
    "head": Style(color="black", bgcolor="green"),
    "chosen": Style(color="black", bgcolor="cyan"),
}
"""What tones look like, in the terminal's own colours."""


class Page(Widget, can_focus=True):
    """Lines, as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[Line] = []

    def show(self, lines: list[Line]) -> None:
        """Draw *lines*; the terminal is sent what differs."""
        before, self.shown = self.shown, lines
        if before != lines:
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Return one line's cells."""
        if y >= len(self.shown):
            return Strip.blank(self.size.width)
        return Strip([Segment(text, STYLES[tone]) for text, tone in self.shown[y]]).adjust_cell_length(self.size.width)


class TopApp(App[None]):
    """The screen: a feed's records into the fleet, keys into the view, both onto the page."""

    CSS = "Screen, Page { background: ansi_default; color: ansi_default; } Page { width: 100%; height: 100%; }"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS = [Binding("ctrl+c", "quit", show=False, priority=True)]  # noqa: RUF012 - textual's way

    class Heard(Message):
        """Something that the feed told."""

        def __init__(self, told: Told) -> None:
            super().__init__()
            self.told = told

    def __init__(self, feed: Feed, source: str, zone: tzinfo, hosts: Sequence[str] = (), *, gather_s: float = GATHER_S):
        """*source* says where figures come from; *hosts* are shown before there are any."""
        super().__init__(ansi_color=True)
        self.view = View()
        self._feed = feed
        self._fleet = Fleet(hosts)
        self._picture: Picture = self._fleet.picture()
        self._source = source
        self._trouble: str | None = None
        self._zone = zone
        self._gather_s = gather_s
        self._is_due = False
        self._page = Page()

    def compose(self) -> ComposeResult:
        """Give the only widget there is."""
        yield self._page

    def on_mount(self) -> None:
        """Begin."""
        self._page.focus()
        self._feed.start(self._hear)
        self.set_interval(AGE_S, self._draw)

    def on_unmount(self) -> None:
        """End."""
        self._feed.stop()

    def _hear(self, told: Told) -> None:
        self.post_message(self.Heard(told))  # from any thread

    def on_top_app_heard(self, message: Heard) -> None:
        """Take what the feed told, and draw it soon."""
        match message.told:
            case Arrived(batches):
                self._trouble = None
                self._fleet.take(batches)
            case Past(key, values):
                self._fleet.fill(key, values)
            case Failed(None, trouble):
                self._trouble = trouble
            case Failed(str(host), trouble):
                self._fleet.fail(host, trouble)
        if not self._is_due:
            self._is_due = True
            self.set_timer(self._gather_s, self._renew)

    def on_key(self, event: KeyPressed) -> None:
        """Do what a key means."""
        event.stop()
        event.prevent_default()
        before = self.view
        room = room_of(before, self._picture, self._frame)
        self.view = pressed(before, event.key, event.character, self._picture, room)
        if self.view.quitting:
            self.exit()
        if self.view.opened is not None and self.view.opened != before.opened:
            self._feed.ask(self.view.opened, self._picture.time_ms)
        if before.paused and not self.view.paused:
            self._renew()
        self._draw()

    def on_resize(self, _event: Resize) -> None:
        """Lay the page out anew."""
        self._draw()

    @property
    def _frame(self) -> Frame:
        return Frame(
            width=self.size.width,
            height=self.size.height,
            now_ms=self._picture.time_ms if self.view.paused else time.time_ns() // 1_000_000,
            zone=self._zone,
            source=self._source,
            trouble=self._trouble,
        )

    def _renew(self) -> None:
        self._is_due = False
        if not self.view.paused:
            self._picture = self._fleet.picture()
        self._draw()

    def _draw(self) -> None:
        frame = self._frame
        self.view = scrolled(self.view, self._picture, room_of(self.view, self._picture, frame))
        self._page.show(compose(self.view, self._picture, frame, self._hour))

    def _hour(self, row: Row, measure: int) -> list[float | None]:
        return self._fleet.hour(row.key, measure, row.time_ms)


def watch(feed: Feed, source: str, zone: tzinfo, hosts: Sequence[str]) -> int:
    """Show the screen until whoever looks at it leaves; return the exit code."""
    app = TopApp(feed, source, zone, hosts)
    # Without the mouse a terminal turns its wheel into arrow keys, and text can be marked as anywhere.
    app.run(mouse=False)
    return app.return_code or 0

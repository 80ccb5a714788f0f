"""``domstat top`` on real guests: straight from libvirt, and from an agent's history."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from datetime import UTC
from pathlib import Path

from domstat.top.feed import Arrived, Feed, Past, Told
from domstat.top.fleet import Fleet
from domstat.top.guest import Row
from domstat.top.lines import Frame, text_of
from domstat.top.live import LiveFeed, Target
from domstat.top.measures import CPU
from domstat.top.page import compose
from domstat.top.stored import StoredFeed
from domstat.top.view import View, listed
from domstat_lab.hang import hung
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.spec import GuestSpec
from domstat_sinks.sqlite import SqliteSink
from domstat_sinks.sqlite.sink import SqliteSettings

from .conftest import BURNER, NAUGHTY, PATIENCE_S, WRITER, Agent

HOST = "lab"


class Watched:
    """A feed's records in a fleet, and the page that this is."""

    def __init__(self, feed: Feed) -> None:
        self.fleet = Fleet([HOST])
        self.past: list[Past] = []
        self._feed = feed
        self._told: queue.Queue[Told] = queue.Queue()
        feed.start(self._told.put)

    def until(self, condition: Callable[[dict[str, Row]], bool]) -> dict[str, Row]:
        """Take what comes until something is so of the guests by name."""
        until = time.monotonic() + PATIENCE_S
        while True:
            match self._told.get(timeout=max(0.0, until - time.monotonic())):
                case Arrived(batches):
                    self.fleet.take(batches)
                case Past() as past:
                    self.past.append(past)
                    self.fleet.fill(past.key, past.values)
                case failed:
                    raise AssertionError(failed)
            rows = {row.name: row for row in self.fleet.picture().guests}
            if condition(rows):
                return rows

    def page(self, view: View | None = None) -> str:
        picture = self.fleet.picture()
        frame = Frame(width=80, height=60, now_ms=picture.time_ms, zone=UTC, source="test")
        hour = self.fleet.hour
        return text_of(compose(view or View(), picture, frame, lambda row, of: hour(row.key, of, row.time_ms)))

    def stop(self) -> None:
        self._feed.stop()


def burns(rows: dict[str, Row]) -> bool:
    """Whether the burner is at it: it rests now and then."""
    return BURNER.name in rows and (rows[BURNER.name].cores or 0.0) > 0.1


def test_the_busiest_is_first_and_who_hangs_is_marked_while_all_others_go_on(
    lab: PrivateLibvirtd, victim: GuestSpec
) -> None:
    watched = Watched(LiveFeed([Target(HOST, lab.uri_ro)], 1.0))
    try:
        rows = watched.until(lambda rows: burns(rows) and victim.name in rows)
        busiest = max(rows.values(), key=lambda row: row.cores or 0.0)
        assert listed(View(), watched.fleet.picture())[0] is busiest
        assert (rows[BURNER.name].values[CPU] or 0.0) > 0.05
        assert not any(row.stuck for row in rows.values())
        with hung(lab, [victim.name]):
            rows = watched.until(lambda rows: rows[victim.name].stuck)
            assert [name for name, row in rows.items() if row.stuck] == [victim.name]
            page = watched.page()
            assert "1 stuck" in page
            assert [victim.name, "STUCK"] in [line.split()[:2] for line in page.splitlines()]
            newest = rows[BURNER.name].time_ms
            watched.until(lambda rows: rows[BURNER.name].time_ms > newest)
        watched.until(lambda rows: not rows[victim.name].stuck)
        assert NAUGHTY.name in rows
        assert all(line.isprintable() for line in watched.page().splitlines())
        opened = watched.page(View(opened=rows[WRITER.name].key))
        assert "vda" in opened
        assert "52:54:00" in opened
    finally:
        watched.stop()


def test_a_running_agents_history_gives_the_same_guests_and_their_past(
    run_agent: Callable[..., Agent], tmp_path: Path
) -> None:
    agent = run_agent(sinks='[[sinks]]\ntype = "sqlite"\n')
    agent.wait_ticks(4)
    watched = Watched(StoredFeed(lambda: SqliteSink.history(SqliteSettings(), tmp_path), 0.2))
    try:
        rows = watched.until(burns)
        newest = rows[BURNER.name].time_ms
        rows = watched.until(lambda rows: rows[BURNER.name].time_ms > newest)
        watched._feed.ask(rows[BURNER.name].key, rows[BURNER.name].time_ms)
        watched.until(lambda _rows: bool(watched.past))
        assert watched.past[0].values[-1][1][CPU] is not None
        assert "burner" in watched.page()
    finally:
        watched.stop()
    agent.wait_more_ticks(2)
    assert not [event for event in agent.events() if event.get("level") in {"warning", "error"}]

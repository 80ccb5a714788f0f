"""Puts a scenario into a history file, as the sqlite sink itself would have it after so long.

All but the last hour is written as buckets of five minutes (of the last 180 days), of hours and of days, with their
sketches: out of the sink's own functions, and in the form in which it keeps them for good. Of the last hour the sink is
given ticks, which it seals and rolls up as ever. So ``domstat history verify`` finds nothing wrong, and whoever writes
the file next goes on with it.

Of the hours before there are no ticks: they are as old as ``raw`` says, for a ``raw`` of an hour.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path

import msgspec
from msgspec import Struct

from domstat.model import Batch
from domstat.sink import SinkContext
from domstat_bench import scenario_segments
from domstat_bench.scenario_courses import DAY_MS, HOUR_MS
from domstat_bench.scenario_days import DayRows
from domstat_bench.scenario_segments import Rows, rows_of
from domstat_bench.scenario_stretches import Stretch, Stretches
from domstat_bench.scenario_ticks import batches, happenings
from domstat_bench.scenario_values import Stream, Subject, streams_of
from domstat_bench.scenario_world import Host, World
from domstat_sinks.sqlite.heads.numbers import Numbers
from domstat_sinks.sqlite.packed.directory import Directory
from domstat_sinks.sqlite.rollups.days import HOURS_KEPT_MS
from domstat_sinks.sqlite.rollups.guests import Guests
from domstat_sinks.sqlite.rollups.roller import FIVE_MINUTES, HOURS
from domstat_sinks.sqlite.rollups.rollstats import Rollup
from domstat_sinks.sqlite.rollups.rollup import FIVE_MINUTES_MS, merge
from domstat_sinks.sqlite.sink import SqliteSettings, SqliteSink

TICK_MS = {"default": 60_000, "survey": 300_000}
"""How far a stream's ticks are apart; an agent's own default is 10 s, of which a year's end would take long."""

TICKED_MS = HOUR_MS
"""How much of the end is ticks."""

COMMITTED_TICKS = 64
"""Ticks in one commit."""

FIVE_MINUTES_KEPT_MS = 180 * DAY_MS

WINDOW_MS, WINDOWS = 10 * DAY_MS, 3
"""A segment of five minutes; and how many of these are one of hours."""


class Made(Struct, frozen=True):
    """What writing took: seconds of CPU, and bytes."""

    cpu_s: float
    file_bytes: int


def write(
    world: World,
    folder: Path,
    say: Callable[[str], None] = lambda _: None,
    *,
    sketched_ms: int = HOURS_KEPT_MS,
) -> Made:
    """Write a scenario into a new ``history.db`` in *folder*. Raises FileExistsError if there is one.

    Of the last *sketched_ms* there are sketches of hours; with less of them a small scenario is soon written.
    """
    began = time.process_time()
    settings = SqliteSettings()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / settings.path
    if path.exists():
        raise FileExistsError(f"{path} is there already; name another folder")
    _sink(settings, folder, iter(()))  # makes the file
    made: list[tuple[Host, Stream, Stretches]] = []
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF")
        ids = count(1)
        for host in world.hosts:
            say(f"host {host.name}: {len(host.guests)} guests")
            for stream in streams_of(world, host):
                connection.execute("BEGIN IMMEDIATE")
                made.append((host, stream, _Buckets(connection, world, host, stream, ids, sketched_ms).write()))
                connection.execute("COMMIT")
    finally:
        connection.close()
    say("the last ticks")
    _sink(settings, folder, _last_batches(world, made))
    return Made(time.process_time() - began, path.stat().st_size)


def write_config(folder: Path) -> Path:
    """Write a configuration beside a scenario's history that names it, for ``domstat --config``."""
    path = folder / "domstat.toml"
    where = folder.resolve()
    path.write_text(f'[agent]\nstate_dir = "{where}"\n\n[[sinks]]\ntype = "sqlite"\npath = "{where}/history.db"\n')
    return path


def _sink(settings: SqliteSettings, folder: Path, written: Iterator[Batch]) -> None:
    """Give batches to the sink, and let it do all that is due."""
    sink = SqliteSink(settings)
    sink.open(SinkContext("history", folder, None, lambda _record, _reason: None))
    try:
        while group := list(islice(written, COMMITTED_TICKS)):
            sink.write(group)
        while sink.settle():
            pass
    finally:
        sink.close()


def _last_batches(world: World, made: list[tuple[Host, Stream, Stretches]]) -> Iterator[Batch]:
    for host in world.hosts:
        yield from happenings(world, host)
    for host, stream, stretches in made:
        end_ms = _end_ms(world, host)
        yield from batches(host, stream, stretches, ticks_from_ms(world, host), end_ms)


def _end_ms(world: World, host: Host) -> int:
    return min(world.end_ms, host.until_ms)


def ticks_from_ms(world: World, host: Host) -> int:
    """Return when a host's ticks begin: all before are buckets."""
    begin_ms = max(world.begin_ms, host.from_ms)
    return max(begin_ms, (_end_ms(world, host) - TICKED_MS) // HOUR_MS * HOUR_MS)


class _Buckets:
    """One stream's buckets on their way into the file."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        world: World,
        host: Host,
        stream: Stream,
        ids: Iterator[int],
        sketched_ms: int,
    ) -> None:
        self._connection, self._world, self._host, self._ids = connection, world, host, ids
        self._numbers, self._guests = Numbers(connection), Guests(connection)
        self._whose = (host.name, stream.collect)
        self._stream = stream
        self._begin_ms, self._end_ms = max(world.begin_ms, host.from_ms), ticks_from_ms(world, host)
        tick_ms = TICK_MS[stream.collect]
        self._made = Stretches(stream, host.gaps, world.step_ms, tick_ms, self._begin_ms)
        weight = max(world.step_ms // tick_ms, 1)
        self._days = DayRows(connection, self._numbers, self._guests, self._whose, weight, sketched_ms)

    def write(self) -> Stretches:
        """Write them all; return what the last ticks follow on."""
        raw = self._numbers.stream(self._whose)
        if self._end_ms > self._begin_ms:
            # What is made of ticks is complete up to here, and nothing is open.
            self._connection.execute("INSERT INTO rolled VALUES (?, ?, 0, 0)", (raw, self._end_ms))
            for subject in self._stream.subjects:
                self._describe(raw, subject)
        hours: list[Rows] = []
        for from_ms, until_ms in self._windows():
            stretches = [(of, _hours_of(of)) for of in self._made.window(from_ms, until_ms)]
            if stretches:
                self._minutes(stretches, until_ms)
                hours += [rows_of(of) for _, of in stretches]
                self._days.add(stretches, from_ms, until_ms, self._end_ms)
            if hours and until_ms // WINDOW_MS % WINDOWS == 0:
                self._guests.seen(self._host.name, self._store(HOURS, hours))
                hours = []
        if hours:
            self._guests.seen(self._host.name, self._store(HOURS, hours))
        return self._made

    def _windows(self) -> list[tuple[int, int]]:
        starts = range(self._begin_ms // WINDOW_MS * WINDOW_MS, self._end_ms, WINDOW_MS)
        return [(max(start, self._begin_ms), min(start + WINDOW_MS, self._end_ms)) for start in starts]

    def _minutes(self, stretches: list[tuple[Stretch, Rollup]], until_ms: int) -> None:
        if self._world.step_ms == FIVE_MINUTES_MS and until_ms > self._end_ms - FIVE_MINUTES_KEPT_MS:
            self._store(FIVE_MINUTES, [rows_of(of.rollup) for of, _ in stretches])

    def _store(self, tier: int, rows: list[Rows]) -> Directory:
        stream = self._numbers.stream(self._whose, tier)
        return scenario_segments.store(self._connection, self._numbers, stream, self._ids, rows)

    def _describe(self, raw: int, subject: Subject) -> None:
        """Store a guest's labels and devices, which the sink does when they are new."""
        if subject.uuid is None:
            return
        devices = {name: dict(what) for name, what in subject.devices}
        texts = [msgspec.json.encode(what).decode() for what in (dict(subject.labels), devices)]
        since_ms = max(subject.from_ms, self._begin_ms)
        self._connection.execute(
            "INSERT OR REPLACE INTO detail VALUES (?, ?, ?, ?, ?)", (raw, subject.uuid, since_ms, *texts)
        )


def _hours_of(stretch: Stretch) -> Rollup:
    return merge([stretch.rollup], HOUR_MS)

"""Looking back: what a history knows of the agent that wrote it."""

from __future__ import annotations

from pathlib import Path

import pytest

from domstat.collect.subject import Subject
from domstat.config import parse
from domstat.doctor.look.past import DAY_MS, read_past, see_past
from domstat.doctor.scene import OutageSeen, Past
from domstat.model import Batch, Kind, Moment, Stamp, Value
from domstat.sink import SinkContext
from domstat_sinks.sqlite import SqliteSink
from domstat_sinks.sqlite.sink import SqliteSettings
from heard import Log
from records import HOST, TIME_MS

NOW_MS = TIME_MS + 3_600_000


def said(collect: str, minute: int, **figures: Value) -> Batch:
    """Make a batch of what an agent says of itself, a minute after the other."""
    stamp = Stamp(TIME_MS + 60_000 * minute, 10**12 + 60 * 10**9 * minute, "boot", 0)
    params = {name.replace("__", "."): value for name, value in figures.items()}
    moment = Moment(stamp.time_ms, stamp.boot_ns, stamp.boot_id)
    record = Subject(Kind.AGENT, HOST, collect).record(params, stamp, moment)
    return Batch(host=HOST, collect=collect, stamp=stamp, records=(record,))


def sink_says(minute: int, lag_s: int, backlog: int, dropped: int) -> Batch:
    figures: dict[str, Value] = {
        "agent.sink.lag.time[influx]": lag_s * 10**9,
        "agent.sink.backlog[influx]": backlog,
        "agent.sink.dropped.size[influx]": dropped,
        "agent.sink.dropped.age[influx]": 0,
        "agent.sink.dropped.ended[influx]": 10 * dropped,
    }
    return said("delivery", minute, **figures)


def remember(folder: Path, batches: list[Batch]) -> Past:
    sink = SqliteSink(SqliteSettings())
    sink.open(SinkContext("history", folder, Log(), lambda _record, _reason: None))
    sink.write(batches)
    sink.close()
    with SqliteSink.history(SqliteSettings(), folder) as history:
        return read_past(history, NOW_MS)


def test_the_worst_outage_of_each_sink_is_found_with_what_gave_way(tmp_path: Path) -> None:
    past = remember(tmp_path, [sink_says(0, 5, 0, 0), sink_says(1, 700, 9000, 0), sink_says(2, 20, 500, 7)])
    assert past.outages == (OutageSeen("influx", 700.0, 9000, 7),)


def test_the_time_that_most_calls_stayed_below_is_each_blocks_own(tmp_path: Path) -> None:
    calls = [said("default", minute, agent__call__time=10**7) for minute in range(50)]
    past = remember(tmp_path, [*calls, said("slow", 1, agent__call__time=3 * 10**9)])
    assert past.calls_s[HOST, "default"] == pytest.approx(0.01, rel=0.02)
    assert past.calls_s[HOST, "slow"] == pytest.approx(3.0, rel=0.02)


def test_how_often_the_clock_jumped_is_found(tmp_path: Path) -> None:
    steps = [said("default", minute, agent__clock_steps=count) for minute, count in enumerate((0, 0, 2, 3))]
    assert remember(tmp_path, steps).clock_steps == 3


def test_what_is_long_ago_is_past_caring(tmp_path: Path) -> None:
    remember(tmp_path, [sink_says(0, 700, 9000, 0), said("default", 1, agent__call__time=10**7)])
    with SqliteSink.history(SqliteSettings(), tmp_path) as history:
        assert read_past(history, NOW_MS + 31 * DAY_MS) == Past()


def test_without_a_history_it_is_said_why(tmp_path: Path) -> None:
    assert see_past(parse("").sinks, tmp_path).why.endswith("history.db: there is no history yet")
    assert see_past(parse("[[sinks]]\ntype = 'stdout'\n").sinks, tmp_path).why == "no sink keeps a history"


def test_the_first_history_there_is_is_asked(tmp_path: Path) -> None:
    remember(tmp_path, [said("default", 0, agent__call__time=10**7)])
    assert see_past(parse("").sinks, tmp_path).why == ""

"""A scenario in a file: sound, as the sink itself would have it, and gone on with by whoever writes next."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from domstat.history import Aggregate, History, Select, Series, Span
from domstat.sink import SinkContext
from domstat_bench.scenario_courses import DAY_MS, HOUR_MS, Course
from domstat_bench.scenario_stretches import Stretches
from domstat_bench.scenario_ticks import batches
from domstat_bench.scenario_values import streams_of
from domstat_bench.scenario_world import GIB, Disk, Guest, Host, Pool, Sleeper, World
from domstat_bench.scenario_writer import TICK_MS, write, write_config
from domstat_sinks.sqlite import SqliteSink
from domstat_sinks.sqlite.sink import SqliteSettings

END_MS = 1_795_392_000_000 + 5 * HOUR_MS
BEGIN_MS = END_MS - 30 * HOUR_MS


def world(begin_ms: int = BEGIN_MS, step_ms: int = 300_000) -> World:
    steady = Guest(
        uuid="u1", name="web-1", cores=Course(level=1.5), memory=Course(level=1.0 * GIB), steal=Course(level=0.1),
        rx=Course(level=1000.0), tx=Course(level=10.0), swap=Course(level=4096.0), major_faults=Course(level=1.0),
        disks=(
            Disk(
                reads=Course(level=10.0), writes=Course(level=2.0), latency=Course(level=0.002),
                allocation=Course(level=1e9, growth=1e9),
            ),
        ),
    )  # fmt: skip
    gone = Guest(uuid="u2", name="gone-1", cores=Course(level=0.5), until_ms=END_MS - 7 * HOUR_MS)
    host = Host(
        name="kvm1", own_cores=Course(level=0.3), guests=(steady, gone), pools=(Pool(allocation=Course(level=1e11)),),
        sleepers=(Sleeper(uuid="u2", name="gone-1", from_ms=END_MS - 7 * HOUR_MS),),
    )  # fmt: skip
    return World(begin_ms=begin_ms, end_ms=END_MS, hosts=(host,), step_ms=step_ms)


def write_by_ticks(of: World, folder: Path) -> None:
    """Give all of a world to the sink as ticks, which takes long."""
    with_all = SqliteSink(SqliteSettings())
    with_all.open(SinkContext("history", folder, None, lambda _record, _reason: None))
    for host in of.hosts:
        for stream in streams_of(of, host):
            made = Stretches(stream, (), of.step_ms, TICK_MS[stream.collect], of.begin_ms)
            for batch in batches(host, stream, made, of.begin_ms, of.end_ms):
                with_all.write([batch])
    while with_all.settle():
        pass
    with_all.close()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    at_once, by_ticks = tmp_path_factory.mktemp("at-once"), tmp_path_factory.mktemp("by-ticks")
    write(world(), at_once)
    write_by_ticks(world(), by_ticks)
    return at_once, by_ticks


@pytest.fixture
def both(folders: tuple[Path, Path]) -> Iterator[tuple[History, History]]:
    settings = SqliteSettings()
    with SqliteSink.history(settings, folders[0]) as one, SqliteSink.history(settings, folders[1]) as other:
        yield one, other


def read(history: History, field: str, step_ms: int, **how: object) -> dict[tuple[object, ...], Series]:
    # The first hour is left out: the sink's own first tick has no rate, and the scenario's has.
    span = Span(BEGIN_MS + 2 * HOUR_MS, END_MS - 2 * HOUR_MS)
    select = Select(span=span, fields=(field,), step_ms=step_ms, tolerance=0.01, **how)  # type: ignore[arg-type]
    return {(s.subject.kind, s.subject.uuid, s.field, s.device): s for s in history.read(select)}


def test_all_of_it_is_sound(folders: tuple[Path, Path]) -> None:
    damaged: list[str] = []
    with SqliteSink.history(SqliteSettings(), folders[0]) as history:
        found = history.verify(damaged.append)  # type: ignore[attr-defined]
    assert damaged == []
    assert found.ticks > 29 * 12


@pytest.mark.parametrize("step_ms", [300_000, HOUR_MS])
@pytest.mark.parametrize(
    "field",
    [
        "cpu.cores", "cpu.utilization", "vcpu.steal", "memory.used", "block.rd.latency", "host.cpu.utilization",
        "host.memory.used", "balloon.rss", "block.allocation", "pool.allocation", "volume.allocation", "state.state",
    ],
)  # fmt: skip
def test_every_value_is_what_the_sink_makes_of_ticks(both: tuple[History, History], field: str, step_ms: int) -> None:
    ours, theirs = (read(history, field, step_ms) for history in both)
    assert ours.keys() == theirs.keys() != set()
    for key, series in ours.items():
        other = theirs[key]
        assert series.time_ms.tolist() == other.time_ms.tolist()
        assert series.measure == other.measure
        assert series.coverage == pytest.approx(other.coverage, abs=0.01)
        # A guest's first tick in a host's sum comes a step of its own time before or after ours.
        assert np.allclose(np.asarray(series.values, float), np.asarray(other.values, float), rtol=0.02), key


def test_increases_are_those_of_ticks(both: tuple[History, History]) -> None:
    for field in ("cpu.time", "net.rx.bytes", "block.rd.reqs", "balloon.swap_in"):
        ours, theirs = (read(history, field, HOUR_MS, aggregate=Aggregate.INCREASE) for history in both)
        for key, series in ours.items():
            expected = np.asarray(theirs[key].values, float)[1:-1]
            assert np.allclose(np.asarray(series.values, float)[1:-1], expected, rtol=0.002), key


def test_a_segment_has_the_columns_that_the_sinks_own_would_have(folders: tuple[Path, Path]) -> None:
    names = []
    for folder in folders:
        connection = sqlite3.connect(folder / "history.db")
        names.append({name for (name,) in connection.execute("SELECT name FROM field WHERE name LIKE '%:%'")})
        connection.close()
    ours, theirs = names
    assert theirs <= ours
    # These have a least and a greatest value wherever such a field has ever moved.
    assert {name.rpartition(":")[2] for name in ours - theirs} <= {"min", "max", "mean"}


def test_quantiles_come_from_sketches_of_as_many_ticks(both: tuple[History, History]) -> None:
    midnight = BEGIN_MS // DAY_MS * DAY_MS + DAY_MS
    select = Select(
        span=Span(midnight, midnight + 20 * HOUR_MS), fields=("cpu.cores",), guests=("web-1",), tolerance=0.01
    )
    ((ours,), (theirs,)) = (list(history.quantiles(select, (0.5, 0.95))) for history in both)
    assert ours.count == theirs.count == 20 * 60
    assert ours.values == pytest.approx(theirs.values, rel=0.02)
    assert ours.tier == theirs.tier == "sketches"


def test_hosts_and_guests_are_known_with_their_times_and_labels(both: tuple[History, History]) -> None:
    ours, theirs = both
    assert [host.name for host in ours.hosts()] == ["kvm1"]
    assert [(g.uuid, g.name, g.hosts) for g in ours.guests(Span())] == [
        (g.uuid, g.name, g.hosts) for g in theirs.guests(Span())
    ]
    rows = list(ours.sql("SELECT uuid, domain FROM guests ORDER BY uuid").rows)
    assert rows == [("u1", "web-1"), ("u2", "gone-1")]
    assert len(list(ours.sql("SELECT * FROM detail WHERE uuid = 'u1'").rows)) == 1


def test_where_only_hours_are_wanted_they_are_as_if_made_of_five_minutes(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    write(world(step_ms=HOUR_MS), tmp_path, sketched_ms=0)
    settings = SqliteSettings()
    with SqliteSink.history(settings, tmp_path) as hourly, SqliteSink.history(settings, folders[0]) as finer:
        for field in ("cpu.cores", "host.memory.used", "pool.allocation"):
            ours, theirs = (read(history, field, HOUR_MS) for history in (hourly, finer))
            assert ours.keys() == theirs.keys()
            for key, series in ours.items():
                assert np.allclose(np.asarray(series.values, float), np.asarray(theirs[key].values, float), rtol=0.01)


def test_what_is_written_next_follows_on(tmp_path: Path) -> None:
    of = world()
    write(of, tmp_path)
    host = of.hosts[0]
    sink = SqliteSink(SqliteSettings())
    sink.open(SinkContext("history", tmp_path, None, lambda _record, _reason: None))
    (stream, _) = streams_of(of, host)
    made = Stretches(stream, (), of.step_ms, 60_000, BEGIN_MS)
    for batch in batches(host, stream, made, END_MS, END_MS + 26 * HOUR_MS):
        sink.write([batch])
    while sink.settle():
        pass
    sink.close()
    damaged: list[str] = []
    with SqliteSink.history(SqliteSettings(), tmp_path) as history:
        history.verify(damaged.append)  # type: ignore[attr-defined]
        span = Span(BEGIN_MS, END_MS + 24 * HOUR_MS)
        select = Select(span=span, fields=("cpu.cores",), guests=("web-1",), step_ms=HOUR_MS, tolerance=0.01)
        (series,) = history.read(select)
        days = list(history.sql("SELECT n FROM daily WHERE field = 'cpu.cores' AND domain = 'web-1' ORDER BY day").rows)
    assert damaged == []
    assert len(series.values) == 54
    assert np.allclose(np.asarray(series.values, float), 1.5, rtol=0.01)
    # An hour, a whole day, and one in which two first ticks have no rate: the scenario's, and that of what follows.
    assert days == [(60,), (1440,), (1438,)]


def test_a_file_that_is_there_is_left_alone(folders: tuple[Path, Path]) -> None:
    with pytest.raises(FileExistsError, match="name another folder"):
        write(world(), folders[0])


def test_a_configuration_names_the_file(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    assert f'path = "{tmp_path}/history.db"' in path.read_text()

"""Tiers read back: columns, rows of the views, and quantiles of ranges."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domstat.history import Span
from domstat.model import key_of, split_key
from domstat_sinks.sqlite import connect
from domstat_sinks.sqlite.keeping import merging, upkeep
from domstat_sinks.sqlite.rollups import days, tiers
from domstat_sinks.sqlite.rollups.ranges import quantiles
from domstat_sinks.sqlite.rollups.rollup import DAY_MS, HOUR_MS
from domstat_sinks.sqlite.rollups.sketch import ERROR
from domstat_sinks.sqlite.writer import Writer

from .histories import Found, Tick, naive
from .tierdata import ROUNDED, WIDTHS, batches, expected, some_history, tail

SLICE = 5


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "SLICE_TICKS", SLICE)
    monkeypatch.setattr(upkeep, "SLICE_MS", 1)
    monkeypatch.setattr(upkeep, "STEP_S", 60.0)
    monkeypatch.setattr(upkeep, "TIER_SLICES_MS", {1: 1_800_000, 2: DAY_MS})
    monkeypatch.setattr(merging, "LEVELS", {})


def stored(path: Path, ticks: Sequence[Tick], later_ms: int = 3 * HOUR_MS) -> None:
    to = Writer(path)
    for batch in batches([*ticks, *tail(ticks, 2 * SLICE + 1, later_ms)]):
        to.write([batch])
    while to._upkeep._has_work():
        to._upkeep.run()
    to.close()


def stream_of(connection: Any, tier: int) -> int:
    return int(connection.execute("SELECT id FROM stream WHERE tier = ?", (tier,)).fetchone()[0])


def wanted_rows(ticks: Sequence[Tick], tier: int) -> dict[tuple[Any, ...], dict[str, Any]]:
    found: Found = expected(ticks, tier)
    return {
        (start, subject[0], subject[1], key): statistics
        for (start, subject), series in found.items()
        for key, statistics in series.items()
        if key != "ticks"
    }


def is_told(key: str) -> bool:
    """Tell whether a series' mean is told by counters, over time and not over ticks."""
    field = split_key(key)[0]
    return field in {"cpu.cores", "cpu.utilization", "vcpu.steal"} or field.endswith(".latency")


@pytest.mark.parametrize("seed", [1, 3, 6])
@pytest.mark.parametrize(("tier", "view"), [(1, "five_minutes"), (2, "hourly")])
def test_the_views_have_a_row_for_each_bucket_and_series(tmp_path: Path, seed: int, tier: int, view: str) -> None:
    path, ticks = tmp_path / "history.db", some_history(seed, length=40, step_ms=100_000)
    ticks = sorted_in_time(ticks)
    stored(path, ticks)
    connection = connect(path)
    rows = connection.execute(
        f"SELECT time_ms, kind, uuid, field, device, increase, max_rate, min, max, mean, last, coverage FROM {view}"
    ).fetchall()
    connection.close()
    wanted = wanted_rows(ticks, tier)
    found = {(start, kind, uuid, key_of(field, device)): rest for start, kind, uuid, field, device, *rest in rows}
    assert len(found) == len(rows)
    assert set(found) == set(wanted)
    for at, statistics in wanted.items():
        increase, max_rate, least, most, mean, last, coverage = found[at]
        assert 0 <= coverage <= 1
        if "increment" in statistics:
            assert float(increase) == pytest.approx(statistics["increment"])
            assert max_rate == pytest.approx(statistics["max_rate"], rel=ROUNDED)
            assert coverage == pytest.approx(min(1.0, statistics["covered"] / 1e6 / WIDTHS[tier]))
        elif "min" in statistics:
            near = [float(value) for value in (least, most, last)]
            assert near == pytest.approx([float(statistics[of]) for of in ("min", "max", "last")], rel=ROUNDED)
            if not is_told(at[3]):
                assert float(mean) == pytest.approx(statistics["sum"] / statistics["count"], rel=ROUNDED)
        else:
            assert last in {"a", "b"}


def sorted_in_time(ticks: list[Tick]) -> list[Tick]:
    """Leave out ticks at which the clock was set back, so that every bucket is stored once."""
    kept: list[Tick] = []
    for tick in ticks:
        if not kept or tick.stamp.time_ms > kept[-1].stamp.time_ms:
            kept.append(tick)
    return kept


def test_series_are_chosen_by_owner_field_device_and_time(tmp_path: Path) -> None:
    path, ticks = tmp_path / "history.db", sorted_in_time(some_history(3, length=40, step_ms=100_000))
    stored(path, ticks)
    connection = connect(path)
    middle = ticks[20].stamp.time_ms // 300_000 * 300_000
    wanted = tiers.Wanted(
        is_owner=lambda owner: owner.uuid == "uuid-1",
        fields=frozenset({"block.rd.bytes", "cpu.time"}),
        devices=frozenset({None, "vda"}),
    )
    found = list(tiers.read(connection, stream_of(connection, 1), Span(middle), wanted))
    assert {(of.owner.uuid, of.field, of.device) for of in found} == {
        ("uuid-1", "cpu.time", None),
        ("uuid-1", "block.rd.bytes", "vda"),
    }
    starts = [start for of in found for start in of.starts_ms.tolist()]
    assert min(starts) == middle
    connection.close()


def exact(ticks: Sequence[Tick], span: Span) -> dict[str, list[float]]:
    """Return a key field's values in a span, by guest."""
    found: dict[str, list[float]] = {}
    for (start, subject), series in naive(ticks, HOUR_MS).items():
        if subject[1] and span.since_ms <= start < span.until_ms and "memory.used" in series:
            found.setdefault(subject[1], []).extend(series["memory.used"].values)
    return {uuid: [value for value in values if not math.isnan(value)] for uuid, values in found.items()}


def spans(ticks: Sequence[Tick]) -> Iterator[Span]:
    first, last = ticks[0].stamp.time_ms, ticks[-1].stamp.time_ms
    day = last // DAY_MS * DAY_MS
    yield Span(first // HOUR_MS * HOUR_MS, day + 2 * HOUR_MS)
    yield Span(day - 3 * DAY_MS + 5 * HOUR_MS, day - 7 * HOUR_MS)
    yield Span(day - 40 * DAY_MS, day - 2 * DAY_MS)
    yield Span(day - 35 * DAY_MS, day - 20 * DAY_MS)
    yield Span(day - 12 * DAY_MS + HOUR_MS, day - 9 * HOUR_MS)


@pytest.mark.parametrize("kept_days", [8, 1_000])
def test_quantiles_of_any_range_are_right_to_one_percent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_days: int
) -> None:
    monkeypatch.setattr(days, "HOURS_KEPT_MS", kept_days * DAY_MS)
    path, ticks = tmp_path / "history.db", sorted_in_time(some_history(3, length=140, step_ms=35_000_000))
    stored(path, ticks, later_ms=DAY_MS)
    connection = connect(path)
    uuids = dict(connection.execute("SELECT id, uuid FROM guest"))
    stream = stream_of(connection, 0)
    for span in spans(ticks):
        found = quantiles(connection, stream, "memory.used", span, (0.5, 0.95))
        assert found is not None
        if kept_days > 8:
            assert found.span == span, "to the hour"
        wanted = exact(ticks, found.span)
        assert {uuids[guest] for guest in found.guests.tolist()} == {uuid for uuid, values in wanted.items() if values}
        for row, guest in enumerate(found.guests.tolist()):
            values = wanted[uuids[guest]]
            assert found.counts[row] == len(values)
            assert found.means[row] == pytest.approx(sum(values) / len(values))
            for column, share in enumerate((0.5, 0.95)):
                near = float(np.quantile(values, share, method="lower"))
                assert found.values[row, column] == pytest.approx(near, rel=2 * ERROR)
    connection.close()


def test_there_are_no_quantiles_of_what_is_no_key_field_or_was_never(tmp_path: Path) -> None:
    path, ticks = tmp_path / "history.db", sorted_in_time(some_history(3, length=40, step_ms=3_000_000))
    stored(path, ticks)
    connection = connect(path)
    stream = stream_of(connection, 0)
    assert quantiles(connection, stream, "vcpu.wait", Span(), (0.5,)) is None
    assert quantiles(connection, stream, "memory.used", Span(0, HOUR_MS), (0.5,)) is None
    connection.close()


def test_coverage_is_by_stream(tmp_path: Path) -> None:
    path, ticks = tmp_path / "history.db", sorted_in_time(some_history(3, length=40, step_ms=3_000_000))
    stored(path, ticks)
    connection = connect(path)
    ((host, collect, first_ms, _, count, lost_ms),) = connection.execute("SELECT * FROM coverage").fetchall()
    assert (host, collect, first_ms, lost_ms) == ("h", "c", ticks[0].stamp.time_ms, 0)
    assert count == len(ticks) + 2 * SLICE + 1
    connection.close()

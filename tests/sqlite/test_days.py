"""Days say what their samples come to, and ranges of days are made of a few sketches."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from domstat_sinks.sqlite.keeping import merging, upkeep
from domstat_sinks.sqlite.rollups import days, sketchblob
from domstat_sinks.sqlite.rollups.rollup import DAY_MS
from domstat_sinks.sqlite.rollups.sketch import ERROR
from domstat_sinks.sqlite.writer import Writer

from .histories import Tick, naive
from .tierdata import batches, some_history, tail

SLICE = 5
GUEST = ("guest", "uuid-0", None)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "SLICE_TICKS", SLICE)
    monkeypatch.setattr(upkeep, "SLICE_MS", 1)
    monkeypatch.setattr(upkeep, "STEP_S", 60.0)
    monkeypatch.setattr(merging, "LEVELS", {})
    monkeypatch.setattr(merging, "TIER_LEVELS", {1: {}, 2: {}})


def write(path: Path, ticks: Sequence[Tick]) -> Writer:
    to = Writer(path)
    for batch in batches(ticks):
        to.write([batch])
    return to


def finish(to: Writer, ticks: Sequence[Tick]) -> None:
    """Write ticks of a day later, and do all that is due."""
    for batch in batches(tail(ticks, 2 * SLICE + 1, later_ms=DAY_MS)):
        to.write([batch])
    while to._upkeep._has_work():
        to._upkeep.run()
    to.close()


def daily(path: Path, field: str, uuid: str | None = "uuid-0") -> dict[str, dict[str, float]]:
    connection = sqlite3.connect(path)  # nothing is registered
    connection.row_factory = sqlite3.Row
    found = connection.execute("SELECT * FROM daily WHERE field = ? AND uuid IS ?", (field, uuid)).fetchall()
    connection.close()
    return {row["day"]: dict(row) for row in found}


def values_of(ticks: Sequence[Tick], key: str) -> dict[str, list[float]]:
    """Return the values of one of the guest's derived series, by day."""
    return {
        str(np.datetime64(start, "ms").astype("datetime64[D]")): series[key].values
        for (start, subject), series in naive(ticks, DAY_MS).items()
        if subject == GUEST and key in series
    }


def assert_days(path: Path, ticks: Sequence[Tick]) -> None:
    wanted = values_of(ticks, "memory.used")
    found = daily(path, "memory.used")
    last = max(tick.stamp.time_ms for tick in ticks) + 1
    assert set(found) >= set(wanted), last
    for day, values in wanted.items():
        row = found[day]
        assert (row["n"], row["min"], row["max"]) == (len(values), min(values), max(values))
        assert row["mean"] == pytest.approx(math.fsum(values) / len(values))
        for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99")):
            assert row[name] == pytest.approx(float(np.quantile(values, share, method="lower")), rel=ERROR)
    for (start, subject), series in naive(ticks, DAY_MS).items():
        day = str(np.datetime64(start, "ms").astype("datetime64[D]"))
        rates = series.get("net.rx.bytes[m]")
        if subject == GUEST and rates is not None and rates.rates:
            assert daily(path, "net.rx.bytes")[day]["increase"] == pytest.approx(sum(rates.values))
            assert 0 < daily(path, "net.rx.bytes")[day]["coverage"] <= 1


@pytest.mark.parametrize("seed", [1, 3, 4])
def test_days_are_what_their_ticks_come_to(tmp_path: Path, seed: int) -> None:
    path, ticks = tmp_path / "history.db", some_history(seed, length=60, step_ms=3_000_000)
    finish(write(path, ticks), ticks)
    assert_days(path, ticks)


@pytest.mark.parametrize("crash", [7, 20, 33, 51])
def test_days_are_the_same_if_the_writer_died(tmp_path: Path, crash: int) -> None:
    path, ticks = tmp_path / "history.db", some_history(3, length=60, step_ms=3_000_000)
    write(path, ticks[:crash])  # and is never heard of again
    finish(write(path, ticks[crash:]), ticks)
    assert_days(path, ticks)


def test_older_ticks_are_added_to_their_days(tmp_path: Path) -> None:
    path, ticks = tmp_path / "history.db", some_history(3, length=60, step_ms=3_000_000)
    newer, older = ticks[30:], ticks[:30]
    to = write(path, newer)
    for batch in batches(older):
        to.write([batch])
    finish(to, ticks)
    assert_days(path, [*newer, *older])


def test_guests_are_listed_by_any_sqlite(tmp_path: Path) -> None:
    path, ticks = tmp_path / "history.db", some_history(3, length=20, step_ms=3_000_000)
    finish(write(path, ticks), ticks)
    own = [tick.stamp.time_ms for tick in ticks for record in tick.records if record.domain]
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT uuid, domain, host, first_ms, last_ms FROM guests ORDER BY uuid").fetchall()
    assert [row[:3] for row in found] == [(f"uuid-{i}", f"uuid-{i}", "h") for i in range(3)]
    assert (min(row[3] for row in found), max(row[4] for row in found)) == (min(own), max(own))


def test_hours_go_when_they_are_in_their_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(days, "HOURS_KEPT_MS", DAY_MS)
    path, ticks = tmp_path / "history.db", some_history(3, length=90, step_ms=6_000_000)
    finish(write(path, ticks), ticks)
    connection = sqlite3.connect(path)
    ((first, open_ms),) = connection.execute(
        "SELECT min(start_ms), (SELECT open_ms FROM rolled) FROM sketch_hour"
    ).fetchall()
    assert first >= open_ms - DAY_MS
    assert_days(path, ticks)


def test_every_thirty_days_there_is_a_sum_of_all_before(tmp_path: Path) -> None:
    path, ticks = tmp_path / "history.db", some_history(3, length=80, step_ms=86_400_000)
    finish(write(path, ticks), ticks)
    connection = sqlite3.connect(path)
    found = {day for (day,) in connection.execute("SELECT DISTINCT day FROM sketch_sum")}
    first, last = connection.execute("SELECT min(day), max(day) FROM sketch_day").fetchone()
    assert found == {day for day in range(first + 1, last + 1) if day % 30 == 0}


def test_a_sum_that_is_damaged_is_made_again_and_so_are_those_after_it(tmp_path: Path) -> None:
    path, ticks = tmp_path / "history.db", some_history(3, length=80, step_ms=86_400_000)
    to = write(path, ticks[:70])
    while to.settle():
        pass
    to.close()
    connection = sqlite3.connect(path)
    whole = connection.execute("SELECT stream, field, block, day, blob FROM sketch_sum ORDER BY 1, 2, 3, 4").fetchall()
    assert len({day for _, _, _, day, _ in whole}) > 2
    connection.execute("UPDATE sketch_sum SET blob = zeroblob(length(blob))")
    connection.commit()
    connection.close()
    finish(write(path, ticks[70:]), [*ticks, *tail(ticks, 5, later_ms=30 * DAY_MS)])
    connection = sqlite3.connect(path)
    again = connection.execute("SELECT stream, field, block, day, blob FROM sketch_sum ORDER BY 1, 2, 3, 4").fetchall()
    assert [of[:4] for of in again if of[3] <= whole[-1][3]] == [of[:4] for of in whole]
    for *_, blob in again:
        sketchblob.decode(blob)
    assert set(whole) <= set(again)


def test_a_day_that_is_damaged_is_left_as_it_is_and_others_are_made(tmp_path: Path) -> None:
    path, ticks = tmp_path / "history.db", some_history(3, length=60, step_ms=3_000_000)
    finish(write(path, ticks), ticks)
    connection = sqlite3.connect(path)
    (day,) = connection.execute("SELECT min(day) FROM sketch_day").fetchone()
    connection.execute("UPDATE sketch_day SET blob = x'00' WHERE day = ?", (day,))
    connection.execute("UPDATE sketch_hour SET is_added = 0")
    connection.commit()
    before = connection.execute("SELECT * FROM day WHERE day = date(? * 86400, 'unixepoch')", (day,)).fetchall()
    making = days.Days(connection)
    while making.step():
        pass
    assert connection.execute("SELECT DISTINCT blob FROM sketch_day WHERE day = ?", (day,)).fetchall() == [(b"\0",)]
    assert before == connection.execute("SELECT * FROM day WHERE day = date(? * 86400, 'unixepoch')", (day,)).fetchall()
    assert connection.execute("SELECT count(*) FROM sketch_hour WHERE is_added = 0").fetchone() == (0,)
    ((once,),) = connection.execute(
        "SELECT max(n) FROM day WHERE day > date(? * 86400, 'unixepoch')", (day,)
    ).fetchall()
    assert once > 30, "the hours of the next day were added again"
    connection.close()


def test_hours_that_are_damaged_are_left_out_of_their_day(tmp_path: Path) -> None:
    path, ticks = tmp_path / "history.db", some_history(3, length=60, step_ms=3_000_000)
    finish(write(path, ticks), ticks)
    connection = sqlite3.connect(path)
    (all_of_it,) = connection.execute("SELECT sum(n) FROM daily WHERE field = 'memory.used'").fetchone()
    connection.execute("DELETE FROM sketch_day")
    connection.execute("DELETE FROM day")
    connection.execute("UPDATE sketch_hour SET is_added = 0, blob = iif(start_ms / 3600000 % 2, x'', blob)")
    making = days.Days(connection)
    while making.step():
        pass
    (rest,) = connection.execute("SELECT sum(n) FROM daily WHERE field = 'memory.used'").fetchone()
    assert 0 < rest < all_of_it
    connection.close()

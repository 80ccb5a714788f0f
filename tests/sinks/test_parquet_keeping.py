"""When hours become files, what is in the way of that, and when days go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from domstat.sink import Retry
from domstat_sinks.parquet import ParquetSink, hours, keeping, waiting
from parquet_folder import HOUR_MS, files, key, opened, read, tick
from records import TIME_MS

BEGIN_MS = TIME_MS // HOUR_MS * HOUR_MS


class Clock:
    """Both clocks, standing still at the beginning of an hour; to be set."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def monotonic(self) -> float:
        return self.passed_s

    def time(self) -> float:
        return BEGIN_MS / 1000 + self.passed_s

    def time_ms(self) -> int:
        return round(self.time() * 1000)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stands = Clock()
    for module in (keeping, waiting):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=stands.monotonic, time=stands.time))
    return stands


@pytest.fixture
def sink(tmp_path: Path, clock: Clock) -> Iterator[ParquetSink]:
    with opened(tmp_path, every="1h") as sink:
        yield sink


def made(tmp_path: Path) -> list[str]:
    return [name.rpartition("/")[2] for name in files(tmp_path)]


def write_at(sink: ParquetSink, clock: Clock, passed_s: float) -> None:
    clock.passed_s = passed_s
    sink.write([tick(time_ms=clock.time_ms())])


def test_an_hour_is_a_file_when_it_is_over_and_what_fills_it_has_gone_on(
    tmp_path: Path, sink: ParquetSink, clock: Clock
) -> None:
    for passed_s in (100, 3590, 3610):
        write_at(sink, clock, passed_s)
        assert made(tmp_path) == []
    write_at(sink, clock, 3600 + keeping.GRACE_MS / 1000)
    assert made(tmp_path) == ["hour-22.parquet"]


def test_a_backlog_is_not_made_a_file_with_every_write_of_it(tmp_path: Path, sink: ParquetSink, clock: Clock) -> None:
    clock.passed_s = 10 * 3600
    for number in range(5):
        sink.write([tick(time_ms=BEGIN_MS + number)])
        assert made(tmp_path) == []
    sink.write([tick(time_ms=BEGIN_MS + HOUR_MS)])
    assert made(tmp_path) == ["hour-22.parquet"]


def test_nothing_waits_longer_than_readers_are_to_wait(tmp_path: Path, clock: Clock) -> None:
    with opened(tmp_path, every="10m") as sink:
        for minute in range(31):
            write_at(sink, clock, minute * 60)
            seen = {row["time"] for row in read(tmp_path / "parquet")}
            assert minute + 1 - len(seen) <= 10
        assert made(tmp_path) == ["hour-22.parquet"]
        rows = read(tmp_path / "parquet")
        assert len(set(map(key, rows))) == len(rows)


def test_very_many_files_are_made_one(
    tmp_path: Path, sink: ParquetSink, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "SLOT_FILES_MAX", 5)
    for passed_s in range(23):
        write_at(sink, clock, passed_s)
        assert len(files(tmp_path, ".rows")) < 5
    assert len({row["time"] for row in read(tmp_path / "parquet")}) == 20


def test_a_write_makes_no_more_files_than_it_has_time_for(
    tmp_path: Path, sink: ParquetSink, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink.write([tick(host=f"kvm{number}", time_ms=BEGIN_MS) for number in range(4)])
    real = hours.make

    def slowly(*arguments: Any) -> Any:
        clock.passed_s += keeping.PUBLISH_S / 1.5
        return real(*arguments)

    monkeypatch.setattr(hours, "make", slowly)
    write_at(sink, clock, 2 * 3600)
    assert len(made(tmp_path)) == 2
    write_at(sink, clock, 2 * 3600 + 10)
    assert len(made(tmp_path)) == 4


def _fails(*_: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_what_cannot_be_made_a_file_is_stored_all_the_same_and_said(
    tmp_path: Path, sink: ParquetSink, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_at(sink, clock, 0)
    with monkeypatch.context() as broken, capture_logs() as logs:
        broken.setattr(hours, "make", _fails)
        for passed_s in (2 * 3600, 2 * 3600 + 10, 2 * 3600 + 100):
            write_at(sink, clock, passed_s)
    assert "host=kvm1/day=2026-11-22/hour-22.parquet cannot be made" in sink.health()
    assert [entry["event"] for entry in logs] == ["parquet_hours_not_made"]
    write_at(sink, clock, 2 * 3600 + 110)
    assert made(tmp_path) == []  # it is not tried with every write
    write_at(sink, clock, 2 * 3600 + 100 + keeping.PAUSE_S)
    assert made(tmp_path) == ["hour-22.parquet"]
    assert sink.health() == ""


def test_a_file_in_the_way_that_is_none_of_ours_is_left_as_it_is(
    tmp_path: Path, sink: ParquetSink, clock: Clock
) -> None:
    write_at(sink, clock, 0)
    there = tmp_path / "parquet/host=kvm1/day=2026-11-22/hour-22.parquet"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"what is this")
    sink.write([tick(host="kvm2", time_ms=BEGIN_MS)])
    write_at(sink, clock, 2 * 3600)
    assert "hour-22.parquet cannot be made" in sink.health()
    assert there.read_bytes() == b"what is this"
    assert (tmp_path / "parquet/host=kvm2/day=2026-11-22/hour-22.parquet").exists()
    there.unlink()
    write_at(sink, clock, 2 * 3600 + keeping.PAUSE_S)
    assert sink.health() == ""
    assert len(made(tmp_path)) == 2


def test_a_damaged_file_of_rows_is_set_aside_and_the_others_are_read(tmp_path: Path, clock: Clock) -> None:
    with opened(tmp_path) as sink:
        for number in range(3):
            sink.write([tick(number)])
    damaged = tmp_path / "parquet/.domstat/waiting" / files(tmp_path / "parquet/.domstat/waiting", ".rows")[1]
    damaged.write_bytes(damaged.read_bytes()[:100])
    clock.passed_s = 2 * 3600
    with capture_logs() as logs, opened(tmp_path):
        pass
    assert [entry["event"] for entry in logs] == ["parquet_rows_damaged"]
    assert len({row["time"] for row in read(tmp_path / "parquet")}) == 2
    assert files(tmp_path, ".rows") == []
    assert files(tmp_path, ".damaged") == [f"{damaged.relative_to(tmp_path)}.damaged"]


def test_rows_that_somebody_took_away_are_missed_once(tmp_path: Path, sink: ParquetSink, clock: Clock) -> None:
    write_at(sink, clock, 0)
    write_at(sink, clock, 10)
    (tmp_path / "parquet" / ".domstat" / "waiting" / files(tmp_path / "parquet/.domstat/waiting", ".rows")[0]).unlink()
    write_at(sink, clock, 2 * 3600)
    assert "cannot be made" in sink.health()
    write_at(sink, clock, 2 * 3600 + keeping.PAUSE_S)
    assert sink.health() == ""
    assert len({row["time"] for row in read(tmp_path / "parquet")}) == 1


def test_a_folder_that_was_removed_is_begun_anew(tmp_path: Path, sink: ParquetSink, clock: Clock) -> None:
    write_at(sink, clock, 0)
    (tmp_path / "parquet").rename(tmp_path / "elsewhere")
    write_at(sink, clock, 10)
    assert len(files(tmp_path / "parquet", ".rows")) == 1


def test_of_many_hosts_files_are_made_early_when_they_are_very_many(
    tmp_path: Path, sink: ParquetSink, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "FILES_MAX", 20)
    for passed_s in range(0, 100, 10):
        clock.passed_s = passed_s
        sink.write([tick(host=f"kvm{number}", time_ms=clock.time_ms()) for number in range(6)])
        assert len(files(tmp_path, ".rows")) < 26
    assert sink.health() == ""


def test_with_very_many_files_waiting_that_stay_nothing_more_is_taken(
    tmp_path: Path, sink: ParquetSink, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "FILES_MAX", 3)
    with monkeypatch.context() as broken:
        broken.setattr(hours, "make", _fails)
        for passed_s in (0, 3600, 7200):
            write_at(sink, clock, passed_s)
        with pytest.raises(Retry, match="3 files wait"):
            write_at(sink, clock, 7300)
    write_at(sink, clock, 7400)
    assert sink.health() == ""


def test_days_go_when_they_are_old_and_nothing_else_does(tmp_path: Path, clock: Clock) -> None:
    day_ms = 24 * HOUR_MS
    folder = tmp_path / "parquet/host=kvm1"
    with opened(tmp_path) as sink:
        sink.write([tick(time_ms=BEGIN_MS - age * day_ms) for age in (1, 2, 3, 40)])
    folder.joinpath("day=2026-10-13/notes.txt").write_text("somebody's")
    folder.joinpath("day=unknown").mkdir()
    with opened(tmp_path, retention="forever") as sink:
        sink.write([tick(time_ms=BEGIN_MS)])
    assert len(made(tmp_path)) == 4
    with opened(tmp_path, retention="2d") as sink:
        sink.write([tick(time_ms=BEGIN_MS)])
    left = {path.name for path in folder.iterdir()}
    assert left == {"day=2026-11-21", "day=2026-11-20", "day=2026-10-13", "day=unknown"}
    assert files(folder / "day=2026-10-13", "") == ["notes.txt"]

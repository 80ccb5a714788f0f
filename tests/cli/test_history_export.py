"""``domstat history export``, as somebody meets it who reads Parquet: folders, columns, exactness, refusals."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from cli.test_cli import COMMAND, EXIT_TROUBLE, EXIT_USAGE, domstat
from domstat.cli.history import parquet
from domstat.history import Measure, Series, Subject
from domstat.model import Batch, Kind, Stamp, Value
from domstat.sink import SinkContext
from domstat_sinks.sqlite import SqliteSink, connect
from domstat_sinks.sqlite.sink import SqliteSettings
from heard import Log
from records import UUID, guest_record, host_record, pool_record

MIDNIGHT_MS = 1_795_392_000_000  # 2026-11-23T00:00:00Z
BEYOND_INT64 = (1 << 63) + 5
SECOND_NS = 10**9

Export = Callable[..., "subprocess.CompletedProcess[str]"]


def tick(number: int, host: str = "kvm1") -> Batch:
    """Make a tick, 10 s after the one before; midnight is at 3."""
    time_ms = MIDNIGHT_MS + 10_000 * (number - 3)
    params: dict[str, Value] = {
        "cpu.time": BEYOND_INT64 + number * 5 * SECOND_NS,
        "block.wr.bytes[vda]": (1 << 53) + 1 + number,
        "balloon.usable": 1_024,
        "vcpu.halted[0]": number % 2 == 1,
        "odd.text": f"word {number}",
    }
    records = (
        host_record(time_ms=time_ms, host=host),
        pool_record(time_ms=time_ms, host=host),
        guest_record("web-1", time_ms=time_ms, host=host, params=params),
    )
    return Batch(host=host, collect="default", stamp=Stamp(time_ms, time_ms * 1_000_000, "boot", 0), records=records)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "domstat.toml"
    path.write_text(f'[agent]\nstate_dir = "{tmp_path}"\n[[sinks]]\ntype = "sqlite"\n')
    sink = SqliteSink(SqliteSettings())
    sink.open(SinkContext("history", tmp_path, Log(), lambda _record, _reason: None))
    for number in range(6):
        sink.write([tick(number)])
    sink.write([tick(5, host="rack 1/kvm=2")])
    sink.close()
    return str(path)


@pytest.fixture
def export(config: str, tmp_path: Path) -> Export:
    return lambda *arguments: domstat(
        "history", "export", "--parquet", str(tmp_path / "out"), *arguments, "--config", config
    )


def rows(tmp_path: Path, **wanted: object) -> list[dict[str, Any]]:
    """Return the rows that there are, as any reader of such folders sees them."""
    found = ds.dataset(tmp_path / "out", partitioning="hive").to_table().to_pylist()
    return [row for row in found if all(row[name] == value for name, value in wanted.items())]


def test_a_folder_a_host_and_a_day_has_one_file(export: Export, tmp_path: Path) -> None:
    done = export()
    assert done.returncode == 0
    files = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert files == [
        "host=kvm1/day=2026-11-22/part-0.parquet",
        "host=kvm1/day=2026-11-23/part-0.parquet",
        "host=rack%201%2Fkvm%3D2/day=2026-11-23/part-0.parquet",
    ]
    assert done.stderr == f"domstat: {tmp_path}/out: {len(rows(tmp_path))} rows in 3 files\n"
    assert {row["host"] for row in rows(tmp_path)} == {"kvm1", "rack 1/kvm=2"}


def test_every_sample_is_there_once_and_exactly(export: Export, tmp_path: Path) -> None:
    export()
    reader = connect(tmp_path / "history.db")
    ask = "SELECT time_ms, host, collect, kind, uuid, domain, pool, field, device, value FROM samples"
    written = {row[:-1]: row[-1] for row in reader.execute(ask)}
    reader.close()
    found = rows(tmp_path)
    assert len(found) == len(written)
    whose = ("host", "collect", "kind", "uuid", "domain", "pool", "field", "device")
    for row in found:
        time_ms = round(row["time"].timestamp() * 1000)
        exact = next(row[name] for name in ("value_int", "text", "value") if row[name] is not None)
        assert exact == written[time_ms, *(row[name] for name in whose)]


def test_integers_beyond_what_engines_have_are_digits_and_the_nearest_double(export: Export, tmp_path: Path) -> None:
    export("--field", "cpu.time", "--host", "kvm1")
    first = rows(tmp_path)[0]
    assert first["text"] == str(BEYOND_INT64)
    assert first["value"] == float(BEYOND_INT64)
    assert first["value_int"] is None


def test_counters_have_the_rates_that_the_history_gives_also_over_midnight(export: Export, tmp_path: Path) -> None:
    export("--host", "kvm1")
    reader = connect(tmp_path / "history.db")
    ask = "SELECT time_ms, ifnull(uuid, ''), field, ifnull(device, ''), value FROM rates WHERE host = 'kvm1'"
    written = {row[:-1]: row[-1] for row in reader.execute(ask)}
    reader.close()
    found = {
        (round(row["time"].timestamp() * 1000), row["uuid"] or "", row["field"], row["device"] or ""): row["rate"]
        for row in rows(tmp_path)
        if row["rate"] is not None
    }
    assert found == written
    assert found[MIDNIGHT_MS, UUID, "cpu.time", ""] == 0.5


def test_a_gauge_has_no_rate_and_says_its_unit(export: Export, tmp_path: Path) -> None:
    export("--field", "balloon.usable")
    (row, *_) = rows(tmp_path)
    assert (row["value"], row["value_int"], row["text"], row["rate"]) == (1024.0, 1024, None, None)
    assert (row["unit"], row["scale"]) == ("bytes", 1024.0)


def test_what_is_wanted_can_be_chosen(export: Export, tmp_path: Path) -> None:
    export("-g", "web-*", "-f", "block.*", "--device", "vda", "--since", "2026-11-22T23:59:45Z", "--until",
           "2026-11-23T00:00:10Z", "--host", "kvm1")  # fmt: skip
    assert [row["value_int"] - (1 << 53) - 1 for row in rows(tmp_path)] == [2, 3]


def test_a_folder_that_is_not_empty_is_left_alone_unless_it_is_said(export: Export, tmp_path: Path) -> None:
    assert export("--field", "cpu.time").returncode == 0
    before = rows(tmp_path)
    done = export("--field", "balloon.usable")
    assert done.returncode == EXIT_USAGE
    assert "out: is not empty; name another folder, or say --overwrite-partitions" in done.stderr
    assert rows(tmp_path) == before
    assert export("--field", "balloon.usable", "--overwrite-partitions").returncode == 0
    assert {row["field"] for row in rows(tmp_path)} == {"balloon.usable"}


def test_a_folder_that_is_a_file_is_refused(export: Export, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("precious")
    done = export()
    assert done.returncode == EXIT_USAGE
    assert "out: is no folder" in done.stderr


def test_where_nothing_is_wanted_that_there_is_nothing_is_made(export: Export, tmp_path: Path) -> None:
    done = export("--guest", "nobody")
    assert done.returncode == EXIT_TROUBLE
    assert "no such series has a value in this span" in done.stderr
    assert not (tmp_path / "out").exists()


def test_without_pyarrow_one_line_says_how_to_get_it(config: str, tmp_path: Path) -> None:
    (tmp_path / "lacking").mkdir()
    (tmp_path / "lacking" / "pyarrow.py").write_text("raise ImportError")
    command = [*COMMAND, "history", "export", "--parquet", str(tmp_path / "out"), "--config", config]
    around = {**os.environ, "PYTHONPATH": str(tmp_path / "lacking")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180, env=around)
    assert done.returncode == EXIT_TROUBLE
    assert done.stderr == "domstat: Parquet files need pyarrow: pip install 'domstat[parquet]'\n"


# --- files, one by one


class Numbers(list[Any]):
    """A column without numpy."""

    def tolist(self) -> list[Any]:
        return list(self)


def series(host: str, count: int, field: str = "a") -> Series:
    subject = Subject(host=host, collect="c", kind=Kind.HOST)
    times, values = Numbers(range(count)), Numbers(range(count))
    return Series(subject=subject, field=field, device=None, measure=Measure("1"), tier="raw", coverage=1.0,
                  time_ms=times, values=values)  # fmt: skip


def test_a_file_that_fails_halfway_is_not_there_and_the_one_before_stays(tmp_path: Path) -> None:
    def failing() -> Iterator[Series]:
        yield series("h", 3)
        raise KeyboardInterrupt

    assert parquet.write(tmp_path, "h", "2026-11-22", [series("h", 2)], []) == 2
    with pytest.raises(KeyboardInterrupt):
        parquet.write(tmp_path, "h", "2026-11-22", failing(), [])
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert pq.ParquetFile(file).metadata.num_rows == 2


def test_no_more_rows_are_in_memory_than_a_row_group_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROWS_AT_ONCE", 10)
    many = [series("h", 4, field=f"f{number}") for number in range(7)]
    assert parquet.write(tmp_path, "h", "2026-11-22", many, []) == 28
    written = pq.ParquetFile(tmp_path / "host=h" / "day=2026-11-22" / parquet.FILE)
    assert [written.metadata.row_group(i).num_rows for i in range(written.num_row_groups)] == [12, 12, 4]
    assert written.read().column("field").to_pylist() == [one.field for one in many for _ in range(4)]


def test_values_of_several_types_in_one_series_each_find_their_column() -> None:
    values: list[Value] = [1, 2.5, True, "x", BEYOND_INT64]
    found = [column.to_pylist() for column in parquet._values_of_any(values)]
    assert found == [
        [1.0, 2.5, 1.0, None, float(BEYOND_INT64)],
        [1, None, 1, None, None],
        [None, None, None, "x", str(BEYOND_INT64)],
    ]

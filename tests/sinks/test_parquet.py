"""The sink: what is written is there, once, where any reader of such folders looks for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import fsspec
import pyarrow as pa
import pyarrow.dataset
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domstat.cli.history.parquet import SCHEMA as EXPORTED
from domstat.model import Batch, Domain, Partial, Record
from domstat.sink import ClaimsFiles, Fatal, HasHealth, Reject, Retry, Sink
from domstat_sinks.parquet import ParquetSink
from domstat_sinks.parquet.settings import ParquetSettings
from parquet_folder import HOUR_MS, context, empty_memory, files, key, opened, read, tick
from records import TIME_MS, UUID, batch, event_record, guest_record, one_of_each

MIDNIGHT_MS = 1_795_392_000_000  # 2026-11-23
HOSTILE = ["a/../../b", "..", "x=1/day=2026-01-01", "*?[a]", "ü\u202e\x00\n", "", "%2F", "007"]


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    yield empty_memory()
    empty_memory()


def keys_of(rows: list[dict[str, object]]) -> list[tuple[object, ...]]:
    return sorted(map(key, rows), key=repr)


def test_it_is_a_sink_that_says_what_it_writes_and_how_it_is() -> None:
    sink = ParquetSink(ParquetSettings())
    assert isinstance(sink, Sink)
    assert isinstance(sink, HasHealth)
    assert isinstance(ParquetSink, ClaimsFiles)
    assert ParquetSink.claims(ParquetSettings(), Path("/state")) == [Path("/state/parquet")]
    assert ParquetSink.claims(ParquetSettings(path="s3://bucket/a"), Path("/state")) == []


def test_a_record_of_every_kind_is_read_back_by_host_and_day(tmp_path: Path) -> None:
    with opened(tmp_path) as sink:
        sink.write([batch(*one_of_each().values())])
    rows = read(tmp_path / "parquet")
    assert {row["kind"] for row in rows} == {"host", "guest", "pool", "event", "gap", "agent"}
    assert {(row["host"], row["day"]) for row in rows} == {("kvm1", "2026-11-22")}
    (row,) = [row for row in rows if row["field"] == "block.wr.bytes" and row["device"] == "vda"]
    assert row == {
        "time": datetime.fromtimestamp(TIME_MS / 1000, UTC),
        "host": "kvm1",
        "day": "2026-11-22",
        "collect": "default",
        "kind": "guest",
        "uuid": UUID,
        "domain": "web-1",
        "pool": None,
        "field": "block.wr.bytes",
        "device": "vda",
        "value": 88_019_120_128.0,
        "value_int": 88_019_120_128,
        "text": None,
        "rate": 4_194_304.0,
        "unit": "bytes",
        "scale": 1.0,
    }


def test_its_columns_are_those_of_an_exported_history(tmp_path: Path) -> None:
    with opened(tmp_path) as sink:
        sink.write([batch()])
    (name,) = files(tmp_path / "parquet")
    assert pa.parquet.read_schema(tmp_path / "parquet" / name).equals(EXPORTED)


@pytest.mark.parametrize(
    ("value", "double", "whole", "text"),
    [
        ((1 << 64) - 1, float((1 << 64) - 1), None, "18446744073709551615"),
        ((1 << 63) - 1, float((1 << 63) - 1), (1 << 63) - 1, None),
        (-(1 << 63), -float(1 << 63), -(1 << 63), None),
        (True, 1.0, 1, None),
        (0.5, 0.5, None, None),
        ("9.0.0\x00\u202e", None, None, "9.0.0\x00\u202e"),
    ],
)
def test_every_value_is_kept_as_exactly_as_can_be(
    tmp_path: Path, value: float | str, double: float | None, whole: int | None, text: str | None
) -> None:
    with opened(tmp_path) as sink:
        sink.write([tick(params={"strange.thing": value})])
    (row,) = [row for row in read(tmp_path / "parquet") if row["field"] == "strange.thing"]
    assert (row["value"], row["value_int"], row["text"]) == (double, whole, text)


def test_what_is_no_number_is_left_out_and_told(tmp_path: Path) -> None:
    parts: list[tuple[Record, str]] = []
    record = guest_record(params={"a.nan": float("nan"), "b": 1, "c": 2}, rates={"b": float("inf"), "c": 0.5})
    with opened(tmp_path, parts) as sink:
        sink.write([batch(record, guest_record("web-2", uuid="2"))])
    rows = {row["field"]: row for row in read(tmp_path / "parquet") if row["domain"] == "web-1"}
    assert "a.nan" not in rows
    assert (rows["b"]["value"], rows["b"]["rate"], rows["c"]["rate"]) == (1.0, None, 0.5)
    assert [(told.domain, why) for told, why in parts] == [
        (record.domain, "a.nan is nan"),
        (record.domain, "the rate of b is inf"),
    ]


@pytest.mark.parametrize(
    "bad",
    [
        guest_record(host="kvm\udc80"),
        guest_record("web\udc80"),
        guest_record(time_ms=1 << 60),
        guest_record(params={"a": 1 << 2000}, first=True, derived={}),
    ],
    ids=["host no text", "name no text", "no time", "no double"],
)
def test_a_record_that_no_file_can_hold_is_rejected_and_the_others_are_stored(tmp_path: Path, bad: Record) -> None:
    with opened(tmp_path) as sink, pytest.raises(Reject) as caught:
        sink.write([batch(bad, guest_record("web-2", uuid="2"))])
    assert [item.record for item in caught.value.items] == [bad]
    assert {row["domain"] for row in read(tmp_path / "parquet")} == {"web-2"}


@pytest.mark.parametrize("host", HOSTILE)
def test_a_host_keeps_its_name_whatever_it_is(tmp_path: Path, host: str) -> None:
    with opened(tmp_path) as sink:
        sink.write([tick(host=host)])
    assert {row["host"] for row in read(tmp_path / "parquet")} == {host or None}
    assert {path.name for path in tmp_path.iterdir()} == {"parquet"}
    assert len(files(tmp_path)) == 1


def test_a_host_that_no_folder_can_be_called_is_known_by_its_files(tmp_path: Path) -> None:
    hosts = {"h" * 300, "h" * 301, "__HIVE_DEFAULT_PARTITION__"}
    with opened(tmp_path) as sink:
        sink.write([tick(host=host) for host in hosts])
    names = files(tmp_path)
    assert len(names) == 3
    assert {pa.parquet.read_schema(tmp_path / name).metadata[b"domstat.host"].decode() for name in names} == hosts


@pytest.mark.parametrize("name", [*HOSTILE, "q\"uo'te,\\", "x" * 5000])
def test_guests_and_devices_keep_their_names(tmp_path: Path, name: str) -> None:
    with opened(tmp_path) as sink:
        sink.write([tick(0, name, params={f"block.rd.bytes[{name}]": 1}, collect=name)])
    assert {(row["domain"], row["collect"]) for row in read(tmp_path / "parquet")} == {(name, name)}
    assert name in {row["device"] for row in read(tmp_path / "parquet")}


def test_midnight_in_utc_is_where_a_day_ends(tmp_path: Path) -> None:
    with opened(tmp_path) as sink:
        sink.write([tick(time_ms=MIDNIGHT_MS - 1), tick(time_ms=MIDNIGHT_MS)])
    assert files(tmp_path / "parquet") == [
        "host=kvm1/day=2026-11-22/hour-23.parquet",
        "host=kvm1/day=2026-11-23/hour-00.parquet",
    ]
    assert {(row["day"], row["time"].day) for row in read(tmp_path / "parquet")} == {
        ("2026-11-22", 22),
        ("2026-11-23", 23),
    }


def test_an_hour_of_a_host_is_one_file_however_many_ticks_it_had(tmp_path: Path) -> None:
    with opened(tmp_path) as sink:
        for number in range(30):
            sink.write([tick(number)])
        sink.write([tick(host="kvm2")])
    assert files(tmp_path / "parquet") == [
        "host=kvm1/day=2026-11-22/hour-22.parquet",
        "host=kvm2/day=2026-11-22/hour-22.parquet",
    ]
    assert files(tmp_path, ".rows") == []


def test_nothing_but_hours_files_looks_like_a_file_to_read(tmp_path: Path) -> None:
    with opened(tmp_path) as sink:
        sink.write([tick()])
        assert files(tmp_path) == []
        assert len(files(tmp_path / "parquet" / ".domstat", ".rows")) == 1
        assert read(tmp_path / "parquet") == []


def test_what_is_written_is_on_the_disk_before_the_write_returns(tmp_path: Path) -> None:
    with opened(tmp_path) as sink:
        sink.write([tick()])
        (waiting,) = tmp_path.rglob("*.rows")
        with pa.ipc.open_file(waiting) as file:
            assert file.read_all().num_rows == len(list(tick().records[0].params)) + len(tick().records[0].derived)


def test_the_same_again_is_there_once(tmp_path: Path) -> None:
    for _ in range(3):
        with opened(tmp_path) as sink:
            sink.write([tick(0, "a", "b"), tick(1, "a", "b")])
            sink.write([tick(0, "a", "b"), tick(1, "a", "b")])
            sink.write([tick(1, "a", "b")])
            sink.write([tick(1, "a", "b"), tick(0, "a", "b"), tick(0, "a", "b")])
    rows = read(tmp_path / "parquet")
    assert len(rows) == len(set(map(key, rows))) > 0
    assert len({row["time"] for row in rows}) == 2


def test_a_record_that_comes_again_replaces_itself_and_nothing_else(tmp_path: Path) -> None:
    with opened(tmp_path) as sink:
        sink.write([tick(0, "a", "b", params={"x": 1, "y": 1})])
        sink.write([tick(0, "b", params={"x": 2})])
    with opened(tmp_path) as sink:
        sink.write([tick(0, "a", params={"x": 3})])
    values = {(row["domain"], row["field"], row["value"]) for row in read(tmp_path / "parquet")}
    assert values == {("a", "x", 3.0), ("b", "x", 2.0)}


def test_what_a_record_is_about_keeps_it_from_being_replaced(tmp_path: Path) -> None:
    shared = Domain(UUID, "web-1", 3)
    records = [
        event_record("started"),
        event_record("stopped"),
        event_record("device-added", device="vda"),
        event_record("device-added", device="vdb"),
        guest_record(partial=Partial(("balloon",))),
    ]
    with opened(tmp_path) as sink:
        for record in records:
            assert record.domain == shared
            sink.write([batch(record)])
        sink.write([batch(guest_record(collect="other"), collect="other")])
        sink.write([batch(guest_record(host="kvm2"), host="kvm2")])
    rows = read(tmp_path / "parquet")
    events = {(row["field"], row["device"]) for row in rows if row["kind"] == "event"}
    assert events == {
        ("event.started", None),
        ("event.stopped", None),
        ("event.device-added", "vda"),
        ("event.device-added", "vdb"),
    }
    guests = {(row["host"], row["collect"]) for row in rows if row["kind"] == "guest"}
    assert guests == {("kvm1", "default"), ("kvm1", "other"), ("kvm2", "default")}


Written: TypeAlias = list[tuple[list[tuple[int, str, int]], bool]]
WRITES: st.SearchStrategy[Written] = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(-2, 2), st.sampled_from("abc"), st.integers(0, 9)), min_size=1, max_size=4),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(WRITES)
def test_the_last_that_came_of_each_record_is_what_is_there(
    tmp_path_factory: pytest.TempPathFactory, writes: Written
) -> None:
    folder = tmp_path_factory.mktemp("any")
    expected: dict[tuple[int, str], float] = {}
    with opened(folder) as sink:
        for write, is_closed_then in writes:
            batches: list[Batch] = []
            for half_hour, name, value in write:
                time_ms = MIDNIGHT_MS + half_hour * HOUR_MS // 2
                batches.append(tick(0, name, time_ms=time_ms, params={"x": value}))
                expected[time_ms, name] = float(value)
            sink.write(batches)
            if is_closed_then:
                sink.close()
                sink.open(context(folder))
    found = [(row["time"].timestamp() * 1000, row["domain"], row["value"]) for row in read(folder / "parquet")]
    assert sorted(found) == sorted((time_ms, name, value) for (time_ms, name), value in expected.items())


def test_an_object_store_has_the_same_rows_in_files_of_this_agent(
    tmp_path: Path, memory: fsspec.AbstractFileSystem
) -> None:
    with opened(tmp_path) as sink:
        sink.write([tick(0), tick(1)])
    with opened(tmp_path, path="memory://bucket/domstat") as sink:
        sink.write([tick(0)])
        assert [name for name in memory.find("/bucket") if name.endswith(".parquet")] == []
        sink.write([tick(1), tick(0)])
    rows = read("/bucket/domstat", memory)
    assert keys_of(rows) == keys_of(read(tmp_path / "parquet"))
    writer = (tmp_path / "files.parquet-writer").read_text()
    assert memory.find("/bucket") == [f"/bucket/domstat/host=kvm1/day=2026-11-22/hour-22-{writer}.parquet"]


def test_an_agent_that_comes_back_to_an_object_store_goes_on_with_its_own_files(
    tmp_path: Path, memory: fsspec.AbstractFileSystem
) -> None:
    for number in range(3):
        with opened(tmp_path, path="memory://bucket") as sink:
            sink.write([tick(number), tick(0)])
    assert len(memory.find("/bucket")) == 1
    assert len({row["time"] for row in read("/bucket", memory)}) == 3


def test_two_agents_in_one_object_store_leave_each_other_alone(
    tmp_path: Path, memory: fsspec.AbstractFileSystem
) -> None:
    one, other = tmp_path / "1", tmp_path / "2"
    one.mkdir()
    other.mkdir()
    with opened(one, path="memory://bucket") as first, opened(other, path="memory://bucket") as second:
        first.write([tick(0)])
        second.write([tick(1)])
    assert len(memory.find("/bucket")) == 2
    assert len({row["time"] for row in read("/bucket", memory)}) == 2


def test_the_same_agent_twice_in_an_object_store_is_refused(tmp_path: Path, memory: fsspec.AbstractFileSystem) -> None:
    with opened(tmp_path, path="memory://bucket"), pytest.raises(Fatal, match="another sink or agent"):
        ParquetSink(ParquetSettings(path="memory://bucket")).open(context(tmp_path))


def test_a_second_process_on_a_folder_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[2].split(':')\n"
        "from pathlib import Path; from parquet_folder import empty_memory, opened\n"
        "with opened(Path(sys.argv[1])): pass"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parents[1])]
    with opened(tmp_path) as sink:
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
        assert refused.returncode == 1
        assert "is being written by another sink or agent" in refused.stderr
        sink.write([tick()])
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_folder_is_found_to_be_taken_by_whichever_way_it_is_reached(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "parquet")
    with opened(tmp_path), pytest.raises(Fatal, match="another sink"):
        ParquetSink(ParquetSettings(path="link")).open(context(tmp_path))


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "parquet").write_text("")
    with pytest.raises(Fatal, match="is a file"):
        ParquetSink(ParquetSettings()).open(context(tmp_path))


def test_a_store_whose_library_is_not_there_is_refused_with_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="may not be installed"):
        ParquetSink(ParquetSettings(path="oci://bucket@namespace/a")).open(context(tmp_path))


def test_without_its_libraries_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("domstat_sinks.parquet.")]:
        if not name.endswith((".sink", ".settings")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(Fatal, match=r"pip install 'domstat\[parquet\]'"):
        ParquetSink(ParquetSettings()).open(context(tmp_path))


def test_a_configuration_is_read_without_its_libraries() -> None:
    code = "import sys, domstat_sinks.parquet; sys.exit(bool({'pyarrow', 'fsspec'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_it_writes_nothing_before_it_is_open_and_closes_as_often_as_wanted(tmp_path: Path) -> None:
    sink = ParquetSink(ParquetSettings())
    sink.close()
    with pytest.raises(Retry):
        sink.write([tick()])
    sink.open(context(tmp_path))
    sink.write([])
    sink.write([batch(guest_record(params={}, first=True, derived={}))])
    sink.close()
    sink.close()
    assert files(tmp_path) == []


def test_a_disk_that_is_full_is_waited_for_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as sink:
        sink.write([tick(0)])
        with monkeypatch.context() as full:
            full.setattr(os, "fsync", _no_space)
            for _ in range(3):
                with pytest.raises(Retry, match="No space left"):
                    sink.write([tick(1), tick(0)])
        assert files(tmp_path, ".new") == []
        sink.write([tick(1), tick(0)])
    assert len({row["time"] for row in read(tmp_path / "parquet")}) == 2


def _no_space(_: object) -> None:
    raise OSError(28, "No space left on device")


def test_what_failed_half_way_is_not_there_twice_when_it_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync
    with opened(tmp_path) as sink:
        write = [tick(0, time_ms=MIDNIGHT_MS - 1), tick(1, time_ms=MIDNIGHT_MS)]
        sink.write(write)
        for _ in range(5):
            calls = iter([real, real])

            def second_fails(handle: int, calls: Iterator[object] = calls) -> None:
                (real if next(calls, None) else _no_space)(handle)

            with monkeypatch.context() as full:
                full.setattr(os, "fsync", second_fails)
                with pytest.raises(Retry):
                    sink.write(write)
        assert len(files(tmp_path, ".rows")) == 2


def test_a_folder_that_may_not_be_written_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", forbidden)
    with pytest.raises(Retry, match="Permission denied") as caught:
        ParquetSink(ParquetSettings()).open(context(tmp_path))
    assert caught.value.after


def test_who_may_enter_the_folder_may_read_the_files(tmp_path: Path) -> None:
    (tmp_path / "parquet").mkdir()
    (tmp_path / "parquet").chmod(0o2750)
    with opened(tmp_path) as sink:
        sink.write([tick()])
    (name,) = files(tmp_path / "parquet")
    file = tmp_path / "parquet" / name
    assert file.stat().st_mode & 0o7777 == 0o640
    assert {folder.stat().st_mode & 0o7777 for folder in list(file.parents)[:2]} == {0o2750}


def test_a_folder_of_its_own_making_is_its_owners_alone(tmp_path: Path) -> None:
    with opened(tmp_path) as sink:
        sink.write([tick()])
    (name,) = files(tmp_path / "parquet")
    assert (tmp_path / "parquet").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "parquet" / name).stat().st_mode & 0o777 == 0o600


def test_the_running_hour_waits_for_the_next_start(tmp_path: Path) -> None:
    now_ms = int(time.time() * 1000)
    for number in range(2):
        with opened(tmp_path) as sink:
            sink.write([tick(number, time_ms=now_ms + number)])
        assert read(tmp_path / "parquet") == []
    assert len(files(tmp_path, ".rows")) == 2


def test_the_code_on_its_page_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).parents[2] / "docs" / "sinks" / "parquet.md"
    (code,) = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    with opened(tmp_path, path=str(tmp_path / "srv")) as sink:
        sink.write([batch()])
    exec(compile(code.replace("/srv/domstat", str(tmp_path / "srv")), page.name, "exec"), {})
    assert capsys.readouterr().out.startswith("1 ['time', 'collect', ")

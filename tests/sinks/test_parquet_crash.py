"""The agent killed at every point: what was acknowledged is there, and no reader ever sees a row twice.

A child of this process writes and is killed, by itself, before the n-th thing that it has the disk do; and again with
the next n, until nothing kills it any more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from domstat_sinks.parquet import ParquetSink
from domstat_sinks.parquet.settings import ParquetSettings
from parquet_folder import HOUR_MS, context, files, key, opened, read, tick
from records import TIME_MS

LATER_MS = TIME_MS + HOUR_MS
POINTS_MAX = 200

WRITES = [
    [tick(0, "a", "b"), tick(1, "a", "b")],
    [tick(1, "a", "b"), tick(2, "a", "b")],  # overlaps
    [tick(2, "b", params={"cpu.time": 77}), tick(0, "a", time_ms=LATER_MS)],  # replaces; and an hour goes on
    [tick(1, "a", time_ms=LATER_MS)],  # the hour before becomes a file
    [tick(3, "a"), tick(0, "b")],  # to which something is added
    [tick(2, "a", time_ms=LATER_MS)],
]
DIED, WELL = 9, 0

Records: TypeAlias = dict[tuple[int, str], dict[str, float]]
"""Values by field, of each guest at each time."""


@contextmanager
def dying(point: int) -> Iterator[None]:
    """Have the process die before the disk does what it is asked to for the *point*-th time."""
    asked = 0

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def instead(*arguments: Any, **more: Any) -> Any:
            nonlocal asked
            asked += 1
            if asked == point:
                os._exit(DIED)
            return real(*arguments, **more)

        return instead

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", watched(os.fsync))
        for name in ("mkdir", "chmod", "open", "replace", "unlink"):
            patch.setattr(Path, name, watched(getattr(Path, name)))
        yield


def write_all(folder: Path, acknowledged: int) -> None:
    """Write everything, telling after each write that it is done."""
    sink = ParquetSink(ParquetSettings())
    sink.open(context(folder))
    for number, batches in enumerate(WRITES):
        sink.write(batches)
        os.pwrite(acknowledged, bytes([number + 1]), 0)
    sink.close()


def killed_at(point: int, folder: Path) -> tuple[int, bool]:
    """Return how many writes a child that is killed there had acknowledged, and whether it was killed at all."""
    folder.mkdir()
    told = os.open(folder / "told", os.O_RDWR | os.O_CREAT)
    child = os.fork()
    if child == 0:
        try:
            with dying(point):
                write_all(folder, told)
            os._exit(WELL)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {DIED, WELL}
    done = os.pread(told, 1, 0)
    os.close(told)
    return (done[0] if done else 0), status == DIED


def records_in(folder: Path) -> Records:
    """Return what a reader finds, by time and guest; no row twice."""
    rows = read(folder / "parquet") if (folder / "parquet").exists() else []
    assert len(set(map(key, rows))) == len(rows)
    found: Records = {}
    for row in rows:
        found.setdefault((round(row["time"].timestamp() * 1000), row["uuid"]), {})[row["field"]] = row["value"]
    return found


def expected(writes: int) -> Records:
    """Return what so many writes come to."""
    records = [record for batches in WRITES[:writes] for one in batches for record in one.records]
    return {
        (record.time_ms, record.subject): {
            name: float(value) for name, value in (record.params | record.derived).items()
        }
        for record in records
    }


def test_wherever_it_is_killed_nothing_acknowledged_is_lost_and_nothing_is_there_twice(tmp_path: Path) -> None:
    for point in range(1, POINTS_MAX):
        folder = tmp_path / str(point)
        done, was_killed = killed_at(point, folder)

        seen = records_in(folder)
        with opened(folder):
            pass
        kept = records_in(folder)
        before, after = expected(done), expected(done + 1)
        assert set(seen) <= set(kept)  # what a reader has seen stays
        assert set(before) <= set(kept) <= set(after)
        assert all(record in (before.get(name), after.get(name)) for name, record in kept.items())

        with opened(folder) as sink:  # what was not acknowledged comes again, in other writes than before
            for batches in WRITES[done:]:
                for one in batches:
                    sink.write([one])
        assert records_in(folder) == expected(len(WRITES))
        assert len(files(folder)) == 2
        assert files(folder, ".rows") == files(folder, ".new") == []
        if not was_killed:
            assert point > 50
            return
    pytest.fail("the child never came to its end")


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_before_the_write_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(handle: int) -> None:
        done.append("sync " + Path(f"/proc/self/fd/{handle}").readlink().name)
        real_sync(handle)

    def replace(path: Path, target: Path) -> Path:
        done.append(f"name {target.name}")
        return real_replace(path, target)

    with opened(tmp_path) as sink:
        sink.write([tick(0)])
        monkeypatch.setattr(os, "fsync", sync)
        monkeypatch.setattr(Path, "replace", replace)
        sink.write([tick(1)])
        (_, name) = files(tmp_path, ".rows")
    name = Path(name).name
    assert done[:3] == [f"sync .{name}.new", f"name {name}", "sync host=kvm1"]

"""The made-up guests in the history: what writing them costs, what they take, and how much memory that needs."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

from domstat.garbage import spare_collections
from domstat.history import History
from domstat.sink import SinkContext
from domstat_bench.agent_run import BenchError
from domstat_bench.workload import Workload
from domstat_bench.workload_batches import Batches, ticks_of
from domstat_sinks.sqlite import SqliteSink
from domstat_sinks.sqlite.schema import chunks_of
from domstat_sinks.sqlite.sink import SqliteSettings

SETTINGS = SqliteSettings()
"""The sink as it comes."""


class Sizes(Struct, frozen=True):
    """What a file's pages hold, in bytes: *tables* by name with their indexes; *free* pages are in the file too.

    *sealed_bytes* are the pages of the raw tier's sealed samples, of which there are *sealed_samples*.
    """

    file_bytes: int
    free_bytes: int
    tables: dict[str, int]
    sealed_bytes: int
    sealed_samples: int


class Written(Struct, frozen=True):
    """What writing *samples* in so many *ticks* took: CPU, bytes written by the process, and each tick's time."""

    guests: int
    samples: int
    ticks: int
    cpu_ns: int
    written_bytes: int
    commits_ns: list[int]
    sizes: Sizes

    @property
    def bytes_a_sample(self) -> float:
        """Bytes of the whole file for each sample."""
        return self.sizes.file_bytes / self.samples


@contextmanager
def sink_in(folder: Path) -> Iterator[SqliteSink]:
    """Open the sink on a file in *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    sink = SqliteSink(SETTINGS)
    sink.open(SinkContext("history", folder, None, lambda _record, _reason: None))
    try:
        yield sink
    finally:
        sink.close()


@contextmanager
def history_in(folder: Path) -> Iterator[History]:
    """Open the history in *folder* for questions."""
    with SqliteSink.history(SETTINGS, folder) as history:
        yield history


def path_in(folder: Path) -> Path:
    """Return where the sink's file is."""
    return folder / SETTINGS.path


def write(workload: Workload, hours: int, folder: Path) -> Written:
    """Write a workload tick by tick, as the agent does. Everything but making the guests counts."""
    batches, spare, commits = Batches(workload.kinds), 0, []
    spare_collections()  # as the agent does
    with sink_in(folder) as sink:
        wrote, began_ns, made_ns = _written_bytes(), time.process_time_ns(), time.thread_time_ns()
        samples = 0
        for hour in workload.hours(hours):
            samples += hour.samples
            for batch in batches.of(hour):
                now = time.perf_counter_ns()
                spare += time.thread_time_ns() - made_ns
                sink.write([batch])
                made_ns = time.thread_time_ns()
                commits.append(time.perf_counter_ns() - now)
        spare += time.thread_time_ns() - made_ns
        spent = time.process_time_ns() - began_ns - spare
        wrote = _written_bytes() - wrote
    return Written(workload.guests, samples, len(commits), spent, wrote, commits, sizes_of(path_in(folder)))


def _written_bytes() -> int:
    """Return how many bytes this process has had written to disks."""
    for line in Path("/proc/self/io").read_text().splitlines():
        name, _, number = line.partition(": ")
        if name == "write_bytes":
            return int(number)
    raise BenchError("/proc/self/io does not say what was written")


def sizes_of(path: Path) -> Sizes:
    """Look at the pages of a history that nobody has open; what is still beside the file goes into it first."""
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        tables = dict(
            connection.execute(
                "SELECT m.tbl_name, sum(d.pgsize) FROM dbstat d JOIN sqlite_master m ON m.name = d.name GROUP BY 1"
            ).fetchall()
        )
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        (page,) = connection.execute("PRAGMA page_size").fetchone()
        samples, sealed = _sealed(connection)
    finally:
        connection.close()
    pages = (tables.get("chunk", 0) + tables.get("segment", 0)) * sealed
    return Sizes(path.stat().st_size, free * page, tables, round(pages), samples)


def _sealed(connection: sqlite3.Connection) -> tuple[int, float]:
    """Return how many samples of the raw tier are sealed, and their share of all that chunks and directories hold."""
    samples = raw = every = 0
    for number, tier, count, directory in connection.execute(
        "SELECT g.id, s.tier, g.samples, length(g.directory) FROM segment g JOIN stream s ON s.id = g.stream"
    ).fetchall():
        (held,) = connection.execute(
            "SELECT ifnull(sum(length(blob)), 0) FROM chunk WHERE id BETWEEN ? AND ?", chunks_of(number)
        ).fetchone()
        every += held + directory
        if tier == 0:
            samples, raw = samples + count, raw + held + directory
    return samples, raw / every if every else 0.0


class Memory(Struct, frozen=True):
    """The greatest PSS in KiB of a process that takes the same batches, with the sink and without."""

    guests: int
    hours: int
    with_kib: int
    without_kib: int


def memory(workload: Workload, hours: int, folder: Path) -> Memory:
    """Measure a process with the sink beside one without it."""
    folder.mkdir(parents=True, exist_ok=True)
    used = {how: _memory_of(how, workload, hours, folder) for how in ("without", "with")}
    return Memory(workload.guests, hours, used["with"], used["without"])


def _memory_of(how: str, workload: Workload, hours: int, folder: Path) -> int:
    """Feed a process and return what it says its memory was at the most."""
    command = [sys.executable, "-P", "-m", "domstat_bench.store_memory", how, str(folder)]
    encoder = msgspec.msgpack.Encoder()
    with subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "--", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdin as pipe:
            _send(pipe, encoder.encode(workload.kinds))
            for hour in workload.hours(hours):
                for tick in ticks_of(hour):
                    _send(pipe, encoder.encode(tick))
        said = process.stdout.read()
    if process.returncode != 0:
        raise BenchError(f"the process whose memory was measured ended with {process.returncode}")
    return int(said)


def _send(pipe: IO[bytes], frame: bytes) -> None:
    pipe.write(len(frame).to_bytes(4, "little") + frame)


CALIBRATION_ROUNDS = 200_000


def calibration_ms() -> float:
    """Return how many ms of CPU a fixed loop takes: by that, times measured on two machines can be compared."""
    began = time.process_time_ns()
    total = 0
    for i in range(CALIBRATION_ROUNDS):
        total += i * i % 7
    assert total
    return (time.process_time_ns() - began) / 1e6

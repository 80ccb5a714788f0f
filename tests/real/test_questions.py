"""The questions that the documentation answers, asked as it asks them, of six compressed hours of real guests.

An agent watches guests for some seconds: they write, compute, sleep, one is started anew, one is given a disk. What it
has collected is stretched to six hours around a midnight (:mod:`domstat_bench.stretch`), written by the sink, sealed
and rolled up; and every command that stands in the documentation is run, by a clock that says the six hours have just
ended. What it answers is held to the batches themselves, of which everything is worked out one value at a time.
"""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from itertools import dropwhile
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from domstat.model import Batch, Kind
from domstat.sink import SinkContext
from domstat_bench.stretch import Stretch
from domstat_lab import guests, hotplug, life
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.pools import make_image, pool
from domstat_lab.spec import DiskSpec, tiny
from domstat_sinks.sqlite import SqliteSink, connect
from domstat_sinks.sqlite.sink import SqliteSettings
from faketime import WallClock
from questions import commands

from . import naive
from .conftest import BURNER, OWN_DISK, PATIENCE_S, WRITER, Agent

HOUR_MS = 3_600_000
DAY_S = 86_400
SPAN_MS = 6 * HOUR_MS
MIDNIGHT_MS = 1_795_910_400_000
END_MS = MIDNIGHT_MS + 9 * HOUR_MS // 2
"""The first of the six hours are of the day before, which is over by then."""

SHORT_TICKS = 112
"""Of these some 84 are of the new day: enough for the first to be sealed, whereupon the old day is summed up."""

LONG_TICKS = 2_160
"""One every ten seconds of the six hours."""

RESTARTED = tiny("restarted")
GROWN = tiny("grown", scsi=True)
ROOMY = tiny("roomy", vcpus=24)
"""Idle by any measure: being asked 20 times a second takes up to a fifth of one vCPU, but less than 2 % of so many."""

Row = dict[str, Any]


class Told(Struct, frozen=True):
    """What was written into the history, and what it answered to each question, by number."""

    batches: list[Batch]
    answers: dict[int, list[Row]]

    def of_first_day(self) -> list[Batch]:
        """Return what is of the day that is over."""
        return [batch for batch in self.batches if batch.stamp.time_ms < MIDNIGHT_MS]

    def since(self, time_ms: int) -> list[Batch]:
        """Return what is of a time and later."""
        return [batch for batch in self.batches if batch.stamp.time_ms >= time_ms]


@pytest.fixture
def recorded(lab: PrivateLibvirtd, run_agent: Callable[..., Agent], tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Record so many ticks, in which something happens; return the folder that the agent's history is in."""
    folder = tmp_path / "recorded"
    folder.mkdir(mode=0o700)
    images = lab.folder / OWN_DISK / "images"
    images.mkdir()
    make_image(images / "some.raw", 8, "raw")
    guests.start(lab, [RESTARTED, GROWN, ROOMY])

    def record(ticks: int, interval: str) -> Path:
        with pool(lab, "images", images):
            agent = run_agent('survey = { interval = "1s" }', interval=interval, folder=folder)
            agent.wait_for(lambda: is_surveyed(folder), "survey")
            ticks += len(agent.events("tick"))
            agent.wait_more_ticks(ticks // 4)
            hotplug.attach_disk(lab, GROWN.name, DiskSpec(2), "sda")
            life.recreate(lab, RESTARTED)
            seconds = PATIENCE_S + ticks  # a busy machine takes longer than the interval
            agent.wait_for(lambda: len(agent.events("tick")) >= ticks, f"{ticks} ticks", seconds)
            agent.stop()
        assert [event for event in agent.events() if event["level"] in {"error", "critical"}] == []
        return folder

    yield record
    guests.destroy(lab, [RESTARTED.name, GROWN.name, ROOMY.name])


def is_surveyed(folder: Path) -> bool:
    """Whether a survey has come to the agent's history."""
    with suppress(sqlite3.Error, OSError, ValueError), closing(connect(folder / "history.db")) as history:
        return bool(history.execute("SELECT 1 FROM stream WHERE collect = 'survey'").fetchone())
    return False


def six_hours(folder: Path, into: Path) -> list[Batch]:
    """Write what is recorded in one folder into a history in another, as if it had taken six hours.

    They begin with a survey, so that there is one of the day before.
    """
    with SqliteSink.history(SqliteSettings(), folder) as history:
        batches = list(history.batches(0, 1 << 62, pytest.fail))  # type: ignore[attr-defined]  # it has batches
    batches = list(dropwhile(lambda batch: batch.collect != "survey", batches))
    first_ms, last_ms = batches[0].stamp.time_ms, batches[-1].stamp.time_ms
    factor = -(-SPAN_MS // (last_ms - first_ms))
    stretch = Stretch(factor, first_ms, END_MS - (last_ms - first_ms) * factor)
    stretched = [stretch.batch(batch) for batch in batches]
    sink = SqliteSink(SqliteSettings())
    into.mkdir(mode=0o700)
    sink.open(SinkContext("history", into, None, lambda _record, _reason: None))
    for batch in stretched:
        sink.write([batch])
    while sink.settle():
        pass
    sink.close()
    return stretched


def ask(command: str, folder: Path, clock: WallClock) -> list[Row]:
    """Run a command of the documentation on a history, at the end of the six hours."""
    config = folder / "domstat.toml"
    config.write_text(f'[agent]\nstate_dir = "{folder}"\n[[sinks]]\ntype = "sqlite"\n')
    domstat = f'domstat() {{ "{sys.executable}" -m domstat.cli "$@" --config "{config}" --format json; }}'
    clock.set(END_MS / 1000 - time.time())
    done = subprocess.run(
        ["bash", "-c", f"{domstat}\n{command}"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env=clock.env,
    )
    assert (done.returncode, done.stderr) == (0, ""), command
    return [json.loads(line) for line in done.stdout.splitlines()]


def tell(folder: Path, tmp_path: Path) -> Told:
    """Stretch a recording and ask everything of it."""
    batches = six_hours(folder, tmp_path / "history")
    clock = WallClock(tmp_path)
    return Told(batches, {n: ask(command, tmp_path / "history", clock) for n, command in commands().items()})


def at_ms(text: str) -> int:
    """Read a time as SQLite writes it."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


# What each answer is held to.


def busiest_now(told: Told, rows: list[Row]) -> None:
    cores = naive.by_subject(i for i in naive.increases(told.batches, "cpu.time") if i.time_ms >= END_MS - 600_000)
    found = {row["domain"]: row["cores"] for row in rows}
    assert found == pytest.approx({name: sum(all_) / len(all_) * 1e-9 for name, all_ in cores.items()}, rel=1e-6)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert {row["host"] for row in rows} == {"lab"}
    assert max(found.values()) > 0


def wrote_most(told: Told, rows: list[Row]) -> None:
    wrote: dict[str, float] = defaultdict(float)
    for increase in naive.increases(told.batches, "block.wr.bytes"):
        if increase.time_ms < MIDNIGHT_MS:
            wrote[increase.subject] += increase.value
    assert {row["domain"]: row["bytes"] for row in rows} == pytest.approx(wrote, rel=1e-9)
    assert [row["bytes"] for row in rows] == sorted(wrote.values(), reverse=True)
    assert any(one.value for one in naive.increases(told.batches, "block.wr.bytes") if one.subject == WRITER.name)


def idle(told: Told, rows: list[Row]) -> None:
    p99 = {name: naive.quantile(all_, 0.99) for name, all_ in utilization(told).items()}
    found = {row["domain"]: row["busiest"] for row in rows}
    assert found.keys() <= {name for name, share in p99.items() if share < 0.0205}
    assert found.keys() >= {name for name, share in p99.items() if share < 0.0195} >= {ROOMY.name}
    for name, share in found.items():
        assert share == pytest.approx(p99[name], rel=0.011, abs=1e-9)
    days = seen(told)
    for row in rows:
        assert row["days_seen"] == pytest.approx(days[row["domain"]], rel=1e-9)
        assert row["days_seen"] > 0.01


def right_size(told: Told, rows: list[Row]) -> None:
    shares, used = utilization(told), naive.by_subject(naive.memory_used(told.of_first_day()))
    given = naive.by_subject(naive.levels(told.of_first_day(), "balloon.current"))
    waited = steal(told)
    for row in rows:
        name = row["domain"]
        assert row["cpu_p95"] == pytest.approx(naive.quantile(shares[name], 0.95), rel=0.011, abs=1e-9)
        assert row["waited_p95"] == pytest.approx(naive.quantile(waited[name], 0.95), rel=0.011, abs=1e-9)
        assert row["memory_given"] == max(given[name])
        assert row["memory_used"] == (max(used[name]) if name in used else None)
    assert {row["domain"] for row in rows} == set(shares) >= {WRITER.name, BURNER.name}
    assert next(row for row in rows if row["domain"] == WRITER.name)["memory_used"] > 10_000_000


def slow_disks(told: Told, rows: list[Row]) -> None:
    took: dict[tuple[int, str, str | None, str], float] = defaultdict(float)
    requests = dict(took)
    for op in ("rd", "wr"):
        for of, into in (("times", took), ("reqs", requests)):
            for increase in naive.increases(told.batches, f"block.{op}.{of}"):
                bucket = increase.time_ms // 300_000 * 300_000
                key = (bucket, increase.subject, increase.device, f"block.{op}.latency")
                into[key] = into.get(key, 0) + increase.value
    latencies = {key: took[key] * 1e-9 / count for key, count in requests.items() if count}
    assert rows
    for row in rows:
        key = (at_ms(row["at"]), row["domain"], row["device"], row["field"])
        assert row["seconds"] == pytest.approx(latencies[key], rel=0.01)
    # Buckets are there when their ticks are sealed: of the day that is over all are.
    seen = {key: value for key, value in latencies.items() if key[0] < MIDNIGHT_MS}
    assert rows[0]["seconds"] >= 0.99 * max(seen.values(), default=0)
    assert [row["seconds"] for row in rows] == sorted((row["seconds"] for row in rows), reverse=True)


def busy_hosts(told: Told, rows: list[Row]) -> None:
    shares: dict[int, list[float]] = defaultdict(list)
    modes = ("user", "kernel", "idle", "iowait")
    spent: dict[int, dict[str, float]] = defaultdict(dict)
    for mode in modes:
        for increase in naive.increases(told.batches, f"host.cpu.{mode}"):
            spent[increase.time_ms][mode] = increase.value
    for time_ms, by_mode in spent.items():
        busy = by_mode["user"] + by_mode["kernel"]
        shares[time_ms // HOUR_MS * HOUR_MS].append(busy / sum(by_mode.values()))
    assert rows[0]["hour"] == datetime.fromtimestamp(min(shares) / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    assert len(rows) >= 2
    for row in rows:
        own = shares[at_ms(row["hour"])]
        assert row["host"] == "lab"
        assert row["mean"] == pytest.approx(sum(own) / len(own), rel=0.01)
        assert row["max"] == pytest.approx(max(own), rel=0.01)


def overcommitted(told: Told, rows: list[Row]) -> None:
    last: dict[tuple[str, str], float] = {}
    for field in ("vcpu.current", "balloon.current", "host.cpus", "host.memory.total"):
        for level in naive.levels(told.since(END_MS - 600_000), field):
            last[field, level.subject] = level.value
    sums: dict[str, float] = defaultdict(float)
    for (field, _), value in last.items():
        sums[field] += value
    (row,) = rows
    assert row["cpus"] == pytest.approx(sums["vcpu.current"] / sums["host.cpus"])
    assert row["memory"] == pytest.approx(sums["balloon.current"] / sums["host.memory.total"])
    assert row["cpus"] >= 1


def full_pools(told: Told, rows: list[Row]) -> None:
    assert [(row["host"], row["pool"], row["day"]) for row in rows][:1] == [("lab", "images", "2026-11-28")]
    allocated = {level.value for level in naive.levels(told.batches, "pool.allocation")}
    sizes = {level.value for level in naive.levels(told.batches, "pool.capacity")}
    assert {row["used"] for row in rows} <= allocated
    assert {row["size"] for row in rows} <= sizes
    assert all(0 <= row["used"] <= row["size"] for row in rows)


def started(told: Told, rows: list[Row]) -> None:
    starts: dict[str, list[int]] = defaultdict(list)
    for batch in told.batches:
        for record in batch.records:
            if record.event is not None and record.event.type in {"started", "rebooted"}:
                starts[naive.subject_of(record)].append(record.time_ms)
    assert {row["domain"]: row["starts"] for row in rows} == {name: len(all_) for name, all_ in starts.items()}
    (own,) = (row for row in rows if row["domain"] == RESTARTED.name)
    assert at_ms(own["last"]) == max(starts[RESTARTED.name]) // 1000 * 1000


def not_seen(told: Told, rows: list[Row]) -> None:
    ticks: dict[str, list[int]] = defaultdict(list)
    lost: dict[str, int] = defaultdict(int)
    for batch in told.batches:
        if any(record.event is None and record.gap is None for record in batch.records):
            ticks[batch.collect].append(batch.stamp.time_ms)
        lost[batch.collect] += sum(record.gap.end - record.gap.start for record in batch.records if record.gap)
    found = {row["collect"]: row for row in rows}
    assert {name: row["ticks"] for name, row in found.items()} == {name: len(all_) for name, all_ in ticks.items()}
    for name, row in found.items():
        own = ticks[name]
        assert at_ms(row["last_seen"]) == max(own) // 1000 * 1000
        spanned = max(own) - min(own)
        assert row["lost"] == (pytest.approx(lost[name] / spanned) if spanned else None)
    assert {"default", "survey"} <= found.keys()


CHECKS = {
    1: busiest_now,
    2: wrote_most,
    3: idle,
    4: right_size,
    5: slow_disks,
    6: busy_hosts,
    7: overcommitted,
    8: full_pools,
    9: started,
    10: not_seen,
}


def utilization(told: Told) -> dict[str, list[float]]:
    """Return the shares of their vCPUs that guests used on the first day, tick by tick."""
    vcpus = {level.subject: level.value for level in naive.levels(told.batches, "vcpu.current")}
    cores = naive.by_subject(i for i in naive.increases(told.batches, "cpu.time") if i.time_ms < MIDNIGHT_MS)
    return {name: [one * 1e-9 / vcpus[name] for one in all_] for name, all_ in cores.items()}


def seen(told: Told) -> dict[str, float]:
    """Return over how many days it is known what guests used on the first day."""
    days: dict[str, float] = defaultdict(float)
    for increase in naive.increases(told.batches, "cpu.time"):
        if increase.time_ms < MIDNIGHT_MS:
            days[increase.subject] += increase.seconds / DAY_S
    return days


def steal(told: Told) -> dict[str, list[float]]:
    """Return how many of guests' vCPUs waited for a processor on the first day, tick by tick."""
    waited: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for increase in naive.increases(told.batches, "vcpu.delay"):
        if increase.time_ms < MIDNIGHT_MS:
            waited[increase.subject][increase.time_ms] += increase.value / increase.seconds * 1e-9
    return {name: list(of.values()) for name, of in waited.items()}


def assert_answered(told: Told) -> None:
    """Hold every answer to what was written."""
    records = [record for batch in told.batches for record in batch.records]
    assert {record.kind for record in records} >= {Kind.GUEST, Kind.HOST, Kind.POOL, Kind.EVENT, Kind.AGENT}
    happened = {(naive.subject_of(record), record.event.type) for record in records if record.event}
    assert happened >= {(GROWN.name, "device-added"), (RESTARTED.name, "stopped"), (RESTARTED.name, "started")}
    for number, check in CHECKS.items():
        assert told.answers[number], f"question {number} has no answer"
        check(told, told.answers[number])


def test_ten_questions_are_documented_and_ask_every_view() -> None:
    asked = commands()
    assert list(asked) == list(CHECKS) == list(range(1, 11))
    views = {"samples", "rates", "five_minutes", "hourly", "daily", "guests", "events", "coverage"}
    assert {view for view in views for text in asked.values() if re.search(rf"(FROM|JOIN) {view}\b", text)} == views
    assert all(text.startswith("domstat history sql ") for text in asked.values())


def test_ten_questions_are_answered_rightly(recorded: Callable[..., Path], tmp_path: Path) -> None:
    assert_answered(tell(recorded(SHORT_TICKS, "50ms"), tmp_path))


@pytest.mark.faults
def test_ten_questions_are_answered_rightly_of_a_tick_every_ten_seconds(
    recorded: Callable[..., Path], tmp_path: Path
) -> None:
    assert_answered(tell(recorded(LONG_TICKS, "100ms"), tmp_path))

"""The questions that people ask of a history, put to ours and to the other stores.

QUESTIONS is the seam: a name, what is to be reached, and a function for each way of asking. Each function returns what
it found by subject (a guest's uuid, or a time), in base units, so that the stores' answers can be compared: a store
that is quick and wrong is not quick.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct

from domstat.history import Aggregate, History, Select, Series, Span
from domstat.model import Kind
from domstat_bench.measure import cpu_ns
from domstat_bench.workload import VCPUS
from domstat_bench.workload_batches import uuid_of
from domstat_bench.workload_drive import TICK_S
from domstat_lab.servers import InfluxDB, Server

Found: TypeAlias = Mapping[Any, float]

HOUR_MS = 3_600_000
TOP = 10
IDLE = 0.02
"""A guest is idle whose vCPUs are busy for no more than this share, in 99 of 100 ticks."""
QUANTILE, IDLE_QUANTILE = 0.95, 0.99
TOLERANCE = 0.01
"""How far an answer may be from the exact one where that is enough."""
_NS = 1e9
_WINDOWS = {"victoria-metrics": "10s", "prometheus": "15s"}
"""How far a rate looks back to see two samples and no third: one store counts the sample before, the other does not."""
_RUNS = 3
_CPU, _WRITTEN = "cpu.time", "block.wr.bytes"


class Asked(Struct, frozen=True):
    """What is asked about: from the first tick on until the last one is over, and one guest's uuid."""

    since_ms: int
    until_ms: int
    uuid: str = uuid_of(0)

    @property
    def span_s(self) -> int:
        """How long it is in seconds."""
        return (self.until_ms - self.since_ms) // 1000

    @property
    def middle_ms(self) -> int:
        """An hour begins here that was sealed long ago."""
        return self.since_ms + (self.until_ms - self.since_ms) // (2 * HOUR_MS) * HOUR_MS


class Answered(Struct, frozen=True):
    """What was found, and the least it took to find it in nanoseconds, of CPU and by the clock."""

    found: Found
    cpu_ns: int
    wall_ns: int


# ---- ours ----


def _select(asked: Asked, field: str, **how: Any) -> Select:
    """Ask for one field of all guests over everything."""
    return Select(span=Span(asked.since_ms, asked.until_ms), kinds=(Kind.GUEST,), fields=(field,), **how)


def _hour_of(history: History, asked: Asked, since_ms: int) -> Found:
    select = Select(span=Span(since_ms, since_ms + HOUR_MS), guests=(asked.uuid,), fields=(_CPU,))
    (series,) = history.read(select)
    ticks = [time_ms // (TICK_S * 1000) for time_ms in series.time_ms.tolist()]
    return dict(zip(ticks, _scaled(series), strict=True))


def _newest_hour(history: History, asked: Asked) -> Found:
    return _hour_of(history, asked, asked.until_ms - HOUR_MS)


def _sealed_hour(history: History, asked: Asked) -> Found:
    return _hour_of(history, asked, asked.middle_ms)


def _load(history: History, asked: Asked) -> Found:
    found: dict[Any, float] = {}
    for each in history.quantiles(_select(asked, _CPU, rate=True), (QUANTILE, 1.0)):
        uuid = str(each.subject.uuid)
        found[uuid, "p95"], found[uuid, "max"] = each.values
    means = _whole(history, _select(asked, _CPU, rate=True, aggregate=Aggregate.MEAN))
    return found | {(uuid, "mean"): value for uuid, value in means.items()}


def _load_nearly(history: History, asked: Asked) -> Found:
    return _quantile(history, asked, QUANTILE)


def _quantile(history: History, asked: Asked, share: float) -> dict[str, float]:
    """Return one quantile of how many vCPUs each guest keeps busy, to 1 %."""
    select = _select(asked, _CPU, rate=True, tolerance=TOLERANCE)
    return {str(each.subject.uuid): each.values[0] for each in history.quantiles(select, (share,))}


def _whole(history: History, select: Select) -> dict[str, float]:
    """Return one value of each guest, over the whole span."""
    return {str(series.subject.uuid): _scaled(series)[0] for series in history.read(select)}


def _scaled(series: Series) -> list[float]:
    """Return values in base units."""
    return [value * series.measure.scale for value in series.values.tolist()]


def _top(history: History, asked: Asked) -> Found:
    wrote = _whole(history, _select(asked, _WRITTEN, aggregate=Aggregate.INCREASE))
    return dict(sorted(wrote.items(), key=lambda one: -one[1])[:TOP])


def _hourly(history: History, asked: Asked) -> Found:
    hours: Any = np.zeros(asked.span_s * 1000 // HOUR_MS)
    for series in history.read(_select(asked, _CPU, step_ms=HOUR_MS, aggregate=Aggregate.INCREASE)):
        # One value an hour and guest: no place occurs twice.
        hours[(np.asarray(series.time_ms) - asked.since_ms) // HOUR_MS] += np.asarray(series.values)
    first = asked.since_ms // HOUR_MS
    return {first + i: value / _NS / 3600 for i, value in enumerate(hours.tolist())}


def _idle(history: History, asked: Asked) -> Found:
    found = _quantile(history, asked, IDLE_QUANTILE)
    return {uuid: value for uuid, value in found.items() if value < IDLE * VCPUS}


def _aggregated(history: History, asked: Asked) -> Found:
    answer = history.sql(
        f"SELECT count(*), total(value) FROM samples WHERE field = 'cpu.time' AND time_ms < {asked.until_ms}"
    )
    return {"rows": next(answer.rows)[0]}


def _fetched(history: History, asked: Asked) -> Found:
    answer = history.sql(
        f"SELECT time_ms, uuid, value FROM samples WHERE field = 'cpu.time' AND time_ms < {asked.until_ms}"
    )
    return {"rows": sum(1 for _ in answer.rows)}


# ---- VictoriaMetrics and Prometheus ----


def _promql(server: Server, query: str, asked: Asked) -> list[dict[str, Any]]:
    """Ask as of the last tick."""
    at_s = asked.until_ms // 1000 - TICK_S
    found: list[dict[str, Any]] = server.ask("/api/v1/query", query=query, time=str(at_s))["data"]["result"]
    return found


def _vector(server: Server, query: str, asked: Asked, scale: float) -> dict[str, float]:
    """Return one value for each guest."""
    found = _promql(server, query, asked)
    values = {each["metric"]["uuid"]: float(each["value"][1]) * scale for each in found}
    return {uuid: value for uuid, value in values.items() if not math.isnan(value)}


def _rates(server: Server, asked: Asked) -> str:
    """Write the rate of every guest's CPU time, tick by tick: between two samples, whichever store it is."""
    return f"rate(cpu_time[{_WINDOWS[server.name]}])[{asked.span_s}s:{TICK_S}s]"


def _hour_promql(server: Server, asked: Asked) -> Found:
    matrix = _promql(server, f'cpu_time{{uuid="{asked.uuid}"}}[3595s]', asked)
    return {int(time_s) // TICK_S: float(value) / _NS for time_s, value in matrix[0]["values"]}


def _load_promql(server: Server, asked: Asked) -> Found:
    found: dict[Any, float] = {}
    functions = {
        "p95": f"quantile_over_time({QUANTILE}, {{}})",
        "mean": "avg_over_time({})",
        "max": "max_over_time({})",
    }
    for name, function in functions.items():
        values = _vector(server, function.format(_rates(server, asked)), asked, 1 / _NS)
        found |= {(uuid, name): value for uuid, value in values.items()}
    return found


def _top_promql(server: Server, asked: Asked) -> Found:
    return _vector(server, f"topk({TOP}, increase(block_wr_bytes[{asked.span_s}s]))", asked, 1.0)


def _hourly_promql(server: Server, asked: Asked) -> Found:
    answer = server.ask(
        "/api/v1/query_range", query="sum(rate(cpu_time[3600s]))",
        start=str(asked.since_ms // 1000 + 3590), end=str(asked.until_ms // 1000 - TICK_S), step="3600",
    )  # fmt: skip
    return {
        int(time_s) * 1000 // HOUR_MS: float(value) / _NS for time_s, value in answer["data"]["result"][0]["values"]
    }


def _idle_promql(server: Server, asked: Asked) -> Found:
    query = f"quantile_over_time({IDLE_QUANTILE}, {_rates(server, asked)}) < {IDLE * VCPUS * _NS:.0f}"
    return _vector(server, query, asked, 1 / _NS)


# ---- InfluxDB ----


def _span(asked: Asked) -> str:
    return f"time >= {asked.since_ms}ms AND time < {asked.until_ms}ms"


def _by_guest(store: InfluxDB, text: str) -> dict[str, list[Any]]:
    """Return the one row of each guest, without its time."""
    return {series["tags"]["uuid"]: series["values"][0][1:] for series in store.query(text)}


def _rates_influxql(asked: Asked) -> str:
    return (
        f'SELECT NON_NEGATIVE_DERIVATIVE("cpu.time", 1s) / {_NS:.0f} AS r FROM domstat_cpu'
        f" WHERE {_span(asked)} GROUP BY uuid"
    )


def _hour_influxql(store: InfluxDB, asked: Asked) -> Found:
    series = store.query(
        f"SELECT \"cpu.time\" FROM domstat_cpu WHERE uuid = '{asked.uuid}'"
        f" AND time >= {asked.until_ms - HOUR_MS}ms AND time < {asked.until_ms}ms"
    )
    return {at_ns // (TICK_S * 10**9): value / _NS for at_ns, value in series[0]["values"]}


def _load_influxql(store: InfluxDB, asked: Asked) -> Found:
    percent = round(QUANTILE * 100)
    found = _by_guest(
        store, f"SELECT PERCENTILE(r, {percent}), MEAN(r), MAX(r) FROM ({_rates_influxql(asked)}) GROUP BY uuid"
    )
    return {(uuid, name): each[i] for uuid, each in found.items() for i, name in enumerate(("p95", "mean", "max"))}


def _top_influxql(store: InfluxDB, asked: Asked) -> Found:
    grown = f'SELECT NON_NEGATIVE_DIFFERENCE("{_WRITTEN}") AS d FROM domstat_block WHERE {_span(asked)} GROUP BY uuid'
    found = _by_guest(store, f"SELECT SUM(d) FROM ({grown}) GROUP BY uuid")
    return dict(sorted(((uuid, each[0]) for uuid, each in found.items()), key=lambda one: -one[1])[:TOP])


def _hourly_influxql(store: InfluxDB, asked: Asked) -> Found:
    grown = f'SELECT NON_NEGATIVE_DIFFERENCE("cpu.time") AS d FROM domstat_cpu WHERE {_span(asked)} GROUP BY uuid'
    series = store.query(f"SELECT SUM(d) FROM ({grown}) WHERE {_span(asked)} GROUP BY time(1h)")
    return {at_ns // 10**6 // HOUR_MS: value / _NS / 3600 for at_ns, value in series[0]["values"] if value is not None}


def _idle_influxql(store: InfluxDB, asked: Asked) -> Found:
    found = _by_guest(
        store, f"SELECT PERCENTILE(r, {IDLE_QUANTILE * 100:.0f}) FROM ({_rates_influxql(asked)}) GROUP BY uuid"
    )
    return {uuid: each[0] for uuid, each in found.items() if each[0] < IDLE * VCPUS}


class Question(Struct, frozen=True, kw_only=True):
    """One question: what is to be reached in milliseconds, or in µs for each row where that is what counts.

    *by_clock*: the goal is of elapsed time, not of CPU. Others are asked where they have a way to.
    """

    name: str
    goal: float
    ours: Callable[[History, Asked], Found]
    promql: Callable[[Server, Asked], Found] | None = None
    influxql: Callable[[InfluxDB, Asked], Found] | None = None
    by_clock: bool = False
    a_row: bool = False


QUESTIONS = (
    Question(name="an hour of one series, sealed", goal=1, ours=_sealed_hour, by_clock=True),
    Question(
        name="the last hour of one series", goal=15, ours=_newest_hour, promql=_hour_promql, influxql=_hour_influxql,
        by_clock=True,
    ),
    Question(
        name="p95, mean, max of each guest's CPU", goal=200, ours=_load, promql=_load_promql, influxql=_load_influxql
    ),
    Question(name="p95 of each guest's CPU, to 1 %", goal=10, ours=_load_nearly),
    Question(name="top 10 by bytes written", goal=5, ours=_top, promql=_top_promql, influxql=_top_influxql),
    Question(
        name="all guests' CPU by the hour", goal=20, ours=_hourly, promql=_hourly_promql, influxql=_hourly_influxql
    ),
    Question(name="idle guests", goal=15, ours=_idle, promql=_idle_promql, influxql=_idle_influxql),
    Question(name="SQL rows aggregated", goal=0.1, ours=_aggregated, a_row=True),
    Question(name="SQL rows fetched", goal=1, ours=_fetched, a_row=True),
)  # fmt: skip
"""In the order of the table. Over days, not a year: what is asked of a year needs one."""

COLD = QUESTIONS[1]
"""What is asked of a file of which nothing is in memory."""


def timed(ask: Callable[[], Found], pid: int) -> Answered:
    """Ask once to have it warm, then again; return the least that it cost process *pid*."""
    found = ask()
    cpu, wall = [], []
    for _ in range(_RUNS):
        began, at = cpu_ns(pid), time.perf_counter_ns()
        ask()
        wall.append(time.perf_counter_ns() - at)
        cpu.append(cpu_ns(pid) - began)
    return Answered(found, min(cpu), min(wall))


def difference(one: Found, other: Found) -> float:
    """Return by how much two answers differ where they do most, relatively; infinity where they name others."""
    if set(one) != set(other):
        return math.inf
    return max((abs(one[key] - other[key]) / max(abs(one[key]), 1e-9) for key in one), default=0.0)

"""SIGHUP every two seconds, half of the files wrong: no tick is missed, nothing is lost, and rates go on.

A host and a sink that are in every file are watched, and so are a host and a sink that change with every file.
"""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from domstat.status import ask, read
from domstat_bench.measure import children
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_sinks.sqlite import connect
from real.conftest import Agent
from shown import Show

EVERY_S = 2.0
RELOADS_SHORT, RELOADS_LONG = 10, 300
"""20 seconds, and 10 minutes."""

INTERVAL_MS = 1000

LATE_MS = 100
"""A tick that takes so much less than an interval may cost the next one: it began late, on a machine that is busy."""

DONE_S = 60.0
"""How long a reload may take, on a machine that is."""

WRONG = (
    "[[hosts",
    '[agent]\ninterval = "never"\n',
    '[agent]\nstate_dir = "/var/lib/elsewhere"\n',
    '[[sinks]]\ntype = "sqlight"\n',
    "\xff\xfe",
)
"""No TOML, a wrong value, what only a start can change, a sink that is none, no UTF-8 (as it is written)."""

CHANGES = (
    ("", ""),
    ('interval = "400ms"', 'days = "1000d"'),
    ('fields = { exclude = ["net.*"] }', ""),
    ('labels = { machine = "os/type/@machine" }', None),
    ("", 'days = "2000d"'),
    (None, ""),
)
"""What the other host and the other sink have in their tables; None: they are not there at all."""


def config_of(folder: Path, uri: str, number: int) -> str:
    host, sink = CHANGES[number % len(CHANGES)]
    block = ""
    if host is not None:
        collect = (
            f'[[hosts.collect]]\ngroups = ["state", "cpu-total", "interface"]\n{host}\n' if "int" in host else host
        )
        block = f'[[hosts]]\nuri = "{uri}"\nname = "other"\nsurvey = {{ enabled = false }}\n{collect}\n'
    more = "" if sink is None else f'[[sinks]]\ntype = "sqlite"\nname = "second"\npath = "second.db"\n{sink}\n'
    return (
        f'[agent]\nstate_dir = "{folder}"\ninterval = "{INTERVAL_MS}ms"\n'
        f'[[hosts]]\nuri = "{uri}"\nname = "lab"\nsurvey = {{ enabled = false }}\n{block}'
        f'[[sinks]]\ntype = "sqlite"\nname = "history"\n[[sinks]]\ntype = "stdout"\nformat = "json"\n{more}'
    )


def replace_file(path: Path, content: bytes) -> None:
    """Put a file in place at once: the agent must never see half of one, since it would refuse that too."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.rename(path)


def reload(agent: Agent, folder: Path, number: int) -> None:
    """Have the agent read its file, and wait for the end of that: it is the reload with that number."""
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_for(lambda: read(ask(folder / "status.sock", DONE_S)).reloads.ended >= number, "reload", DONE_S)


def due_times(records: list[dict[str, Any]], host: str) -> list[int]:
    """Return when the ticks of a host were due that were delivered, in milliseconds since 1970."""
    return [
        read_ms(one["time"]) - round(one["params"]["agent.lateness"] / 1e6)
        for one in records
        if (one["kind"], one["host"], one["collect"]) == ("agent", host, "default")
    ]


def read_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def series(folder: Path, file: str) -> Counter[tuple[str, str, int]]:
    """Count the samples of every guest at every time in a history."""
    with closing(connect(folder / file)) as connection:
        query = "SELECT host, uuid, time_ms, count(*) FROM samples WHERE kind = 'guest' GROUP BY 1, 2, 3"
        return Counter({(host, uuid, time_ms): count for host, uuid, time_ms, count in connection.execute(query)})


@pytest.mark.parametrize("reloads", [RELOADS_SHORT, pytest.param(RELOADS_LONG, marks=pytest.mark.faults)])
def test_reloads_cost_neither_a_tick_nor_a_record(
    lab: PrivateLibvirtd,
    run_agent: Callable[..., Agent],
    tmp_path: Path,
    reloads: int,
    show: Show,
) -> None:
    agent = run_agent(interval=f"{INTERVAL_MS}ms")
    agent.wait_ticks(2)
    path = tmp_path / "domstat.toml"
    (worker,) = children(agent.process.pid)
    began = time.monotonic()
    wrong = 0
    for number in range(reloads):
        if number % 2:
            replace_file(path, WRONG[wrong % len(WRONG)].encode("latin-1"))
            wrong += 1
        else:
            replace_file(path, config_of(tmp_path, lab.uri_ro, number // 2).encode())
        reload(agent, tmp_path, number + 1)
        time.sleep(max(0.0, began + EVERY_S * (number + 1) - time.monotonic()))
    replace_file(path, config_of(tmp_path, lab.uri_ro, 0).encode())
    reload(agent, tmp_path, reloads + 1)
    agent.wait_more_ticks(4)
    assert worker in children(agent.process.pid), "the worker of the host that never changed"
    threads = len(list(Path(f"/proc/{agent.process.pid}/task").iterdir()))
    descriptors = len(list(Path(f"/proc/{agent.process.pid}/fd").iterdir()))
    agent.wait_for(lambda: len(children(agent.process.pid)) == 2, "end of the workers that were replaced")
    agent.stop()

    records = [json.loads(line) for line in (tmp_path / "stdout.jsonl").read_text().splitlines()]
    dues = sorted(due_times(records, "lab"))
    # A record's time is in whole milliseconds, and so is how late it was.
    spans = [round((late - early) / INTERVAL_MS) for early, late in pairwise(dues)]
    took_ms = [event["took_ms"] for event in agent.events("tick") if event["stream"] == "lab/default"]
    assert len(took_ms) == len(dues)
    missed = [(span - 1, took) for span, took in zip(spans, took_ms, strict=False) if span > 1]
    gaps = [one["gap"] | {"host": one["host"]} for one in records if one["kind"] == "gap"]
    guests = [one for one in records if one["kind"] == "guest"]
    firsts: set[tuple[str, str]] = set()
    rateless = 0
    for one in guests:
        key = (one["host"], one["domain"]["uuid"])
        rateless += key in firsts and one["interval_s"] is None
        firsts.add(key)
    streamed = {(one["host"], one["domain"]["uuid"], read_ms(one["time"])) for one in guests}
    stored, second = series(tmp_path, "history.db"), series(tmp_path, "second.db")
    second_since = min(time_ms for _, _, time_ms in second)
    figures = {
        "test": "reloads",
        "reloads": reloads,
        "refused": len(agent.events("configuration_refused")),
        "ticks": len(dues),
        "ticks_missed": sum(span for span, took in missed if took < INTERVAL_MS - LATE_MS),
        "ticks_missed_as_one_took_too_long": sum(span for span, took in missed if took >= INTERVAL_MS - LATE_MS),
        "ticks_twice": spans.count(0),
        "gaps": dict(Counter(f"{gap['host']}: {gap['reason']}" for gap in gaps)),
        "records": len(records),
        "lost_to_history": len(streamed - stored.keys()),
        "lost_to_the_sink_that_came_and_went": len({key for key in streamed if key[2] >= second_since} - second.keys()),
        "records_without_rates": rateless,
        "threads": threads,
        "descriptors": descriptors,
    }
    show(figures)
    assert figures["refused"] == wrong
    assert (figures["ticks_missed"], figures["ticks_twice"], figures["records_without_rates"]) == (0, 0, 0)
    assert (figures["lost_to_history"], figures["lost_to_the_sink_that_came_and_went"]) == (0, 0)
    assert {gap["reason"] for gap in gaps if gap["host"] == "lab"} <= {"overload"}

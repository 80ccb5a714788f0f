"""However many guests come and go, the tables that say what head rows mean stay small."""

from __future__ import annotations

import pytest

from domstat.model import Batch, Stamp
from domstat_sinks.sqlite.keeping import merging, upkeep
from domstat_sinks.sqlite.packed.slices import LEADS_MAX
from records import TIME_MS, guest_record

from .conftest import History


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "SLICE_TICKS", 5)
    monkeypatch.setattr(upkeep, "SLICE_MS", 1)
    monkeypatch.setattr(upkeep, "STEP_S", 60.0)
    monkeypatch.setattr(merging, "LEVELS", {})


def tick(number: int, uuid: str) -> Batch:
    time_ms = TIME_MS + 1_000 * number
    record = guest_record(time_ms=time_ms, uuid=uuid, extra={f"net.rx.bytes[{uuid}]": number})
    stamp = Stamp(time_ms, time_ms * 1_000_000, "boot", 0)
    return Batch(host="kvm1", collect="default", stamp=stamp, records=(record,))


def count(history: History, table: str) -> int:
    ((found,),) = history.ask(f"SELECT count(*) FROM {table}")
    return int(str(found))


def test_layouts_and_shapes_that_no_head_row_has_go(history: History) -> None:
    for number in range(120):
        history.write(tick(number, f"guest-{number}"))
    for table in ("layout", "layout_record", "shape"):
        assert count(history, table) <= LEADS_MAX + 3 * 5, "of what the next ticks may follow on, and of two slices"
    assert count(history, "shape_column") == count(history, "shape") * len(tick(0, "x").records[0].params)
    assert history.ask("SELECT count(DISTINCT uuid) FROM samples") == [(120,)]


def test_a_guest_that_comes_back_after_its_layout_went_is_stored_rightly(history: History) -> None:
    for number in range(60):
        history.write(tick(number, f"guest-{number % 3 if number // 20 != 1 else 9}"))
    found = history.ask("SELECT uuid, count(*), sum(value) FROM samples WHERE field = 'net.rx.bytes' GROUP BY uuid")
    there = {f"guest-{i}": [n for n in range(60) if n // 20 != 1 and n % 3 == i] for i in range(3)}
    there["guest-9"] = list(range(20, 40))
    own = {name: (len(ticks), sum(ticks)) for name, ticks in there.items()}
    noted = {
        uuid: (n, total)
        for uuid, n, total in history.ask(
            "SELECT uuid, count(*), sum(value) FROM samples"
            " WHERE field = 'net.rx.bytes' AND device = uuid GROUP BY uuid"
        )
    }
    assert noted == own
    assert len(found) == 4


def test_the_newest_layout_stays_so_that_no_number_is_given_twice(history: History) -> None:
    seen: set[int] = set()
    for number in range(40):
        history.write(tick(number, f"guest-{number}"))
        ((newest,),) = history.ask("SELECT max(id) FROM layout")
        assert newest not in seen
        seen.add(int(str(newest)))

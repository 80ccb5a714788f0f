"""What tests of sealing share: small slices, upkeep one step at a time, and all that a history says, to be compared."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import pytest
from msgspec.structs import replace

from domstat.model import Batch, Domain, Figures, Kind, Pool, Record, Stamp, Value
from domstat_sinks.sqlite import connect, schema
from domstat_sinks.sqlite.answers.export import Exporter
from domstat_sinks.sqlite.keeping import merging, upkeep
from domstat_sinks.sqlite.keeping.sealing import DAY_MS
from domstat_sinks.sqlite.writer import Writer

from .conftest import History
from .test_stored import Life

EVER_MS = 1 << 62
START_MS = 1_795_385_704_000
INTERVAL_MS = 10_000
CALL_NS = 12_000_000

Rows = list[tuple[object, ...]]


def make_small(patch: pytest.MonkeyPatch, slice_ticks: int = 5, levels: tuple[int, int] = (10, 20)) -> None:
    """Have slices of a few ticks, merged as soon as there are some more; and commits that wait for no disk."""
    patch.setattr(upkeep, "SLICE_TICKS", slice_ticks)
    patch.setattr(upkeep, "SLICE_MS", 1)
    made = {level: merging.Level(DAY_MS, enough) for level, enough in enumerate(levels, 1)}
    patch.setattr(merging, "LEVELS", made)
    patch.setattr(schema, "OPEN_PRAGMAS", schema.OPEN_PRAGMAS.replace("= FULL", "= OFF"))


def writer_of(history: History) -> Writer:
    """Return the sink's writer."""
    assert history.sink._writer is not None
    return history.sink._writer


def step(history: History) -> bool:
    """Do one step of what is due, committed by itself; return whether something was."""
    own = writer_of(history)._upkeep
    had_work = own._has_work()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upkeep, "STEP_S", 0.0)
        patch.setattr(upkeep.Upkeep, "_is_behind", lambda _: False)
        own.run()
    return had_work


def steps(history: History, most: int = 500) -> Iterator[int]:
    """Do all that is due, step by step; it has an end."""
    for number in range(most):
        if not step(history):
            return
        yield number
    pytest.fail(f"there is still something to do after {most} steps")


def step_until(history: History, is_so: Callable[[], bool]) -> None:
    """Do what is due, until something is so."""
    for _ in steps(history):
        if is_so():
            return
    pytest.fail("it never was so")


def rest(history: History) -> None:
    """Do all that is due."""
    for _ in steps(history):
        pass


def write_alone(history: History, *batches: Batch) -> None:
    """Write one by one, and leave all upkeep for later."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upkeep.Upkeep, "run", lambda _: None)
        for one in batches:
            history.write(one)


def write_each(history: History, batches: Iterable[Batch]) -> None:
    """Write one by one, and do all that is due after each."""
    for one in batches:
        write_alone(history, one)
        rest(history)


def write_plain(history: History, batches: Iterable[Batch]) -> None:
    """Write one by one, and seal nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upkeep.Upkeep, "ends_slice", lambda *_: False)
        for one in batches:
            history.write(one)


def again(history: History) -> None:
    """Close the sink, and open the file with another, which knows only what the file says."""
    history.sink.close()
    history.sink = history.another()
    history.open()


def ask(reader: sqlite3.Connection, view: str) -> Rows:
    """Return all that a view has, in an order of its own."""
    return sorted(reader.execute(f"SELECT * FROM {view}"), key=repr)


def exported(reader: sqlite3.Connection) -> list[Batch]:
    """Return all batches; nothing may be damaged."""
    return list(Exporter(reader).batches(0, EVER_MS, pytest.fail))


def readable(history: History) -> tuple[list[Batch], list[str]]:
    """Return all batches that can be read, and what is said of the others."""
    damaged: list[str] = []
    with closing(connect(history.path)) as reader:
        return list(Exporter(reader).batches(0, EVER_MS, damaged.append)), damaged


def said(history: History) -> tuple[Rows, Rows, list[str]]:
    """Return all that a history says to whoever opens it now; as texts, so that what is no number equals itself."""
    with closing(connect(history.path)) as reader:
        return ask(reader, "samples"), ask(reader, "rates"), [repr(one) for one in exported(reader)]


def query(history: History, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Ask the file itself, without anything of domstat's."""
    with closing(sqlite3.connect(history.path)) as plain:
        return plain.execute(sql, parameters).fetchall()


def count(history: History, sql: str, *parameters: object) -> int:
    """Return the one number that a query gives."""
    return int(query(history, sql, *parameters)[0][0])


def spoil(history: History, table: str, column: str, number: int, place: int) -> None:
    """Flip all bits of one byte of a blob; a place counts from the end if it is negative."""
    with closing(sqlite3.connect(history.path)) as vandal:
        (blob,) = vandal.execute(f"SELECT {column} FROM {table} WHERE id = ?", (number,)).fetchone()
        spoilt = bytearray(blob)
        spoilt[place] ^= 0xFF
        vandal.execute(f"UPDATE {table} SET {column} = ? WHERE id = ?", (bytes(spoilt), number))
        vandal.commit()


def levels(history: History) -> list[int]:
    """Return the levels of all segments of ticks, in the order of these."""
    own = "stream IN (SELECT id FROM stream WHERE tier = 0)"
    return [level for (level,) in query(history, f"SELECT level FROM segment WHERE {own} ORDER BY stream, first_id")]


def lives(seed: int, chunks: int, length: int) -> list[Batch]:
    """Return the first batches of a random life."""
    return list(itertools.islice(itertools.chain.from_iterable(iter(Life(seed, chunks).tick, None)), length))


# Ticks of one stream, made by hand.


def guest(uuid: str = "a", name: str | None = None, id: int | None = 1, **params: Value) -> Record:  # noqa: A002
    """Make a guest's record; a field's first dot is an underscore: ``cpu_time=5``."""
    figures = Figures({key.replace("_", ".", 1): value for key, value in params.items()})
    domain = Domain(uuid, name or uuid, id)
    return Record(kind=Kind.GUEST, host="h", collect="c", time_ms=0, domain=domain, figures=figures)


def with_params(record: Record, params: Mapping[str, Value]) -> Record:
    """Give a record other parameters."""
    return replace(record, figures=Figures(dict(params)))


def pool(name: str, **params: Value) -> Record:
    """Make a pool's record."""
    figures = Figures({key.replace("_", ".", 1): value for key, value in params.items()})
    return Record(kind=Kind.POOL, host="h", collect="c", time_ms=0, pool=Pool(name), figures=figures)


def at_ms(number: int) -> int:
    """Return the time of a tick."""
    return START_MS + INTERVAL_MS * number


def tick(number: int, *records: Record, time_ms: int | None = None, boot: str = "boot", collect: str = "c") -> Batch:
    """Make the tick of a number, by default at its time by both clocks."""
    when_ms = at_ms(number) if time_ms is None else time_ms
    boot_ns = 5_000_000_000 + INTERVAL_MS * number * 1_000_000 if boot else 0
    stamp = Stamp(when_ms, boot_ns, boot, CALL_NS if boot else 0)
    dated = tuple(replace(record, time_ms=when_ms, collect=collect) for record in records)
    return Batch(host="h", collect=collect, stamp=stamp, records=dated)


def steady(number: int, *uuids: str, collect: str = "c") -> Batch:
    """Make a tick in which each of some guests has counted on."""
    records = (guest(uuid, cpu_time=1000 * number, state_state=1) for uuid in uuids or ("a", "b"))
    return tick(number, *records, collect=collect)


def numbers(start: int, stop: int) -> list[Batch]:
    """Make steady ticks."""
    return [steady(number) for number in range(start, stop)]


def times(batches: Iterable[Batch]) -> list[int]:
    """Return the times of ticks."""
    return [one.stamp.time_ms for one in batches]


def sealed_and_plain(make_history: Callable[[], History], batches: Sequence[Batch]) -> tuple[History, History]:
    """Write the same into a history that is sealed as it is written, and into one that never is."""
    sealed, plain = make_history(), make_history()
    write_each(sealed, batches)
    write_plain(plain, batches)
    assert levels(plain) == []
    return sealed, plain


def same_sealed_or_not(make_history: Callable[[], History], batches: Sequence[Batch]) -> History:
    """Hold a history that is sealed to one that never is; return the sealed one, which has been merged too."""
    sealed, plain = sealed_and_plain(make_history, batches)
    for of_sealed, of_plain in zip(said(sealed), said(plain), strict=True):
        assert of_sealed == of_plain
    assert max(levels(sealed)) == merging.LAST
    return sealed

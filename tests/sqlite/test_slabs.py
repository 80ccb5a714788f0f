"""Slabs: what they say of each series and bucket is what was stored of it, sealed or not, whoever is asked about."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domstat.history import Span
from domstat.model import Record, key_of
from domstat_sinks.sqlite import connect, schema
from domstat_sinks.sqlite.answers.head_source import HeadSource
from domstat_sinks.sqlite.answers.sealed_source import SealedSource
from domstat_sinks.sqlite.answers.slabs import ABSENT, MIXED, Owner, Slab, Stat, filled
from domstat_sinks.sqlite.answers.source import Source
from domstat_sinks.sqlite.answers.ticks import Boots
from domstat_sinks.sqlite.heads.row import DamagedError
from domstat_sinks.sqlite.keeping import merging, upkeep
from domstat_sinks.sqlite.rollups.rollup import DAY_MS, HOUR_MS
from domstat_sinks.sqlite.schema import chunks_of
from domstat_sinks.sqlite.writer import Writer

from .tierdata import WIDTHS, batches, rows, some_history, tail

EVER = Span()
Said = dict[tuple[int, Owner, str], Any]
"""By bucket, whose it is and statistic, a value."""


@pytest.fixture(params=[1, 6], scope="module")
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history with tiers in segments of several levels and in head rows."""
    made = tmp_path_factory.mktemp("history") / "history.db"
    ticks = some_history(request.param, length=60, step_ms=100_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upkeep, "SLICE_TICKS", 5)
        patch.setattr(upkeep, "SLICE_MS", 1)
        patch.setattr(upkeep, "STEP_S", 60.0)
        patch.setattr(upkeep, "TIER_SLICES_MS", {1: 1_800_000, 2: DAY_MS})
        patch.setattr(merging, "LEVELS", {})
        patch.setattr(merging, "TIER_LEVELS", {1: {2: merging.Level(HOUR_MS, 12)}, 2: {}})
        patch.setattr(schema, "OPEN_PRAGMAS", schema.OPEN_PRAGMAS.replace("= FULL", "= OFF"))
        writer = Writer(made)
        for batch in batches([*ticks, *tail(ticks, 11)]):
            writer.write([batch])
        while writer._upkeep._has_work():
            writer._upkeep.run()
        writer.close()
    return made


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    opened = connect(path)
    yield opened
    opened.close()


def stream_of(connection: sqlite3.Connection, tier: int) -> int:
    return int(connection.execute("SELECT id FROM stream WHERE tier = ?", (tier,)).fetchone()[0])


def sources(connection: sqlite3.Connection) -> list[Source]:
    return [SealedSource(connection, Boots()), HeadSource(connection, Boots())]


def names_of(connection: sqlite3.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM field ORDER BY name").fetchall()]


def owner_of(record: Record, device: str | None) -> Owner:
    uuid = record.domain.uuid if record.domain else None
    return (str(record.kind), uuid, record.pool.name if record.pool else None), device


def owners_in(sources_: Sequence[Source], stream: int, names: Sequence[str]) -> list[Owner]:
    found = [
        owner for source in sources_ for _, owners, _ in source.owners(stream, EVER, names, None) for owner in owners
    ]
    return list(dict.fromkeys(found))


def slabs_in(sources_: Sequence[Source], stream: int, span: Span = EVER, names: Sequence[str] = ()) -> list[Slab]:
    owners = owners_in(sources_, stream, names)
    return [slab for source in sources_ for slab in source.slabs(stream, span, (names, owners), None)]


def alike(slab: Slab, name: str, owners: Sequence[Owner]) -> Iterator[list[Owner]]:
    """Put those together that may be asked about together."""
    types = slab.types(name, owners).tolist()
    for type_ in set(types) - {ABSENT}:
        own = [owner for owner, its in zip(owners, types, strict=True) if its == type_]
        yield from [[owner] for owner in own] if type_ == MIXED else [own]


def said_by(slabs: Sequence[Slab], names: Sequence[str], owners: list[Owner], first: int = 0) -> Said:
    found: Said = {}
    for slab in slabs:
        for name in names:
            for own in alike(slab, name, owners):
                stat = slab.stat(name, own)
                assert stat.values.shape == (len(own), len(slab.time_ms))
                there = np.ones(stat.values.shape, dtype=bool) if stat.there is None else stat.there
                for i, place in np.argwhere(there).tolist():
                    found[first + place, own[i], name] = (
                        stat.values[i, place].item() if stat.values.dtype != object else (stat.values[i, place])
                    )
        first += len(slab.time_ms)
    return found


def as_stored(path: Path, tier: int, names: Sequence[str]) -> Said:
    found: Said = {}
    for bucket, (_, records) in enumerate(rows(path, tier)):
        for record in records:
            for key, value in record.params.items():
                for name in names:
                    device = None if key == name else key.removeprefix(f"{name}[").removesuffix("]")
                    if key == key_of(name, device):
                        found[bucket, owner_of(record, device), name] = value
    return found


@pytest.mark.parametrize("tier", WIDTHS)
def test_slabs_say_of_every_bucket_what_was_stored(path: Path, connection: sqlite3.Connection, tier: int) -> None:
    names, stream, both = names_of(connection), stream_of(connection, tier), sources(connection)
    expected = as_stored(path, tier, names)
    owners = owners_in(both, stream, names)
    assert {owner for _, owner, _ in expected} == set(owners)
    random.Random(1).shuffle(owners)
    assert said_by(slabs_in(both, stream, names=names), names, owners) == expected


def test_a_part_of_the_span_has_a_part_of_the_buckets_and_one_owner_is_as_all_are(
    path: Path, connection: sqlite3.Connection
) -> None:
    names, stream, both = names_of(connection), stream_of(connection, 1), sources(connection)
    times = [start for start, _ in rows(path, 1)]
    span = Span(sorted(times)[len(times) // 4], sorted(times)[len(times) * 3 // 4])
    chosen = [bucket for bucket, start in enumerate(times) if span.since_ms <= start < span.until_ms]
    expected = as_stored(path, 1, names)
    slabs = slabs_in(both, stream, span, names)
    assert sum(len(slab.time_ms) for slab in slabs) == len(chosen) > 2
    for owner in owners_in(both, stream, names)[::3]:
        said = said_by(slabs, names, [owner])
        assert {(chosen[place], who, name): value for (place, who, name), value in said.items()} == {
            key: value for key, value in expected.items() if key[0] in chosen and key[1] == owner
        }


def test_there_are_as_many_buckets_as_owners_are_said_to_have_at_most(connection: sqlite3.Connection) -> None:
    names, stream, both = names_of(connection), stream_of(connection, 1), sources(connection)
    counts: dict[tuple[str, Owner], int] = {}
    for source in both:
        for name, owners, count in source.owners(stream, EVER, names, None):
            for owner in owners:
                counts[name, owner] = counts.get((name, owner), 0) + count
    said = said_by(slabs_in(both, stream, names=names), names, owners_in(both, stream, names))
    for (name, owner), most in counts.items():
        assert 0 < sum(who == owner and its == name for _, who, its in said) <= most


@pytest.mark.parametrize("tier", WIDTHS)
def test_where_a_statistic_is_can_be_asked_without_it(connection: sqlite3.Connection, tier: int) -> None:
    names, stream, both = names_of(connection), stream_of(connection, tier), sources(connection)
    owners = owners_in(both, stream, names)
    for slab in slabs_in(both, stream, names=names):
        for name in names:
            for own in alike(slab, name, owners):
                expected, found = slab.stat(name, own).there, slab.presence(name, own).there
                everywhere = np.ones((len(own), len(slab.time_ms)), dtype=np.bool_)
                expected, found = (everywhere if there is None else there for there in (expected, found))
                assert np.array_equal(expected, found)


def test_what_is_always_there_is_not_unpacked_to_say_so(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "history.db"
    copy.write_bytes(path.read_bytes())
    plain = sqlite3.connect(copy)
    plain.execute("DELETE FROM chunk")
    plain.commit()
    plain.close()
    opened = connect(copy)
    source = SealedSource(opened, Boots())
    stream = stream_of(opened, 1)
    owners = owners_in([source], stream, ["rollup.ticks"])
    found = []
    for slab in slabs_in([source], stream, names=["rollup.ticks"]):
        for own in alike(slab, "rollup.ticks", owners):
            for owner in own:
                with contextlib.suppress(DamagedError):
                    found.append(slab.presence("rollup.ticks", [owner]).there)
    opened.close()
    assert found
    assert set(found) == {None}


def test_a_damaged_chunk_is_told_and_its_series_are_not_there(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "history.db"
    copy.write_bytes(path.read_bytes())
    path = copy
    plain = sqlite3.connect(path)
    (segment,) = plain.execute(
        "SELECT g.id FROM segment g JOIN stream s ON s.id = g.stream WHERE s.tier = 1 ORDER BY g.id LIMIT 1"
    ).fetchone()
    (chunk,) = plain.execute("SELECT id FROM chunk WHERE id BETWEEN ? AND ?", chunks_of(segment)).fetchone()
    plain.execute("UPDATE chunk SET blob = CAST('spoilt' || blob AS BLOB) WHERE id = ?", (chunk,))
    plain.commit()
    plain.close()
    opened = connect(path)
    names, both, told = names_of(opened), sources(opened), list[str]()
    stream = stream_of(opened, 1)
    owners = owners_in(both, stream, names)
    slabs = [slab for source in both for slab in source.slabs(stream, EVER, (names, owners), told.append)]
    said = said_by(slabs, names, owners)
    assert said
    assert {text.partition(" (")[0] for text in told} == {f"chunk {chunk}"}
    strict = [slab for source in both for slab in source.slabs(stream, EVER, (names, owners), None)]
    with pytest.raises(DamagedError, match=f"chunk {chunk} "):
        said_by(strict, names, owners)
    opened.close()


def stat(values: list[list[Any]], there: list[list[bool]] | None = None, dtype: Any = np.int64) -> Stat:
    return Stat(np.array(values, dtype=dtype), None if there is None else np.array(there))


def test_a_default_is_where_there_is_nothing_and_is_not_worked_out_in_vain() -> None:
    assert np.asarray(filled(stat([[1, 2]]), lambda: pytest.fail("needless"))).tolist() == [[1, 2]]
    assert filled(None, 7) == 7
    assert np.asarray(filled(stat([[1, 2]], [[True, False]]), lambda: np.array([[8, 9]]))).tolist() == [[1, 9]]
    nothing = np.asarray(filled(stat([[1, 2]], [[True, False]]), np.nan))
    assert nothing[0, 0] == 1
    assert np.isnan(nothing[0, 1])
    large = np.asarray(filled(stat([[2**64 - 1, 2]], [[True, False]], np.uint64), 0))
    assert large.tolist() == [[2**64 - 1, 0]], "whole numbers stay such"

"""Whatever page is damaged, and wherever a file ends: what could be read is in the new file, and as it was."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from domstat.history import HasRecovery, HistoryError, Recovered
from domstat.model import Batch, Record, Stamp, Value, split_key
from domstat.sink import SinkContext
from domstat_sinks.sqlite import SqliteSink, connect
from domstat_sinks.sqlite.answers.export import Exporter
from domstat_sinks.sqlite.keeping import merging, upkeep
from domstat_sinks.sqlite.rescue import recovery
from domstat_sinks.sqlite.rescue.verification import verify
from domstat_sinks.sqlite.sink import SqliteSettings
from heard import Log
from records import TIME_MS, event_record, gap_record, guest_record, host_record, pool_record

PAGE = 4_096
STEP_MS = 600_000
TICKS = 330
NAMES = tuple(f"guest-{number}" for number in range(4))


def tick(number: int) -> list[Batch]:
    """Make a tick: a host, some guests one of which is away now and then, and what happened."""
    time_ms = TIME_MS + STEP_MS * number
    busy: dict[str, Value] = {
        "cpu.time": number * 5 * 10**9,
        "vcpu.current": 2,
        "balloon.usable": 1_000 + number % 7,
        "job.x": "a",
    }
    here = [name for name in NAMES if name != "guest-3" or number % 40 < 30]
    records: list[Record] = [host_record(time_ms=time_ms), pool_record(time_ms=time_ms)]
    for name in here:
        labels = {"title": f"{name} {number // 50}"}
        records.append(guest_record(name, time_ms=time_ms, params=busy, uuid=f"uuid-{name}", labels=labels))
    stamp = Stamp(time_ms, time_ms * 1_000_000, "boot" if number % 2 else "", 0)
    made = [Batch(host="kvm1", collect="default", stamp=stamp, records=tuple(records))]
    if number % 10 == 0:
        happened = (event_record(time_ms=time_ms), gap_record(time_ms=time_ms))
        made.append(Batch(host="kvm1", collect="events", stamp=stamp, records=happened))
    return made


def sink_on(folder: Path) -> SqliteSink:
    sink = SqliteSink(SqliteSettings())
    sink.open(SinkContext("history", folder, Log(), lambda _record, _reason: None))
    return sink


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A history with head rows, segments of all levels, roll-ups, days, events and gaps."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upkeep, "SLICE_TICKS", 10)
        patch.setattr(upkeep, "SLICE_MS", 1)
        patch.setattr(upkeep, "STEP_S", 60.0)
        patch.setattr(upkeep, "TIER_SLICES_MS", {1: 6 * 3_600_000, 2: 12 * 3_600_000})
        patch.setattr(merging, "LEVELS", {1: merging.Level(86_400_000, 40), 2: merging.Level(86_400_000, 100)})
        sink = sink_on(folder)
        for number in range(TICKS):
            sink.write(tick(number))
        sink.close()
        yield folder / "history.db"


# --- what is compared


Rows = dict[str, set[tuple[Any, ...]]]


def tables_of(connection: sqlite3.Connection) -> list[str]:
    found = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    return [name for (name,) in found if name != "doomed"]


def rows_of(path: Path) -> Rows:
    """Return all rows of a whole file."""
    with contextlib.closing(sqlite3.connect(path)) as plain:
        return {table: set(plain.execute(f"SELECT * FROM {table}")) for table in tables_of(plain)}


def readable(path: Path) -> tuple[int, int]:
    """Return how many ticks and values of a damaged file verifying reads; none if it cannot even be opened."""
    try:
        with contextlib.closing(connect(path)) as reader:
            counted = verify(reader, lambda _: None)
            return counted.ticks, counted.samples
    except Exception:  # noqa: BLE001 - whatever reading a damaged file comes to
        return 0, 0


class Case:
    """A damaged copy of a history, and the file that was recovered from it."""

    def __init__(self, whole: Path, folder: Path, damage: Callable[[bytearray], object]) -> None:
        self.damaged = folder / "damaged.db"
        self.target = folder / "saved.db"
        for path in folder.glob("*.db*"):
            path.unlink()
        content = bytearray(whole.read_bytes())
        damage(content)
        self.damaged.write_bytes(content)
        self.lost: list[str] = []

    def recover(self) -> Recovered:
        before = self.damaged.read_bytes()
        found = recovery.recover(self.damaged, self.target, self.lost.append)
        assert self.damaged.read_bytes() == before
        return found


MADE_OF_INDEXES = {"stream": 3, "guest": 3, "event": 4, "gap": 2}
"""How many of a row's first columns are as they were, at least, where the row was made of what indexes say."""


def assert_nothing_is_made_up(saved: Rows, whole: Rows) -> None:
    for table, rows in saved.items():
        more = rows - whole[table]
        known = MADE_OF_INDEXES.get(table, 1_000)
        assert {row[:known] for row in more} <= {row[:known] for row in whole[table]}, table


def assert_saved(case: Case, whole: Rows) -> Recovered:
    """Hold what was recovered to what could be read before, and to what was written."""
    could_be_read = readable(case.damaged)
    found = case.recover()
    assert (found.verified.ticks, found.verified.samples) >= could_be_read
    assert found.verified.samples >= could_be_read[1]
    assert_nothing_is_made_up(rows_of(case.target), whole)
    with contextlib.closing(sqlite3.connect(case.target)) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return found


def zero(number: int) -> Callable[[bytearray], None]:
    def damage(content: bytearray) -> None:
        content[(number - 1) * PAGE : number * PAGE] = bytes(PAGE)

    return damage


def scramble(number: int) -> Callable[[bytearray], None]:
    def damage(content: bytearray) -> None:
        content[(number - 1) * PAGE : number * PAGE] = random.Random(number).randbytes(PAGE)

    return damage


def pages_by_tree(whole: Path) -> dict[str, list[tuple[str, int]]]:
    """Return the kind and the number of each page, by the table or index it belongs to."""
    found: dict[str, list[tuple[str, int]]] = {"": [("pointers", 2)]}
    with contextlib.closing(sqlite3.connect(whole)) as plain:
        for name, kind, number in plain.execute("SELECT name, pagetype, pageno FROM dbstat ORDER BY pageno"):
            found.setdefault(name, []).append((kind, number))
    return found


def one_of_each_kind(whole: Path) -> list[int]:
    """Return a page of every kind of every table and index: roots, inner ones, leaves, overflow."""
    return [number for pages in pages_by_tree(whole).values() for number in dict(pages).values()]


# --- pages


def test_of_a_whole_file_all_is_saved(whole: Path, tmp_path: Path) -> None:
    case = Case(whole, tmp_path, lambda _: None)
    found = assert_saved(case, rows_of(whole))
    assert (case.lost, found.unsound) == ([], ())
    assert rows_of(case.target) == rows_of(whole)
    assert {saved.table: saved.rows for saved in found.tables} == {
        table: len(rows) for table, rows in rows_of(whole).items()
    }
    assert all(saved.dropped == 0 for saved in found.tables)
    assert found.verified.ticks > TICKS


@pytest.mark.parametrize("first", [0, 1])
def test_whatever_page_is_damaged_what_could_be_read_is_saved(whole: Path, tmp_path: Path, first: int) -> None:
    expected = rows_of(whole)
    for place, number in enumerate(one_of_each_kind(whole)[first::2]):
        damage = zero if place % 2 == first else scramble
        assert_saved(Case(whole, tmp_path, damage(number)), expected)


@pytest.mark.faults
@pytest.mark.parametrize("damage", [zero, scramble], ids=["zeroed", "scrambled"])
def test_the_same_of_every_single_page(
    whole: Path, tmp_path: Path, damage: Callable[[int], Callable[[bytearray], None]]
) -> None:
    expected = rows_of(whole)
    for number in range(1, whole.stat().st_size // PAGE + 1):
        assert_saved(Case(whole, tmp_path, damage(number)), expected)


def test_no_value_that_a_reader_sees_is_another_than_was_written(whole: Path, tmp_path: Path) -> None:
    ask = "SELECT time_ms, host, uuid, domain, field, device, value, kind, pool, collect FROM samples"
    with contextlib.closing(connect(whole)) as reader:
        written = set(reader.execute(ask))
    trees = pages_by_tree(whole)
    for name, least in (
        ("chunk", 0.8),  # merging writes its chunks in order, so that the page that is lost is full
        ("head", 0.9),
        ("segment", 0.5),
        ("sqlite_schema", 1.0),
        ("layout_record", 0.9),
    ):
        case = Case(whole, tmp_path, zero(trees[name][-1][1]))
        case.recover()
        with contextlib.closing(connect(case.target)) as reader:
            saved = set(reader.execute(ask)) if name != "chunk" else samples_of(reader)
        assert saved <= written
        assert len(saved) >= least * len(written)


def samples_of(reader: sqlite3.Connection) -> set[tuple[Any, ...]]:
    """Return all samples of a history some of whose chunks are missing, as the view has them."""
    found: set[tuple[Any, ...]] = set()
    for batch in Exporter(reader).batches(0, 1 << 62, lambda _: None):
        for record in batch.records:
            whose = (record.domain.uuid, record.domain.name) if record.domain else (None, None)
            pool = record.pool.name if record.pool else None
            found |= {
                (record.time_ms, record.host, *whose, *split_key(key), value, str(record.kind), pool, record.collect)
                for key, value in record.params.items()
            }
    return found


def test_what_is_lost_is_told_with_its_span(whole: Path, tmp_path: Path) -> None:
    trees = pages_by_tree(whole)
    for name, says in (("segment", "segment: "), ("head", "head: "), ("sketch_hour", "sketch_hour: ")):
        case = Case(whole, tmp_path, zero(trees[name][-1][1]))
        case.recover()
        assert any(line.startswith(says) and " rows, from 20" in line for line in case.lost), case.lost


def test_what_was_open_at_the_end_is_saved_only_as_it_was_stored(whole: Path, tmp_path: Path) -> None:
    case = Case(whole, tmp_path, lambda _: None)
    with contextlib.closing(sqlite3.connect(case.damaged)) as plain:
        (blob,) = plain.execute("SELECT blob FROM unfinished").fetchone()
        plain.execute("UPDATE unfinished SET blob = ?", (blob[:-1] + bytes([blob[-1] ^ 1]),))
        plain.commit()
    found = case.recover()
    assert case.lost == ["unfinished: 1 rows"]
    assert found.unsound == ()
    assert rows_of(case.target)["unfinished"] == set()


def test_a_stream_that_is_lost_wholly_gets_a_name_and_keeps_its_ticks(whole: Path, tmp_path: Path) -> None:
    trees = pages_by_tree(whole)
    case = Case(whole, tmp_path, lambda _: None)
    content = bytearray(case.damaged.read_bytes())
    for name in ("stream", "sqlite_autoindex_stream_1"):
        zero(trees[name][0][1])(content)
    case.damaged.write_bytes(content)
    found = case.recover()
    assert any("its ticks are unknown/stream-1 now" in line for line in case.lost)
    assert found.verified.ticks > 0.9 * TICKS
    with contextlib.closing(sqlite3.connect(case.target)) as plain:
        assert plain.execute("SELECT host, collect, tier FROM stream ORDER BY id").fetchall() == [
            ("unknown", "stream-1", 0), ("unknown", "stream-3", 1), ("unknown", "stream-4", 2),
        ]  # fmt: skip


# --- bytes, and ends


def cut(length: int) -> Callable[[bytearray], None]:
    def damage(content: bytearray) -> None:
        del content[length:]

    return damage


def test_a_file_that_ends_too_early_gives_what_it_has(whole: Path, tmp_path: Path) -> None:
    expected = rows_of(whole)
    size = whole.stat().st_size
    saved = []
    for length in (size - 1, size - PAGE * 3, size * 3 // 4 + 5, size // 2, size // 3 + 100):
        found = assert_saved(Case(whole, tmp_path, cut(length)), expected)
        saved.append(found.verified.samples)
    assert saved == sorted(saved, reverse=True)
    assert saved[2] > 0


@pytest.mark.parametrize("length", [1, 99, 100, PAGE, PAGE * 2 + 7])
def test_where_nothing_is_left_that_is_said_and_no_file_made(whole: Path, tmp_path: Path, length: int) -> None:
    case = Case(whole, tmp_path, cut(length))
    with pytest.raises(HistoryError, match="nothing of a history is left in it"):
        case.recover()
    assert not case.target.exists()


@pytest.mark.parametrize("seed", range(12))
def test_wherever_bytes_are_flipped_the_new_file_is_sound(whole: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)

    def damage(content: bytearray) -> None:
        for _ in range(40):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)

    case = Case(whole, tmp_path, damage)
    case.recover()
    with contextlib.closing(sqlite3.connect(case.target)) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


# --- the file beside it


def test_what_is_in_the_wal_is_saved_too(tmp_path: Path) -> None:
    sink = sink_on(tmp_path / "live")
    for number in range(12):
        sink.write(tick(number))
    (tmp_path / "copy").mkdir()
    for path in (tmp_path / "live").glob("history.db*"):
        shutil.copy(path, tmp_path / "copy")
    with contextlib.closing(connect(tmp_path / "live" / "history.db")) as reader:
        written = verify(reader, pytest.fail)
    sink.close()
    assert (tmp_path / "copy" / "history.db-wal").stat().st_size > 100_000
    target = tmp_path / "saved.db"
    found = recovery.recover(tmp_path / "copy" / "history.db", target, pytest.fail)
    assert found.verified == written
    with (tmp_path / "copy" / "history.db-wal").open("r+b") as wal:
        wal.seek(wal.seek(0, 2) - 100)
        wal.write(bytes(90))
    target.unlink()
    less = recovery.recover(tmp_path / "copy" / "history.db", target, lambda _: None).verified
    assert 0 < less.ticks <= written.ticks


def test_a_file_that_is_being_written_is_left_to_its_writer(tmp_path: Path) -> None:
    sink = sink_on(tmp_path / "live")
    sink.write(tick(0))
    with pytest.raises(HistoryError, match=r"history\.db is being written by an agent; stop it first"):
        recovery.recover(tmp_path / "live" / "history.db", tmp_path / "saved.db", pytest.fail)
    sink.close()
    recovery.recover(tmp_path / "live" / "history.db", tmp_path / "saved.db", pytest.fail)


# --- the new file


def test_it_is_its_owners_alone_and_nothing_beside_it(whole: Path, tmp_path: Path) -> None:
    case = Case(whole, tmp_path, lambda _: None)
    case.recover()
    assert stat.S_IMODE(case.target.stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"damaged.db", "saved.db"}


def test_the_sink_has_the_ability() -> None:
    assert isinstance(SqliteSink, HasRecovery)


@pytest.mark.parametrize("name", ["stream", "rolled", "chunk", "segment", "head", "doomed", "guest"])
def test_an_agent_goes_on_with_it(whole: Path, tmp_path: Path, name: str) -> None:
    case = Case(whole, tmp_path, zero(pages_by_tree(whole)[name][-1][1]))
    before = case.recover().verified
    shutil.copy(case.target, tmp_path / "history.db")
    sink = sink_on(tmp_path)
    for number in range(TICKS, TICKS + 40):
        sink.write(tick(number))
    while sink.settle():
        pass
    sink.close()
    with contextlib.closing(connect(tmp_path / "history.db")) as reader:
        after = verify(reader, lambda said: None if "missing" in said else pytest.fail(said))
        streams = reader.execute("SELECT count(*) FROM stream WHERE tier = 0 AND host = 'kvm1'").fetchone()
    assert after.ticks >= before.ticks + 40
    assert streams == (2,)


def test_a_file_that_is_there_already_is_left_alone(whole: Path, tmp_path: Path) -> None:
    case = Case(whole, tmp_path, lambda _: None)
    case.target.write_text("precious")
    with pytest.raises(HistoryError, match=r"saved\.db is there already"):
        case.recover()
    assert case.target.read_text() == "precious"


def test_no_file_to_recover_is_said(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"nowhere\.db: No such file"):
        recovery.recover(tmp_path / "nowhere.db", tmp_path / "saved.db", pytest.fail)
    assert list(tmp_path.iterdir()) == []


def test_a_newer_file_is_refused(whole: Path, tmp_path: Path) -> None:
    case = Case(whole, tmp_path, lambda content: content.__setitem__(slice(60, 64), (999).to_bytes(4, "big")))
    with pytest.raises(HistoryError, match="written by a newer domstat"):
        case.recover()


def test_a_recovery_that_is_interrupted_leaves_no_file(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(recovery, "mend", interrupt)
    case = Case(whole, tmp_path, lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        case.recover()
    assert {path.name for path in tmp_path.iterdir()} == {"damaged.db"}


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_of_an_earlier_version_is_brought_up_to_date_on_the_way(tmp_path: Path, version: int) -> None:
    old = tmp_path / "old.db"
    with contextlib.closing(sqlite3.connect(old)) as plain:
        plain.executescript((Path(__file__).parent / f"version-{version}.sql").read_text())
        heads = plain.execute("SELECT count(*) FROM head").fetchone()[0]
    found = recovery.recover(old, tmp_path / "saved.db", lambda _: None)
    assert found.verified.ticks == heads

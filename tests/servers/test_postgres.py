"""The postgres sink at a real PostgreSQL: what it holds is what was written, once, whatever it is called."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from domstat.forms import rows
from domstat.model import Batch, Domain, Event, Figures, Kind, Partial, Pool, Record, Value, key_of
from domstat.sink import Fatal, Retry
from domstat_lab.postgres import Postgres
from postgresql import Database, started
from records import TIME_MS, UUID, batch, guest_params, guest_record, one_of_each

PAGE = Path(__file__).parents[2] / "docs" / "sinks" / "postgres.md"
U64_MAX = (1 << 64) - 1
INT64_MAX = (1 << 63) - 1
HOSTILE = [
    "a'b",
    'a"b',
    "a,b{}",
    "a\\b",
    "a\nb\rc\td",
    "\x01\x7f",
    "\u202egnp",
    "",
    "NULL",
    "\\N",
    "%s",
    "ü",
    "x" * 5000,
]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with started() as one:
        yield one


@pytest.fixture
def database(server: Postgres, tmp_path: Path) -> Iterator[Database]:
    one = Database(server, tmp_path)
    yield one
    one.close()


def figures(params: dict[str, Value], **more: Any) -> Record:
    return guest_record(params=params, derived={}, **more)


def test_every_value_of_a_tick_is_there_exactly(database: Database) -> None:
    record = guest_record()
    assert database.open().write(batch(record)) == []
    assert database.values(UUID) == {**record.params, **record.derived}
    assert database.values(UUID, "rates") == record.rates


def test_every_kind_of_record_has_its_place(database: Database) -> None:
    records = one_of_each()
    assert database.open().write(batch(*records.values())) == []
    found = dict(database.rows("SELECT kind, count(*) FROM domstat.samples GROUP BY kind"))
    kinds = [Kind.GUEST, Kind.HOST, Kind.POOL, Kind.AGENT]
    assert found == {str(kind): len(list(rows(records[kind]))) for kind in kinds}
    assert database.rows("SELECT domain, type, device, reason FROM domstat.events") == [
        ("web-1", "started", None, "booted")
    ]
    gap = records[Kind.GAP].gap
    assert gap is not None
    assert database.rows("SELECT since, until, reason FROM domstat.gaps") == [
        (*(datetime.fromtimestamp(at / 1000, UTC) for at in (gap.start, gap.end)), gap.reason)
    ]


def test_the_view_has_the_columns_of_a_row(database: Database) -> None:
    record = guest_record()
    database.open().write(batch(record))
    found = database.rows(
        "SELECT (extract(epoch FROM time) * 1000)::bigint, host, collect, kind, uuid, domain, pool, field, device, "
        "value, value_int, text, rate, unit, scale FROM domstat.samples"
    )
    assert sorted(found, key=str) == sorted(map(tuple, rows(record)), key=str)


@pytest.mark.parametrize("value", [0, -1, INT64_MAX, -INT64_MAX - 1, 0.1, -1e-300, 1.7e308, True, False, "a text", ""])
def test_values_come_back_as_they_were(database: Database, value: Value) -> None:
    database.open().write(batch(figures({"cpu.new": value})))
    assert database.values(UUID) == {"cpu.new": value}


@pytest.mark.parametrize("value", [INT64_MAX + 1, U64_MAX])
def test_a_whole_number_that_is_too_large_keeps_its_digits(database: Database, value: int) -> None:
    database.open().write(batch(figures({"cpu.new": value}, first=True)))
    assert database.rows("SELECT value, value_int, text FROM domstat.samples") == [(float(value), None, str(value))]


def test_what_is_no_number_is_left_out_and_told_and_the_rest_is_stored(database: Database) -> None:
    one = database.open()
    bad: dict[str, Value] = {"cpu.a": float("nan"), "cpu.b": float("-inf"), "cpu.e": 5}
    assert one.write(batch(figures({"cpu.z": 1, **bad}, first=True, rates={"cpu.z": float("inf")}))) == []
    assert database.values(UUID) == {"cpu.z": 1, "cpu.e": 5}
    assert len(one.parts) == 3


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_kept_to_the_letter(database: Database, name: str) -> None:
    guest = Record(
        kind=Kind.GUEST,
        host=name,
        collect=name,
        time_ms=TIME_MS,
        domain=Domain(f"u{name}", name, 1),
        labels={name: name},
        devices={name: {name: name}},
        figures=Figures({key_of("block.path", name): name}),
    )
    pool = Record(kind=Kind.POOL, host=name, collect=name, time_ms=TIME_MS, pool=Pool(name), figures=Figures({"a": 1}))
    event = Record(
        kind=Kind.EVENT, host=name, collect=name, time_ms=TIME_MS, event=Event(name, reason=name, device=name)
    )
    one = database.open()
    assert one.write(batch(guest, pool, event)) == []
    assert one.parts == []
    who = "SELECT host, collect, domain, device, text FROM domstat.samples WHERE kind = 'guest'"
    assert database.rows(who) == [(name,) * 5]
    assert database.rows("SELECT pool FROM domstat.samples WHERE kind = 'pool'") == [(name,)]
    assert database.rows("SELECT type, device, reason FROM domstat.events") == [(name,) * 3]
    assert database.rows("SELECT labels, devices FROM domstat.guests") == [({name: name}, {name: {name: name}})]


def test_names_that_postgresql_cannot_hold_are_written_so_that_it_shows_and_stay_two(database: Database) -> None:
    one = database.open()
    guests = [guest_record(name, uuid=name, labels={name: name}) for name in ("a\0b", "a\u2400b", "\ud800")]
    assert one.write(batch(*guests)) == []
    assert one.parts == []
    assert database.rows("SELECT uuid, domain, labels FROM domstat.guests ORDER BY uuid") == [
        (name, name, {name: name}) for name in ("\\ud800", "a\u2400b")
    ]
    assert database.count("record") == 3


@pytest.mark.parametrize("time_ms", [-1, 253_402_300_800_000, 1 << 62])
def test_a_time_that_is_none_is_rejected(database: Database, time_ms: int) -> None:
    wrong = guest_record(time_ms=time_ms, first=True)
    one = database.open()
    assert [record for record, _ in one.write(batch(wrong, guest_record()))] == [wrong]
    assert database.values(UUID) != {}


def test_a_record_that_comes_again_replaces_itself_as_a_whole(database: Database) -> None:
    one = database.open()
    one.write(batch(figures({"cpu.a": 1, "cpu.b": 2}), *one_of_each().values()))
    again = figures({"cpu.b": 3})
    others = [record for record in one_of_each().values() if record.kind is not Kind.GUEST]
    for _ in range(2):
        one.write(batch(*others, again))
        one.write(batch(again, *others), batch(*others, again))
    assert database.values(UUID) == {"cpu.b": 3}
    assert [database.count(table) for table in ("record", "event", "gap")] == [4, 1, 1]


def test_two_events_of_one_guest_at_one_tick_are_two(database: Database) -> None:
    events = [
        Record(kind=Kind.EVENT, host="h", collect="c", time_ms=TIME_MS, domain=Domain(UUID, "g"), event=event)
        for event in (Event("device-added", device="vda"), Event("device-added", device="vdb"), Event("started"))
    ]
    database.open().write(batch(*events))
    assert database.count("events") == 3


def test_streams_hosts_and_kinds_with_one_time_do_not_touch_each_other(database: Database) -> None:
    records = [guest_record(host=host, collect=collect) for host in "ab" for collect in "xy"]
    database.open().write(*(batch(record, host=record.host, collect=record.collect) for record in records))
    assert database.count("record") == 4


def test_what_libvirt_left_out_is_said(database: Database) -> None:
    partial = Partial(("block", "net"), age_s=2.5)
    database.open().write(batch(guest_record(partial=partial, without=("block", "net"))))
    assert database.rows("SELECT text, value FROM domstat.samples WHERE field = 'partial'") == [("block,net", 2.5)]


def test_a_guest_has_the_name_it_had_then_and_its_newest_in_the_list(database: Database) -> None:
    one = database.open()
    for number, name in enumerate(["old", "new"]):
        one.write(batch(guest_record(name, time_ms=TIME_MS + number)))
    assert database.rows("SELECT DISTINCT domain, time FROM domstat.samples ORDER BY time")[0][0] == "old"
    ((domain, first, last),) = database.rows("SELECT domain, first_seen, last_seen FROM domstat.guests")
    assert (domain, (last - first).total_seconds()) == ("new", 0.001)


def test_labels_have_a_row_for_each_change(database: Database) -> None:
    one = database.open()
    for number, labels in enumerate([{"a": "1"}, {"a": "1"}, {"a": "2"}, {"a": "1"}, None]):
        one.write(batch(guest_record(time_ms=TIME_MS + number, labels=labels, devices={} if labels else None)))
    assert database.rows("SELECT labels FROM domstat.detail ORDER BY time") == [
        ({"a": "1"},),
        ({"a": "2"},),
        ({"a": "1"},),
    ]


def test_a_kind_nobody_knows_and_a_record_without_values_are_stored(database: Database) -> None:
    new: Any = "new"
    strange = Record(kind=new, host="h", collect="c", time_ms=TIME_MS, figures=Figures({"what.ever": 1}))
    empty = guest_record(params={}, derived={})
    assert database.open().write(batch(strange, empty)) == []
    assert database.rows("SELECT kind, field FROM domstat.samples") == [("new", "what.ever")]
    assert database.count("record") == 2


def test_nothing_is_no_write(database: Database) -> None:
    one = database.open()
    one.sink.write([])
    one.sink.write([Batch(host="h", collect="c", stamp=batch().stamp, records=())])
    assert database.count("record") == 0


def test_2000_guests_of_several_ticks_in_one_write(database: Database) -> None:
    ticks = [
        batch(*(figures({"cpu.time": tick}, uuid=f"u{i}", time_ms=TIME_MS + tick) for i in range(2000)))
        for tick in range(3)
    ]
    assert database.open().write(*ticks) == []
    assert database.count("record") == 6000


def test_a_second_sink_goes_on_with_what_a_first_has_named(database: Database) -> None:
    database.open().write(batch(guest_record()))
    database.open().write(batch(guest_record(time_ms=TIME_MS + 1)))
    assert [database.count(table) for table in ("subject", "layout", "record", "domain")] == [1, 1, 2, 1]
    assert database.count("layout_key") == len(guest_params()) + len(guest_record().derived)


def test_names_that_have_gone_from_the_database_are_put_there_again(database: Database) -> None:
    one = database.open()
    one.write(batch(guest_record()))
    database.rows("TRUNCATE domstat.subject, domstat.layout, domstat.layout_key")
    with pytest.raises(Retry, match="have gone"):
        one.write(batch(guest_record(time_ms=TIME_MS + 1)))
    assert one.write(batch(guest_record(time_ms=TIME_MS + 1))) == []
    assert database.values(UUID)


def test_the_schema_is_called_what_the_settings_say(database: Database) -> None:
    database.open(schema='we"ird; DROP').write(batch(guest_record()))
    assert database.rows('SELECT count(*) > 0 FROM "we""ird; DROP".samples') == [(True,)]


def test_a_table_that_refuses_one_record_costs_that_record_alone(database: Database) -> None:
    one = database.open()
    one.write(batch(guest_record()))
    database.rows("ALTER TABLE domstat.event ADD CHECK (type <> 'bad')")
    events = [
        Record(kind=Kind.EVENT, host="h", collect="c", time_ms=TIME_MS + i, event=Event("bad" if i == 7 else "good"))
        for i in range(20)
    ]
    ((refused, reason),) = one.write(batch(*events))
    assert refused is events[7]
    assert "violates check constraint" in reason
    assert database.count("events") == 19


def test_a_database_that_does_not_hold_every_name_is_refused(server: Postgres, tmp_path: Path) -> None:
    latin = Database(server, tmp_path, encoding="LATIN1")
    with pytest.raises(Fatal, match="encoding is LATIN1"):
        latin.open()
    latin.close()


def test_commits_are_durable_though_the_server_would_have_them_otherwise(database: Database) -> None:
    database.rows(f"ALTER DATABASE {database.name} SET synchronous_commit = off")
    one: Any = database.open().sink
    assert one._connection.execute("SHOW synchronous_commit").fetchone() == ("on",)


def test_the_questions_shown_are_answered(database: Database) -> None:
    database.open().write(batch(*one_of_each().values()))
    questions = re.findall(r"^```sql\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(questions) >= 4
    for question in questions:
        then = "'2026-11-22T22:15:05Z'::timestamptz" if "guests" not in question else "'2027-01-01'::timestamptz"
        assert database.rows(question.replace("now()", then)) != []

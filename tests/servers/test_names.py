"""Names of guests with every character that libvirt accepts: to InfluxDB, VictoriaMetrics and the history, and back."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from domstat.model import Record
from domstat.sink import SinkContext
from domstat_lab.servers import InfluxDB, VictoriaMetrics
from domstat_sinks.escape import unescape_name
from domstat_sinks.sqlite import SqliteSink, connect
from domstat_sinks.sqlite.sink import SqliteSettings
from records import batch, guest_record
from shown import Show
from told import Told

REFUSED_BY_LIBVIRT = {"/", "\n", "\0"}
SURROGATES = range(0xD800, 0xE000)
"""Not in any text that is UTF-8."""
PER_NAME = 40
"""Characters of a name: none of these is cut (NAME_BYTES_MAX)."""
GUESTS_PER_WRITE = 2_000

EDGES = [
    "\\", ",", "=", '"', "'", "%", "#", "\t", "\r", "\x0b", "\x0c", "\x7f", "\x85", " ", "\xa0", "\u1680", "\u2000",
    "\u200a", "\u200b", "\u200e", "\u2028", "\u2029", "\u202e", "\u202f", "\u205f", "\u2060", "\u2066", "\u3000",
    "\ufeff", "\ufffd", "\uffff", "{", "}", "[", "]", "$", "*", "?", ":", ";", "`", "é", "e\u0301", "中", "😀",
    "\U0010ffff",
]  # fmt: skip
"""What means something somewhere, or looks like nothing; also as the first, the last and the only character."""

FOOLING = [
    "a\\,x\\=evil", "a\\,host=evil", "a\\\\", "a\\ cpu=1i", "a\\", "a ", " a", "  ", "\t", "%empty", "%~", "%5C", "%25",
    "a,b=c d=1 2", '"', "''", "a%", "%C3%A9", "NaN", "null", "true", "1i", "a\r", "n" * 400, "\\" * 100, "é" * 200,
]  # fmt: skip


def accepted(points: Iterable[int]) -> str:
    return "".join(chr(p) for p in points if p not in SURROGATES and chr(p) not in REFUSED_BY_LIBVIRT)


def special() -> Iterator[str]:
    yield from FOOLING
    for edge in EDGES:
        yield from (edge, edge + "x", "x" + edge, "x" + edge + "x", edge + edge, f"x{edge},y=z")


def packed(characters: str) -> Iterator[str]:
    """Give names that hold all of *characters*, each between others, so that none is at an end."""
    for at in range(0, len(characters), PER_NAME):
        yield f"n{characters[at : at + PER_NAME]}n"


def guests(names: Iterable[str]) -> dict[str, Record]:
    """Make a guest of every name, by uuid."""
    distinct = dict.fromkeys(names)
    return {
        f"uuid-{number}": guest_record(name, uuid=f"uuid-{number}", params={"cpu.time": number}, first=True, derived={})
        for number, name in enumerate(distinct)
    }


def name_of(record: Record) -> str:
    assert record.domain is not None
    return record.domain.name


def check(
    records: dict[str, Record], influxdb: InfluxDB, victoria: VictoriaMetrics, opened: Callable[..., Told], folder: Path
) -> None:
    expected = {uuid: (name_of(record), number) for number, (uuid, record) in enumerate(records.items())}
    history = SqliteSink(SqliteSettings())
    history.open(SinkContext("history", folder, None, lambda _record, _reason: None))
    sinks = [opened(influxdb.url, bucket=influxdb.database), opened(victoria.url)]
    for part in _parts(records):
        history.write([batch(*part)])
        for sink in sinks:
            assert sink.write(batch(*part)) == []
            assert sink.parts == []
    history.close()
    assert influx_has(influxdb) == expected
    assert victoria_has(victoria) == expected
    assert history_has(folder) == expected


def _parts(records: dict[str, Record]) -> Iterator[tuple[Record, ...]]:
    remaining = iter(records.values())
    while part := tuple(itertools.islice(remaining, GUESTS_PER_WRITE)):
        yield part


def influx_has(server: InfluxDB) -> dict[str, tuple[str, int]]:
    (tags,) = server.query("SHOW TAG KEYS")
    assert (tags["name"], sorted(row[0] for row in tags["values"])) == ("domstat_cpu", ["domain", "host", "uuid"])
    (fields,) = server.query("SHOW FIELD KEYS")
    assert fields["values"] == [["cpu.time", "integer"]]
    points = server.points("domstat_cpu")
    assert {point["host"] for point in points} == {"kvm1"}
    found = {point["uuid"]: (unescape_name(point["domain"]), point["cpu.time"]) for point in points}
    assert len(found) == len(points)
    return found


def victoria_has(server: VictoriaMetrics) -> dict[str, tuple[str, int]]:
    series = server.export()
    labels = [one["metric"] for one in series]
    assert {tuple(sorted(one)) for one in labels} == {("__name__", "domain", "host", "uuid")}
    assert {(one["__name__"], one["host"]) for one in labels} == {("domstat_cpu_cpu.time", "kvm1")}
    found = {one["uuid"]: unescape_name(one["domain"]) for one in labels}
    assert len(found) == len(labels)
    return {one["metric"]["uuid"]: (found[one["metric"]["uuid"]], one["values"][0]) for one in series}


def history_has(folder: Path) -> dict[str, tuple[str, int]]:
    reader = connect(folder / "history.db")
    rows = reader.execute("SELECT uuid, domain, value FROM samples WHERE field = 'cpu.time'").fetchall()
    reader.close()
    assert len({row[0] for row in rows}) == len(rows)
    return {uuid: (name, value) for uuid, name, value in rows}


def test_names_come_back_as_they_were(
    influxdb: InfluxDB, victoria: VictoriaMetrics, opened: Callable[..., Told], tmp_path: Path
) -> None:
    some = accepted(p for p in range(sys.maxunicode + 1) if p < 0x300 or p % 128 in {0, 127})
    check(guests([*special(), *packed(some)]), influxdb, victoria, opened, tmp_path)


@pytest.mark.faults
def test_names_with_every_character_there_is_come_back_as_they_were(
    influxdb: InfluxDB,
    victoria: VictoriaMetrics,
    opened: Callable[..., Told],
    tmp_path: Path,
    show: Show,
) -> None:
    every = accepted(range(sys.maxunicode + 1))
    records = guests([*special(), *packed(every)])
    check(records, influxdb, victoria, opened, tmp_path)
    figures = {"test": "names", "characters": len(every), "names": len(records), "stores": 3}
    show({**figures, "altered": 0, "injected": 0, "lost": 0})

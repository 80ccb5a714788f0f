"""Records in the forms that stores want lose nothing and say what each value is."""

from __future__ import annotations

import pytest

from domstat.catalog import FieldKind
from domstat.forms import Columns, Metadata, Point, Row, columns, describe, flat, identity, points, rows
from domstat.model import Domain, Event, Figures, Gap, Kind, Partial, Pool, Record
from records import COLLECT, HOST, TIME_MS, UUID, batch, guest_record


def record_of(kind: Kind, **said: object) -> Record:
    return Record(kind=kind, host=HOST, collect=COLLECT, time_ms=TIME_MS, **said)  # type: ignore[arg-type]


EVENT = record_of(Kind.EVENT, domain=Domain(UUID, "web-1"), event=Event("device-added", "hotplug", "vdc"))
GAP = record_of(Kind.GAP, gap=Gap(TIME_MS - 60_000, TIME_MS, "host-unreachable"))
POOL = record_of(Kind.POOL, pool=Pool("images"), figures=Figures({"pool.capacity": 1 << 40}))


def by_device(record: Record) -> dict[tuple[str, str | None], Point]:
    return {(point.name, point.device): point for point in points(record)}


def test_a_guest_is_a_point_a_device() -> None:
    found = by_device(guest_record())
    assert {("cpu", None), ("block", "vda"), ("block", "vdb"), ("net", None), ("vcpu", "1")} <= found.keys()
    disk = found["block", "vda"]
    assert disk.fields["block.wr.bytes"] == guest_record().params["block.wr.bytes[vda]"]
    assert disk.fields["block.wr.bytes.rate"] == guest_record().rates["block.wr.bytes[vda]"]
    assert disk.tags == {"host": HOST, "collect": COLLECT, "kind": "guest", "uuid": UUID, "domain": "web-1"}
    assert disk.time_ms == TIME_MS


def test_points_hold_every_value_once() -> None:
    record = guest_record()
    count = len(record.params) + len(record.rates) + len(record.derived)
    assert sum(len(point.fields) for point in points(record)) == count


def test_other_records_are_named_by_their_kind() -> None:
    assert by_device(POOL)["pool", None].fields == {"capacity": 1 << 40}
    assert by_device(POOL)["pool", None].tags["pool"] == "images"
    assert by_device(EVENT)["event", "vdc"].fields == {"type": "device-added", "reason": "hotplug"}
    assert by_device(GAP)["gap", None].fields == {
        "from_ms": TIME_MS - 60_000,
        "to_ms": TIME_MS,
        "reason": "host-unreachable",
    }


def test_a_flat_record_has_rates_beside_counters() -> None:
    record = guest_record()
    said = flat(record)
    assert said["time_ms"] == TIME_MS
    assert said["domain"] == "web-1"
    assert said["block.wr.bytes[vda]"] == record.params["block.wr.bytes[vda]"]
    assert said["block.wr.bytes.rate[vda]"] == record.rates["block.wr.bytes[vda]"]
    assert said["cpu.utilization"] == record.derived["cpu.utilization"]
    assert flat(EVENT)["event.type"] == "device-added"
    assert flat(EVENT)["event.device"] == "vdc"
    assert flat(GAP)["gap.from_ms"] == TIME_MS - 60_000


def test_labels_are_flat_when_they_travel() -> None:
    record = record_of(Kind.GUEST, domain=Domain(UUID, "web-1"), labels={"owner": "ops"})
    assert flat(record)["label.owner"] == "ops"


def test_a_row_has_a_counter_with_its_rate_and_unit() -> None:
    record = guest_record()
    found = {(row.field, row.device): row for row in rows(record)}
    row = found["balloon.usable", None]
    assert (row.value, row.unit, row.scale) == (float(2 * (1 << 20)), "bytes", 1024.0)
    row = found["block.wr.bytes", "vda"]
    assert row.rate == record.rates["block.wr.bytes[vda]"]
    assert row.value_int == record.params["block.wr.bytes[vda]"]
    assert found["cpu.utilization", None].unit == "ratio"
    assert len(found) == len(record.params) + len(record.derived)


@pytest.mark.parametrize(
    ("value", "split"),
    [
        (7, (7.0, 7, None)),
        (True, (1.0, 1, None)),
        (0.5, (0.5, None, None)),
        ("text", (None, None, "text")),
        (2**63 - 1, (float(2**63), 2**63 - 1, None)),
        (2**63, (float(2**63), None, str(2**63))),
        (-(2**63), (-float(2**63), -(2**63), None)),
    ],
)
def test_values_stand_where_a_table_can_hold_them(value: float | str, split: tuple[object, ...]) -> None:
    (row,) = rows(record_of(Kind.GUEST, domain=Domain(UUID, "x"), figures=Figures({"x.y": value})))
    assert (row.value, row.value_int, row.text) == split
    assert type(row.value_int) in {int, type(None)}


def test_what_happened_is_rows_too_and_two_events_of_a_tick_are_two() -> None:
    (event,) = rows(EVENT)
    assert (event.field, event.device, event.text) == ("event.device-added", "vdc", "hotplug")
    (gap,) = rows(GAP)
    assert (gap.field, gap.value, gap.unit, gap.text) == ("gap", 60.0, "seconds", "host-unreachable")
    partial = record_of(Kind.GUEST, domain=Domain(UUID, "x"), partial=Partial(("block", "balloon"), 2.5))
    (row,) = rows(partial)
    assert (row.field, row.value, row.text) == ("partial", 2.5, "block,balloon")


def test_columns_are_the_rows_of_all_batches() -> None:
    one = batch()
    found = columns([one, one])
    assert [list(row) for row in zip(*(getattr(found, name) for name in Row._fields), strict=True)] == [
        list(row) for _ in range(2) for record in one.records for row in rows(record)
    ]
    assert columns([]) == Columns(*([] for _ in Row._fields))


def test_fields_are_described() -> None:
    assert describe("cpu.time") == Metadata(
        FieldKind.COUNTER, "seconds", 1e-9, help="CPU time of the guest, all threads of its process"
    )
    assert describe("balloon.usable").scale == 1024.0
    rate = describe("cpu.time.rate")
    assert (rate.kind, rate.base, rate.scale, rate.per_second) == (FieldKind.GAUGE, "seconds", 1.0, True)
    assert describe("vcpu.steal").base == "ratio"
    assert describe("never.heard.of") == Metadata(FieldKind.GAUGE, "")


def test_a_record_says_what_it_is_about() -> None:
    assert identity(POOL) == {"host": HOST, "collect": COLLECT, "kind": "pool", "pool": "images"}
    assert identity(GAP) == {"host": HOST, "collect": COLLECT, "kind": "gap"}

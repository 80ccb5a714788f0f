"""What a tick costs as line protocol: domstat's encoder beside influxdb-client's Point, and what compressing it costs.

Fields are counted as they stand in the text: parameters, rates and derived values. Growth differs from guest to guest
and from tick to tick, so that rates have all the digits that real ones have. The ways take turns.
"""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from influxdb_client.client.write.point import Point
from isal import isal_zlib
from msgspec import Struct

from domstat.collect.sample import Sample, Sampled, keyed
from domstat.garbage import spare_collections
from domstat.model import Domain, Kind, Moment, Record, Value, split_key
from domstat_bench.measure import Sampled as Measured
from domstat_bench.measure import sampled
from domstat_bench.report import Table, figures, verdict
from domstat_bench.scrape import guest_values
from domstat_sinks.lineprotocol import Encoder

FIELD_US_MAX = 0.25
"""Microseconds of CPU that a field may cost to be encoded."""

GUESTS = 200
INTERVAL_NS = 10_000_000_000
_POINT: Any = Point
"""As untyped as the library has it."""

_GZIP = 31
"""zlib's window bits for gzip's own head and foot."""

_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "isal 1": lambda text: isal_zlib.compress(text, 1, _GZIP),
    "zlib 1": lambda text: zlib.compress(text, 1, _GZIP),
    "zlib 9": lambda text: zlib.compress(text, 9, _GZIP),
}


class Costs(Struct, frozen=True):
    """What was measured: microseconds of CPU per field, sizes in bytes."""

    guests: int
    fields: int
    text_bytes: int
    encoded: Measured
    """By domstat's encoder, rates known."""
    with_rates: Measured
    """The same, rates and derived values worked out on the way, as for the first sink that asks."""
    points: Measured
    """By influxdb-client's Point, given measurement, tags and fields."""
    packed: dict[str, Measured]
    packed_bytes: dict[str, int]


class Guests:
    """Guests that go on, tick by tick, each in its own way."""

    def __init__(self, count: int) -> None:
        self._random = random.Random(1)
        self._growth = [guest_values(number) for number in range(count)]
        self._values = [[_typed(key, start) for key, (start, _) in growth.items()] for growth in self._growth]
        self._naming = [keyed(tuple(growth)) for growth in self._growth]
        self._boot_ns = 86_400 * 10**9
        self._samples = self._take()

    def tick(self) -> list[Record]:
        """Make the next tick's records, their rates not yet taken."""
        before, self._samples = self._samples, self._take()
        return [self._record(number, *both) for number, both in enumerate(zip(before, self._samples, strict=True))]

    def _take(self) -> list[Sample]:
        self._boot_ns += INTERVAL_NS + self._random.randrange(1_000_000)
        moment = Moment(1_795_385_704_123 + self._boot_ns // 1_000_000, self._boot_ns, "boot")
        for values, growth in zip(self._values, self._growth, strict=True):
            pace = self._random.uniform(1, 20)
            for at, (_, each_s) in enumerate(growth.values()):
                if each_s:
                    values[at] += int(each_s * pace)
        return [
            Sample(naming, list(values), moment, 3) for naming, values in zip(self._naming, self._values, strict=True)
        ]

    def _record(self, number: int, before: Sample, sample: Sample) -> Record:
        return Record(
            kind=Kind.GUEST,
            host="kvm1",
            collect="default",
            time_ms=sample.moment.time_ms,
            domain=Domain(f"6a2f41a3-c54c-4a5e-9b5b-{number:012x}", f"web-{number}", 3),
            interval_s=INTERVAL_NS / 1e9,
            figures=Sampled(sample, before),
        )


def _typed(key: str, value: int) -> int:
    """Make *value* what libvirt gives under *key*."""
    return bool(value) if key.startswith("vcpu.halted") else value


class Line(Struct, frozen=True):
    """What a Point is made of."""

    measurement: str
    tags: dict[str, str]
    fields: dict[str, Value]
    time_ns: int


def lines(record: Record) -> Iterator[Line]:
    """Give the points of a guest's record, as domstat's encoder writes them."""
    rates = {(split_key(key)[0] + ".rate", split_key(key)[1]): value for key, value in record.rates.items()}
    values: dict[tuple[str, str | None], Value] = {split_key(key): value for key, value in record.params.items()}
    values |= rates | {split_key(key): value for key, value in record.derived.items()}
    found: dict[tuple[str, str | None], dict[str, Value]] = {}
    for (field, device), value in values.items():
        found.setdefault((field.partition(".")[0], device), {})[field] = value
    assert record.domain is not None
    for (word, device), fields in found.items():
        tags = {"domain": record.domain.name, "host": record.host, "uuid": record.domain.uuid}
        if device is not None:
            tags["device"] = device
        yield Line(f"domstat_{word}", tags, fields, record.time_ms * 1_000_000)


def write_points(of_a_tick: Sequence[Line]) -> str:
    """Write lines as users of influxdb-client do."""
    written = []
    for line in of_a_tick:
        point = _POINT(line.measurement)
        for name, tag in line.tags.items():
            point.tag(name, tag)
        for name, value in line.fields.items():
            point.field(name, value)
        point.time(line.time_ns)
        written.append(point.to_line_protocol())
    return "\n".join(written)


def run(count: int, rounds: int) -> Costs:
    """Measure *rounds* ticks of *count* guests, by turns."""
    guests, encoder = Guests(count), Encoder()
    encoder.encode(guests.tick())  # works out how everything is written, once
    spare_collections()  # as the agent does
    costs: dict[str, list[float]] = {name: [] for name in ("encoded", "with_rates", "points", *_PACKERS)}
    sizes: dict[str, int] = {}
    text, fields = b"", 0
    for _ in range(rounds):
        fresh, known = guests.tick(), guests.tick()
        fields = sum(len(record.params) + len(record.rates) + len(record.derived) for record in known)
        of_a_tick = [line for record in known for line in lines(record)]
        costs["with_rates"].append(_cost(partial(encoder.encode, fresh), fields)[0])
        cost, encoded = _cost(partial(encoder.encode, known), fields)
        costs["encoded"].append(cost)
        assert not encoded.left_out
        costs["points"].append(_cost(partial(write_points, of_a_tick), fields)[0])
        text = encoded.text
        for name, pack in _PACKERS.items():
            cost, packed = _cost(partial(pack, text), fields)
            costs[name].append(cost)
            sizes[name] = len(packed)
    packed_costs = {name: sampled(costs.pop(name)) for name in _PACKERS}
    measured = {name: sampled(values) for name, values in costs.items()}
    return Costs(count, fields, len(text), packed=packed_costs, packed_bytes=sizes, **measured)


def _cost(act: Callable[[], Any], fields: int) -> tuple[float, Any]:
    """Return how many microseconds of CPU *act* takes per field, and what it returns."""
    before = time.process_time_ns()
    result = act()
    return (time.process_time_ns() - before) / fields / 1000, result


def table(measured: Sequence[Costs]) -> Table:
    """Show what was measured, and whether it is what it should be."""
    rows, notes = [], []
    for item in measured:
        for name in ("median", "min"):
            costs = [getattr(cost, name) for cost in (item.encoded, item.with_rates, item.points)]
            packed = [getattr(cost, name) for cost in item.packed.values()]
            row = [f"{item.guests} guests, {name}", str(item.fields), *(f"{cost:.3f}" for cost in costs + packed)]
            rows.append([*row, figures(costs[2] / costs[0])])
        sizes = ", ".join(f"{size / 1e6:.3f} MB by {name}" for name, size in item.packed_bytes.items())
        notes.append(
            f"{item.guests} guests: {item.text_bytes / 1e6:.2f} MB of text; {sizes}; {len(item.encoded.values)} rounds"
        )
        if item.guests == GUESTS:
            # Other work on a machine makes every round dearer, and none cheaper: the best says what the code costs.
            best_us, usual_us = item.encoded.min, item.encoded.median
            notes.append(
                f"to be reached at {item.guests} guests: encoding <= {FIELD_US_MAX} µs CPU per field;"
                f" it is {best_us:.3f} at best: {verdict(best_us, FIELD_US_MAX)} ({usual_us:.3f} in the median)"
            )
    columns = [
        "CPU per field, µs", "fields", "domstat", "and rates", "Point", *(f"gzip {name}" for name in _PACKERS),
        "Point/domstat",
    ]  # fmt: skip
    return Table("A tick as line protocol: domstat's encoder, and influxdb-client's Point", columns, rows, notes)

"""A batch as a table for a person: a row per guest, the columns that matter most where the screen is narrow.

The host is a line above it; pools, and what else is to be said, are lines below. Pure but for rich: records in,
something rich can print out. Guests' names and all other text from outside are shown as text, never as markup, with
nothing in them that a terminal would obey.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from msgspec import Struct
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from domstat.model import Batch, Kind, Record, key_of, split_key
from domstat.text import printable
from domstat.units import MISSING, cores, count, known, latency, percent, size, whole
from domstat_sinks.lines import GUEST_STATES, host_line, is_occurrence, number, occurrence_line, pool_line, word

MEMORY_FRESH_S = 60.0
"""A balloon driver that is asked every few seconds and has been silent for a minute no longer tells what is used."""

NAME_CELLS_MIN = 16
"""Columns give way until a guest's name has so much room."""

NOTES_MAX = 5
"""Lines below the table for what is not a guest's figures."""

POOLS_MAX = 10
"""Lines for storage pools: few hosts have more."""

NAMES_MAX = 10
"""Guests that are off, by name in one line; a terminal has no room for more."""

_GAP = 2
_KIB = 1024


class Guest:
    """A guest's record, as far as a row shows it."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.totals: dict[str, float] = {}
        """Rates, each summed up over its devices."""
        for key, rate in record.rates.items():
            field = split_key(key)[0]
            self.totals[field] = self.totals.get(field, 0.0) + rate

    @property
    def name(self) -> str:
        """The guest's name; without one its uuid."""
        domain = self.record.domain
        return printable(domain.name or domain.uuid) if domain else MISSING

    @property
    def is_off(self) -> bool:
        """Whether the guest is off: libvirt gives it no id then, and no figures that a row could show."""
        return self.record.domain is not None and self.record.domain.id is None

    def number(self, key: str) -> float | None:
        """Return a parameter, if it is there and a number."""
        return number(self.record, key)

    def total(self, *fields: str) -> float | None:
        """Return the sum of those rates that are known, over all devices; None if none is."""
        known = [self.totals[field] for field in fields if field in self.totals]
        return sum(known) if known else None

    def state(self) -> str:
        """Return the state in virsh's words."""
        return word(GUEST_STATES, self.number("state.state"))

    def steal(self) -> float | None:
        """Return the steal of the vCPU that has most of it."""
        derived = self.record.derived
        return max((derived[key] for key in derived if split_key(key)[0] == "vcpu.steal"), default=None)

    def write_latency(self) -> float | None:
        """Return the mean time of a write, over all disks: busy ones weigh more."""
        seconds = requests = 0.0
        for key, mean_s in self.record.derived.items():
            field, disk = split_key(key)
            if field == "block.wr.latency":
                weight = self.record.rates.get(key_of("block.wr.reqs", disk), 0.0)
                seconds, requests = seconds + mean_s * weight, requests + weight
        return seconds / requests if requests else None

    def memory(self) -> str:
        """Return memory used and configured, ``1.9G/4.0G``.

        What the guest uses only its balloon driver knows. Where that is silent there is only what its process holds on
        the host, which is another thing and says so: ``rss 3.0G/4.0G``.
        """
        used, age = self.record.derived.get("memory.used"), self.record.derived.get("memory.age")
        configured = known(lambda kib: size(kib * _KIB), self.number("balloon.current"))
        if used is not None and age is not None and age <= MEMORY_FRESH_S:
            return f"{size(used)}/{configured}"
        resident = self.number("balloon.rss")
        if resident is None:
            return MISSING if configured == MISSING else f"{MISSING}/{configured}"
        return f"rss {size(resident * _KIB)}/{configured}"


class _Column(Struct, frozen=True):
    """*rank*: the columns with the highest give way first."""

    title: str
    rank: int
    cell: Callable[[Guest], str]


def _total(write: Callable[[float], str], *fields: str) -> Callable[[Guest], str]:
    return lambda guest: known(write, guest.total(*fields))


_COLUMNS = (
    _Column("state", 3, Guest.state),
    _Column("vCPU", 10, lambda guest: known(whole, guest.number("vcpu.current"))),
    _Column("CPU", 1, lambda guest: known(percent, guest.record.derived.get("cpu.utilization"))),
    _Column("cores", 12, lambda guest: known(cores, guest.record.derived.get("cpu.cores"))),
    _Column("steal", 9, lambda guest: known(percent, guest.steal())),
    _Column("memory", 2, Guest.memory),
    _Column("rd/s", 5, _total(size, "block.rd.bytes")),
    _Column("wr/s", 4, _total(size, "block.wr.bytes")),
    _Column("IOPS", 11, _total(count, "block.rd.reqs", "block.wr.reqs")),
    _Column("w-lat", 8, lambda guest: known(latency, guest.write_latency())),
    _Column("rx/s", 6, _total(size, "net.rx.bytes")),
    _Column("tx/s", 7, _total(size, "net.tx.bytes")),
)


class BatchView:
    """One batch, for rich to print: heading, table, notes. It is laid out anew for whatever width it is given."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        guests = [Guest(record) for record in batch.records if record.kind is Kind.GUEST]
        self.guests = [guest for guest in guests if not guest.is_off]
        self.off = [guest for guest in guests if guest.is_off]
        self.pools = [record for record in batch.records if record.pool is not None]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        if not self.batch.records or any(not is_occurrence(record) for record in self.batch.records):
            yield Text(self._heading(), style="bold", no_wrap=True, overflow="ellipsis")
        for record in self.batch.records:
            if record.kind is Kind.HOST:
                yield _note(host_line(record))
        if self.guests:
            yield from self._table(options.max_width)
        for line in [*_first([pool_line(pool) for pool in self.pools], POOLS_MAX), *_first(self._notes(), NOTES_MAX)]:
            yield _note(line)

    def _heading(self) -> str:
        stamp = self.batch.stamp
        time = datetime.fromtimestamp(stamp.time_ms / 1000).astimezone()
        counts = [_counted(len(self.pools), "pool")] if self.pools else []
        if self.guests or not (self.off or self.pools):
            counts.append(_counted(len(self.guests), "guest"))
        if self.off:
            counts.append(f"{len(self.off)} off")
        stream = f"{printable(self.batch.host)} · {printable(self.batch.collect)}"
        return f"{stream} · {time:%Y-%m-%d %H:%M:%S} · {' · '.join(counts)} · call {stamp.call_ns / 1e6:.0f} ms"

    def _table(self, width: int) -> Iterator[Text]:
        # Not rich's Table: that lays out cell by cell, and is several times slower.
        columns = [_Shown(column, [column.cell(guest) for guest in self.guests]) for column in _COLUMNS]
        names = [Text(guest.name) for guest in self.guests]
        marks = ["*" if guest.record.partial else "" for guest in self.guests]
        natural = max(5, *(name.cell_len + len(mark) for name, mark in zip(names, marks, strict=True)))
        while columns and sum(shown.width for shown in columns) + min(natural, NAME_CELLS_MIN) > width:
            columns.remove(max(columns, key=lambda shown: shown.column.rank))
        room = min(natural, width - sum(shown.width for shown in columns))
        yield _line(
            Text("guest".ljust(room)), *(Text(shown.pad(shown.column.title)) for shown in columns), style="bold"
        )
        for row, (name, mark) in enumerate(zip(names, marks, strict=True)):
            name.truncate(room - len(mark), overflow="ellipsis")
            name.append(mark, "yellow")
            name.pad_right(room - name.cell_len)
            yield _line(name, *(_text(shown.cells[row], shown) for shown in columns))

    def _notes(self) -> list[str]:
        notes = []
        partials = [guest.record.partial for guest in self.guests if guest.record.partial]
        if partials:
            missing = ", ".join(sorted({printable(group) for partial in partials for group in partial.missing}))
            ages = [partial.age_s for partial in partials if partial.age_s is not None]
            age = f"; instead values up to {max(ages):.0f} s old" if ages else ""
            notes.append(f"* incomplete: {len(partials)} without {missing}{age}")
        stuck = sum(number(record, "agent.quarantined") or 0 for record in self.batch.records)
        if stuck:
            notes.append(f"{_counted(int(stuck), 'guest')} stuck; what needs an answer of theirs is missing")
        for state in dict.fromkeys(guest.state() for guest in self.off):
            names = [guest.name for guest in self.off if guest.state() == state]
            more = f" and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else ""
            notes.append(f"{state}: {', '.join(names[:NAMES_MAX])}{more}")
        return notes + [occurrence_line(record) for record in self.batch.records if is_occurrence(record)]


class OccurrencesView:
    """What has happened of late, for rich to print: the newest events and gaps, the newest last."""

    def __init__(self, records: list[Record]) -> None:
        self.records = records

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        before = len(self.records) - NOTES_MAX
        if before > 0:
            yield _note(f"{before} more before")
        for record in self.records[-NOTES_MAX:]:
            yield _note(occurrence_line(record))


class _Shown:
    """A column with its cells, all as wide as the widest and a gap."""

    def __init__(self, column: _Column, cells: list[str]) -> None:
        self.column = column
        self.cells = cells
        self.width = _GAP + max(map(cell_len, [column.title, *cells]))

    def pad(self, cell: str) -> str:
        """Pad a cell: words stand left, numbers right."""
        blanks = " " * (self.width - _GAP - cell_len(cell))
        return " " * _GAP + (cell + blanks if self.column.title == "state" else blanks + cell)


def _text(cell: str, shown: _Shown) -> Text:
    style = "dim" if cell == MISSING else "yellow" if shown.column.title == "state" and cell != "running" else ""
    return Text(shown.pad(cell), style)


def _line(*cells: Text, style: str = "") -> Text:
    line = Text(no_wrap=True, overflow="ellipsis", style=style)
    for cell in cells:
        line.append_text(cell)
    return line


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _first(lines: list[str], most: int) -> list[str]:
    more = len(lines) - most
    return lines if more <= 0 else [*lines[:most], f"and {more} more"]


def _note(line: str) -> Text:
    return Text(line, no_wrap=True, overflow="ellipsis")

"""A batch as a table for a person: a row per guest, the columns that matter most where the screen is narrow.

Pure but for rich: records in, something rich can print out. Guests' names and all other text from outside are shown as
text, never as markup, with nothing in them that a terminal would obey.
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
from domstat_sinks.units import MISSING, count, duration, optional, percent, size

MEMORY_FRESH_S = 60.0
"""A balloon driver that is asked every few seconds and has been silent for a minute no longer tells what is used."""

NAME_CELLS_MIN = 16
"""Columns give way until a guest's name has so much room."""

NOTES_MAX = 5
"""Lines below the table for what is not a guest's figures."""

_GAP = 2
_KIB = 1024

# virDomainState, in virsh's words.
_STATES = ("no state", "running", "idle", "paused", "shutting down", "shut off", "crashed", "pmsuspended")


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

    def number(self, key: str) -> float | None:
        """Return a parameter, if it is there and a number."""
        value = self.record.params.get(key)
        return None if isinstance(value, str) else value

    def total(self, *fields: str) -> float | None:
        """Return the sum of those rates that are known, over all devices; None if none is."""
        known = [self.totals[field] for field in fields if field in self.totals]
        return sum(known) if known else None

    def state(self) -> str:
        """Return the state in virsh's words."""
        state = self.number("state.state")
        return MISSING if state is None else _STATES[int(state)] if 0 <= state < len(_STATES) else f"state {state}"

    def steal(self) -> float | None:
        """Return the steal of the vCPU that has most of it."""
        derived = self.record.derived
        return max((derived[key] for key in derived if split_key(key)[0] == "vcpu.steal"), default=None)

    def write_latency(self) -> float | None:
        """Return the mean time of a write, over all disks: busy ones weigh more."""
        seconds = requests = 0.0
        for key, latency in self.record.derived.items():
            field, disk = split_key(key)
            if field == "block.wr.latency":
                weight = self.record.rates.get(key_of("block.wr.reqs", disk), 0.0)
                seconds, requests = seconds + latency * weight, requests + weight
        return seconds / requests if requests else None

    def memory(self) -> str:
        """Return memory used and configured, ``1.9G/4.0G``.

        What the guest uses only its balloon driver knows. Where that is silent there is only what its process holds on
        the host, which is another thing and says so: ``rss 3.0G/4.0G``.
        """
        used, age = self.record.derived.get("memory.used"), self.record.derived.get("memory.age")
        configured = optional(lambda kib: size(kib * _KIB), self.number("balloon.current"))
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
    return lambda guest: optional(write, guest.total(*fields))


_COLUMNS = (
    _Column("state", 3, Guest.state),
    _Column("vCPU", 10, lambda guest: optional(lambda value: f"{value:.0f}", guest.number("vcpu.current"))),
    _Column("CPU", 1, lambda guest: optional(percent, guest.record.derived.get("cpu.utilization"))),
    _Column("cores", 12, lambda guest: optional(lambda cores: f"{cores:.2f}", guest.record.derived.get("cpu.cores"))),
    _Column("steal", 9, lambda guest: optional(percent, guest.steal())),
    _Column("memory", 2, Guest.memory),
    _Column("rd/s", 5, _total(size, "block.rd.bytes")),
    _Column("wr/s", 4, _total(size, "block.wr.bytes")),
    _Column("IOPS", 11, _total(count, "block.rd.reqs", "block.wr.reqs")),
    _Column("w-lat", 8, lambda guest: optional(duration, guest.write_latency())),
    _Column("rx/s", 6, _total(size, "net.rx.bytes")),
    _Column("tx/s", 7, _total(size, "net.tx.bytes")),
)


class BatchView:
    """One batch, for rich to print: heading, table, notes. It is laid out anew for whatever width it is given."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.guests = [Guest(record) for record in batch.records if record.kind is Kind.GUEST]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield Text(self._heading(), style="bold", no_wrap=True, overflow="ellipsis")
        if self.guests:
            yield from self._table(options.max_width)
        for note in self._notes():
            yield Text(note, no_wrap=True, overflow="ellipsis")

    def _heading(self) -> str:
        stamp = self.batch.stamp
        time = datetime.fromtimestamp(stamp.time_ms / 1000).astimezone()
        guests = f"{len(self.guests)} guest{'' if len(self.guests) == 1 else 's'}"
        stream = f"{printable(self.batch.host)} · {printable(self.batch.collect)}"
        return f"{stream} · {time:%Y-%m-%d %H:%M:%S} · {guests} · call {stamp.call_ns / 1e6:.0f} ms"

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
        notes = [note for record in self.batch.records if (note := _note(record))]
        partials = [guest.record.partial for guest in self.guests if guest.record.partial]
        if partials:
            missing = ", ".join(sorted({printable(group) for partial in partials for group in partial.missing}))
            ages = [partial.age_s for partial in partials if partial.age_s is not None]
            age = f"; instead values up to {max(ages):.0f} s old" if ages else ""
            notes.insert(0, f"* incomplete: {len(partials)} without {missing}{age}")
        more = len(notes) - NOTES_MAX
        return notes if more <= 0 else [*notes[:NOTES_MAX], f"and {more} more"]


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


def _note(record: Record) -> str | None:
    """Say what a record says that is no guest's figures, in a line; None if it says nothing like that."""
    if record.event is not None:
        event = record.event
        name = record.domain.name if record.domain else record.host
        device, reason = event.device and f" {event.device}", event.reason and f" ({event.reason})"
        return printable(f"{name}: {event.type}{device or ''}{reason or ''}")
    if record.gap is not None:
        return f"nothing for {(record.gap.end - record.gap.start) / 1000:.0f} s: {printable(record.gap.reason)}"
    return None

"""A segment's directory: which ticks it has, whose values they are, and where each series lies. Pure.

A *segment* is a run of one stream's ticks, sealed: instead of a row a tick it has a chunk (:mod:`.chunk`) for each
field and group of members. A *member* is whose values these are: a host, a pool, the agent, or one incarnation of a
guest. A *series* is a member's column: its values in those ticks in which the member had that column.

Nothing here repeats what the layouts of the ticks say already: where a series has values follows from them.

The first ticks may be *leads*: ticks of the segment before, kept once more so that the rates of the first ticks can be
taken without it. They are not the segment's own, and nobody counts them.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, TypeAlias

import msgspec
import numpy as np
from isal import isal_zlib
from msgspec import Struct

from domstat.catalog import ValueType
from domstat.model import Kind, Stamp
from domstat_sinks.sqlite.heads.row import DamagedError, Extra, checked
from domstat_sinks.sqlite.packed import chunk
from domstat_sinks.sqlite.packed.ragged import Integers, Ragged

Flags: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"

GROUP = 64
"""Members whose series of one field share a chunk: reading one guest unpacks no more, and merging holds no more."""

EVERYTHING = -1
"""In place of a column in :attr:`Directory.breaks`: all of the member begins anew."""

LAYOUT_WIDTH = 3
"""Numbers that a layout has for each record: member, shape, name."""

_STAMPS = 7
"""Arrays of one number a tick: id, time, boot-time clock, boot, duration of the call, layout, lead or not."""


class Member(Struct, frozen=True, array_like=True, gc=False):
    """Whose values these are. *name* is that of what has no uuid; *occurrence* tells apart what is in a tick twice."""

    kind: str
    uuid: str | None
    name: str | None
    incarnation: int | None
    occurrence: int = 0


class Column(Struct, frozen=True, array_like=True, gc=False):
    """A column: *field* is its number in the file."""

    field: int
    device: str | None
    type: ValueType


class _ByField(Struct, frozen=True):
    """A shape's columns in the order of their fields, and where those of each field are among them."""

    columns: Integers
    places: dict[int, slice]


class _Body(Struct, frozen=True, array_like=True):
    stamps: bytes
    boots: list[str]
    members: list[Member]
    names: list[str | None]
    columns: list[Column]
    shapes: list[bytes]
    layouts: list[bytes]
    extras: dict[int, dict[int, Extra]]
    breaks: list[tuple[int, int, int]]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Body)

_SHARED = ("groups", "fields", "placements", "subjects", "_shape_of", "_by_field", "field_of", "_places")
"""What a directory works out that does not depend on its ticks."""
_OF_TICKS = ("own", "_ticks_in")
"""What does."""


class Directory:
    """What a segment's chunks mean."""

    def __init__(self) -> None:
        self.ids: Integers = _NONE
        self.time_ms: Integers = _NONE
        self.boot_ns: Integers = _NONE
        self.boot: Integers = _NONE
        """Per tick, the boot, by its place in :attr:`boots`."""
        self.call_ns: Integers = _NONE
        self.layout_of: Integers = _NONE
        self.lead: Integers = _NONE
        """Per tick 1 for a lead, 0 for a tick of the segment's own."""
        self.boots: list[str] = []
        self.members: list[Member] = []
        self.names: list[str | None] = []
        self.columns: list[Column] = []
        self.shapes = Ragged.of([])
        """Per shape, its columns by their places in :attr:`columns`."""
        self.layouts = Ragged.of([], LAYOUT_WIDTH)
        """Per layout, a row (member, shape, name) for each record."""
        self.extras: dict[int, dict[int, Extra]] = {}
        """By tick and position, what a record has beside its values."""
        self.breaks: dict[tuple[int, int], list[int]] = {}
        """By (member, column), the ticks at which that counter began anew."""

    def __len__(self) -> int:
        return len(self.ids)

    def anew(self) -> Directory:
        """Return one of the same members, columns, shapes and layouts, with no ticks yet.

        What is worked out of these is so for both.
        """
        for name in _SHARED:
            getattr(self, name)
        made = copy.copy(self)
        for name in _OF_TICKS:
            made.__dict__.pop(name, None)
        made.extras, made.breaks = {}, {}
        return made

    def stamp(self, tick: int) -> Stamp:
        """Return a tick's stamp."""
        return Stamp(
            int(self.time_ms[tick]), int(self.boot_ns[tick]), self.boots[self.boot[tick]], int(self.call_ns[tick])
        )

    def subjects_at(self, tick: int) -> frozenset[tuple[str, str | None, str | None]]:
        """Return whose values a tick has: kind, uuid, and the name of what has no uuid."""
        members = (self.members[member] for member in self.layouts[self.layout_of[tick]][:, 0].tolist())
        return frozenset((member.kind, member.uuid, member.name) for member in members)

    @cached_property
    def own(self) -> Integers:
        """The places of the segment's own ticks."""
        return np.flatnonzero(self.lead == 0)

    @cached_property
    def groups(self) -> int:
        """How many groups its members make."""
        return -(-len(self.members) // GROUP)

    @cached_property
    def fields(self) -> list[int]:
        """The numbers of all fields, ascending."""
        return sorted({column.field for column in self.columns})

    @cached_property
    def placements(self) -> list[Integers]:
        """By member, a row (layout, position, shape) for each of its records."""
        records, layouts = self.layouts.flat, self.layouts.numbers()
        positions = np.arange(len(records)) - self.layouts.ends[layouts]
        order = np.argsort(records[:, 0], kind="stable")
        ends = np.cumsum(np.bincount(records[:, 0], minlength=len(self.members)))
        return np.split(np.stack([layouts, positions, records[:, 1]], axis=1)[order], ends)[: len(self.members)]

    @cached_property
    def guests(self) -> list[tuple[list[int], int]]:
        """By layout, how many guests come before each position, and how many there are (see moment_within)."""
        kinds = [member.kind == Kind.GUEST for member in self.members]
        before = [list(accumulate((kinds[member] for member in layout[:, 0]), initial=0)) for layout in self.layouts]
        return [(counts, counts[-1] or 1) for counts in before]

    def series(self, field: int, group: int) -> list[tuple[int, int]]:
        """Return the series in one chunk, (member, column) each, in their order there."""
        members = range(group * GROUP, min((group + 1) * GROUP, len(self.members)))
        return [(member, column) for member in members for column in self.columns_of(member, field)]

    def series_of(self, group: int) -> Integers:
        """Return the series of all chunks of a group, a row (member, column) each: the same, in order of the fields."""
        members = range(group * GROUP, min((group + 1) * GROUP, len(self.members)))
        columns = [self._all_columns_of(member) for member in members]
        whose = np.repeat(np.array(members, dtype=np.int64), [len(of) for of in columns])
        which = np.concatenate([*columns, _NONE])
        order = np.lexsort((which, whose, self.field_of[which]))
        return np.stack([whose[order], which[order]], axis=1)

    def _all_columns_of(self, member: int) -> Integers:
        shape = self._shape_of[member]
        if shape is not None:
            return self.shapes[shape]
        several = [self.shapes[own] for own in set(self.placements[member][:, 2].tolist())]
        # np.unique would import numpy.ma, which is 1 MiB
        return np.flatnonzero(np.bincount(np.concatenate([*several, _NONE])))

    def place(self, member: int, column: int) -> int:
        """Return where in its chunk a series is."""
        key = (self.columns[column].field, member // GROUP)
        known = self._places.get(key)
        if known is None:
            known = self._places[key] = {pair: place for place, pair in enumerate(self.series(*key))}
        return known[member, column]

    @cached_property
    def _places(self) -> dict[tuple[int, int], dict[tuple[int, int], int]]:
        return {}

    def columns_of(self, member: int, field: int) -> list[int]:
        """Return a member's columns of one field, in their order."""
        shape = self._shape_of[member]
        if shape is not None:
            return self._columns_of(shape, field)
        shapes = set(self.placements[member][:, 2].tolist())
        return sorted({column for shape in shapes for column in self._columns_of(shape, field)})

    def _columns_of(self, shape: int, field: int) -> list[int]:
        own = self._by_field[shape]
        at = own.places.get(field)
        return [] if at is None else own.columns[at].tolist()

    @cached_property
    def field_of(self) -> Integers:
        """By column, its field."""
        return np.array([column.field for column in self.columns], dtype=np.int64)

    @cached_property
    def _shape_of(self) -> list[int | None]:
        """By member, its shape, if it has one all along."""
        shapes = [set(at[:, 2].tolist()) for at in self.placements]
        return [next(iter(own)) if len(own) == 1 else None for own in shapes]

    @cached_property
    def _by_field(self) -> list[_ByField]:
        """By shape, its columns by field.

        Where these are is the same for guests that differ in their devices alone, each of which has a shape of its own.
        """
        field_of = self.field_of
        known: dict[bytes, dict[int, slice]] = {}
        found = []
        for shape in self.shapes:
            columns = shape[np.lexsort((shape, field_of[shape]))]
            fields = field_of[columns]
            places = known.get(fields.tobytes())
            if places is None:
                starts = np.flatnonzero(np.diff(fields, prepend=-1)).tolist()
                places = known[fields.tobytes()] = dict(
                    zip(fields[starts].tolist(), map(slice, starts, [*starts[1:], len(fields)]), strict=True)
                )
            found.append(_ByField(columns, places))
        return found

    def ticks_of(self, member: int, column: int | None = None) -> Integers:
        """Return the ticks in which a member has a value in a column, or is there at all."""
        at = self.placements[member]
        if column is not None:
            shapes = set(at[:, 2].tolist())
            having = [shape for shape in shapes if (self.shapes[shape] == column).any()]
            if len(having) < len(shapes):
                at = at[np.isin(at[:, 2], having)]
        key = at[:, 0].astype(np.int32).tobytes()
        known = self._ticks_in.get(key)
        if known is None:
            known = self._ticks_in[key] = np.flatnonzero(np.isin(self.layout_of, at[:, 0]))
        return known

    def forget_ticks(self) -> None:
        """Forget which ticks layouts are in, which is soon worked out anew: of a restless day it takes megabytes."""
        self._ticks_in.clear()

    def is_everywhere(self, member: int) -> bool:
        """Tell whether a member has all its columns in all ticks."""
        return self._shape_of[member] is not None and len(self.ticks_of(member)) == len(self)

    @cached_property
    def _ticks_in(self) -> dict[bytes, Integers]:
        """By the numbers of some layouts, their ticks."""
        return {}

    def names_of(self, member: int) -> list[int]:
        """Return the places of all names that a member had, most often one."""
        found = self._names_of.get(member)
        if found is None:
            places = self.placements[member].tolist()
            found = sorted({int(self.layouts[layout][position, 2]) for layout, position, _ in places})
            self._names_of[member] = found
        return found

    @cached_property
    def _names_of(self) -> dict[int, list[int]]:
        return {}

    @cached_property
    def subjects(self) -> list[tuple[str, str | None, str | None]]:
        """Return whose series there are: (kind, uuid, name), one for each name that a member had (see whose)."""
        return [(self.members[member].kind, self.members[member].uuid, self.names[name]) for member, name in self.whose]

    @cached_property
    def whose(self) -> list[tuple[int, int]]:
        """Return each member with each of its names, by their places."""
        return [(member, name) for member in range(len(self.members)) for name in self.names_of(member)]

    def name_at(self, member: int) -> Integers:
        """Return, by layout, the place of the name that a member has in it; -1 where it is not in it."""
        names = np.full(len(self.layouts), -1, dtype=np.int64)
        for layout, position, _ in self.placements[member].tolist():
            names[layout] = self.layouts[layout][position, 2]
        return names

    def offsets_ns(self, member: int, ticks: Integers) -> Integers:
        """Return when in each call a member's values were read, as :func:`domstat.model.moment_within` estimates it."""
        places: dict[int, int] = {layout: position for layout, position, _ in self.placements[member].tolist()}
        if len(places) == 1:
            ((layout, position),) = places.items()
            before, count = self.guests[layout][0][position], self.guests[layout][1]
            return self.call_ns[ticks] * (2 * before + 1) // (2 * count)
        table = np.zeros((len(self.layouts), 2), dtype=np.int64)
        for layout, position in places.items():
            table[layout] = (self.guests[layout][0][position], self.guests[layout][1])
        chosen = table[self.layout_of[ticks]]
        return self.call_ns[ticks] * (2 * chosen[:, 0] + 1) // (2 * chosen[:, 1])

    def encode(self) -> bytes:
        """Make bytes of it, with a checksum."""
        stamps = (self.ids, self.time_ms, self.boot_ns, self.boot, self.call_ns, self.layout_of, self.lead)
        series = [chunk.Series(ValueType.I64, numbers.view(np.uint64)) for numbers in stamps]
        body = _Body(
            chunk.encode(series, joint=False),
            self.boots,
            self.members,
            self.names,
            self.columns,
            self.shapes.packed(),
            self.layouts.packed(),
            self.extras,
            sorted((tick, *key) for key, ticks in self.breaks.items() for tick in ticks),
        )
        packed = isal_zlib.compress(_encoder.encode(body), 3)
        return zlib.crc32(packed).to_bytes(4, "big") + packed


def decode(blob: bytes) -> Directory:
    """Read a directory back. Raises DamagedError."""
    try:
        body = _decoder.decode(zlib.decompress(checked(blob)))
    except (zlib.error, msgspec.DecodeError) as error:
        raise DamagedError(str(error)) from error
    directory = Directory()
    stamps = chunk.Chunk(body.stamps)
    if len(stamps) != _STAMPS:
        raise DamagedError(f"its ticks have {len(stamps)} numbers each, not {_STAMPS}")
    (
        directory.ids,
        directory.time_ms,
        directory.boot_ns,
        directory.boot,
        directory.call_ns,
        directory.layout_of,
        directory.lead,
    ) = (stamps.words(i).view(np.int64) for i in range(_STAMPS))
    directory.boots, directory.members, directory.names = body.boots, body.members, body.names
    directory.columns = body.columns
    directory.shapes, directory.layouts = Ragged.of_packed(body.shapes), Ragged.of_packed(body.layouts, LAYOUT_WIDTH)
    directory.extras = body.extras
    for tick, member, column in body.breaks:
        directory.breaks.setdefault((member, column), []).append(tick)
    return directory


_NONE: Integers = np.zeros(0, dtype=np.int64)


class Index:
    """Gives things their places in a list, each once."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._places: dict[Any, int] = {}

    def place(self, key: Any, item: Any = None) -> int:
        """Return the place of *key*; *item* stands for it in the list."""
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = len(self.items)
            self.items.append(key if item is None else item)
        return place


def members_of(entries: Sequence[tuple[str, str | None, str | None, int | None]]) -> Iterable[Member]:
    """Tell whose each record of one tick is, from (kind, uuid, name, incarnation) of each."""
    seen: dict[Member, int] = {}
    for kind, uuid, name, incarnation in entries:
        member = Member(kind, uuid, None if uuid else name, incarnation)
        again = seen.get(member, 0)
        seen[member] = again + 1
        yield msgspec.structs.replace(member, occurrence=again) if again else member

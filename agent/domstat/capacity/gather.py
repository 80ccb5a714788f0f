"""Asks the history, for all questions: the fleet as of now, and figures over time as matrices.

Each kind of figure is read once within a call. Where guests times steps would be too much, steps are hours instead of
five minutes; the grid says which it was.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import TypeAlias

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from domstat.capacity import census, grid
from domstat.capacity.fleet import Fleet
from domstat.capacity.grid import DAY_MS, FIVE_MINUTES_MS, HOUR_MS, FloatArray, Grid, Matrix, Merging
from domstat.capacity.settings import Capacity
from domstat.history import Aggregate, History, OnDamaged, Select, Series, Span, exactly
from domstat.model import Kind

CELLS_MAX = 2_000_000
"""Figures of one field (rows times steps) up to which steps are five minutes: a month of 200 guests."""

MATRICES_MAX = 16
"""Matrices remembered within a call; of CELLS_MAX cells each that is 256 MB at most."""

SHORT_MS = 2 * DAY_MS
"""Of a window that is shorter there are too few hours for a share of them to mean much."""

TOLERANCE = 0.01
"""How far figures may be from the exact ones, so that roll-ups answer."""


class Selection(Struct, frozen=True):
    """Whose figures, by patterns (none are all), and from when on; None leaves that to the settings.

    Without *disks* the guests of the fleet have none: who does not ask for sizes of disks need not wait for them.
    """

    hosts: tuple[str, ...] = ()
    guests: tuple[str, ...] = ()
    since_ms: int | None = None
    disks: bool = True


class Key(Struct, frozen=True, order=True):
    """Whose a row is; what does not apply is empty."""

    host: str = ""
    uuid: str = ""
    pool: str = ""
    device: str = ""


Of: TypeAlias = Callable[[Key], Key]


class Figures:
    """What a question asks. *now_ms* is the moment that is asked about; later figures are not looked at."""

    def __init__(
        self,
        history: History,
        now_ms: int,
        settings: Capacity | None = None,
        selection: Selection | None = None,
        on_damaged: OnDamaged | None = None,
    ) -> None:
        self.now_ms = now_ms
        self.settings = settings or Capacity()
        self.selection = selection or Selection()
        self._history = history
        self._on_damaged = on_damaged
        self._matrices: OrderedDict[_Asked, Matrix[Key]] = OrderedDict()
        self._parts: dict[tuple[str, ...], Figures] = {}

    @cached_property
    def fleet(self) -> Fleet:
        """Who is there. Raises HistoryError."""
        chosen = census.Chosen(self.selection.hosts, self.selection.guests, self.selection.disks)
        return census.take(self._history, self.now_ms, self.settings.stale * 1000, chosen, self._on_damaged)

    def of_all_guests(self) -> Figures:
        """Return the same of all guests of the hosts, where only some are meant."""
        if not self.selection.guests:
            return self
        selection = replace(self.selection, guests=())
        return Figures(self._history, self.now_ms, self.settings, selection, self._on_damaged)

    def on(self, hosts: Sequence[str]) -> Figures:
        """Return the same of some hosts alone, by their very names."""
        if len(hosts) == len(self.fleet.hosts):
            return self
        names = tuple(exactly(host) for host in hosts)
        if names not in self._parts:
            selection = replace(self.selection, hosts=names)
            self._parts = {names: Figures(self._history, self.now_ms, self.settings, selection, self._on_damaged)}
        return self._parts[names]

    # Over which time.

    def window(self, rows: int | None = None) -> Grid:
        """Return the grid that peaks, use and waiting are looked at: the setting `window`, or what the caller says.

        *rows* are how many there will be, as a rule the guests. It begins where the history does, if that is later.
        """
        since_ms = self._since_ms(self.settings.window)
        rows = len(self.fleet.guests) if rows is None else rows
        fine = Grid.covering(since_ms // HOUR_MS * HOUR_MS, self.now_ms, FIVE_MINUTES_MS)
        if fine.count * rows <= CELLS_MAX:
            return fine
        return Grid.covering(since_ms, self.now_ms, HOUR_MS)

    def hours(self) -> Grid:
        """Return the window in hours, where what is less than an hour does not matter; a SHORT one in five minutes."""
        window = self.window(1)
        if window.count * window.step_ms < SHORT_MS:
            return window
        return Grid.covering(window.since_ms, self.now_ms, HOUR_MS)

    def past(self) -> Grid:
        """Return the grid that growth is looked at: hours, from the beginning of a day (UTC) on."""
        return Grid.covering(self._since_ms(self.settings.history) // DAY_MS * DAY_MS, self.now_ms, HOUR_MS)

    def _since_ms(self, back_s: float) -> int:
        asked = self.selection.since_ms
        since_ms = self.now_ms - round(back_s * 1000) if asked is None else asked
        return min(max(since_ms, self.fleet.first_ms, 0), self.now_ms)

    # What.

    def hosts(self, field: str, over: Grid, how: Aggregate | None = None, *, rate: bool = False) -> Matrix[Key]:
        """Return a field of host records, a row a host."""
        return self._rows(Kind.HOST, field, over, how, rate=rate)

    def pools(self, field: str, over: Grid, how: Aggregate | None = None) -> Matrix[Key]:
        """Return a field of pool records, a row for each host and pool."""
        return self._rows(Kind.POOL, field, over, how)

    def guests(
        self,
        field: str,
        over: Grid,
        how: Aggregate | None = None,
        *,
        rate: bool = False,
        devices: Merging = grid.total,
        by_host: bool = False,
        only: tuple[str, ...] = (),
    ) -> Matrix[Key]:
        """Return a field of guests, a row for each uuid, wherever it ran; with *by_host* for each host and uuid.

        Of several devices *devices* makes one row: their :func:`.grid.total`, or their :func:`.grid.greatest`.
        *only* are the uuids of those that are wanted, where these are few.
        """
        rows = self._rows(Kind.GUEST, field, over, how, rate=rate, only=only)
        rows = _merged(rows, lambda key: Key(host=key.host, uuid=key.uuid), devices)
        return rows if by_host else _merged(rows, lambda key: Key(uuid=key.uuid), grid.first_known)

    def disks(
        self, field: str, over: Grid, how: Aggregate | None = None, *, rate: bool = False, only: tuple[str, ...] = ()
    ) -> Matrix[Key]:
        """Return a field of guests' devices (disks, vCPUs, NICs), a row for each uuid and device, wherever it ran."""
        rows = self._rows(Kind.GUEST, field, over, how, rate=rate, only=only)
        return _merged(rows, lambda key: Key(uuid=key.uuid, device=key.device), grid.first_known)

    def expect(
        self,
        kinds: tuple[Kind, ...],
        fields: tuple[str, ...],
        over: Grid,
        how: Aggregate | None = None,
        *,
        rate: bool = False,
        only: tuple[str, ...] = (),
    ) -> None:
        """Read several fields at once, which will all be asked for: a read has a cost of its own."""
        found: dict[_Asked, list[Series]] = {
            _Asked(kind, field, over, how, rate, only): [] for kind in kinds for field in fields
        }
        if not over.count or all(asked in self._matrices for asked in found):
            return
        for one in self._read(next(iter(found)), kinds, fields):
            found[_Asked(one.subject.kind, one.field, over, how, rate, only)].append(one)
        for asked, series in found.items():
            self._remember(asked, _matrix(over, series))

    def _rows(
        self,
        kind: Kind,
        field: str,
        over: Grid,
        how: Aggregate | None,
        *,
        rate: bool = False,
        only: tuple[str, ...] = (),
    ) -> Matrix[Key]:
        asked = _Asked(kind, field, over, how, rate, only)
        if asked in self._matrices:
            self._matrices.move_to_end(asked)
            return self._matrices[asked]
        return self._remember(asked, _matrix(over, self._read(asked, (kind,), (field,)) if over.count else ()))

    def _remember(self, asked: _Asked, matrix: Matrix[Key]) -> Matrix[Key]:
        self._matrices[asked] = matrix
        if len(self._matrices) > MATRICES_MAX:
            self._matrices.popitem(last=False)
        return matrix

    def _read(self, asked: _Asked, kinds: tuple[Kind, ...], fields: tuple[str, ...]) -> Iterator[Series]:
        select = Select(
            span=Span(asked.over.since_ms, min(asked.over.until_ms, self.now_ms)),
            hosts=self.selection.hosts,
            guests=(asked.only or self.selection.guests) if kinds == (Kind.GUEST,) else (),
            kinds=kinds,
            fields=fields,
            rate=asked.rate,
            step_ms=asked.over.step_ms,
            aggregate=asked.how,
            tolerance=TOLERANCE,
        )
        return self._history.read(select, self._on_damaged)


class _Asked(Struct, frozen=True):
    """What a matrix was asked for by."""

    kind: Kind
    field: str
    over: Grid
    how: Aggregate | None = None
    rate: bool = False
    only: tuple[str, ...] = ()


def _matrix(over: Grid, series: Iterable[Series]) -> Matrix[Key]:
    """Make rows of series; of what several collect blocks say of the same thing, the fuller first.

    Roll-ups count a pause as seen over which counters went on, as their increase is known; its steps are not.
    """
    found: dict[Key, list[tuple[float, FloatArray]]] = {}
    for one in series:
        subject = one.subject
        key = Key(subject.host, subject.uuid or "", subject.pool or "", one.device or "")
        values = np.asarray(one.values, dtype=np.float64) * one.measure.scale
        row = over.row(np.asarray(one.time_ms, dtype=np.int64), values)
        found.setdefault(key, []).append((min(one.coverage, grid.seen(row)), row))
    rows = ((key, *_one_of(told)) for key, told in found.items())
    return grid.of(over, rows)


def _one_of(told: list[tuple[float, FloatArray]]) -> tuple[FloatArray, float]:
    if len(told) == 1:
        return told[0][1], told[0][0]
    told.sort(key=lambda one: -one[0])
    return grid.first_known(np.array([row for _, row in told])), told[0][0]


def _merged(rows: Matrix[Key], key_of: Of, how: Merging) -> Matrix[Key]:
    keys = [key_of(key) for key in rows.keys]
    if len(set(keys)) == len(keys):
        return Matrix(rows.grid, keys, rows.values, rows.coverage)
    return rows.merged(key_of, how)

"""Where the series of a segment lie, a field at a time and all at once. Pure.

The same as :meth:`.directory.Directory.series` and ``ticks_of`` say pair by pair: for who wants one field of everybody
out of a segment of which nothing is known yet, and nothing of its other fields.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from domstat_sinks.sqlite.packed.directory import GROUP, Directory, Flags
from domstat_sinks.sqlite.packed.ragged import Integers


class FieldSeries(Struct, frozen=True):
    """All series of one field, by member and column.

    Of each there is whose it is, the chunk and the row in it; and whether it has a value in every tick.
    """

    members: Integers
    columns: Integers
    groups: Integers
    rows: Integers
    always: Flags


class SeriesIndex:
    """Finds the series of a segment."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self._ticks_of_layout = np.bincount(directory.layout_of, minlength=len(directory.layouts))
        records = directory.layouts.flat
        order = np.argsort(records[:, 0], kind="stable")
        self._layouts = directory.layouts.numbers()[order]
        self._members, self._shapes = records[order, 0], records[order, 1]
        """Of all records of all layouts, by member: layout, member and shape."""
        self._ticks: dict[tuple[int, ...], Integers] = {}
        self._alike: dict[tuple[bytes, bytes], FieldSeries] = {}
        """By how many columns each shape has and which, numbered by themselves: such series have the same places."""

    def of(self, field: int) -> FieldSeries:
        """Return the series of a field, by its number in the file."""
        shapes = self.directory.shapes
        chosen = np.flatnonzero(self.directory.field_of[shapes.flat] == field)
        if not len(chosen):
            return _NO_SERIES
        columns = shapes.flat[chosen]
        if (columns == columns[0]).all():  # as of most fields, and quicker than what follows
            columns, ranks = columns[:1], np.zeros(len(columns), dtype=np.int64)
        else:
            columns, ranks = np.unique(columns, return_inverse=True)
        counts = np.bincount(shapes.rows_at(chosen), minlength=len(shapes))
        key = counts.tobytes(), ranks.tobytes()
        known = self._alike.get(key)
        if known is None:
            known = self._alike[key] = self._series(ranks, counts)
        return replace(known, columns=columns[known.columns])

    def _series(self, columns: Integers, counts: Integers) -> FieldSeries:
        """Return the series of some columns, given shape by shape; *counts* are how many each shape has."""
        starts = np.cumsum(counts) - counts
        each = counts[self._shapes]
        begins = np.cumsum(each) - each
        places = np.arange(each.sum()) + np.repeat(starts[self._shapes] - begins, each)
        column_count = max(len(self.directory.columns), 1)
        found = np.repeat(self._members, each) * column_count + columns[places]
        ticks = np.repeat(self._ticks_of_layout[self._layouts], each)
        if (found[1:] <= found[:-1]).any():  # some are in several layouts
            found, which = np.unique(found, return_inverse=True)
            ticks = np.bincount(which, ticks, minlength=len(found))
        members, columns = np.divmod(found, column_count)
        groups = members // GROUP
        rows = np.arange(len(found)) - np.searchsorted(groups, groups)
        return FieldSeries(members, columns, groups, rows, ticks == len(self.directory))

    def ticks(self, member: int, column: int) -> Integers:
        """Return the ticks in which a member has a value in a column."""
        first, last = np.searchsorted(self._members, (member, member + 1)).tolist()
        shapes = self.directory.shapes.rows_at(np.flatnonzero(self.directory.shapes.flat == column))
        layouts = tuple(self._layouts[first:last][np.isin(self._shapes[first:last], shapes)].tolist())
        known = self._ticks.get(layouts)
        if known is None:
            known = self._ticks[layouts] = np.flatnonzero(np.isin(self.directory.layout_of, layouts))
        return known


_NONE: Integers = np.zeros(0, dtype=np.int64)
_NO_SERIES = FieldSeries(_NONE, _NONE, _NONE, _NONE, np.zeros(0, dtype=np.bool_))

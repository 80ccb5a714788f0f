"""Chunks: one field of many guests over many ticks, as compact bytes that are opened series by series. Pure.

A chunk is a CRC-32 and, behind it, msgpack: a *table* with a few words for each series, and *runs* of packed numbers
(:mod:`.codec`). A series is its first word and its steps, in the largest unit that divides them
(:mod:`.differences`). A series that only ever makes the same step needs no run: most series never move. The others
share a run, or have one each:

* *joint*, for few ticks: all series in one codec call, those of similar pace together. It is quick, and small, since
  they share the tables of the codec. Nothing else is stored; headers are worked out from the values.
* otherwise every series has its own run, so that one is read without the others, and headers are stored.

A series may be *predicted* from another one, which its reader has to have: then the run holds what is left of its
steps without the other's.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from isal import isal_zlib
from msgspec import Struct

from domstat.catalog import ValueType
from domstat_sinks.sqlite.heads.row import DamagedError, Words
from domstat_sinks.sqlite.packed import codec
from domstat_sinks.sqlite.packed.codec import Steps
from domstat_sinks.sqlite.packed.differences import Indices, in_unit, in_units, steps_of
from domstat_sinks.sqlite.packed.headers import NUMBERS, TYPES, Header, Headers, keys_of, summarise, words_of
from domstat_sinks.sqlite.packed.runs import Runs

FORMAT: Final = 1

COUNT_MAX: Final = 1 << 23
"""Values in a series: two days of ticks of 20 ms. A chunk that says more is damaged."""
SERIES_MAX: Final = 1 << 16
"""Series in a chunk: 64 guests with 1,024 vCPUs, disks or NICs each."""

JOINT_RUN_VALUES: Final = 4096
"""Values in a run that series share: an hour of a dozen guests. With fewer every run costs more time than it saves."""
JOINT_RUNS_MAX: Final = 6
"""Runs that series share in one chunk: more of them save nothing more."""

PREDICTION_GAIN: Final = 0.15
"""Share of its bytes that a prediction must save, since to read a series then takes reading another one as well."""
SAMPLE_BLOCKS: Final = 4
SAMPLE_VALUES: Final = 256
"""Steps in a block: what a prediction saves is tried on a few blocks of steps."""

STEP_VALUES: Final = 16_384
"""Values packed in one step of a piece of work that is done between ticks: some 2 ms."""

_REAL = 8
_PREDICTED = 16
_TYPE_BITS = 7


class Series(Struct, frozen=True, eq=False):
    """One guest's and device's values of a field, in the order of ticks.

    *reference* is what they are predicted from, word by word, and must be had again to read them. It is used where it
    pays. *breaks* are positions, beyond 0, at which a counter began anew although it need not have fallen.
    """

    type: ValueType
    words: Words
    reference: Words | None = None
    breaks: tuple[int, ...] = ()


class Pace:
    """Tells when values enough have been packed for one step."""

    def __init__(self) -> None:
        self._values = 0

    def is_enough(self, values: int) -> bool:
        """Count *values* more, and tell whether the step has enough of them; then the next one begins."""
        self._values += values
        if self._values < STEP_VALUES:
            return False
        self._values = 0
        return True


class _Body(Struct, frozen=True, array_like=True):
    format: int
    series: int
    columns: int
    table: bytes
    runs: list[bytes]
    breaks: dict[int, tuple[int, ...]]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Body)

# The table's columns. Further ones, where they are there, are a header's: see _header_columns.
_KIND, _COUNT, _FIRST, _UNIT, _RUN = range(5)
_OWN_COLUMNS = 5
_HEADER_COLUMNS = 5


def encode(series: Sequence[Series], *, joint: bool) -> bytes:
    """Make a chunk of *series*. Raises ValueError for more than a chunk may hold."""
    steps = encoding(series, joint=joint)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            blob: bytes = end.value
            return blob


def encoding(series: Sequence[Series], *, joint: bool) -> Generator[bool, None, bytes]:
    """Do the same in steps of some values each, unless all are packed together."""
    if len(series) > SERIES_MAX:
        raise ValueError(f"{len(series)} series are too many for a chunk, which has at most {SERIES_MAX}")
    table, runs = _joint(series) if joint else (yield from _apart(series))
    breaks = {i: one.breaks for i, one in enumerate(series) if one.breaks}
    body = _encoder.encode(_Body(FORMAT, len(series), len(table), _pack_table(table), runs, breaks))
    return isal_zlib.crc32(body).to_bytes(4, "big") + body


def _pack_table(table: Words) -> bytes:
    """Deflate a table by planes of bytes: most columns are the same for all series, or nearly."""
    return codec.deflate(table.reshape(-1).view(np.uint8).reshape(-1, 8).T.tobytes())


def _unpack_table(packed: bytes, columns: int, series: int) -> Words:
    planes = np.frombuffer(codec.inflate(packed, 8 * columns * series), dtype=np.uint8)
    return np.ascontiguousarray(planes.reshape(8, -1).T).view(np.uint64).reshape(columns, series)


def _new_table(series: Sequence[Series], columns: int) -> Words:
    table = np.zeros((columns, len(series)), dtype=np.uint64)
    table[_KIND] = [NUMBERS[one.type] for one in series]
    counts = [len(one.words) for one in series]
    if max(counts, default=0) > COUNT_MAX:
        raise ValueError(f"{max(counts)} values are too many for a series, which has at most {COUNT_MAX}")
    table[_COUNT] = counts
    return table


# -- together ------------------------------------------------------------------------------------------------------


def _joint(series: Sequence[Series]) -> tuple[Words, list[bytes]]:
    table = _new_table(series, _OWN_COLUMNS)
    counts = table[_COUNT].view(np.int64)
    full = np.flatnonzero(counts)
    if not len(full):
        return table, []
    flat = np.concatenate([one.words for one in series])
    ends = np.cumsum(counts)[full]
    table[_FIRST][full] = flat[ends - counts[full]]
    within = np.ones(len(flat) - 1, dtype=bool)
    within[ends[:-1] - 1] = False  # what lies between two series is no step
    return table, _shared_runs(table, full[counts[full] > 1], steps_of(flat)[within])


def _shared_runs(table: Words, series: Indices, steps: Steps) -> list[bytes]:
    """Pack the *steps* of *series*, those of like reach in one run; note in the table who is in which."""
    if not len(series):
        return []
    sizes = table[_COUNT].view(np.int64)[series] - 1
    starts = np.cumsum(sizes) - sizes
    least, most = np.minimum.reduceat(steps, starts), np.maximum.reduceat(steps, starts)
    table[_UNIT][series] = least.view(np.uint64)  # which is the step of those that always make the same
    moving = least != most
    if not moving.any():
        return []
    if not moving.all():
        steps = steps[np.repeat(moving, sizes)]
        series, sizes, least, most = series[moving], sizes[moving], least[moving], most[moving]
        starts = np.cumsum(sizes) - sizes
    units, numbers = in_units(steps, starts, sizes)
    table[_UNIT][series] = units.view(np.uint64)
    count = max(1, min(JOINT_RUNS_MAX, len(numbers) // JOINT_RUN_VALUES, len(series)))
    if count == 1:
        table[_RUN][series] = 1
        return [codec.pack(numbers, codec.QUICK_LEVEL)]
    reach = (most.astype(np.float64) - least) / units
    parts = np.split(numbers, starts[1:])
    runs: list[bytes] = []
    for members in np.array_split(np.argsort(reach, kind="stable"), count):
        members.sort()
        runs.append(codec.pack(np.concatenate([parts[i] for i in members.tolist()]), codec.NOISE_LEVEL))
        table[_RUN][series[members]] = len(runs)
    return runs


# -- each by itself ------------------------------------------------------------------------------------------------


def _apart(series: Sequence[Series]) -> Generator[bool, None, tuple[Words, list[bytes]]]:
    table = _new_table(series, _OWN_COLUMNS + _HEADER_COLUMNS)
    runs: list[bytes] = []
    pace = Pace()
    for i, one in enumerate(series):
        if len(one.words):
            table[_FIRST, i] = one.words[0]
        if len(one.words) > 1:
            _one_apart(table[:, i], one, runs)
            if pace.is_enough(len(one.words)):
                yield True
    return table, runs


def _one_apart(row: Words, series: Series, runs: list[bytes]) -> None:
    """Fill in a series' *row* of the table, and add its run."""
    steps = steps_of(series.words)
    if not steps.any():
        return
    row[_OWN_COLUMNS:] = _header_columns(series, steps)
    if series.type is ValueType.F64:
        row[_KIND] |= np.uint64(_REAL)
        runs.append(codec.pack_reals(series.words[1:]))
        row[_RUN] = len(runs)
        return
    if series.reference is not None:
        left = steps - steps_of(series.reference)
        if _pays(steps, left):
            row[_KIND] |= np.uint64(_PREDICTED)
            steps = left
    if (steps == steps[0]).all():
        row[_UNIT] = steps.view(np.uint64)[0]
        return
    unit, numbers, grain = in_unit(steps)
    runs.append(codec.pack(numbers, codec.DAY_LEVEL, grain))
    row[_UNIT] = unit
    row[_RUN] = len(runs)


def _pays(steps: Steps, left: Steps) -> bool:
    """Tell whether *left*, what a prediction leaves of *steps*, is enough smaller; a sample tells."""
    if len(steps) > SAMPLE_BLOCKS * SAMPLE_VALUES:
        places = np.linspace(0, len(steps) - SAMPLE_VALUES, SAMPLE_BLOCKS, dtype=np.int64)
        chosen = (places[:, None] + np.arange(SAMPLE_VALUES)).reshape(-1)
        steps, left = steps[chosen], left[chosen]
    return _size(left) < (1 - PREDICTION_GAIN) * _size(steps)


def _size(steps: Steps) -> int:
    return len(codec.pack(in_unit(steps).numbers, codec.QUICK_LEVEL)) if steps.any() else 0


# -- headers -------------------------------------------------------------------------------------------------------


def _header_columns(series: Series, steps: Steps) -> Words:
    """Turn a header into small words, all 0 for a series that never moves and nearly so for a counter."""
    words, type_ = series.words, NUMBERS[series.type]
    keys = keys_of(words, type_)
    if series.type is not ValueType.F64 and not series.breaks:
        first, last, least, most = int(keys[0]), int(keys[-1]), int(keys.min()), int(keys.max())
        if most - least < (1 << 63) // len(keys):  # no step has wrapped around, nor does their sum
            counted = int(np.maximum(steps, 0).sum()) - (last - first)
            return np.array([(last - first) % (1 << 64), first - least, most - last, counted, 0], dtype=np.uint64)
    headers = summarise(np.array([type_], dtype=np.uint8), [words], {0: series.breaks})
    rose = keys[-1:] - keys[:1]
    below, above = keys[:1] - keys_of(headers.min, type_), keys_of(headers.max, type_) - keys[-1:]
    return np.concatenate([rose, below, above, headers.increment - rose, headers.carry])


def _headers_from(table: Words) -> Headers:
    types = (table[_KIND] & np.uint64(_TYPE_BITS)).astype(np.uint8)
    rose, below, above, counted, carry = table[_OWN_COLUMNS:]
    first = keys_of(table[_FIRST], types)
    last = first + rose
    full = table[_COUNT] > 0
    ends, least, most = (words_of(keys, types) * full for keys in (last, first - below, last + above))
    return Headers(types, table[_COUNT], table[_FIRST], ends, least, most, counted + rose, carry)


# -- opened --------------------------------------------------------------------------------------------------------


class Chunk:
    """A chunk, checked and opened; its values stay packed until they are asked for."""

    def __init__(self, blob: bytes) -> None:
        """Check *blob* and read its table. Raises DamagedError for anything that :func:`encode` did not make."""
        self._body = _open(blob)
        self._table = _unpack_table(self._body.table, self._body.columns, self._body.series)
        self._check()
        self._runs = Runs(self._body.runs, self._table[_RUN], self._table[_COUNT])
        self._headers: Headers | None = None

    def __len__(self) -> int:
        return self._body.series

    def _check(self) -> None:
        table = self._table
        if not self._body.series:
            return
        kind, count, *_, run = table[:_OWN_COLUMNS].max(axis=1).tolist()
        if count > COUNT_MAX:
            raise DamagedError(f"a series has {count} values, {COUNT_MAX} at most are written")
        if run > len(self._body.runs):
            raise DamagedError(f"run {run} of {len(self._body.runs)} is asked for")
        if kind >= 32 or int((table[_KIND] & np.uint64(_TYPE_BITS)).max()) >= len(TYPES):
            raise DamagedError("a series is of a kind that this version does not know")
        if any(not 0 <= i < self._body.series for i in self._body.breaks):
            raise DamagedError("it has breaks of a series that it has not")

    def type(self, i: int) -> ValueType:
        """Return what series *i* holds."""
        return TYPES[int(self._table[_KIND, i]) & _TYPE_BITS]

    def breaks(self, i: int) -> tuple[int, ...]:
        """Return where series *i* began anew although it need not have fallen."""
        return self._body.breaks.get(i, ())

    def predicted(self, i: int) -> bool:
        """Tell whether reading series *i* takes its reference."""
        return bool(int(self._table[_KIND, i]) & _PREDICTED)

    def header(self, i: int) -> Header:
        """Return what is known of series *i* without its values."""
        return self.headers().of(i)

    def headers(self) -> Headers:
        """Return the headers of all series. Raises DamagedError where they have to be worked out and cannot be."""
        if self._headers is None:
            if self._body.columns > _OWN_COLUMNS:
                self._headers = _headers_from(self._table)
            else:
                types = (self._table[_KIND] & np.uint64(_TYPE_BITS)).astype(np.uint8)
                self._headers = summarise(types, self.all_words(), self._body.breaks)
        return self._headers

    def words(self, i: int, reference: Callable[[], Words] | None = None) -> Words:
        """Return the values of series *i*; *reference* is called for what it is predicted from, if it is.

        Raises DamagedError for what cannot be unpacked, ValueError without a reference that is needed.
        """
        words = np.empty(int(self._table[_COUNT, i]), dtype=np.uint64)
        self._fill(words, i)
        if not self.predicted(i):
            return words
        if reference is None:
            raise ValueError(f"series {i} is predicted from another, which was not given")
        other = reference()
        if len(other) != len(words):
            raise DamagedError(f"series {i} has {len(words)} values, and what it is predicted from has {len(other)}")
        words += other
        words -= other[0]
        return words

    def _fill(self, words: Words, i: int) -> None:
        """Write the values of series *i*; of one that is predicted, how far it leads what it is predicted from."""
        if not len(words):
            return
        kind, _, first, unit, run = self._table[:_OWN_COLUMNS, i].tolist()
        words[0] = first
        if not run:
            words[1:] = unit
        else:
            words[1:] = self._runs.numbers(i, len(words) - 1).view(np.uint64)
            if kind & _REAL:
                return
            if unit != 1:
                words[1:] *= np.uint64(unit)
        np.cumsum(words, out=words)

    def all_words(self) -> list[Words]:
        """Return the values of all series, of which none may be predicted: rows of one matrix, where they can be."""
        even = self.even()
        return list(self.rows(even)) if 0 < len(even) == len(self) else [self.words(i) for i in range(len(self))]

    def even(self) -> Indices:
        """Return the places of those series that have as many values as the longest, and are not predicted."""
        return np.flatnonzero(self.are_rows(np.arange(len(self)), int(self._table[_COUNT].max(initial=0))))

    def are_rows(self, places: Indices, count: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Tell which of some series have so many values, and are not predicted: so :meth:`rows` gives them."""
        is_own = (self._table[_KIND][places] & np.uint64(_PREDICTED)) == 0
        return np.asarray(is_own & (self._table[_COUNT][places] == count))

    def rows(self, places: Indices) -> Words:
        """Return the values of some series, at least one, that are as many in each and not predicted, as rows.

        They are for reading. Raises DamagedError where they are not, or cannot be unpacked.
        """
        count, kinds = int(self._table[_COUNT][places[0]]), int(np.bitwise_or.reduce(self._table[_KIND][places]))
        if not self.are_rows(places, count).all():
            raise DamagedError("its series are not all of the length they should have")
        if not (self._table[_UNIT][places].any() or self._table[_RUN][places].any()):  # none of them ever changes
            return np.broadcast_to(self._table[_FIRST][places][:, None], (len(places), count))
        is_all = len(places) == len(self) and bool((places == np.arange(len(self))).all())
        if not is_all or len(self._body.runs) > JOINT_RUNS_MAX or kinds & _REAL:
            return self._rows_apart(places)
        matrix = np.empty((len(self), count), dtype=np.uint64)
        if matrix.size:
            self._fill_all(matrix)
        return matrix

    def _rows_apart(self, places: Indices) -> Words:
        """Return the values of some series, as many in each, whose runs are mostly their own."""
        table = self._table[:, places]
        matrix = np.empty((len(places), int(table[_COUNT, 0])), dtype=np.uint64)
        if not matrix.size:
            return matrix
        steps = matrix[:, 1:]
        steps[:] = table[_UNIT][:, None]
        matrix[:, 0] = table[_FIRST]
        is_real = (table[_KIND] & np.uint64(_REAL)) != 0
        for row, (place, run) in enumerate(zip(places.tolist(), table[_RUN].tolist(), strict=True)):
            if run:
                numbers = self._runs.numbers(place, steps.shape[1]).view(np.uint64)
                steps[row] = numbers if is_real[row] else numbers * steps[row, 0]
        summed = ~is_real | (table[_RUN] == 0)
        if summed.all():
            np.cumsum(matrix, axis=1, out=matrix)
        elif summed.any():
            matrix[summed] = np.cumsum(matrix[summed], axis=1)
        return matrix

    def _fill_all(self, matrix: Words) -> None:
        """Write the values of all series, of which many share a run, with as few calls as can be."""
        table = self._table
        matrix[:, 0] = table[_FIRST]
        steps = matrix[:, 1:]
        steps[:] = table[_UNIT][:, None]
        for run in range(1, len(self._body.runs) + 1):
            members = np.flatnonzero(table[_RUN] == run)
            numbers = self._runs.shared(run).view(np.uint64).reshape(len(members), -1)
            if len(members) == len(matrix):
                steps *= numbers
            else:
                steps[members] = numbers * table[_UNIT][members][:, None]
        np.cumsum(matrix, axis=1, out=matrix)


def _open(blob: bytes) -> _Body:
    if isal_zlib.crc32(memoryview(blob)[4:]) != int.from_bytes(blob[:4], "big"):
        raise DamagedError("its checksum is wrong")
    try:
        body = _decoder.decode(memoryview(blob)[4:])
    except msgspec.DecodeError as error:
        raise DamagedError(str(error)) from error
    if body.format != FORMAT:
        raise DamagedError(f"it has format {body.format}, which this version does not know")
    if not 0 <= body.series <= SERIES_MAX or body.columns not in {_OWN_COLUMNS, _OWN_COLUMNS + _HEADER_COLUMNS}:
        raise DamagedError(f"it has {body.series} series with {body.columns} columns")
    return body

"""A history read by several processes at once, each of which has some of its hosts: most of a question is reading.

Each process but the first is forked before the history is opened, as SQLite's connections do not outlive a fork, and
opens it for itself. It says nothing, and ends with who forked it.
"""

from __future__ import annotations

import heapq
import os
import signal
import socket
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from functools import cached_property
from io import BufferedRWPair
from typing import Any, NoReturn, cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from domstat.cli.history.asking import Opening
from domstat.history import History, HistoryError, Measure, OnDamaged, Select, Series, Subject, exactly

READERS_MAX = 4
"""Processes: each has caches of its own, of some 60 MB."""

PARCEL_BYTES = 32 * 1024 * 1024
"""Of values that are sent at once: a month of 200 guests by five minutes. What is sent has been gathered before."""

_LENGTH_BYTES = 8


@contextmanager
def abreast(opening: Opening, readers: int | None = None) -> Iterator[History]:
    """Open a history that several processes read, by default as many as there are cores to run them.

    Raises HistoryError.
    """
    count = min(len(os.sched_getaffinity(0)), READERS_MAX) if readers is None else readers
    helpers: list[_Helper] = []
    try:
        with suppress(OSError):  # no memory, no more processes: fewer read, which takes longer, and is as right
            for _ in range(count - 1):
                helpers.append(_Helper(opening, helpers))
        with opening() as history:
            yield cast(History, _Abreast(history, helpers)) if helpers else history
    finally:
        for helper in helpers:
            helper.end()


class _Abreast:
    """Asks the history for series, and the helpers for those of their hosts; everything else the history alone."""

    def __init__(self, history: History, helpers: Sequence[_Helper]) -> None:
        self._history = history
        self._helpers = helpers
        self._is_reading = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._history, name)

    def read(self, select: Select, on_damaged: OnDamaged | None = None) -> Iterator[Series]:
        """Give the series that are wanted, in the order of History.read. Raises HistoryError."""
        shares = [] if self._is_reading else self._shares(select)
        if len(shares) < 2:
            yield from self._history.read(select, on_damaged)
            return
        self._is_reading = True
        asked = self._helpers[: len(shares) - 1]
        try:
            for helper, share in zip(asked, shares[1:], strict=True):
                helper.ask(share, passes_over=on_damaged is not None)
            own = self._history.read(shares[0], on_damaged)
            yield from heapq.merge(own, *(helper.series(on_damaged) for helper in asked), key=_order)
            self._is_reading = False  # and stays so where it did not come to an end: answers are left over
        except OSError as error:
            raise HistoryError(f"a process that read for this one has ended: {error}") from error

    @cached_property
    def _names(self) -> list[str]:
        """The hosts there are when the first question is asked: it costs milliseconds, and a command takes a second."""
        return [host.name for host in self._history.hosts()]

    def _shares(self, select: Select) -> list[Select]:
        """Say what each process is to read: hosts in turn, as one that is near another is likely to be as large."""
        wanted = [
            name for name in self._names if not select.hosts or any(fnmatchcase(name, glob) for glob in select.hosts)
        ]
        count = min(len(wanted), len(self._helpers) + 1)
        return [replace(select, hosts=tuple(exactly(name) for name in wanted[i::count])) for i in range(count)]


def _order(series: Series) -> tuple[str, str, str, str, str]:
    """Return what series are ordered by before their fields, which are all of one process."""
    subject = series.subject
    return subject.kind, subject.name or "", subject.uuid or "", subject.host, subject.collect


# What goes between.


class _Question(Struct, frozen=True, array_like=True):
    select: Select
    passes_over: bool


class _Sent(Struct, frozen=True, array_like=True):
    """A series: its times by their place among those of the parcel, its values as bytes, or whatever they are."""

    subject: Subject
    field: str
    device: str | None
    measure: Measure
    tier: str
    coverage: float
    time: int
    type: str
    values: bytes | list[Any]


class _Parcel(Struct, frozen=True, array_like=True):
    """Some series, damage that was passed over, why there is no more, and whether there is."""

    series: Sequence[_Sent] = ()
    times: Sequence[bytes] = ()
    damages: Sequence[str] = ()
    failed: str | None = None
    is_last: bool = False


_encoder = msgspec.msgpack.Encoder()
_questions = msgspec.msgpack.Decoder(_Question)
_parcels = msgspec.msgpack.Decoder(_Parcel)


def _send(channel: BufferedRWPair, message: Struct) -> None:
    content = _encoder.encode(message)
    channel.write(len(content).to_bytes(_LENGTH_BYTES, "big"))
    channel.write(content)
    channel.flush()


def _receive(channel: BufferedRWPair) -> bytes:
    """Return what was sent, nothing if nobody is there any more."""
    length = channel.read(_LENGTH_BYTES)
    return channel.read(int.from_bytes(length, "big")) if len(length) == _LENGTH_BYTES else b""


class _Packing:
    """Puts series into parcels; many have the very same times."""

    def __init__(self) -> None:
        self.bytes = 0
        self._series: list[_Sent] = []
        self._times: dict[int, tuple[int, bytes, Any]] = {}
        """By the number of the object its place, what is sent, and it, so that no other takes its number."""

    def add(self, one: Series) -> None:
        time_ms, values = cast(Any, one.time_ms), cast(Any, one.values)
        if id(time_ms) not in self._times:
            self._times[id(time_ms)] = len(self._times), time_ms.astype("<i8").tobytes(), time_ms
        place = self._times[id(time_ms)][0]
        packed = values.tolist() if values.dtype == object else values.tobytes()
        of_series = (one.subject, one.field, one.device, one.measure, one.tier, one.coverage)
        self._series.append(_Sent(*of_series, place, values.dtype.str, packed))
        self.bytes += len(packed)

    def parcel(self, damages: list[str], failed: str | None, *, is_last: bool) -> _Parcel:
        times = [packed for _, packed, _ in self._times.values()]
        return _Parcel(self._series, times, damages, failed, is_last)


def _unpacked(parcel: _Parcel) -> Iterator[Series]:
    import numpy as np

    times = [np.frombuffer(packed, dtype="<i8") for packed in parcel.times]
    for one in parcel.series:
        packed: Any = one.values
        yield Series(
            subject=one.subject,
            field=one.field,
            device=one.device,
            measure=one.measure,
            tier=one.tier,
            coverage=one.coverage,
            time_ms=times[one.time],
            values=np.frombuffer(packed, one.type) if isinstance(packed, bytes) else np.array(packed, dtype=object),
        )


# The other processes.


class _Helper:
    """One of them, as the first one sees it."""

    def __init__(self, opening: Opening, others: Sequence[_Helper]) -> None:
        """Fork it. Raises OSError."""
        here, there = socket.socketpair()
        with here, there:
            self._channel = here.makefile("rwb")
            self._pid = os.fork()
            if not self._pid:
                for helper in (*others, self):
                    helper.leave()
                here.close()
                _serve(there.makefile("rwb"), opening)

    def ask(self, select: Select, *, passes_over: bool) -> None:
        """Ask for series; :meth:`series` gives them. Raises OSError where the process has ended."""
        _send(self._channel, _Question(select, passes_over))

    def series(self, on_damaged: OnDamaged | None) -> Iterator[Series]:
        """Give the series that were asked for. Raises HistoryError, and OSError where the process has ended."""
        is_last = False
        while not is_last:
            received = _receive(self._channel)
            if not received:
                raise ConnectionError("it left no answer")
            parcel = _parcels.decode(received)
            if on_damaged is not None:
                for damage in parcel.damages:
                    on_damaged(damage)
            if parcel.failed is not None:
                raise HistoryError(parcel.failed)
            yield from _unpacked(parcel)
            is_last = parcel.is_last

    def leave(self) -> None:
        """Close what leads to it."""
        with suppress(OSError):
            self._channel.close()

    def end(self) -> None:
        """End it, in the midst of reading too."""
        self.leave()
        os.kill(self._pid, signal.SIGKILL)  # it only reads: it leaves nothing behind
        os.waitpid(self._pid, 0)


def _serve(channel: BufferedRWPair, opening: Opening) -> NoReturn:
    """Answer until nobody asks any more."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the first one
        _answer_all(channel, opening)
    except BrokenPipeError:
        pass
    except Exception:  # noqa: BLE001 - nobody is above: it is said, and the first one learns of it by the end
        traceback.print_exc()
    finally:
        os._exit(0)  # and do nothing of what is left for the end of the first one: what its buffers hold is its own


def _answer_all(channel: BufferedRWPair, opening: Opening) -> None:
    try:
        with opening() as history:
            while question := _receive(channel):
                _answer(channel, history, _questions.decode(question))
    except HistoryError as error:
        _send(channel, _Parcel(failed=str(error)))


def _answer(channel: BufferedRWPair, history: History, question: _Question) -> None:
    packing, damages, failed = _Packing(), list[str](), None
    try:
        for one in history.read(question.select, damages.append if question.passes_over else None):
            packing.add(one)
            if packing.bytes > PARCEL_BYTES:
                _send(channel, packing.parcel(damages, None, is_last=False))
                packing, damages[:] = _Packing(), []
    except HistoryError as error:
        failed = str(error)
    _send(channel, packing.parcel(damages, failed, is_last=True))

"""The contract a store of history meets: what questions are asked of.

A sink class that keeps a history has the ability :class:`HasHistory`; the command line finds it by that, and knows no
store by name. A history that gives back what was written has the ability :class:`HasBatches`, one that copies itself
into a file the ability :class:`HasSnapshots`.

A *series* is one field of one device of one subject, as one stream has it. A guest is its UUID, on whatever hosts it
ran and whatever it was called: who asks for it by a name gets all of every guest that had that name in the span.
Times are milliseconds since 1970.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from msgspec import Struct

from domstat.catalog import FieldKind
from domstat.model import Batch, Event, Kind

EVER_MS = 1 << 62
"""Later than any time; and what SQLite's integers still hold."""


class HistoryError(Exception):
    """The history cannot be read, or not that way; the message says what to do."""


OnDamaged: TypeAlias = Callable[[str], None]
"""Is told of something that cannot be read, and is passed over."""


class Array(Protocol):
    """A numpy array of one dimension; this package needs to know no more of numpy."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __getitem__(self, place: int, /) -> Any:
        """Return one of them."""

    def tolist(self) -> Any:
        """Return them all as a list of Python's own numbers, exactly."""


# What is asked for.


class Span(Struct, frozen=True):
    """From one time on and before another; an open end is where the history begins or ends."""

    since_ms: int = 0
    until_ms: int = EVER_MS


class Aggregate(StrEnum):
    """What becomes of the samples of one step."""

    MEAN = "mean"
    MIN = "min"
    MAX = "max"
    LAST = "last"
    INCREASE = "increase"
    COUNT = "count"


class Select(Struct, frozen=True, kw_only=True):
    """Which series are wanted, and as what. A list that is empty asks for all.

    *guests* are globs over names and UUIDs, and leave everything out that is no guest; *hosts*, *collects*, *fields*
    and *devices* are globs too, *devices* leaving out what has none. *rate* asks for counters only, per second.

    *step_ms* asks for one value a step, steps being aligned to its multiples since 1970; with an *aggregate* and no
    step the whole span is one. Without an aggregate a step has the mean of a rate or a gauge, and the last value of
    a counter, a state or a text. What an aggregate does not apply to is left out: an increase is a counter's, and of
    states and texts there are only the last and the count.

    *tolerance* is how far a value may be from the exact one, relatively: roll-ups that are near enough answer where
    that costs less. Without any they answer only what they know exactly, and whatever ticks are gone of. Derived
    series (:data:`domstat.catalog.DERIVED`) are asked for by *fields*.
    """

    span: Span = Span()
    guests: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    collects: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    fields: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    rate: bool = False
    step_ms: int | None = None
    aggregate: Aggregate | None = None
    tolerance: float = 0.0


def exactly(name: str) -> str:
    """Write a name as a glob that means this name alone."""
    return re.sub(r"([*?[])", r"[\1]", name)


# What is answered.


class Answer(Struct, frozen=True):
    """What a query returned: the columns' names, and the rows as they come."""

    columns: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]


class Measure(Struct, frozen=True):
    """What values are in: times *scale* they are in the unit *base*, per second if they are rates."""

    base: str
    scale: float = 1.0
    per_second: bool = False


class Subject(Struct, frozen=True, kw_only=True):
    """Whose values these are. *name* and *incarnation* are a guest's newest in the span; *pool* is a pool's name.

    Roll-ups do not know incarnations.
    """

    host: str
    collect: str
    kind: Kind
    uuid: str | None = None
    name: str | None = None
    incarnation: int | None = None
    pool: str | None = None


class Series(Struct, frozen=True, kw_only=True):
    """One series: its values, and when they were read or when their steps begin.

    A value that is not there is absent, never zero and never NaN. A rate is per second of the time between the two
    samples that it was taken from; of a step it is all increase that was read in the step over all time that this was
    the increase of, so that neither a gap nor a restart makes it lie. Samples are in the order of their ticks: time
    goes back where a clock did.

    *tier* says what it was taken from: ``raw`` are all samples, exactly; ``hours+raw`` are hourly roll-ups, and samples
    where these do not reach. *coverage* is the share of the span that
    samples stand for: each for the time since the one before, but after a pause of more than twice the usual one for
    no longer than usual.
    """

    subject: Subject
    field: str
    device: str | None
    measure: Measure
    tier: str
    coverage: float
    time_ms: Array
    values: Array


class Quantiles(Struct, frozen=True, kw_only=True):
    """Quantiles of one series, in the order they were asked for, out of *count* values.

    Each is a value that occurred: the smallest that the asked share of all values does not exceed.
    """

    subject: Subject
    field: str
    device: str | None
    measure: Measure
    tier: str
    coverage: float
    count: int
    values: tuple[float, ...]


class Host(Struct, frozen=True):
    """A host, the collect blocks there is something of, and the first and the last time."""

    name: str
    collects: tuple[str, ...]
    first_ms: int
    last_ms: int


class Guest(Struct, frozen=True):
    """A guest: the name it had last, the hosts it was seen on, when, and in how many ticks of all streams."""

    uuid: str
    name: str
    hosts: tuple[str, ...]
    first_ms: int
    last_ms: int
    ticks: int


class Happening(Struct, frozen=True):
    """An event, and what it happened to."""

    time_ms: int
    subject: Subject
    event: Event


class Loss(Struct, frozen=True):
    """For how long a stream has nothing, for one reason."""

    reason: str
    lost_ms: int


class Coverage(Struct, frozen=True):
    """How much of a span a stream has seen: all but what is before its first tick in it, after its last, or lost.

    *first_ms* and *last_ms* are these two, *share* is of *asked_ms*. A tick that comes in parts counts as so many.
    """

    host: str
    collect: str
    first_ms: int
    last_ms: int
    ticks: int
    share: float
    asked_ms: int
    losses: tuple[Loss, ...]


class StoredField(Struct, frozen=True):
    """A field there is something of."""

    name: str
    kind: FieldKind
    measure: Measure


class Tier(Struct, frozen=True):
    """One part of a store's file: *name* is that of a tier, or says what else it is."""

    name: str
    stored_bytes: int


class Info(Struct, frozen=True):
    """What a store has: values in all, its file and what belongs to it, in bytes."""

    path: str
    schema: int
    span: Span
    streams: tuple[Coverage, ...]
    ticks: int
    values: int
    file_bytes: int
    wal_bytes: int
    free_bytes: int
    tiers: tuple[Tier, ...]


# Who answers.


class History(Protocol):
    """A history opened for reading; it never disturbs whoever writes it. Everything here raises HistoryError.

    Where *on_damaged* is given, what cannot be read is passed over, and that is told; otherwise it is an error.
    """

    def hosts(self) -> tuple[Host, ...]:
        """Return all hosts."""

    def guests(self, span: Span, on_damaged: OnDamaged | None = None) -> tuple[Guest, ...]:
        """Return the guests that were seen in a span, by name."""

    def events(self, span: Span) -> Iterator[Happening]:
        """Give what happened in a span, in the order of time."""

    def coverage(self, span: Span, on_damaged: OnDamaged | None = None) -> tuple[Coverage, ...]:
        """Say how much of a span each stream has seen."""

    def fields(self) -> tuple[StoredField, ...]:
        """Return all fields, by name."""

    def read(self, select: Select, on_damaged: OnDamaged | None = None) -> Iterator[Series]:
        """Give the series that are wanted and have a value, ordered by subject, field and device."""

    def quantiles(
        self, select: Select, shares: tuple[float, ...], on_damaged: OnDamaged | None = None
    ) -> Iterator[Quantiles]:
        """Give quantiles of each series' samples, or rates, for shares from 0 to 1; steps do not matter."""

    def sql(self, text: str, span: Span = ...) -> Answer:
        """Answer one SQL query over the store's views, of samples and rates those in *span*; default: all."""

    def info(self) -> Info:
        """Say what the store has, and how large it is. May take a while on a large one."""


@runtime_checkable
class HasBatches(Protocol):
    """A history that gives back what was written into it, for another sink. Times are milliseconds since 1970."""

    def count(self, since_ms: int, until_ms: int) -> int:
        """Return about how many batches there are from one time on and before another. Raises HistoryError."""

    def batches(self, since_ms: int, until_ms: int, on_damaged: OnDamaged) -> Iterator[Batch]:
        """Give these batches, each stream's in the order of its ticks, with rates as the stream takes them.

        What cannot be read is passed over, and *on_damaged* told what that is. Raises HistoryError.
        """


class Verified(Struct, frozen=True):
    """What was looked at and found right: ticks, values, and the rows they are in."""

    ticks: int
    samples: int
    rows: int


@runtime_checkable
class HasVerification(Protocol):
    """A history that can tell whether all of it is as it was written."""

    def verify(self, on_damaged: OnDamaged) -> Verified:
        """Unpack everything, and tell *on_damaged* what is wrong, and where. Raises HistoryError."""


@runtime_checkable
class HasSnapshots(Protocol):
    """A history that can be copied while it is written."""

    def snapshot(self, target: Path) -> int:
        """Copy the history as it is now into a new file that only its owner can read; return its bytes.

        Raises HistoryError, and leaves no file then.
        """


@runtime_checkable
class HasHistory(Protocol):
    """A sink class whose store can be asked."""

    @staticmethod
    def history(settings: Any, state_dir: Path) -> AbstractContextManager[History]:
        """Open the store that *settings* describe, for reading only. Raises HistoryError."""


@runtime_checkable
class HasImport(Protocol):
    """A sink that takes years at once, quicker than tick by tick; opened, written and closed as any other."""

    def expect_bulk(self) -> None:
        """Make ready for much; called before it is opened."""

    def settle(self) -> bool:
        """Do some of what is due to what was written; return whether there is more. Raises what a write raises."""


class Saved(Struct, frozen=True):
    """A table of a recovered history: its rows, and those that could be read, but belong to nothing any more."""

    table: str
    rows: int
    dropped: int


class Recovered(Struct, frozen=True):
    """What was saved, by table, what of that verifying counted, and what it found wrong all the same."""

    tables: tuple[Saved, ...]
    verified: Verified
    unsound: tuple[str, ...]


@runtime_checkable
class HasRecovery(Protocol):
    """A sink class that can save what a damaged file of its history still holds."""

    @staticmethod
    def recover(source: Path, target: Path, on_lost: OnDamaged) -> Recovered:
        """Put what *source* holds into a new file, a history that only its owner can read; *source* is only read.

        *on_lost* is told of what is known to be lost. Raises HistoryError, and leaves no file then.
        """

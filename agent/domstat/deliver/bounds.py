"""Which rows the journal removes, and why. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

from msgspec import Struct

from domstat.deliver.journal import Removed


class Why(StrEnum):
    """Why records never reach a sink."""

    SIZE = "size"  # the journal is as large as it may be
    AGE = "age"  # they are as old as they may be
    MEMORY = "memory"  # the journal cannot be written, and memory is bounded
    DAMAGED = "damaged"  # the journal or a row of it cannot be read any more
    ENDED = "ended"  # the sink has ended for good and asks for nothing any more


class Limits(Struct, frozen=True):
    """The journal's bounds: bytes; and seconds for what waits, and for what every sink has."""

    bytes: int
    age_s: float
    keep_s: float


class Row(Struct, frozen=True, gc=False):
    """A row that may go. *is_newest*: it is its stream's newest, against which the next rates are taken."""

    number: int
    records: int
    age_s: float
    is_newest: bool


class Verdict(Struct, frozen=True):
    """Rows to remove: those that every sink has, and those that some sink never gets, by reason."""

    had_by_all: tuple[Removed, ...] = ()
    dropped: tuple[tuple[Why, tuple[Removed, ...]], ...] = ()

    @property
    def numbers(self) -> tuple[int, ...]:
        """All of them."""
        return tuple(row.number for _, rows in ((None, self.had_by_all), *self.dropped) for row in rows)


def judge(
    rows: Sequence[Row], low: int, waiting_age_s: float, limits: Limits, excess: int, size_of: Callable[[int], int]
) -> Verdict:
    """Say which of the oldest *rows* are to go.

    *low*: every sink has what is not beyond it; *waiting_age_s* is the age of the row after it, 0 if there is none.
    *excess*: by how many bytes the journal is too large; *size_of* says how many a row takes. What every sink has
    stays for ``keep_s`` before the oldest row that one lacks, since rates begin there; and a stream's newest row
    stays as long as it may at all.
    """
    had: list[Removed] = []
    too_old: list[Removed] = []
    too_much: list[Removed] = []
    for row in rows:
        removed = Removed(row.number, row.records)
        is_had = row.number <= low
        if excess > 0:
            excess -= size_of(row.number)
            (had if is_had else too_much).append(removed)
        elif row.age_s > limits.age_s:
            (had if is_had else too_old).append(removed)
        elif not is_had:
            break
        elif not row.is_newest and row.age_s - waiting_age_s > limits.keep_s:
            had.append(removed)
    dropped = tuple((why, tuple(some)) for why, some in ((Why.SIZE, too_much), (Why.AGE, too_old)) if some)
    return Verdict(tuple(had), dropped)

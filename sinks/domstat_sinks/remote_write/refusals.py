"""Which samples of a request a store refuses. Pure but for the *send* it is given.

A request holds ticks of several streams; they are told apart first, then halved as :mod:`..sending.bisection` does it.
Samples that are too late or too old are so with all of their tick: a clock that was set back, an outage, an answer that
was lost. Of these it is enough to ask for the first, the last and the middle one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from msgspec import Struct

from domstat_sinks.remote_write.answers import Fault, fault_of
from domstat_sinks.remote_write.requests import Request
from domstat_sinks.remote_write.series import split
from domstat_sinks.sending.answers import Outcome, Refused, Stored, TooLarge
from domstat_sinks.sending.bisection import Manner, Search

REQUESTS_MAX = 128
"""Requests that one search may take. What is left then is refused as it stands, in the smallest parts there are."""

Send: TypeAlias = Callable[[bytes], Outcome]

_OF_TIME = (Fault.LATE, Fault.TOO_OLD)


class Refusal(Struct, frozen=True):
    """So many samples of the record with that *number* are refused, for this reason."""

    number: int
    samples: int
    reason: str


def find(
    request: Request, answer: TooLarge | Refused, tick_of: Sequence[object], send: Send, control: bytes | None
) -> list[Refusal]:
    """Find what of *request* is refused, which got that *answer*; *tick_of* names each record's tick, by its number.

    *control* is a sample that was stored before. Raises bisection's RefusesEverything, and whatever *send* does.
    """
    runs = request.runs(tick_of)
    if len(runs) == 1:
        return _within(request, answer, send, control)
    refusals: list[Refusal] = []
    for run in runs:
        outcome = send(run.body)
        if isinstance(outcome, Stored):
            control = split(run.pieces[-1].body)[-1]
        else:
            refusals += _within(run, outcome, send, control)
    return refusals


def _within(request: Request, answer: TooLarge | Refused, send: Send, control: bytes | None) -> list[Refusal]:
    """Find what of one tick is refused."""
    numbered = [(piece.number, series) for piece in request.pieces for series in split(piece.body)]

    def refuses_all(part: Sequence[bytes], answer: TooLarge | Refused) -> bool:
        if not isinstance(answer, Refused) or fault_of(answer.message) not in _OF_TIME:
            return False
        samples = {part[0], part[len(part) // 2], part[-1]}
        return all(_is_of_time(send(sample)) for sample in samples)

    manner = Manner(refuses_all, requests_max=REQUESTS_MAX)
    search = Search([series for _, series in numbered], lambda part: send(b"".join(part)), control, manner)
    counts: dict[tuple[int, str], int] = {}
    for at, reason in sorted(search.run(answer).items()):
        key = (numbered[at][0], reason)
        counts[key] = counts.get(key, 0) + 1
    return [Refusal(number, count, reason) for (number, reason), count in counts.items()]


def _is_of_time(outcome: Outcome) -> bool:
    return isinstance(outcome, Refused) and fault_of(outcome.message) in _OF_TIME

"""All that the page tells, asked in one go: the same questions that ``domstat capacity`` answers one by one."""

from __future__ import annotations

from msgspec import Struct

from domstat.capacity import contention, hours, reclaim, remaining, rightsize, runway, summary
from domstat.capacity.contention import Contention
from domstat.capacity.fleet import Fleet
from domstat.capacity.gather import Figures
from domstat.capacity.hours import Hours
from domstat.capacity.reclaim import Reclaim
from domstat.capacity.remaining import Answer
from domstat.capacity.rightsize import Rightsize
from domstat.capacity.runway import Runway
from domstat.capacity.settings import Capacity
from domstat.capacity.summary import Summary


class Answers(Struct, frozen=True):
    """What was answered, as of *now_ms*; *since_ms* is where the time begins that growth was looked at."""

    now_ms: int
    since_ms: int
    settings: Capacity
    fleet: Fleet
    summaries: tuple[Summary, ...]
    runways: tuple[Runway, ...]
    remaining: Answer
    hours: Hours
    reclaim: Reclaim
    sizes: Rightsize
    contention: Contention


def ask(figures: Figures) -> Answers:
    """Ask everything. Raises HistoryError."""
    return Answers(
        figures.now_ms,
        figures.past().since_ms,
        figures.settings,
        figures.fleet,
        summary.summary(figures),
        runway.runway(figures),
        remaining.remaining(figures),
        hours.hours(figures),
        reclaim.reclaim(figures),
        rightsize.rightsize(figures),
        contention.contention(figures),
    )

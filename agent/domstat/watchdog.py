"""Whether the agent does what it is there for: ticks are taken, the journal commits, couriers carry.

What merely fails is no concern of this: a host that is down, a disk that is full and a store that refuses are tried
again, and said elsewhere. Here it is about what hangs, which no retry ends: then the agent says no more that it is
alive, and systemd starts it anew. Times are seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from domstat.deliver.courier import Courier
from domstat.deliver.spool import Spool
from domstat.line import Line
from domstat.text import span

OPENING_S_MAX = 3600.0
"""A sink's opening may take so long: a history of years that is upgraded to a new form, or mended after a crash."""


def wedged(lines: Iterable[Line], spool: Spool, couriers: Iterable[Courier], limit_s: float) -> list[str]:
    """Say what has not come back, or not begun, for longer than *limit_s*; nothing if all goes on."""
    return [
        *(reason for line in lines for reason in _of_line(line, limit_s)),
        *_of_journal(spool, limit_s),
        *(reason for courier in couriers for reason in _of_courier(courier, limit_s)),
    ]


def _of_line(line: Line, limit_s: float) -> Iterator[str]:
    late_s = line.late_s
    if late_s > limit_s:
        what = "a tick has not come back" if line.busy_since is not None else "no tick has begun"
        yield f"the stream {line.name}: {what} for {span(late_s)}"


def _of_journal(spool: Spool, limit_s: float) -> Iterator[str]:
    busy_s = _since(spool.busy_since)
    if busy_s > limit_s:
        yield f"the journal: a commit has not come back for {span(busy_s)}"


def _of_courier(courier: Courier, limit_s: float) -> Iterator[str]:
    busy_s = _since(courier.busy_since)
    if busy_s > (max(limit_s, OPENING_S_MAX) if courier.is_opening else limit_s):
        yield f"the sink {courier.name}: it has been in one call for {span(busy_s)}"


def _since(moment: float | None) -> float:
    return 0.0 if moment is None else time.monotonic() - moment

"""What delivering comes to: an account of every sink and of the journal, as ``agent`` records and for ``status``."""

from __future__ import annotations

import time
from collections.abc import Sequence

from msgspec import Struct

from domstat import clock
from domstat.collect.subject import Subject
from domstat.collect.times import Times
from domstat.deliver.bounds import Why
from domstat.deliver.courier import Courier, State
from domstat.deliver.spool import Spool
from domstat.model import Batch, Kind, Moment, Stamp, Value, key_of

COLLECT = "delivery"
"""The collect block of these records: they are of no host's tick."""

EVERY_S = 60.0
"""How often they are made; ``domstat status`` asks for them at any time."""

_GOOD = frozenset({State.GOOD, State.FINISHED})


class SinkAccount(Struct, frozen=True):
    """One sink: records since the agent's start (received = written + rejected + dropped + pending), and how it is.

    *busy_s*: how long it has been at its write, or its opening, that is going on. *unwell*: what it says is wrong
    though it takes what it is given.
    """

    name: str
    state: State
    received: int
    written: int
    rejected: int
    parts_rejected: int
    dropped: dict[Why, int]
    pending: int
    retries: int
    lag_batches: int
    lag_s: float
    backlog_bytes: int
    write_s: float
    last_error: str
    last_error_at: float | None
    busy_s: float = 0.0
    unwell: str = ""

    @property
    def is_good(self) -> bool:
        """Whether it takes what it is given."""
        return self.state in _GOOD


class JournalAccount(Struct, frozen=True):
    """The journal: see :class:`domstat.deliver.spool.Figures`. *strangers*: records kept for sinks not configured."""

    bytes: int
    commit_s: float
    failed: int
    lost: int
    failing: str | None
    strangers: dict[str, int]


def account_of(courier: Courier, spool: Spool) -> SinkAccount:
    """Say how one sink is."""
    counts, lag = courier.counts, spool.lag(courier.name)
    return SinkAccount(
        courier.name,
        courier.state,
        counts.received,
        counts.written,
        counts.rejected,
        counts.parts_rejected,
        dict(counts.dropped_by),
        courier.pending,
        counts.retries,
        lag.batches,
        lag.seconds,
        lag.bytes,
        courier.write_s,
        courier.last_error,
        courier.last_error_at,
        _since(courier.busy_since),
        courier.unwell,
    )


def _since(moment: float | None) -> float:
    return 0.0 if moment is None else time.monotonic() - moment


def journal_account(spool: Spool) -> JournalAccount:
    """Say how the journal is."""
    figures = spool.figures()
    return JournalAccount(
        figures.bytes, figures.commit_s, figures.failed, figures.lost, figures.failing, spool.strangers()
    )


class Account:
    """Makes the records."""

    def __init__(self, host: str, couriers: Sequence[Courier], spool: Spool) -> None:
        self._host = host
        self._couriers = couriers
        self._spool = spool
        self._subject = Subject(Kind.AGENT, host, COLLECT)
        self._times = Times()

    def batch(self) -> Batch:
        """Make a batch of what there is to say now."""
        now = clock.now()
        stamp = Stamp(self._times.next(now.time_ms), now.boot_ns, now.boot_id, 0)
        params = dict(journal_figures(journal_account(self._spool)))
        for courier in tuple(self._couriers):
            params |= sink_figures(account_of(courier, self._spool))
        record = self._subject.record(params, stamp, Moment(stamp.time_ms, stamp.boot_ns, stamp.boot_id))
        return Batch(host=self._host, collect=COLLECT, stamp=stamp, records=(record,))


def journal_figures(account: JournalAccount) -> dict[str, Value]:
    """Name the journal's figures as the catalogue does."""
    return {
        "agent.journal.bytes": account.bytes,
        "agent.journal.commit.time": round(account.commit_s * 1e9),
        "agent.journal.failed": account.failed,
        "agent.journal.lost": account.lost,
    }


def sink_figures(account: SinkAccount) -> dict[str, Value]:
    """Name a sink's figures as the catalogue does; the device is the sink's name."""
    figures: dict[str, Value] = {
        "received": account.received,
        "written": account.written,
        "rejected": account.rejected,
        "parts_rejected": account.parts_rejected,
        "retries": account.retries,
        "pending": account.pending,
        "lag": account.lag_batches,
        "lag.time": round(account.lag_s * 1e9),
        "backlog": account.backlog_bytes,
        "write.time": round(account.write_s * 1e9),
        "good": int(account.is_good),
        **{f"dropped.{why}": account.dropped.get(why, 0) for why in Why},
    }
    return {key_of(f"agent.sink.{name}", account.name): figure for name, figure in figures.items()}

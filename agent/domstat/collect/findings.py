"""What a survey found, as records: of storage pools, and of guests that are off. Pure."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from domstat.collect import definition, wire
from domstat.collect.labels import NO_RULES, LabelRules
from domstat.collect.times import Times
from domstat.model import (
    Batch,
    Domain,
    Figures,
    Kind,
    Moment,
    Pool,
    Record,
    Stamp,
    Value,
    key_of,
    moment_within,
    split_key,
)
from domstat.rates import elapsed_ns

COLLECT = "survey"
"""The name of the collect block. Guests that run have their records in others, so that the two never meet."""

DETAILS_EVERY_NS = 3600 * 1_000_000_000
"""Labels and devices travel when they change, and this often for whoever came late."""

Details: TypeAlias = tuple[dict[str, str], dict[str, dict[str, str]]]
"""Labels and devices."""


class Ages:
    """How old the figures of pools may be, where libvirt took them at a time that it does not tell. Pure.

    They are of now where they are fresh. Figures that have changed since the survey before are not older than that;
    those that have not are as old as they were, and older. Before the first change nobody can tell.
    """

    def __init__(self) -> None:
        self._pools: dict[str, tuple[wire.PoolFigures, Moment, Moment | None]] = {}
        """By name, a pool's figures, when they were looked at, and since when they may be what they are."""

    def take(self, pools: list[wire.PoolFigures], moment: Moment) -> dict[str, float]:
        """Take a survey's pools, all that there are; return the ages in seconds, by name, that can be told."""
        before, self._pools = self._pools, {}
        for pool in pools:
            self._pools[pool.name] = (pool, moment, _since(pool, moment, *before.get(pool.name, (None, None, None))))
        return {
            name: elapsed_ns(since, moment) / 1e9 for name, (_, _, since) in self._pools.items() if since is not None
        }


def _since(
    pool: wire.PoolFigures, moment: Moment, old: wire.PoolFigures | None, seen: Moment | None, since: Moment | None
) -> Moment | None:
    if pool.fresh:
        return moment
    if old is None:
        return None
    same = (pool.capacity, pool.allocation, pool.available) == (old.capacity, old.allocation, old.available)
    if same:
        return since
    # Fresh figures come from elsewhere: that libvirt's are others does not show that these have changed.
    return None if old.fresh else seen


class _Seen(Struct, frozen=True):
    """What is kept of a pool or guest until the next survey: when it was looked at, its details and when they went."""

    moment: Moment
    details: Details | None
    sent_ns: int


class Findings:
    """Makes batches of one host's surveys. What one survey did not see is forgotten, so no more than one is kept."""

    def __init__(self, host: str, fields: wire.Globs = wire.ALL, rules: LabelRules = NO_RULES) -> None:
        self._host = host
        self._fields = fields
        self._rules = rules
        self._times = Times()
        self._ages = Ages()
        self._before: dict[tuple[Kind, str], _Seen] = {}
        self._seen: dict[tuple[Kind, str], _Seen] = {}

    def batch(self, surveyed: wire.Surveyed) -> tuple[Batch, list[str]]:
        """Make a batch, of pools first and then of guests; return it with notes of what could not be looked at."""
        taken = surveyed.stamp
        stamp = Stamp(self._times.next(taken.time_ms), taken.boot_ns, taken.boot_id, taken.call_ns)
        count = len(surveyed.sleepers)
        self._before, self._seen = self._seen, {}
        at_first = moment_within(stamp, 0, count or 1)
        ages = self._ages.take(surveyed.pools, at_first)
        notes = list(surveyed.notes)
        records = [self._pool(pool, stamp, at_first, ages.get(pool.name)) for pool in surveyed.pools]
        for position, sleeper in enumerate(surveyed.sleepers):
            records.append(self._sleeper(sleeper, stamp, moment_within(stamp, position, count), notes))
        return Batch(host=self._host, collect=COLLECT, stamp=stamp, records=tuple(records)), notes

    def _pool(self, pool: wire.PoolFigures, stamp: Stamp, moment: Moment, age_s: float | None) -> Record:
        params: dict[str, Value] = {
            "pool.state": pool.state,
            "pool.capacity": pool.capacity,
            "pool.allocation": pool.allocation,
            "pool.available": pool.available,
        }
        labels = {name: text for name, text in (("type", pool.type), ("path", pool.path)) if text}
        interval_s, sent = self._see((Kind.POOL, pool.name), moment, (labels, {}))
        return Record(
            kind=Kind.POOL,
            host=self._host,
            collect=COLLECT,
            time_ms=stamp.time_ms,
            labels=sent[0] if sent else None,
            interval_s=interval_s,
            figures=Figures(self._chosen(params), {}, {} if age_s is None else {"pool.age": age_s}),
            pool=Pool(pool.name),
        )

    def _sleeper(self, sleeper: wire.Sleeper, stamp: Stamp, moment: Moment, notes: list[str]) -> Record:
        entry = self._read(sleeper, notes)
        details = (entry.labels, entry.disks) if entry else None
        interval_s, sent = self._see((Kind.GUEST, sleeper.uuid), moment, details)
        return Record(
            kind=Kind.GUEST,
            host=self._host,
            collect=COLLECT,
            time_ms=stamp.time_ms,
            domain=Domain(sleeper.uuid, sleeper.name),
            labels=sent[0] if sent else None,
            devices=sent[1] if sent else None,
            interval_s=interval_s,
            figures=Figures(self._chosen(_params(sleeper, entry))),
        )

    def _read(self, sleeper: wire.Sleeper, notes: list[str]) -> definition.Entry | None:
        if sleeper.xml is None:
            return None
        try:
            return definition.parse(sleeper.xml, None, self._rules)
        except ValueError as error:
            notes.append(f"the guest {sleeper.name}: {error}")
            return None

    def _see(
        self, subject: tuple[Kind, str], moment: Moment, details: Details | None
    ) -> tuple[float | None, Details | None]:
        """Remember a subject until the next survey; return the time since the last, and its details if they travel."""
        old = self._before.get(subject)
        due = old is None or old.details != details or moment.boot_ns - old.sent_ns >= DETAILS_EVERY_NS
        sent_ns = moment.boot_ns if old is None or due else old.sent_ns
        self._seen[subject] = _Seen(moment, details, sent_ns)
        return elapsed_ns(old.moment, moment) / 1e9 if old else None, details if due else None

    def _chosen(self, params: dict[str, Value]) -> dict[str, Value]:
        if self._fields.everything:
            return params
        return {key: value for key, value in params.items() if self._fields.choose(split_key(key)[0])}


def _params(sleeper: wire.Sleeper, entry: definition.Entry | None) -> dict[str, Value]:
    """Name what is known of a guest that is off; what is not known is absent."""
    state, reason = sleeper.state
    params: dict[str, Value | None] = {"state.state": state, "state.reason": reason}
    if entry is not None:
        params |= {"vcpu.maximum": entry.vcpus, "balloon.maximum": entry.memory_kib}
    for target, (capacity, allocation) in sleeper.volumes.items():
        params |= {key_of("volume.capacity", target): capacity, key_of("volume.allocation", target): allocation}
    return {key: value for key, value in params.items() if value is not None}

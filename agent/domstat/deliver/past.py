"""What the agent before knew of every guest, from the journal: so that the first tick after a restart has rates."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct

from domstat.collect.known import Past
from domstat.collect.sample import keyed
from domstat.deliver.codec import DamagedRowError, Seen, Stream, guests_of, host_of
from domstat.deliver.journal import Journal
from domstat.rates import Baseline, Breaks, advance, shape_of

ROWS_MIN = 16
"""Rows of a stream that are looked through for guests: the parts of a large host's tick, or some ticks."""

ROWS_MAX = 512
"""And so many for what partial records lacked: an hour and a half of a guest that hangs, at 10 s."""

_devices = msgspec.msgpack.Decoder(dict[str, dict[str, str]]).decode


class UnreadableError(Exception):
    """The journal cannot be read; the first tick then is like that of an agent which never ran before."""


class Recalled(Struct, frozen=True):
    """What the agent before left: when every stream was last seen to, in milliseconds since 1970; guests by uuid.

    *hosts* is what rates of the host are taken against, where a stream tells of it.
    """

    seen_ms: dict[Stream, int]
    guests: dict[Stream, dict[str, Past]]
    hosts: dict[Stream, Baseline]


def recall(journal: Journal, streams: Iterable[Stream]) -> Recalled:
    """Read what the agent before left of *streams*. Raises UnreadableError."""
    try:
        known = list(streams)
        hosts = {stream: _host(journal, stream) for stream in known}
        return Recalled(
            journal.last_times(),
            {stream: _last_known(journal, stream) for stream in known},
            {stream: baseline for stream, baseline in hosts.items() if baseline is not None},
        )
    except sqlite3.Error as error:
        raise UnreadableError(str(error)) from error


def _host(journal: Journal, stream: Stream) -> Baseline | None:
    telling = 0
    for blob in _rows(journal, stream):
        try:
            found = host_of(blob)
            telling += bool(guests_of(blob))
        except DamagedRowError:
            continue
        if telling > ROWS_MIN:
            return None
        if found is not None:
            keys, values, moment = found
            return advance(None, shape_of(keys), dict(zip(keys, values, strict=True)), moment, None)[1]
    return None


def _last_known(journal: Journal, stream: Stream) -> dict[str, Past]:
    """Return what rates of a stream's guests are taken against next, by uuid."""
    chains: dict[str, list[Seen]] = {}
    open_chains: set[str] = set()
    telling = 0
    for blob in _rows(journal, stream):
        open_chains |= _add(chains, open_chains, blob, may_begin=telling < ROWS_MIN)
        telling += bool(chains)  # after an outage there are gaps first
        if telling >= ROWS_MIN and not open_chains:
            break
    devices = journal.devices(stream)
    return {uuid: Past(chain[0].domain, _baseline(chain), _read(devices.get(uuid))) for uuid, chain in chains.items()}


def _rows(journal: Journal, stream: Stream) -> Iterator[bytes]:
    """Give a stream's rows, the newest first; nearly always some are enough."""
    yield from journal.before(stream, 1 << 62, ROWS_MIN)
    yield from journal.before(stream, 1 << 62, ROWS_MAX)[ROWS_MIN:]


def _add(chains: dict[str, list[Seen]], open_chains: set[str], blob: bytes, *, may_begin: bool) -> set[str]:
    """Add a row, older than those before, to the guests' chains; return the guests that need still older ones."""
    try:
        seen = guests_of(blob)
    except DamagedRowError:
        return open_chains
    for guest in seen:
        uuid = guest.domain.uuid
        if uuid in open_chains or (may_begin and uuid not in chains):
            chains.setdefault(uuid, []).append(guest)
            (open_chains.add if guest.partial is not None else open_chains.discard)(uuid)
    return open_chains


def _baseline(chain: list[Seen]) -> Baseline:
    """Take the baseline after the newest of a guest's records, from the last that lacked nothing on."""
    baseline: Baseline | None = None
    for seen in reversed(chain):
        naming = keyed(seen.keys)
        breaks = Breaks(frozenset(seen.partial.missing) if seen.partial else frozenset(), frozenset(seen.anew))
        params = naming.params(seen.values)
        _, baseline = advance(baseline, naming.shape, params, seen.moment, seen.domain.id, breaks)
    assert baseline is not None  # noqa: S101 - a chain has at least one record
    return baseline


def _read(devices: bytes | None) -> dict[str, dict[str, str]] | None:
    try:
        return None if devices is None else _devices(devices)
    except msgspec.DecodeError:
        return None

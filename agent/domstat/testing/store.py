"""What a sink's author tells the suite: which sink it is, how its store is read, what that keeps of what it is given.

Only :class:`Store` is required. The others are abilities: where a store has one, the cases that need it are run;
where it has not, they are skipped and say so::

    class MyStore:
        sink = MySink
        def __init__(self, folder):                                   # a new one for every test
            self.path = folder / "my.db"
            self.settings = {"path": str(self.path)}                  # as in a [[sinks]] table
        def read(self):                                               # see CanRead
            for host, uuid, time_ms, key, value in ...:
                yield Stored(host=host, kind="guest", subject=uuid, time_ms=time_ms, values={key: value})
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from domstat.forms import flat
from domstat.model import Kind, Record, Value


class Store(Protocol):
    """A store that is empty, and the sink that writes to it: what the fixture ``store`` returns."""

    @property
    def sink(self) -> type[Any]:
        """The sink's class."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The sink's settings, as they would stand in its ``[[sinks]]`` table; paths absolute."""


class Stored(Struct, frozen=True, kw_only=True):
    """A record as the store holds it, or a piece of one: pieces of one record are put together by the suite.

    *host*, *kind* and *subject* (see :func:`subject`) say what it is about, and with *time_ms* and *collect* which
    record it is; these two are None where the store does not keep them. *name* is the guest's at that time, None where
    it is not kept.

    *values* are by key, as the record has them: ``cpu.time``, ``block.wr.bytes[vda]``, in libvirt's units; a rate is
    ``cpu.time.rate``. What is no measurement has the names that :func:`domstat.forms.flat` gives it: ``event.reason``,
    ``gap.reason``, ``partial.missing``, ``label.NAME`` … Values the store has made itself do not belong here.
    """

    host: str
    kind: str
    subject: str = ""
    time_ms: int | None = None
    collect: str | None = None
    name: str | None = None
    values: Mapping[str, Value] = {}


_IDENTITY = ("time_ms", "host", "collect", "kind", "uuid", "domain", "pool")


def stored(record: Record) -> Stored:
    """Say how a store holds *record* that keeps all of it: for stores that give back records, or whole dictionaries."""
    values = {key: value for key, value in flat(record).items() if key not in _IDENTITY}
    return Stored(
        host=record.host,
        kind=str(record.kind),
        subject=record.subject,
        time_ms=record.time_ms,
        collect=record.collect,
        name=record.domain.name if record.domain is not None else None,
        values=values,
    )


def subject(
    uuid: str | None = None, pool: str | None = None, event: str | None = None, device: str | None = None
) -> str:
    """Say what a record is about, as :attr:`domstat.model.Record.subject` does; *device* is an event's."""
    return "/".join(part for part in (uuid, pool, event, device) if part)


def _as_it_is(text: str) -> str:
    return text


class Keeps(Struct, frozen=True, kw_only=True):
    """What a sink does by its nature; by default its store keeps everything, exactly.

    * *again*: what is written again is there again, and in the order of writing, as in a stream.
    * *latest*: of each stream it shows the newest tick alone.
    * *durable*: False for one that holds everything in its own memory.
    * *reports*: False for one that looks at values only when somebody asks for them, and leaves out then what is no
      number.
    * *prints*: True for one that writes to standard output.
    * *kinds*: of which kinds it keeps records.
    * *texts*, *rates* (derived values with them), *remarks* (why a gap was, what an event's reason is, what a partial
      record lacks): False where it does not keep them. What it shows of them nevertheless is not looked at.
    * *tolerance*: by how much a number may be off, relatively: 1e-12 for a store of floats in other units.
    * *text*: how it writes a text that it was given (host, name, UUID, pool, device, a value): a store that cannot
      carry every character says what it makes of them. Texts that differ must stay different.
    """

    again: bool = False
    latest: bool = False
    durable: bool = True
    reports: bool = True
    prints: bool = False
    kinds: frozenset[str] = frozenset(Kind)
    texts: bool = True
    rates: bool = True
    remarks: bool = True
    tolerance: float = 0.0
    text: Callable[[str], str] = _as_it_is


@runtime_checkable
class CanRead(Protocol):
    """A store that can be looked into. Without it a suite sees no more than that a sink raises nothing."""

    def read(self) -> Iterable[Stored]:
        """Give all that the store holds now, in any order; waits, where a store takes a while to show what it has."""


@runtime_checkable
class CanBeAway(Protocol):
    """A store that can go away: its server is stopped, its folder cannot be written."""

    def outage(self) -> AbstractContextManager[object]:
        """Within it the store cannot be reached, and loses nothing that it had."""


@runtime_checkable
class CanBeSlow(Protocol):
    """A store that can take its time: longer than its sink waits, or not, both are worth a look."""

    def slow(self) -> AbstractContextManager[object]:
        """Within it the store takes seconds for what it does."""


@runtime_checkable
class CanRefuse(Protocol):
    """A store that refuses records for what they are: by a type, a constraint, a server's limit."""

    def refusing(self, uuid: str) -> AbstractContextManager[object]:
        """Within it the store refuses, for good, everything about the guest *uuid*, and takes all else."""


@runtime_checkable
class CanBeHopeless(Protocol):
    """A store whose sink can be given settings with which no retry helps."""

    def hopeless(self) -> Mapping[str, Any]:
        """Return such settings: a file of somebody else's, a folder that is a file, a token that is not there."""

"""The contract a sink meets, the errors it may raise, and how sinks are found.

A sink is any class with these members; nothing is inherited::

    class MySink:
        Settings = MySettings                  # a msgspec.Struct; the [[sinks]] table is decoded into it
        def __init__(self, settings): ...      # keep them; touch nothing yet
        def open(self, context): ...           # connect, create; may raise Retry or Fatal
        def write(self, batches): ...          # store all of it, then return
        def close(self): ...                   # let go; also called when open failed

What the agent promises: the methods are called from one thread, never two at once; no ``write`` before a successful
``open`` and none after ``close``; batches of a stream come in tick order, each at least once. The agent queues,
retries, times and counts. What a sink promises: when ``write`` returns, everything in it is durably stored; a record
that is written again replaces itself, by its key (host, collect, time, kind, subject). A sink prints nothing: standard
output is another sink's.

What a sink may have besides:

* ``any_order = True``: batches may come out of order, what is fresh before a backlog. Only one that needs no order of
  its own says so.
* ``claims``, see :class:`ClaimsFiles`; ``health``, see :class:`HasHealth`; ``history``, see
  :class:`domstat.history.HasHistory`.

:mod:`domstat.forms` gives records as points, dictionaries or rows; :mod:`domstat.settings` has durations and sizes for
``Settings``; :mod:`domstat.testing` tells whether a sink keeps its promises.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, runtime_checkable

from msgspec import Struct

from domstat.model import Batch, Record
from domstat.text import printable
from domstat.whose import intruder

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "domstat.sinks"

DISTRIBUTION = "domstat"
"""Where the sinks that ship come from."""

_OWN_PACKAGE = "domstat_sinks"
"""The package of those."""

SHIPPED = {
    "influxdb": "domstat_sinks.influxdb:InfluxdbSink",
    "parquet": "domstat_sinks.parquet:ParquetSink",
    "postgres": "domstat_sinks.postgres:PostgresSink",
    "prometheus": "domstat_sinks.prometheus:PrometheusSink",
    "remote_write": "domstat_sinks.remote_write:RemoteWriteSink",
    "sqlite": "domstat_sinks.sqlite:SqliteSink",
    "stdout": "domstat_sinks.stdout:StdoutSink",
}
"""Their classes, as their entry points say. Looking through what is installed takes 20 ms and some MB (it reads e-mail
headers and zip files), which only strangers' sinks are worth."""

_FAULT_MAX = 500
"""Characters that are shown of what a stranger's module raised."""


class SinkError(Exception):
    """What a sink raises to tell the agent what to do next.

    ├── Retry    assume nothing was stored; the same batches come again
    ├── Reject   everything else was stored; these records never will be
    └── Fatal    no retry helps; the sink is stopped until the configuration is loaded again
        └── Finished  whoever read it has gone; the sink is done, and that is no fault
    """


class Retry(SinkError):
    """Nothing was stored; try again, not before *after* seconds if the sink knows a time."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = None if after is None else float(after)


class Rejected(Struct, frozen=True):
    """A record that its sink will never take, and why."""

    batch: Batch
    record: Record
    reason: str


class Reject(SinkError):
    """All but *items* was stored."""

    def __init__(self, items: Iterable[tuple[Batch, Record, str]]) -> None:
        self.items = tuple(map(_rejected, items))
        first = f", the first because {self.items[0].reason}" if self.items else ""
        super().__init__(f"{len(self.items)} records rejected{first}")


def _rejected(item: tuple[Batch, Record, str]) -> Rejected:
    try:
        batch, record, reason = item
    except (TypeError, ValueError):
        raise TypeError(f"what is rejected is (batch, record, reason); found {item!r:.100}") from None
    return Rejected(batch, record, str(reason))


class Fatal(SinkError):
    """No retry helps: a wrong token, a file of a newer version."""


class Finished(Fatal):
    """Nobody reads any more (a closed pipe): the sink has nothing left to do."""


class SinkContext(Struct, frozen=True):
    """What the agent gives a sink when it is opened.

    *name* is the sink's configured name, *state_dir* where relative paths begin, *log* a structlog logger with the
    sink's name bound. *reject_part* is called for what had to be left out of a record that was otherwise stored.
    """

    name: str
    state_dir: Path
    log: Any
    reject_part: Callable[[Record, str], None]


@runtime_checkable
class Sink(Protocol):
    """See the module's text."""

    Settings: ClassVar[type[Struct]]

    def __init__(self, settings: Any) -> None: ...

    def open(self, context: SinkContext) -> None:
        """Get ready to write. Raises Retry (later it may work) or Fatal."""

    def write(self, batches: Sequence[Batch]) -> None:
        """Store all of *batches*, durably. Raises Retry, Reject or Fatal; anything else counts as Retry."""

    def close(self) -> None:
        """Let go of everything; never raises, may come twice."""


@runtime_checkable
class ClaimsFiles(Protocol):
    """A sink class that says which files it writes, so that two sinks on one file are refused before either opens."""

    @staticmethod
    def claims(settings: Any, state_dir: Path) -> Iterable[Path]:
        """Name the files a sink with *settings* writes."""


@runtime_checkable
class HasHealth(Protocol):
    """A sink that knows of trouble which its writes do not show: a part of its store is away, or nearly full."""

    def health(self) -> str:
        """Say in one line what is wrong, or nothing.

        Asked between writes, by the thread that writes, every half a minute at most; to be answered at once. What it
        says is a reason for the agent to be unhealthy, until it says nothing.
        """


COMMON_SETTINGS = frozenset({"type", "name", "start", "batch", "linger"})
"""Keys of a sink's table that are the agent's: no sink can have settings of these names."""


class UnknownSinkError(LookupError):
    """There is no sink of that type."""


class BrokenSinkError(Exception):
    """The sink is installed but cannot be loaded."""


def find_sinks() -> dict[str, EntryPoint]:
    """Find every installed sink, shipped or not, by its type's name; loads none of them."""
    return {name: points[0] for name, points in find_all_sinks().items()}


def find_all_sinks() -> dict[str, list[EntryPoint]]:
    """Find every installed sink by its type's name, all those of one name: the one that ships is first, and counts."""
    from importlib.metadata import entry_points

    found: dict[str, list[EntryPoint]] = {}
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: not is_shipped(point)):
        found.setdefault(point.name, []).append(point)
    return found


def is_shipped(point: EntryPoint) -> bool:
    """Whether a sink comes with domstat itself: nobody else's takes its name away."""
    return point.dist is not None and point.dist.name == DISTRIBUTION


def load_sink(type_name: str) -> type[Sink]:
    """Import the sink class that *type_name* names.

    Raises UnknownSinkError (saying which name is nearest) or BrokenSinkError (saying why it does not load).
    """
    target, load = _shipped(type_name) or _installed(type_name)
    try:
        with redirect_stdout(sys.stderr):  # what a module prints must not come between what is piped
            loaded = load()
    except (Exception, SystemExit) as error:  # whatever a stranger's module raises while it is imported
        why = printable(f"{error!r}{_place_of(error)}", _FAULT_MAX)
        raise BrokenSinkError(f'the sink "{type_name}" ({target}) cannot be loaded: {why}') from error
    missing = [name for name in ("Settings", "open", "write", "close") if not hasattr(loaded, name)]
    if missing:
        raise BrokenSinkError(f'the sink "{type_name}" ({target}) lacks {", ".join(missing)}')
    if not (isinstance(loaded.Settings, type) and issubclass(loaded.Settings, Struct)):
        raise BrokenSinkError(f'the sink "{type_name}" ({target}) has Settings that are no msgspec.Struct')
    if taken := COMMON_SETTINGS.intersection(loaded.Settings.__struct_fields__):
        names = ", ".join(sorted(taken))
        raise BrokenSinkError(
            f'the sink "{type_name}" ({target}) has settings that every sink has already: {names}; rename them'
        )
    return loaded  # type: ignore[no-any-return]  # checked just above, as far as it can be


_Loading: TypeAlias = tuple[str, Callable[[], Any]]
"""What is to be loaded, as ``module:Class``, and what does it."""


def _shipped(type_name: str) -> _Loading | None:
    target = SHIPPED.get(type_name)
    if target is None:
        return None
    module, _, name = target.partition(":")
    return target, lambda: getattr(import_module(module), name)


def _installed(type_name: str) -> _Loading:
    """Find the sink of that name among all that are installed. Raises UnknownSinkError, BrokenSinkError."""
    found = find_all_sinks()
    if type_name not in found:
        near = get_close_matches(type_name, found, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"install its distribution where this domstat is, {sys.prefix}"
        there = ", ".join(sorted(found)) or "none"
        raise UnknownSinkError(f'no sink of type "{type_name}" is installed (there are: {there}); {hint}')
    point, *others = found[type_name]
    if others and not is_shipped(point):
        whose = ", ".join(str(each.dist.name if each.dist else each.value) for each in (point, *others))
        raise BrokenSinkError(f'there are several sinks "{type_name}" (of {whose}); uninstall all but one')
    if why := _why_not_trusted(point):
        raise BrokenSinkError(f'the sink "{type_name}" ({point.value}) is not loaded: {why}')
    return point.value, point.load


def _why_not_trusted(point: EntryPoint) -> str:
    """Say why a stranger's code is none to be run by an agent, before any of it is; empty where it may be.

    What runs is the agent itself, so nobody may be able to change it who could not change the agent. The distribution
    is looked at, and the package that it names.
    """
    if is_shipped(point) and point.module.partition(".")[0] == _OWN_PACKAGE:
        return ""
    places = [] if point.dist is None else [Path(str(point.dist.locate_file("")))]
    try:
        if any(place.resolve() == Path.cwd() for place in places):
            return f"it lies in the current directory; install it where this domstat is, {sys.prefix}"
        spec = find_spec(point.module.partition(".")[0])
        if spec is not None:
            places += map(Path, spec.submodule_search_locations or ())
            places += [Path(spec.origin)] if spec.origin and spec.has_location else []
        found = next(filter(None, map(intruder, places)), None)
    except ValueError:  # a module that is there already, and was never found anywhere
        return ""
    except OSError as error:
        return f"whose it is cannot be told: {error}"
    return f"others could change it: {found}; chown it to root or to the agent's user, and chmod go-w" if found else ""


def _place_of(error: BaseException) -> str:
    """Say where in a stranger's module an error came about, as far as that is known."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""

"""The sinks that are installed: whose they are, where they came from, and whether they load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from domstat.cli.common import EXIT_TROUBLE, EXIT_USAGE, fail
from domstat.sink import BrokenSinkError, Sink, UnknownSinkError, find_all_sinks, is_shipped, load_sink
from domstat.text import printable
from domstat.uri import redacted

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

LINE_MAX = 700
"""Characters of one line about a sink: what a stranger's module raised is in it."""


class Installed(Struct, frozen=True):
    """One sink that a distribution brings.

    *distribution*, *version* and *place* are empty where nobody says them; *place* is a path or a URL. *target* is the
    class, as ``module:Class``. *why_not* says why it cannot be used; empty means that it can.
    """

    name: str
    distribution: str
    version: str
    place: str
    target: str
    why_not: str


def installed() -> list[Installed]:
    """Find every sink there is, by name, and load each to see whether it can be."""
    found = find_all_sinks()
    return [_seen(point, found[name][0]) for name in sorted(found) for point in found[name]]


def describe(point: EntryPoint, why_not: str = "") -> Installed:
    """Say whose a sink is, without loading it."""
    dist = point.dist
    if dist is None:
        return Installed(point.name, "", "", "", point.value, why_not)
    return Installed(point.name, dist.name, dist.version, _place(dist), point.value, why_not)


def loaded_sink(name: str) -> type[Sink]:
    """Load the sink that is meant, or exit saying in one line why that cannot be."""
    try:
        return load_sink(name)
    except UnknownSinkError as error:
        fail(EXIT_USAGE, printable(str(error), LINE_MAX))
    except BrokenSinkError as error:
        fail(EXIT_TROUBLE, printable(str(error), LINE_MAX))


def _seen(point: EntryPoint, first: EntryPoint) -> Installed:
    if point is not first and is_shipped(first):
        whose = point.dist.name if point.dist else "somebody's"
        return describe(point, f'the sink "{point.name}" of {whose} is not used: domstat ships one of that name')
    try:
        load_sink(point.name)
    except BrokenSinkError as error:
        return describe(point, str(error))
    return describe(point)


def _place(dist: Distribution) -> str:
    """Say where a distribution came from: the URL or path it was installed from, else the folder it lies in."""
    origin = _origin(dist.read_text("direct_url.json"))
    return redacted(origin) if origin else str(dist.locate_file(""))


def _origin(text: str | None) -> str:
    """Read what an installer wrote down (direct_url.json, PEP 610); empty if it did not, or nothing that is one."""
    try:
        said: Any = msgspec.json.decode(text or "{}")
        is_editable = bool(said.get("dir_info", {}).get("editable"))
        return f"{said['url']}{' (editable)' if is_editable else ''}"
    except (ValueError, KeyError, AttributeError, TypeError):
        return ""

"""What every file is called. Pure.

::

    host=kvm1/day=2026-11-27/hour-22.parquet            an hour of a host: what readers see
    host=kvm1/day=2026-11-27/hour-22-4f0c….parquet      the same in an object store, one for each agent that writes
    .domstat/lock                                       a folder has one agent
    .domstat/waiting/host=kvm1/2026-11-27T22-000000000007-a1b2….rows    what is in no hour's file yet, in its order

Hosts are quoted as in URLs, which all readers of such folders undo. Whatever is no file for readers has a name that
does not end in ``.parquet``, below a folder that begins with a dot.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from typing import NamedTuple
from urllib.parse import quote

HOUR_MS = 3_600_000
OWN = ".domstat"
"""The folder of what readers are not to look at."""

LOCK = f"{OWN}/lock"
NOBODY = "__HIVE_DEFAULT_PARTITION__"
"""What Hive, and with it everybody, calls a folder of what has no name."""

NAME_BYTES_MAX = 255
"""How long a name may be in the file systems of this world."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOST, _DAY = "host=", "day="
_QUOTED_MAX, _CUT = NAME_BYTES_MAX - len(_HOST), 200
_WAITING = re.compile(
    r"(?P<host>host=[^/]*)/(?P<hour>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2})-(?P<number>[0-9]{12})-(?P<digest>[0-9a-f]+)\.rows"
)
_HOUR_FILE = re.compile(r"hour-[0-9]{2}(?:-(?P<writer>[0-9a-f]+))?\.parquet")


class Slot(NamedTuple):
    """An hour of a host: when it begins, in milliseconds since 1970, and what the host's folder is called."""

    hour_ms: int
    folder: str


class Part(NamedTuple):
    """A file of rows that wait: of which hour, the how manieth, and a digest of what is in it."""

    slot: Slot
    number: int
    digest: str


def slot_of(host: str, time_ms: int) -> Slot:
    """Say where a record belongs. Raises ValueError for a host that is no text, or a time that has no day."""
    slot = Slot(time_ms // HOUR_MS * HOUR_MS, host_folder(host))
    _hour(slot)
    return slot


def host_folder(host: str) -> str:
    """Name a host's folder. Raises ValueError for what is no text.

    A name that is too long for one is cut, and so is the name that readers take for none; a digest keeps such apart.
    Every file says in its own metadata whose it is.
    """
    try:
        quoted = quote(host, safe="")
    except UnicodeEncodeError:
        raise ValueError("its host has a name that is no text") from None
    if len(quoted) > _QUOTED_MAX or host == NOBODY:
        digest = blake2b(host.encode(), digest_size=8).hexdigest()
        quoted = f"{re.sub('%.?$', '', quoted[:_CUT])}~{digest}"
    return _HOST + (quoted or NOBODY)


def hour_file(slot: Slot, writer: str) -> str:
    """Name an hour's file; *writer* is which agent's it is, nothing in a folder with one agent."""
    hour = _hour(slot)
    by = f"-{writer}" if writer else ""
    return f"{slot.folder}/{_DAY}{hour[:10]}/hour-{hour[11:]}{by}.parquet"


def is_hour_file(name: str, writer: str) -> bool:
    """Whether *name*, without its folders, is an hour's file of that agent."""
    found = _HOUR_FILE.fullmatch(name)
    return found is not None and (found["writer"] or "") == writer


def waiting_folder(writer: str) -> str:
    """Name the folder of what waits."""
    return f"{OWN}/waiting/{writer}" if writer else f"{OWN}/waiting"


def part_file(part: Part) -> str:
    """Name a file of rows that wait, below the folder of those."""
    return f"{part.slot.folder}/{_hour(part.slot)}-{part.number:012d}-{part.digest}.rows"


def part_of(name: str) -> Part | None:
    """Say what a file below the folder of what waits is; None if it is none of ours."""
    found = _WAITING.fullmatch(name)
    if found is None:
        return None
    try:
        began = datetime.strptime(found["hour"], "%Y-%m-%dT%H").replace(tzinfo=UTC)
    except ValueError:
        return None
    slot = Slot((began - _EPOCH) // timedelta(milliseconds=1), found["host"])
    return Part(slot, int(found["number"]), found["digest"])


def is_host_folder(name: str) -> bool:
    """Whether a folder of that name holds a host's days."""
    return name.startswith(_HOST)


def day_of(name: str) -> date | None:
    """Say which day's a folder is; None if it is none of ours."""
    if not name.startswith(_DAY):
        return None
    try:
        return date.fromisoformat(name.removeprefix(_DAY))
    except ValueError:
        return None


def _hour(slot: Slot) -> str:
    """Write an hour as 2026-11-27T22."""
    try:
        return (_EPOCH + timedelta(milliseconds=slot.hour_ms)).isoformat()[:13]
    except OverflowError:
        raise ValueError("its time is in no year from 1 to 9999") from None

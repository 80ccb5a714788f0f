r"""What things are called in Prometheus: families of metrics, their labels, and text that any parser takes. Pure.

``domstat_<group>_<metric>_<unit>[_total]``, from the catalogue::

    cpu.time                          domstat_cpu_time_seconds_total
    block.rd.reqs                     domstat_block_rd_requests_total
    balloon.usable                    domstat_balloon_usable_bytes
    net.count                         domstat_net_devices
    cpu.utilization (derived)         domstat_cpu_utilization_ratio
    host.version.libvirt (a text)     domstat_host_version_libvirt_info{value="9.0.0"} 1

* Counters end in ``_total`` and nothing else does, so that a name alone says its type: no two records can disagree.
* Values are in base units (see :class:`domstat.catalog.Unit`); a counted unit that the name has already is not said
  twice, and *events* is not said at all.
* A field nobody has heard of keeps its words. Should they come to a name of the catalogue's, or of domstat's own, the
  field gets a hash behind it.
* Label values are written as they are. The format escapes ``\``, ``"`` and newlines; only what is no text at all (lone
  surrogates) or longer than :data:`LABEL_BYTES_MAX` is changed, and then a hash tells it from others.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Literal, TypeAlias

from msgspec import Struct

from domstat.catalog import DERIVED, FIELDS, STRANGERS_MAX, Field, FieldKind, Unit, ValueType, look_up

PREFIX = "domstat_"

LABEL_BYTES_MAX = 1024
"""Bytes of a label's value: a guest's name has 250 at most, a path under Linux 4096 that nobody reads in a legend."""

NAME_CHARACTERS_MAX = 200
"""Characters of a metric's or a label's name; the catalogue's longest has 60."""

FamilyType: TypeAlias = Literal["counter", "gauge"]


class Family(Struct, frozen=True):
    """All samples of one name: what the exposition format calls a metric family."""

    name: str
    help: str

    @property
    def type(self) -> FamilyType:
        """The type, which the name alone decides."""
        return "counter" if self.name.endswith("_total") else "gauge"

    @property
    def head(self) -> bytes:
        """The two lines above the samples."""
        text = self.help.replace("\\", "\\\\").replace("\n", "\\n")
        head = f"# HELP {self.name} {text}\n# TYPE {self.name} {self.type}\n"
        return head.encode("utf-8", "backslashreplace")


GUEST_INFO = Family("domstat_guest_info", "What people call the guest: its labels; always 1")
GUEST_PARTIAL = Family("domstat_guest_partial", "Whether libvirt left something out of the guest's newest record")
DEVICE_INFO = Family("domstat_device_info", "What a device of a guest is; always 1")
POOL_INFO = Family("domstat_pool_info", "What a storage pool is; always 1")
STREAM_TIME = Family("domstat_stream_last_tick_timestamp_seconds", "When the stream's newest tick was, Unix time")
EVENTS = Family("domstat_events_total", "Events of guests, by type, since the sink was opened")
GAPS = Family("domstat_gaps_total", "Spans without ticks that were noted, by reason, since the sink was opened")
GAP_TIME = Family("domstat_gap_seconds_total", "Time without ticks, by reason, since the sink was opened")

OWN = (GUEST_INFO, GUEST_PARTIAL, DEVICE_INFO, POOL_INFO, STREAM_TIME, EVENTS, GAPS, GAP_TIME)
"""Families that no field of the catalogue is."""

_CALLED = {
    "state.state": "guest.state",
    "state.reason": "guest.state_reason",
    "balloon.last-update": "balloon.last_update_timestamp",
    "dirtyrate.calc_start_time": "dirtyrate.calc_start_timestamp",
}
"""Fields whose own names would say nothing, or not what Prometheus' users look for."""

_WORDS = {"pkts": "packets", "errs": "errors", "reqs": "requests", "drop": "dropped", "times": "time"}
"""Abbreviations that units are spelt out beside. The word histogram is for Prometheus' own kind, which ours is not."""

_COUNTED = {Unit.REQUESTS, Unit.PACKETS, Unit.FAULTS, Unit.PAGES, Unit.EVENTS, Unit.ERRORS}
"""Units that are things counted: they are said once, and events never."""


@lru_cache(maxsize=STRANGERS_MAX)
def family_of(field: str) -> Family:
    """Return the family of a field's numbers."""
    row = look_up(field)
    name = _name(row)
    if not row.known:
        name = apart(name, field) if name in _taken() else name
        return Family(name, f"{field}: not in the catalogue")
    return Family(name, f"{field}: {row.help}")


@lru_cache(maxsize=STRANGERS_MAX)
def info_of(field: str) -> Family:
    """Return the family of a field's texts, each of which is a label's value beside the number 1."""
    row = look_up(field)
    name = PREFIX + "_".join(_words(row)) + "_info"
    if not row.known:
        name = apart(name, field) if name in _taken() else name
        return Family(name, f"{field}: not in the catalogue")
    return Family(name, f"{field}: {row.help}; always 1")


@lru_cache(maxsize=STRANGERS_MAX)
def derived_of(name: str) -> Family:
    """Return the family of a derived value."""
    unit, meaning = DERIVED.get(name, ("", "not among the derived values"))
    words = _words(Field(name, "", FieldKind.GAUGE, ValueType.F64, Unit.NONE))
    if unit and words[-1] != unit:
        words.append(unit)
    written = _gauge(words)
    if name not in DERIVED and written in _taken():
        written = apart(written, name)
    return Family(written, f"{name}: {meaning}")


def apart(name: str, origin: str) -> str:
    """Tell a name that others have too from theirs by a hash of its *origin*; its type remains."""
    stem = name.removesuffix("_total")
    return f"{stem}_{_hash(origin)}{name.removeprefix(stem)}"


@lru_cache(maxsize=1024)
def label_name(text: str, prefix: str = "") -> str:
    """Make a label's name of any text, different ones maybe the same."""
    name = (prefix + _snake(text)).lstrip("_")[:NAME_CHARACTERS_MAX]
    return name if name[:1].isalpha() else "label_" + name


def label_text(text: str) -> bytes:
    """Return a label's value as Prometheus keeps it: UTF-8, and not too long."""
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        raw = f"{whole}~{_hash(text)}".encode()
    if len(raw) > LABEL_BYTES_MAX:
        ending = f"…{_hash(text)}".encode()
        raw = raw[: LABEL_BYTES_MAX - len(ending)].decode(errors="ignore").encode() + ending
    return raw


def escaped(raw: bytes) -> bytes:
    """Write a label's value as it stands between the quotes of the text format."""
    return _SPECIAL.sub(_escape, raw) if _SPECIAL.search(raw) else raw


def label_value(text: str) -> bytes:
    """Write any text as a label's value between the quotes."""
    return escaped(label_text(text))


_SPECIAL = re.compile(rb'[\\"\n]')


def _escape(match: re.Match[bytes]) -> bytes:
    return b"\\n" if match[0] == b"\n" else b"\\" + match[0]


def _name(row: Field) -> str:
    words, unit = _words(row), row.unit
    if unit in _COUNTED:
        parts = [part for word in words for part in word.split("_")]
        if parts[-1] + "s" == unit.base:
            words[-1] += "s"
        elif unit is not Unit.EVENTS and unit.base not in parts:
            words.append(unit.base)
    elif unit.base:
        words = [word for i, word in enumerate(words) if i == 0 or word != unit.base] + [unit.base]
    if row.kind is FieldKind.COUNTER:
        return PREFIX + "_".join(words)[:NAME_CHARACTERS_MAX] + "_total"
    return _gauge(words)


def _gauge(words: list[str]) -> str:
    name = PREFIX + "_".join(words)[:NAME_CHARACTERS_MAX]
    return name + "_value" if name.endswith("_total") else name


def _words(row: Field) -> list[str]:
    """Take a field's name apart into words of Prometheus', without its unit."""
    name = _CALLED.get(row.name, row.name)
    if row.kind is FieldKind.COUNTER:
        name = name.removesuffix(".sum")
    words = [_WORDS.get(word, word).replace("_histogram", "_hist") for word in map(_snake, name.split("."))]
    if row.unit is Unit.MIB_PER_SECOND:
        words.remove("megabytes_per_second")
    if row.unit is Unit.NANOSECONDS:
        words[-1] = words[-1].removesuffix("_ns")
    if words[-1] == "count" and len(words) > 1:
        words[-2:] = [words[0], "devices"] if len(words) == 2 else [words[-2] + "s"]
    return words


def _snake(text: str) -> str:
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)
    return re.sub(r"[^a-z0-9_]", "_", split.lower()) or "_"


def _hash(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


@lru_cache(maxsize=1)
def _taken() -> frozenset[str]:
    """Return every name that only one thing may have."""
    numbers = {family_of(name).name for name in FIELDS}
    texts = {info_of(name).name for name in FIELDS}
    derived = {derived_of(name).name for name in DERIVED}
    return frozenset(numbers | texts | derived | {family.name for family in OWN})

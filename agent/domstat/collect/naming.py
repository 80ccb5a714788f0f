"""From a raw answer and the inventory to named parameters. Pure.

libvirt's indices (``block.1.rd.bytes``) hold within one answer only: a hot-unplug renumbers them. What survives is
the device: a disk's target, a backing layer's target and index (``vda#2``), a vCPU's number, a NIC's MAC. A
:class:`Plan` is that translation worked out once for a guest; it serves every tick until the guest's set of
parameters, its devices or its XML change.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

from domstat.catalog import IDENTITY_FIELDS, FieldKind, comes_from_the_guest, look_up
from domstat.collect.definition import Entry, Nic
from domstat.collect.wire import ALL, Globs
from domstat.derive import Derivation
from domstat.memo import Shared
from domstat.model import Value, key_of, split_key, whole_device
from domstat.rates import picker, shape_of

PARSED_NAMES_MAX = 100_000
"""Parameter names taken apart and remembered: a few hundred a guest shape, whatever is hostile included."""


@lru_cache(maxsize=PARSED_NAMES_MAX)
def parse_name(name: str) -> tuple[str, tuple[int, ...]]:
    """Take libvirt's parameter name apart: ``block.1.rd.bytes`` is the field ``block.rd.bytes``, indices (1,)."""
    words = name.split(".")
    indices = tuple(int(word) for word in words if word.isascii() and word.isdigit())
    return (
        (".".join(word for word in words if not (word.isascii() and word.isdigit())), indices)
        if indices
        else (name, ())
    )


class Plan:
    """How one guest's values are named, for as long as nothing but values changes.

    *keys* are the record's keys; the values for them are taken by :meth:`params`. *devices* says what each device is.
    """

    __slots__ = (
        "_identify",
        "_pick",
        "_suspects",
        "counters",
        "derivation",
        "devices",
        "entry",
        "identity",
        "keys",
        "raw",
        "shape",
        "withheld",
    )

    def __init__(self, raw: tuple[str, ...], values: Sequence[Value], entry: Entry | None, fields: Globs) -> None:
        self.raw = raw
        self.entry = entry
        """The inventory's entry this was made with; None: the XML is not known yet, so NICs are withheld."""
        parsed = [parse_name(name) for name in raw]
        identifying = [i for i, (field, _) in enumerate(parsed) if field in IDENTITY_FIELDS]
        self._identify = picker(identifying)
        self.identity = self._identify(values)
        """The values by which this answer's rows say which device they are; other values need another plan."""
        rows: dict[tuple[str, int], dict[str, Value]] = {}
        for field, indices in parsed:
            if indices and field.startswith(("block.", "net.")):
                rows.setdefault((field.partition(".")[0], indices[0]), {})
        for i in identifying:
            field, indices = parsed[i]
            group, _, what = field.partition(".")
            if indices:
                rows[group, indices[0]][what] = values[i]
        names, self.devices = _name_devices(rows, entry)
        kept: dict[str, int] = {}
        self.withheld = False
        for i, (field, indices) in enumerate(parsed):
            if field in IDENTITY_FIELDS or not _chosen(field, fields):
                continue
            if entry is None and field.startswith("net.") and indices:
                self.withheld = True  # named by tap now and by MAC later it would be two series
                continue
            kept[_unused(kept, field, _device_of(field, indices, names))] = i
        self.keys = tuple(kept)
        self._pick = picker(list(kept.values()))
        self._suspects = [i for i in kept.values() if _may_be_no_number(parsed[i][0], values[i])]
        self.shape = shape_of(self.keys)
        self.counters = picker([kept[key] for key in self.shape.counters])
        """Takes the counters out of an answer's values, in the order of the shape."""
        self.derivation = _derivation(self.keys)

    def fits(self, raw: tuple[str, ...], values: Sequence[Value], entry: Entry | None) -> bool:
        """Whether this plan names *values* rightly."""
        same = self.raw is raw or self.raw == raw
        return same and self.entry is entry and self._identify(values) == self.identity

    def pick(self, values: Sequence[Value]) -> tuple[Value, ...]:
        """Take the values that have keys, in the order of these."""
        return self._pick(values)

    def params(self, values: Sequence[Value]) -> dict[str, Value]:
        """Name *values*."""
        return dict(zip(self.keys, self._pick(values), strict=False))  # both are made of one dictionary

    def unreal(self, values: Sequence[Value]) -> list[str]:
        """Name the raw parameters that are no number (NaN, infinite, a counter's text): missing, not values."""
        return [self.raw[i] for i in self._suspects if isinstance(v := values[i], str) or not math.isfinite(v)]


# Guests alike share their keys, and what is prepared from keys is worth sharing with them.
_derivation = Shared(Derivation)


def _may_be_no_number(field: str, value: Value) -> bool:
    return isinstance(value, float) or (isinstance(value, str) and look_up(field).kind is FieldKind.COUNTER)


def _chosen(field: str, fields: Globs) -> bool:
    if fields == ALL:
        return True
    included = any(fnmatchcase(field, pattern) for pattern in fields.include)
    return included and not any(fnmatchcase(field, pattern) for pattern in fields.exclude)


def _unused(kept: dict[str, int], field: str, device: str | None) -> str:
    """Make the key for a field and device; should two rows claim one name, the later is told apart by ``#``."""
    key, number = key_of(field, device), 1
    while key in kept:
        number += 1
        key = key_of(field, f"{device or ''}#{number}")
    return key


def _device_of(field: str, indices: tuple[int, ...], names: dict[tuple[str, int], str]) -> str | None:
    """Name the device behind *indices*: the first index is the device, further ones are parts of it (``vda/0``)."""
    if not indices:
        return None
    first = names.get((field.partition(".")[0], indices[0]), str(indices[0]))
    return "/".join([first, *map(str, indices[1:])])


def _name_devices(
    rows: dict[tuple[str, int], dict[str, Value]], entry: Entry | None
) -> tuple[dict[tuple[str, int], str], dict[str, dict[str, str]]]:
    """Name the disks and NICs of an answer: {(group word, index): device}, and each device's details.

    *rows* has what an answer says of them, by (group word, index).
    """
    names: dict[tuple[str, int], str] = {}
    devices: dict[str, dict[str, str]] = {}
    for (group, index), row in sorted(rows.items()):
        own = str(row.get("name", index))
        if group == "net":
            nic = entry.taps.get(own) if entry else None
            device = name_nic(nic, entry) if nic and entry else own
            details = nic.details if nic else {"tap": own} if "name" in row else {}
        else:
            # The first row of a name is the disk itself, the rows below it are its backing layers.
            device = f"{own}#{row.get('backingIndex', index)}" if own in devices else own
            about = entry.disks.get(own, {}) if entry and device == own else {}
            details = about | {key: str(row[key]) for key in ("path", "backingIndex") if key in row}
        while device in devices:  # names that only a hostile definition brings about; no two rows share one
            device += f"#{index}"
        names[group, index] = device
        devices[device] = details
    return names, devices


def name_nic(nic: Nic, entry: Entry) -> str:
    """Name a NIC of *entry*'s guest: by its MAC, and by its tap too if another has the same."""
    twins = sum(other.mac == nic.mac for other in entry.taps.values())
    return nic.mac if twins == 1 else f"{nic.mac}@{nic.tap}"


def has_stranger(
    raw: tuple[str, ...], values: Sequence[Value], entry: Entry, among: tuple[str, ...] = ("net.name", "block.name")
) -> bool:
    """Whether an answer names a disk or a NIC that the guest's XML did not have."""
    known: dict[str, Container[Value]] = {"net.name": entry.taps, "block.name": entry.disks}
    named = ((parse_name(name)[0], value) for name, value in zip(raw, values, strict=True))
    return any(field in among and value not in known[field] for field, value in named)


def awaits_name(
    raw: tuple[str, ...], values: Sequence[Value], entry: Entry, before: Plan | None, *, unread: bool
) -> bool:
    """Whether an answer has a NIC that the guest's XML did not have, and that must not go by its tap yet.

    The XML is *unread*, or the NIC or the guest was gone when it was read: with a MAC for its name before or after, it
    would be two series. A NIC that is in no XML goes by its tap from the second tick on; *before* is the plan so far.
    """
    if not has_stranger(raw, values, entry, ("net.name",)):
        return False
    taps = {value for name, value in zip(raw, values, strict=True) if parse_name(name)[0] == "net.name"}
    was_named = before is None or before.entry is None or taps <= entry.taps.keys() | before.devices.keys()
    return unread or not was_named


def silent_groups(plan: Plan) -> frozenset[str]:
    """Name the stats groups that a guest never seen before shows to be incomplete.

    Disks that are in the answer without a single figure of QEMU's belong to a guest that does not answer.
    """
    disks = any("path" in details or "bus" in details for details in plan.devices.values())
    rows = (field for field, indices in map(parse_name, plan.raw) if indices and field not in IDENTITY_FIELDS)
    told = any(field.startswith("block.") for field in rows)  # whether or not it is kept
    return frozenset({"block"}) if disks and not told else frozenset()


def missing_groups(whole: tuple[str, ...], keys: tuple[str, ...], devices: dict[str, dict[str, str]]) -> frozenset[str]:
    """Name the stats groups of which *keys* lacks something that *whole*, the guest's last whole record, had.

    What is gone together with its device is not missing: a disk that was unplugged has no row any more, while the row
    of a disk whose guest does not answer still names it. Nor is what is gone from a group that the guest did answer
    for: a medium was ejected, a balloon driver unloaded.
    """
    present = set(keys)
    there: set[tuple[str, str | None]] = {(group, device) for device in devices for group in ("block", "interface")}
    answered: set[str] = set()
    for name, device in map(split_key, keys):
        field = look_up(name)
        there.add((field.group, whole_device(device)))
        if comes_from_the_guest(field):
            answered.add(field.group)
    lacking = ((look_up(name).group, device) for name, device in map(split_key, set(whole) - present))
    return frozenset(
        group
        for group, device in lacking
        if group not in answered and (device is None or (group, whole_device(device)) in there)
    )


def plugged_anew(old: dict[str, dict[str, str]], new: dict[str, dict[str, str]]) -> tuple[str, ...]:
    """Name the devices that are in both but are not the same thing: another source, another tap."""
    identifying = ("path", "tap")
    changed = (
        device
        for device, details in new.items()
        if device in old and any(details.get(key) != old[device].get(key) for key in identifying)
    )
    return tuple(sorted(changed))

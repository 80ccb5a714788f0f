"""Which series are meant: globs over whose they are, their fields and their devices. Pure."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from functools import cached_property

from msgspec import Struct

from domstat.catalog import FieldKind, look_up
from domstat.history import Aggregate, Select

_SPECIAL = frozenset("*?[")
"""What makes a pattern of a text."""


class Who(Struct, frozen=True):
    """A subject of one stream, over all ticks; *name* is that of what has no uuid."""

    stream: int
    kind: str
    uuid: str | None
    name: str | None


class Key(Struct, frozen=True):
    """A series."""

    who: Who
    field: str
    device: str | None


class Globs:
    """Several globs, none of them meaning all."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self.plain: frozenset[str] | None = None
        """The very texts that match, where that is all there is to these globs."""
        if patterns and not any(_SPECIAL.intersection(pattern) for pattern in patterns):
            self.plain = frozenset(patterns)
        self._patterns = patterns
        self._known: dict[str, bool] = {}

    @cached_property
    def _matches(self) -> Callable[[str], re.Match[str] | None]:
        return re.compile("|".join(fnmatch.translate(pattern) for pattern in self._patterns) or r"").match

    def have(self, text: str) -> bool:
        """Whether one of them matches."""
        if self.plain is not None:
            return text in self.plain
        known = self._known.get(text)
        if known is None:
            known = self._known[text] = self._matches(text) is not None
        return known


class Choice:
    """What a :class:`~domstat.history.Select` means by its fields, devices and kinds, and by *uuids*, None for all."""

    def __init__(self, select: Select, uuids: set[str] | None, fields: frozenset[str] | None = None) -> None:
        """*fields* are the very fields, where they are known already."""
        self._select = select
        self.named = fields
        self._kinds = select.kinds
        self.uuids = uuids
        self._fields = Globs(select.fields)
        self._devices = Globs(select.devices)
        self._any_device = not select.devices
        self._only_counters = select.rate or select.aggregate is Aggregate.INCREASE
        self.wants_everybody = uuids is None and not select.kinds

    def wants(self, who: Who) -> bool:
        """Whether it is of a subject."""
        return (self.uuids is None or who.uuid in self.uuids) and (not self._kinds or who.kind in self._kinds)

    def wants_field(self, field: str) -> bool:
        """Whether it is of a field."""
        if self.named is not None:
            return field in self.named
        return self._fields.have(field) and (not self._only_counters or look_up(field).kind is FieldKind.COUNTER)

    def of(self, fields: frozenset[str]) -> Choice:
        """Return the same choice, of these very fields."""
        return Choice(self._select, self.uuids, fields)

    def wants_device(self, device: str | None) -> bool:
        """Whether it is of a device, or of what has none."""
        return self._any_device or (device is not None and self._devices.have(device))


def place_of(field: str, device: str | None) -> tuple[object, ...]:
    """Return where a series comes among those of its subject: vCPU 10 after vCPU 9."""
    device = device or ""
    return (field, *((1, int(device), "") if device.isdecimal() else (0 if not device else 2, 0, device)))

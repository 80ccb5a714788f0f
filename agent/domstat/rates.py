"""Rates: a pure function of two samples of one epoch.

A guest's counters begin anew with its incarnation (libvirt's domain id), all of them at once: after a restart some
counter may be higher by chance, so a falling one is not the only sign. Within an incarnation a device's counters begin
anew when one of them falls, or when the device was re-plugged under its old name; again all of that device at once.
Nothing is emitted across such a border: no negative rate, no spike.

What an answer leaves out neither advances nor clears what is known of it: the next rate of that field is taken over
the field's own elapsed time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, TypeAlias

from msgspec import Struct

from domstat.catalog import FieldKind, look_up
from domstat.memo import Shared
from domstat.model import Moment, Value, is_own, split_key, whole_device

Number: TypeAlias = int | float


class Breaks(Struct, frozen=True, gc=False):
    """What the values themselves cannot tell about a sample.

    *missing* names the stats groups libvirt left something out of: what was known of their counters stays known. A
    counter that is absent for any other reason is gone, with its device. *devices* are those known to have been
    plugged anew since the sample before, though no counter need have fallen.
    """

    missing: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.missing or self.devices)


NO_BREAKS = Breaks()


class Older(Struct, frozen=True, gc=False):
    """A counter that the newest sample lacks: its last known value and when that was read."""

    value: Number
    moment: Moment


class Shape:
    """The counters among one set of keys, prepared once for every sample that has exactly these keys."""

    __slots__ = ("__weakref__", "counters", "epochs", "factors", "pick", "standing")

    def __init__(self, keys: tuple[str, ...]) -> None:
        fields = [(key, look_up(name), device) for key, (name, device) in ((key, split_key(key)) for key in keys)]
        counters = [(key, field, device) for key, field, device in fields if field.kind is FieldKind.COUNTER]
        self.counters = [key for key, _, _ in counters]
        self.factors = [field.rate_factor for _, field, _ in counters]
        own: dict[Epoch, Epoch] = {}
        epochs = [(field.group, whole_device(device)) for _, field, device in counters]
        self.epochs = [own.setdefault(epoch, epoch) if is_own(epoch[1]) else _in_common(*epoch) for epoch in epochs]
        """Per counter, what begins anew together: (stats group, device with all its parts)."""
        self.pick = picker(self.counters)
        self.standing = dict.fromkeys(self.counters, 0.0)
        """The rates of a subject whose counters all stand still."""


SHAPES_MAX = 65_536
"""Sets of keys at hand: one a guest, since MACs differ, and more guests than one answer can hold."""

shape_of = Shared(Shape)
"""The shape of a tuple of keys (see :class:`Shape`); guests alike share theirs."""


class Baseline(Struct, frozen=True, gc=False):
    """The last known value of every counter of one subject: what the next rates are taken against.

    *values* are those of the newest sample, read at *moment*, in the order of its *shape*; *older* holds the counters
    that the newest sample lacked.
    """

    incarnation: int | None
    moment: Moment
    shape: Shape
    values: tuple[Number, ...]
    older: dict[str, Older]


WHOLE_GUEST = "cpu.time"
"""When this falls everything of a guest begins anew, for it is another incarnation under the same number: domain ids
begin anew with a boot of the host."""

Epoch: TypeAlias = tuple[str, str | None]

EPOCHS_MAX = 2_048
"""Pairs of group and device shared: those that guests have in common, as they have not their NICs."""


@lru_cache(maxsize=EPOCHS_MAX)
def _in_common(group: str, device: str | None) -> Epoch:
    return (group, device)


def picker(places: Sequence[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function that takes what is at *places*, keys or positions: itemgetter, made regular below two."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda values: tuple(values[place] for place in places)


def elapsed_ns(before: Moment, now: Moment) -> int:
    """Time between two moments: by the boot-time clock within one boot that is known, by wall time otherwise."""
    if before.boot_id == now.boot_id and now.boot_id:
        return now.boot_ns - before.boot_ns
    return (now.time_ms - before.time_ms) * 1_000_000


def advance(
    baseline: Baseline | None,
    shape: Shape,
    params: Mapping[str, Value],
    moment: Moment,
    incarnation: int | None,
    breaks: Breaks = NO_BREAKS,
) -> tuple[dict[str, float], Baseline]:
    """Take the rates of *params* against *baseline*, and the baseline for the next sample.

    *shape* must be the Shape of ``tuple(params)``. Rates are per second in base units, seconds per second for time
    counters; a counter that has no rate is absent.
    """
    values: tuple[Number, ...] = shape.pick(params)
    if baseline is None or baseline.incarnation != incarnation:
        return {}, Baseline(incarnation, moment, shape, values, {})
    if baseline.shape is shape and not baseline.older and not breaks:
        rates = rates_between(shape, baseline.values, values, elapsed_ns(baseline.moment, moment))
        if rates is not None:
            return rates, Baseline(incarnation, moment, shape, values, {})
    return _advance_each(baseline, shape, values, moment, breaks)


def rates_between(
    shape: Shape, earlier: tuple[Number, ...], values: tuple[Number, ...], span: int
) -> dict[str, float] | None:
    """Take all rates at once: nearly every record's way. None if something fell, or no time has passed.

    *earlier* and *values* are the counters of two samples of one *shape* and incarnation, in its order, *span*
    nanoseconds apart. Most counters stand still in most ticks, so a copy of all zeros, filled in where something
    moved, costs about half of a dictionary made anew. The dictionary may be shared, and must not be changed.
    """
    if span <= 0:
        return None
    if values == earlier:
        return shape.standing
    rates = shape.standing.copy()
    for key, value, before, factor in zip(shape.counters, values, earlier, shape.factors, strict=False):
        if value != before:
            delta = value - before
            if delta < 0:
                return None
            rates[key] = delta * factor / span
    return rates


def _advance_each(
    baseline: Baseline, shape: Shape, values: tuple[Number, ...], moment: Moment, breaks: Breaks
) -> tuple[dict[str, float], Baseline]:
    """Field by field: what :func:`advance` does when the two samples differ in more than their values."""
    plugged = {whole_device(device) for device in breaks.devices}
    known = dict(baseline.older)
    newest = zip(baseline.shape.counters, baseline.values, strict=True)
    known.update((key, Older(value, baseline.moment)) for key, value in newest)
    rows = list(zip(shape.counters, values, shape.factors, shape.epochs, strict=True))
    fallen = [(key, epoch) for key, value, _, epoch in rows if key in known and value < known[key].value]
    anew = {epoch for _, epoch in fallen}
    if any(
        key == WHOLE_GUEST for key, _ in fallen
    ):  # its own CPU time can only fall if it is another guest under the same number
        return {}, Baseline(baseline.incarnation, moment, shape, values, {})
    rates: dict[str, float] = {}
    for key, value, factor, epoch in rows:
        before = known.pop(key, None)
        if before is None or epoch in anew or epoch[1] in plugged:
            continue
        span = elapsed_ns(before.moment, moment)
        if span > 0:
            delta = value - before.value
            rates[key] = delta * factor / span if delta else 0.0
    older = {key: value for key, value in known.items() if _is_only_missing(key, anew, plugged, breaks.missing)}
    return rates, Baseline(baseline.incarnation, moment, shape, values, older)


def _is_only_missing(
    key: str, anew: set[tuple[str, str | None]], plugged: set[str | None], missing: frozenset[str]
) -> bool:
    """Whether a counter that is not in the sample was left out by libvirt, rather than gone with its device."""
    name, part = split_key(key)
    group, device = look_up(name).group, whole_device(part)
    return group in missing and (group, device) not in anew and device not in plugged

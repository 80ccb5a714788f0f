"""What a question comes to: which fields, and of each what is taken from buckets and what from ticks. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from msgspec import Struct

from domstat.catalog import DERIVED, FieldKind, look_up
from domstat.history import Aggregate, HistoryError, Measure, Select
from domstat_sinks.sqlite.answers import plan, steps
from domstat_sinks.sqlite.answers.bucketed import Way, use_of
from domstat_sinks.sqlite.answers.choosing import Choice, Globs, Key
from domstat_sinks.sqlite.answers.derived_series import RECIPES
from domstat_sinks.sqlite.answers.plan import Piece, Use
from domstat_sinks.sqlite.answers.source import Column, Seen
from domstat_sinks.sqlite.answers.streams import Stored, Stream

NAMED = (FieldKind.STATE, FieldKind.TEXT)
"""Kinds of fields whose values are names for something: no arithmetic is done on them."""


def check(select: Select) -> None:
    """Raise HistoryError for what makes no sense."""
    if select.span.since_ms >= select.span.until_ms:
        raise HistoryError("the span ends before it begins")
    if select.step_ms is not None and select.step_ms <= 0:
        raise HistoryError(f"a step has at least a millisecond, not {select.step_ms}")
    if select.rate and select.aggregate is Aggregate.INCREASE:
        raise HistoryError("an increase is of a counter, not of its rate: ask for one or the other")
    if not 0 <= select.tolerance < 1:
        raise HistoryError(f"a tolerance is a share from 0 to less than 1, not {select.tolerance}")


def check_shares(shares: Sequence[float]) -> None:
    """Raise HistoryError for what is no share."""
    if not all(0 <= share <= 1 for share in shares):
        raise HistoryError(f"quantiles are asked for by shares from 0 to 1, not {shares}")


def is_every_sample(select: Select) -> bool:
    """Whether samples are wanted as they are, not one value a step."""
    return select.step_ms is None and select.aggregate is None


def is_total(select: Select) -> bool:
    """Whether nothing is wanted of a counter but its sum over the whole span."""
    if select.step_ms is not None:
        return False
    return select.aggregate is Aggregate.INCREASE or (select.rate and select.aggregate is Aggregate.MEAN)


def way_of(field: str, select: Select) -> Way:
    """Return what is asked of a field: where nobody says, the mean of rates and gauges, the last of all else."""
    is_mean = select.rate or look_up(field).kind is FieldKind.GAUGE
    return Way(select.aggregate or (Aggregate.MEAN if is_mean else Aggregate.LAST), select.rate)


def measure_of(field: str, select: Select, aggregate: Aggregate) -> Measure:
    """Return what values are in."""
    if aggregate is Aggregate.COUNT:
        return Measure("")
    if field in DERIVED:
        return Measure(DERIVED[field][0])
    unit = look_up(field).unit
    return Measure(unit.base, per_second=True) if select.rate else Measure(unit.base, unit.scale)


class Fields(Struct, frozen=True):
    """The fields that are asked for, by how their buckets may be used; derived ones only where they are asked for."""

    uses: dict[str, Use]

    def of(self, use: Use) -> frozenset[str]:
        """Return the fields of one use."""
        return frozenset(field for field, its in self.uses.items() if its is use)

    def without(self, fields: Collection[str]) -> Fields:
        """Return all but some."""
        return Fields({field: use for field, use in self.uses.items() if field not in fields}) if fields else self

    def used(self) -> list[Use]:
        """Return the uses that there are."""
        return sorted(set(self.uses.values()))


def fields_of(select: Select, stored: Collection[str]) -> Fields:
    """Return which of the *stored* fields are meant, and which that are derived of these."""
    choice = Choice(select, None)
    derived = [field for field in RECIPES if select.fields and RECIPES[field].is_possible(stored)]
    return Fields({field: _use_of(field, select) for field in [*stored, *derived] if choice.wants_field(field)})


def _use_of(field: str, select: Select) -> Use:
    way = way_of(field, select)
    if is_every_sample(select) or not applies(field, way):
        return Use.NEVER
    return use_of(field, way, select.tolerance)


def applies(field: str, way: Way) -> bool:
    """Whether an aggregate applies to a field: of states and texts there are only the last and the count."""
    return look_up(field).kind not in NAMED or way.aggregate in {Aggregate.LAST, Aggregate.COUNT}


def pieces_of(select: Select, use: Use, stored: Stored) -> list[Piece]:
    """Return which of what is stored of a stream answers which part of the span."""
    return plan.pieces(select.span, select.step_ms, use, stored.ticks, stored.buckets)


def is_wanted(stream: Stream, select: Select) -> bool:
    """Whether a stream is meant."""
    return Globs(select.hosts).have(stream.host) and Globs(select.collects).have(stream.collect)


def uuids(sightings: Iterable[Seen], patterns: Sequence[str]) -> set[str]:
    """Return the guests that had such a name at any time."""
    globs = Globs(patterns)
    return {
        seen.who.uuid
        for seen in sightings
        if seen.who.uuid and (globs.have(seen.name or "") or globs.have(seen.who.uuid))
    }


def portions(wanted: Sequence[tuple[Key, int]], most: int) -> Iterator[list[Key]]:
    """Split series into as many as are read at once: those with *most* samples, or a single one with more."""
    portion: list[Key] = []
    held = 0
    for key, ticks in wanted:
        if portion and held + ticks > most:
            yield portion
            portion, held = [], 0
        portion.append(key)
        held += ticks
    if portion:
        yield portion


def taken(column: Column, select: Select, way: Way, stepper: steps.Stepper) -> steps.Samples:
    """Return what is asked for of a column; nothing where the aggregate does not apply to it."""
    field, aggregate = column.key.field, way.aggregate
    whole = is_every_sample(select)
    if not whole and not (applies(field, way) and has_numbers(column, way)):
        return steps.Samples(column.ticks.time_ms[:0], column.values[:0])
    if aggregate is Aggregate.INCREASE:
        return steps.increases_by_steps(steps.increases_of(column), stepper)
    if not select.rate:
        samples = steps.samples_of(column)
        return samples if whole else steps.by_steps(samples, aggregate, stepper)
    increases = steps.increases_of(column)
    if whole:
        return increases.rates(field)
    if aggregate is Aggregate.MEAN:
        return steps.rates_by_steps(increases, field, stepper)
    return steps.by_steps(increases.rates(field), aggregate, stepper)


def has_numbers(column: Column, way: Way) -> bool:
    """Whether an aggregate can be taken of these very values: of several types mixed there is no arithmetic."""
    return column.values.dtype != object or way.aggregate in {Aggregate.LAST, Aggregate.COUNT}

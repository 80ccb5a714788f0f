"""Series, read: from ticks, from buckets, or from both, whichever answers what is asked for least.

Series are read a few at a time, each time in a transaction of its own: what was read is consistent, and a reader of
months neither holds much in memory nor the writer up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from domstat.catalog import look_up
from domstat.history import Aggregate, OnDamaged, Quantiles, Select, Series, Span, Subject
from domstat.model import Kind
from domstat_sinks.sqlite.answers import asked, bucketed, plan, steps
from domstat_sinks.sqlite.answers.asked import Fields
from domstat_sinks.sqlite.answers.bucketed import Parts, Way
from domstat_sinks.sqlite.answers.choosing import Choice, Globs, Key, Who, place_of
from domstat_sinks.sqlite.answers.derived_series import RECIPES, derived_of, derived_series, sources_of
from domstat_sinks.sqlite.answers.plan import Piece, Use
from domstat_sinks.sqlite.answers.source import Column, Seen, Values, Wanted, joined
from domstat_sinks.sqlite.answers.stocks import RAW
from domstat_sinks.sqlite.answers.streams import Stream, Streams
from domstat_sinks.sqlite.answers.ticks import Joiner
from domstat_sinks.sqlite.answers.tier_source import TierSource

NOT_GUESTS: frozenset[str | None] = frozenset({None})
"""The uuids of what is no guest: host, pools, the agent."""

SAMPLES_AT_ONCE = 2_000_000
"""Samples read in one transaction, about 50 B each, unless a single series has more."""


class Derived(Struct, frozen=True):
    """A series that was derived of others' ticks, which stand for *covered_ms*; in a mean each counts by its weight."""

    samples: steps.Samples
    weights: Values | None
    covered_ms: float


Answer: TypeAlias = Column | Derived | Parts
"""What one piece of a span says of a series."""


class Chosen(Struct, frozen=True):
    """What a question means: whose series, each with about how many samples, and where they are."""

    streams: Mapping[int, Stream]
    newest: Mapping[Who, Seen]
    fields: Fields
    pieces: Mapping[tuple[int, Use], Sequence[Piece]]
    keys: Sequence[tuple[Key, int]]

    def subject(self, who: Who) -> Subject:
        """Return whose a series is."""
        seen, stream = self.newest[who], self.streams[who.stream]
        return Subject(
            host=stream.host,
            collect=stream.collect,
            kind=Kind(who.kind),
            uuid=who.uuid,
            name=seen.name if who.uuid else None,
            incarnation=seen.incarnation,
            pool=who.name if who.kind == Kind.POOL else None,
        )


class Reading:
    """Reads series."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._tiers = TierSource(streams.sources)

    def read(self, select: Select, on_damaged: OnDamaged | None = None) -> Iterator[Series]:
        """Give the series that are wanted.

        Raises HistoryError, sqlite3.Error, and DamagedError where *on_damaged* is not to be told.
        """
        asked.check(select)
        told = None if on_damaged is None else Once(on_damaged)
        with self._streams.snapshot():
            span = self._streams.closed(select.span)
            chosen = self._chosen(select, told)
        stepper = steps.Stepper(select.step_ms, span)
        may_total = asked.is_total(select) and span.since_ms > 0
        for key, parts in self._answers(chosen, select, told, may_total=may_total):
            way = asked.way_of(key.field, select)
            shown = _shown(parts, key.field, select, way, stepper)
            if shown is not None and len(shown.time_ms):
                yield Series(
                    subject=chosen.subject(key.who),
                    field=key.field,
                    device=key.device,
                    measure=asked.measure_of(key.field, select, way.aggregate),
                    tier="+".join(dict.fromkeys(name for name, _ in parts)),
                    coverage=steps.share_covered(sum(_covered_ms(of) for _, of in parts), span),
                    time_ms=shown.time_ms,
                    values=shown.values,
                )

    def seen(self, stream: Stream, span: Span, told: OnDamaged | None) -> Iterator[Seen]:
        """Give all that was seen of a stream, in ticks or, where these are gone, in buckets. Raises DamagedError."""
        stored = self._streams.stored(stream)
        pieces = plan.pieces(span, None, Use.IF_NEED_BE, stored.ticks, stored.buckets)
        yield from self._sightings({(stream.number, Use.IF_NEED_BE): pieces}, told)

    def quantiles(
        self,
        select: Select,
        shares: tuple[float, ...],
        on_damaged: OnDamaged | None = None,
        but: frozenset[tuple[int, str]] = frozenset(),
    ) -> Iterator[Quantiles]:
        """Give exact quantiles of each series' ticks, *but* not of these fields of these streams.

        Raises as :meth:`read` does.
        """
        select = replace(select, step_ms=None, aggregate=None)
        told = None if on_damaged is None else Once(on_damaged)
        with self._streams.snapshot():
            span = self._streams.closed(select.span)
            chosen = self._chosen(select, told, but)
        for key, parts in self._answers(chosen, select, told, may_total=False):
            rated = None if look_up(key.field).kind in asked.NAMED else _rated(parts[0][1], select)
            if rated is not None and len(rated.time_ms):
                yield Quantiles(
                    subject=chosen.subject(key.who),
                    field=key.field,
                    device=key.device,
                    measure=asked.measure_of(key.field, select, Aggregate.LAST),
                    tier=RAW,
                    coverage=steps.share_covered(_covered_ms(parts[0][1]), span),
                    count=len(rated.time_ms),
                    values=steps.quantiles(rated.values, shares),
                )

    # What is meant.

    def _chosen(self, select: Select, told: OnDamaged | None, but: frozenset[tuple[int, str]] = frozenset()) -> Chosen:
        """Find out what is meant, *but* for these fields of these streams, and where that is."""
        streams = {stream.number: stream for stream in self._streams.every() if asked.is_wanted(stream, select)}
        fields = asked.fields_of(select, self._streams.fields())
        pieces: dict[tuple[int, Use], list[Piece]] = {}
        own = {number: fields.without({field for of, field in but if of == number}) for number in streams}
        for number, stream in streams.items():
            stored = self._streams.stored(stream)
            for use in own[number].used():
                pieces[number, use] = asked.pieces_of(select, use, stored)
        whose: Collection[str | None] | None = None
        if select.guests:
            whose = self._called(pieces, Globs(select.guests), told)
        elif select.kinds and Kind.GUEST not in select.kinds:
            whose = NOT_GUESTS
        sightings = list(self._sightings(pieces, told, whose))
        uuids = asked.uuids(sightings, select.guests) if select.guests else None
        newest = {seen.who: seen for seen in sightings}
        counts: dict[Key, int] = {}
        for (number, use), of_stream in pieces.items():
            named = own[number].of(use)
            choice = Choice(select, uuids, named)
            for piece in of_stream:
                for key, count in self._found(number, piece, choice, named, told):
                    counts[key] = counts.get(key, 0) + count

        def place(item: tuple[Key, int]) -> tuple[object, ...]:
            who, stream = item[0].who, streams[item[0].who.stream]
            whose = (who.kind, newest[who].name or "", who.uuid or "", stream.host, stream.collect)
            return (*whose, *place_of(item[0].field, item[0].device))

        keys = sorted((item for item in counts.items() if item[0].who in newest), key=place)
        return Chosen(streams, newest, fields, pieces, keys)

    def _called(
        self, pieces: Mapping[tuple[int, Use], Sequence[Piece]], globs: Globs, told: OnDamaged | None
    ) -> set[str]:
        """Return the uuids of guests that may be meant."""
        every = {(piece.stock.stream, piece.span) for of_stream in pieces.values() for piece in of_stream}
        found = (source.called(*place, globs, told) for place in every for source in self._streams.sources)
        return set().union(*found)

    def _sightings(
        self,
        pieces: Mapping[tuple[int, Use], Sequence[Piece]],
        told: OnDamaged | None,
        uuids: Collection[str | None] | None = None,
    ) -> Iterator[Seen]:
        """Give all that was seen, in each piece once, oldest first; only those of these *uuids*, if there are some."""
        every = {(number, piece) for (number, _), of_stream in pieces.items() for piece in of_stream}
        for number, piece in sorted(every, key=lambda item: (item[1].span.until_ms, item[1].stock.name == RAW)):
            if piece.stock.name == RAW:
                for source in self._streams.sources:
                    yield from source.seen(number, piece.span, told, uuids)
            else:
                yield from self._tiers.seen(number, piece, told, uuids)

    def _found(
        self, number: int, piece: Piece, choice: Choice, fields: frozenset[str], told: OnDamaged | None
    ) -> Iterator[tuple[Key, int]]:
        if piece.stock.name != RAW:
            yield from self._tiers.found(number, piece, choice, fields, told)
            return
        of_sources = choice.of(fields | {RECIPES[field].sources[0] for field in fields & RECIPES.keys()})
        derived = {source: [made for made in derived_of(source) if made in fields] for source in of_sources.named or ()}
        for source in self._streams.sources:
            for key, count in source.found(number, piece.span, of_sources, told):
                if key.field in fields:
                    yield key, count
                for field in derived[key.field]:
                    if key.who.kind == RECIPES[field].kind:
                        yield Key(key.who, field, key.device), len(RECIPES[field].sources) * count

    # What is there.

    def _answers(
        self, chosen: Chosen, select: Select, told: OnDamaged | None, *, may_total: bool
    ) -> Iterator[tuple[Key, list[tuple[str, Answer]]]]:
        """Give what there is of each series, piece by piece, with the name of the tier that each is from."""
        for portion in asked.portions(chosen.keys, SAMPLES_AT_ONCE):
            found: dict[Key, list[tuple[str, Answer]]] = {}
            together: dict[tuple[int, Use], list[Key]] = {}
            for key in portion:
                together.setdefault((key.who.stream, chosen.fields.uses[key.field]), []).append(key)
            with self._streams.snapshot():
                for place, keys in together.items():
                    pieces = chosen.pieces[place]
                    for piece in pieces:
                        totals = may_total and len(pieces) == 1
                        for key, answer in self._of_piece(piece, keys, select, told, totals=totals):
                            found.setdefault(key, []).append((piece.stock.name, answer))
            for key in portion:
                if key in found:
                    yield key, found.pop(key)

    def _of_piece(
        self, piece: Piece, keys: Sequence[Key], select: Select, told: OnDamaged | None, *, totals: bool
    ) -> Iterator[tuple[Key, Answer]]:
        if piece.stock.name != RAW:
            yield from self._tiers.parts(piece, [(key, asked.way_of(key.field, select)) for key in keys], told)
            return
        derived = [key for key in keys if key.field in RECIPES]
        plain = [key for key in keys if key.field not in RECIPES]
        increases = select.rate or select.aggregate is Aggregate.INCREASE
        yield from self._columns(plain, Wanted(span=piece.span, increases=increases, totals=totals), told).items()
        if derived:
            sources = list(dict.fromkeys(source for key in derived for source in sources_of(key)))
            columns = self._columns(sources, Wanted(span=piece.span, increases=True), told)
            for key in derived:
                made = derived_series(key, columns)
                if made is not None:
                    first = next(columns[source] for source in sources_of(key) if source in columns)
                    samples = steps.Samples(made.time_ms, made.values)
                    yield key, Derived(samples, made.weights, first.covered.covered_ms)

    def _columns(self, keys: Sequence[Key], wanted: Wanted, told: OnDamaged | None) -> dict[Key, Column]:
        found: dict[Key, list[Column]] = {}
        for source in self._streams.sources:
            for column in source.columns(keys, wanted, told):
                found.setdefault(column.key, []).append(column)
        joiner = Joiner()
        return {key: joined(columns, joiner) for key, columns in found.items()}


class Once:
    """Tells of each damage once, however often it is met."""

    def __init__(self, on_damaged: OnDamaged) -> None:
        self._on_damaged = on_damaged
        self._told: set[str] = set()

    def __call__(self, text: str) -> None:
        """Tell of it unless that was done."""
        if text not in self._told:
            self._told.add(text)
            self._on_damaged(text)


# What becomes of it.


def _covered_ms(answer: Answer) -> float:
    return answer.covered.covered_ms if isinstance(answer, Column) else answer.covered_ms


def _rated(answer: Answer, select: Select) -> steps.Samples | None:
    if isinstance(answer, Derived):
        return answer.samples
    if isinstance(answer, Parts) or answer.values.dtype == object:
        return None
    return steps.increases_of(answer).rates(answer.key.field) if select.rate else steps.samples_of(answer)


def _shown(
    parts: Sequence[tuple[str, Answer]], field: str, select: Select, way: Way, stepper: steps.Stepper
) -> steps.Samples | None:
    """Return what is asked for, out of what each piece says."""
    if len(parts) == 1:
        (_, answer) = parts[0]
        if isinstance(answer, Column):
            return asked.taken(answer, select, way, stepper)
        if isinstance(answer, Derived) and asked.is_every_sample(select):
            return answer.samples
    found = [made for _, answer in parts if (made := _parts_of(answer, way, stepper)) is not None]
    return bucketed.summed_up(found, field, way, stepper) if found else None


def _parts_of(answer: Answer, way: Way, stepper: steps.Stepper) -> Parts | None:
    if isinstance(answer, Parts):
        return answer
    if isinstance(answer, Derived):
        return bucketed.parts_of_samples(answer.samples, way.aggregate, stepper, answer.covered_ms, answer.weights)
    return _parts_of_column(answer, way, stepper)


def _parts_of_column(answer: Column, way: Way, stepper: steps.Stepper) -> Parts | None:
    if not (asked.applies(answer.key.field, way) and asked.has_numbers(answer, way)):
        return None
    covered_ms = answer.covered.covered_ms
    if way.aggregate is not Aggregate.INCREASE and not way.rate:
        return bucketed.parts_of_samples(steps.samples_of(answer), way.aggregate, stepper, covered_ms)
    increases = steps.increases_of(answer)
    if not len(increases.time_ms):
        return None
    if way.aggregate in {Aggregate.INCREASE, Aggregate.MEAN}:
        return bucketed.parts_of_increases(increases, way, stepper, covered_ms)
    return bucketed.parts_of_samples(increases.rates(answer.key.field), way.aggregate, stepper, covered_ms)

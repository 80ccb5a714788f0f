"""What is finished is given once, and what is open stays."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from domstat.model import Domain, Record
from domstat_sinks.sqlite.rollups import sketchblob, unfinishedblob
from domstat_sinks.sqlite.rollups.keyfields import find_keyed
from domstat_sinks.sqlite.rollups.lastknown import LastKnown
from domstat_sinks.sqlite.rollups.rolling import roll
from domstat_sinks.sqlite.rollups.rollup import FIVE_MINUTES_MS, HOUR_MS, merge
from domstat_sinks.sqlite.rollups.unfinished import APART_MAX, Finished, Unfinished, together

from .histories import START_MS, Rows, Tick, by_key, history, rolled


def in_slices(ticks: list[Tick], size: int, unfinished: Unfinished) -> list[Finished]:
    rows, known, found = Rows(), LastKnown(), []
    for start in range(0, len(ticks), size):
        own = ticks[start : start + size]
        for run in rows.runs(own):
            unfinished.add(roll(run, known.before(run), find_keyed(run.plan)))
            known.after(run)
        ids, times_ms = np.arange(start, start + len(own)) + 1, np.array([tick.stamp.time_ms for tick in own])
        found.append(unfinished.finish(ids, times_ms))
    return found


def test_buckets_are_finished_once_and_come_to_all_but_what_is_open() -> None:
    ticks = history(3, length=100, step_ms=100_000)
    unfinished = Unfinished()
    finished = in_slices(ticks, 7, unfinished)
    for width_ms, found in (
        (FIVE_MINUTES_MS, [rollup for one in finished for rollup in one.minutes]),
        (HOUR_MS, [rollup for one in finished for rollup in one.hours]),
    ):
        everything = by_key(merge(rolled(ticks, []), width_ms))
        last = ticks[-1].stamp.time_ms // width_ms * width_ms
        closed = {at for at in everything if at[0] != last}
        assert set(by_key(merge(found, width_ms))) == closed
        ticks_of = {at: series["ticks"] for at, series in by_key(merge(found, width_ms)).items()}
        assert ticks_of == {at: everything[at]["ticks"] for at in closed}
    hours = [start for one in finished for start in one.sketches]
    assert hours == sorted({tick.stamp.time_ms // HOUR_MS * HOUR_MS for tick in ticks})[:-1]


def test_it_says_from_which_tick_on_buckets_are_open() -> None:
    ticks = history(3, length=40, step_ms=100_000)
    times_ms = [tick.stamp.time_ms for tick in ticks]
    unfinished = Unfinished()
    in_slices(ticks, 7, unfinished)
    assert unfinished.open_ms == times_ms[-1] // FIVE_MINUTES_MS * FIVE_MINUTES_MS
    assert unfinished.minutes_from == 1 + next(i for i, at in enumerate(times_ms) if at >= unfinished.open_ms)
    assert unfinished.hour_from == 1 + next(i for i, at in enumerate(times_ms) if at >= unfinished.open_hour_ms)


def test_roll_ups_that_share_no_subject_stay_apart() -> None:
    ticks = history(3, length=6)
    guests = [Tick(tick.stamp, tick.records[1:]) for tick in ticks]
    hosts = [Tick(tick.stamp, tick.records[:1]) for tick in ticks]
    apart = together([*rolled(guests, []), *rolled(hosts, [])], FIVE_MINUTES_MS)
    assert len(apart) == 2
    subjects = [{subject for _, subject in by_key(one)} for one in apart]
    assert not subjects[0] & subjects[1]
    assert len(subjects[0] | subjects[1]) == 4
    assert len(together([*apart, *rolled(ticks, [])], FIVE_MINUTES_MS)) == 1
    assert min(start for start, _ in by_key(apart[0])) == START_MS


def without(uuid: str, records: tuple[Record, ...]) -> tuple[Record, ...]:
    return tuple(record for record in records if record.domain is None or record.domain.uuid != uuid)


def test_a_guest_that_has_gone_is_in_no_bucket_after_its_last() -> None:
    ticks = history(3, length=60, step_ms=100_000)
    *_, gone = (record.domain.uuid for record in ticks[0].records if record.domain is not None)
    after = ticks[11].stamp.time_ms
    left = [tick if tick.stamp.time_ms < after else Tick(tick.stamp, without(gone, tick.records)) for tick in ticks]
    finished = in_slices(left, 7, Unfinished())
    for width_ms, rollups in (
        (FIVE_MINUTES_MS, [one.minutes for one in finished]),
        (HOUR_MS, [one.hours for one in finished]),
    ):
        of_gone = [
            start_ms
            for found in rollups
            for rollup in found
            if gone in {entry.uuid for entry in rollup.scope.entries}
            for start_ms in rollup.starts_ms.tolist()
        ]
        assert of_gone
        assert max(of_gone) <= after + width_ms + 7 * 100_000  # those that were finished together share a scope


def test_an_hour_holds_its_guests_and_not_every_company_they_were_in() -> None:
    ticks = history(6, length=60, step_ms=1_000)
    uuids = [record.domain.uuid for record in ticks[0].records if record.domain is not None]
    # Another guest is away in every tick.
    changing = [Tick(tick.stamp, without(uuids[i % len(uuids)], tick.records)) for i, tick in enumerate(ticks)]
    plain, folded = Unfinished(), Unfinished()
    in_slices(changing, 20, plain)
    in_slices(changing, 20, folded)
    for _ in folded.fold():
        pass
    (apart,), (together_,) = plain._sketches.values(), folded._sketches.values()
    assert len(apart) > len(together_) == 1
    (only,) = together_.values()
    assert {entry.uuid for entry in only.entries} == {None, *uuids}
    for field, sketches in only.by_field.items():
        counted = sum(int(part.by_field[field].counts.sum()) for part in apart.values() if field in part.by_field)
        assert int(sketches.counts.sum()) == counted
        for place, entry in enumerate(only.entries):
            rows = [
                (part.by_field[field], row)
                for part in apart.values()
                if field in part.by_field
                for row, other in enumerate(part.entries)
                if other.uuid == entry.uuid
            ]
            assert sketches.maxs[place] == max((of.maxs[row] for of, row in rows), default=-np.inf)
            assert np.isclose(sketches.sums[place], sum(of.sums[row] for of, row in rows))


def test_sketches_of_ever_other_companies_are_put_together_as_they_come() -> None:
    unfinished, rows, known = Unfinished(), Rows(), LastKnown()
    ticks = history(6, length=60, step_ms=1_000)
    guests = [record for record in ticks[0].records if record.domain is not None]
    others = [record for record in ticks[0].records if record.domain is None]
    changing = []
    for i, tick in enumerate(ticks):  # each has another guest, beside what all have
        own = replace(guests[0], domain=Domain(f"u{i}", "g", 1))
        changing.append(Tick(tick.stamp, (*others, own)))
    at_most = 0
    for run in rows.runs(changing):
        unfinished.add(roll(run, known.before(run), find_keyed(run.plan)))
        known.after(run)
        at_most = max([at_most, *map(len, unfinished._sketches.values())])
    (of_hour,) = unfinished._sketches.values()
    uuids = {entry.uuid for sketched in of_hour.values() for entry in sketched.entries}
    assert uuids >= {f"u{i}" for i in range(len(ticks))}
    assert at_most <= 1 + APART_MAX


def test_runs_as_short_as_a_tick_are_merged_as_they_come_and_come_to_the_same() -> None:
    ticks = history(6, length=90, step_ms=3_000)
    uuids = [record.domain.uuid for record in ticks[0].records if record.domain is not None]
    # Another guest is away in every tick, so that each is a run.
    changing = [Tick(tick.stamp, without(uuids[i % len(uuids)], tick.records)) for i, tick in enumerate(ticks)]
    unfinished, rows, known, runs = Unfinished(), Rows(), LastKnown(), []
    for run in rows.runs(changing):
        runs.append(roll(run, known.before(run), find_keyed(run.plan)))
        known.after(run)
        unfinished.add(runs[-1])
        assert len(unfinished._minutes) <= 2 + APART_MAX  # one of the newest five minutes, one of those before
    assert len(runs) >= len(ticks)
    whole = merge([one.rollup for one in runs], FIVE_MINUTES_MS)
    assert by_key(merge(unfinished._minutes, FIVE_MINUTES_MS)) == by_key(whole)
    assert len(whole.starts_ms) > 1


def test_what_was_merged_as_it_came_holds_no_guest_of_the_bucket_before() -> None:
    ticks = history(6, length=120, step_ms=5_000)
    uuids = [record.domain.uuid for record in ticks[0].records if record.domain is not None]
    gone, *others = uuids
    ends = ticks[0].stamp.time_ms // FIVE_MINUTES_MS * FIVE_MINUTES_MS + FIVE_MINUTES_MS
    changing = [
        Tick(
            tick.stamp,
            without(
                others[i % len(others)],
                tick.records if tick.stamp.time_ms < ends else without(gone, tick.records),
            ),
        )
        for i, tick in enumerate(ticks)
    ]
    finished = in_slices(changing, len(changing), unfinished := Unfinished())
    assert gone in {entry.uuid for rollup in finished[0].minutes for entry in rollup.scope.entries}
    assert gone not in {entry.uuid for rollup in unfinished._minutes for entry in rollup.scope.entries}


@pytest.mark.parametrize("taken_after", [0, 1, 17, 50])
def test_what_was_open_at_one_moment_goes_on_as_that_and_is_not_changed_by_what_came_later(taken_after: int) -> None:
    ticks, rows, known = history(3, length=80, step_ms=100_000), Rows(), LastKnown()
    first, other = Unfinished(), Unfinished()

    def add(to: list[Unfinished], part: list[Tick], start: int) -> list[Finished]:
        for run in rows.runs(part):
            rolled_up = roll(run, known.before(run), find_keyed(run.plan))
            known.after(run)
            for one in to:
                one.add(rolled_up)
        ids, times_ms = np.arange(start, start + len(part)) + 1, np.array([tick.stamp.time_ms for tick in part])
        return [one.finish(ids, times_ms) for one in to]

    if taken_after:
        add([first], ticks[:taken_after], 0)
    held = first.held()
    before = unfinishedblob.encode(held)
    other = Unfinished.of(held)
    for at in range(taken_after, len(ticks), 7):
        mine, its = add([first, other], ticks[at : at + 7], at)
        assert told(mine) == told(its)
    assert unfinishedblob.encode(held) == before
    assert unfinishedblob.encode(first.held()) == unfinishedblob.encode(other.held())


def told(finished: Finished) -> list[object]:
    """Say what is in buckets, so that it compares."""
    rollups = [[by_key(rollup) for rollup in of] for of in (finished.minutes, finished.hours)]
    sketches = {
        start_ms: [(one.entries, {name: sketchblob.encode(its) for name, its in one.by_field.items()}) for one in of]
        for start_ms, of in finished.sketches.items()
    }
    return [*rollups, sketches]

"""What is known of counters when a run begins."""

from __future__ import annotations

import numpy as np
import pytest

from domstat_sinks.sqlite.rollups import lastknown
from domstat_sinks.sqlite.rollups.increments import take
from domstat_sinks.sqlite.rollups.lastknown import LastKnown, cut_runs
from domstat_sinks.sqlite.rollups.rollstats import Subject

from .histories import Rows, history


def subjects(*names: str) -> frozenset[Subject]:
    return frozenset(("guest", name, None) for name in names)


def test_ticks_of_one_layout_are_one_run() -> None:
    assert cut_runs([7, 7, 7], {7: subjects("a")}) == [(7, [0, 1, 2])]


def test_a_layout_with_the_same_guests_ends_a_run() -> None:
    of = {1: subjects("a", "b"), 2: subjects("b", "c")}
    assert cut_runs([1, 1, 2, 1], of) == [(1, [0, 1]), (2, [2]), (1, [3])]


def test_parts_of_a_large_host_are_runs_beside_each_other() -> None:
    of = {1: subjects("a"), 2: subjects("b"), 3: subjects("b", "c")}
    assert cut_runs([1, 2, 1, 2, 1, 3, 1], of) == [(1, [0, 2, 4, 6]), (2, [1, 3]), (3, [5])]


def test_no_ticks_are_no_runs() -> None:
    assert cut_runs([], {}) == []


def test_of_whoever_is_new_nothing_is_known() -> None:
    (run,) = Rows().runs(history(3)[:1])
    before = LastKnown().before(run)
    assert not before.spans_ns.any()
    assert np.isnan(take(run, before).rates).all()


def test_the_subjects_seen_longest_ago_are_forgotten_beyond_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lastknown, "SUBJECTS_MAX", 2)
    first, second = Rows().runs(history(3)[:1]), Rows().runs(history(3)[1:2])
    known = LastKnown()
    known.after(next(first))
    run = next(second)
    spans = known.before(run).spans_ns
    forgotten = [record for record in range(4) if not spans[run.plan.counter_records == record].any()]
    assert forgotten == [0, 1]

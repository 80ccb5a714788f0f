"""Sealed or not, a history says the same, to the last bit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domstat.model import Batch
from domstat_sinks.sqlite import merging, upkeep
from domstat_sinks.sqlite.export import Exporter

from .conftest import History
from .test_stored import Life

VIEWS = ("samples", "rates")
PROPERTY = settings(
    max_examples=20,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a seed cannot be made smaller
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)


def everything(history: History, view: str) -> list[tuple[object, ...]]:
    return sorted(history.ask(f"SELECT * FROM {view}"), key=repr)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of five ticks, segments merged by ten and twenty."""
    monkeypatch.setattr(upkeep, "SLICE_TICKS", 5)
    monkeypatch.setattr(upkeep, "SLICE_MS", 1)
    levels = {1: merging.Level(merging.DAY_MS, 10), 2: merging.Level(merging.DAY_MS, 20)}
    monkeypatch.setattr(merging, "LEVELS", levels)


def write_each(history: History, batches: Sequence[Batch]) -> None:
    for one in batches:
        history.write(one)


def ticks(seed: int, chunks: int) -> list[Batch]:
    return list(itertools.islice(itertools.chain.from_iterable(iter(Life(seed, chunks).tick, None)), 45))


def levels_of(history: History) -> set[int]:
    return {int(str(level)) for (level,) in history.ask("SELECT level FROM segment")}


@PROPERTY
@given(seed=st.integers(0, 2**32), chunks=st.integers(1, 4))
@pytest.mark.usefixtures("small")
def test_batches_come_out_of_segments_as_they_went_in(
    make_history: Callable[[], History], seed: int, chunks: int
) -> None:
    batches = ticks(seed, chunks)
    history = make_history()
    write_each(history, batches)
    found = list(Exporter(history.reader()).batches(0, 1 << 62, pytest.fail))
    for one, other in zip(found, batches, strict=True):
        assert one.stamp == other.stamp
        for record, original in zip(one.records, other.records, strict=True):
            assert (record.params, record.rates) == (original.params, original.rates)
            assert replace(record, figures=original.figures, interval_s=None) == original
    history.close()


@PROPERTY
@given(seed=st.integers(0, 2**32), chunks=st.integers(1, 4), step_s=st.sampled_from([0.0, 10.0]))
@pytest.mark.usefixtures("small")
def test_what_is_sealed_reads_as_it_did_before(
    make_history: Callable[[], History], monkeypatch: pytest.MonkeyPatch, seed: int, chunks: int, step_s: float
) -> None:
    monkeypatch.setattr(upkeep, "STEP_S", step_s)
    batches = ticks(seed, chunks)
    sealed = make_history()
    write_each(sealed, batches)
    plain = make_history()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upkeep.Upkeep, "ends_slice", lambda *_: False)
        write_each(plain, batches)
    for view in VIEWS:
        assert everything(sealed, view) == everything(plain, view)
    sealed.settle()
    for view in VIEWS:
        assert everything(sealed, view) == everything(plain, view)
    assert max(levels_of(sealed)) > 0, "merged"
    assert levels_of(plain) == set()
    sealed.close()
    plain.close()

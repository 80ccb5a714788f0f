"""Series found all at once: the same as the directory says pair by pair."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from domstat.catalog import ValueType
from domstat_sinks.sqlite.packed.directory import GROUP, LAYOUT_WIDTH, Column, Directory, Member
from domstat_sinks.sqlite.packed.ragged import Ragged
from domstat_sinks.sqlite.packed.seriesindex import SeriesIndex


@st.composite
def directories(draw: st.DrawFn) -> Directory:
    """Make one of any members in any layouts, of shapes with any columns; more than fit into a group now and then."""
    made = Directory()
    members, fields = draw(st.sampled_from([1, 3, GROUP, GROUP + 3])), draw(st.integers(1, 3))
    made.members = [Member("guest", f"g{number}", None, 1) for number in range(members)]
    made.columns = [Column(number % fields, f"d{number}", ValueType.U64) for number in range(draw(st.integers(1, 5)))]
    columns = st.sets(st.integers(0, len(made.columns) - 1), max_size=len(made.columns)).map(sorted)
    shapes_ = draw(st.lists(columns, min_size=1, max_size=4))
    made.shapes = Ragged.of([np.array(shape, dtype=np.int64) for shape in shapes_])
    seed = np.random.default_rng(draw(st.integers(0, 99)))
    layouts = []
    for _ in range(draw(st.integers(1, 3))):
        present = np.flatnonzero(seed.random(members) < draw(st.sampled_from([0.3, 1.0])))
        shapes = seed.integers(0, len(made.shapes), len(present))
        layouts.append(np.stack([seed.permutation(present), shapes, np.zeros_like(shapes)], axis=1))
    made.layouts = Ragged.of(layouts, LAYOUT_WIDTH)
    made.names = [None]
    made.layout_of = seed.integers(0, len(made.layouts), draw(st.integers(1, 9)))
    made.ids = np.arange(len(made.layout_of))
    return made


@given(directories())
def test_series_and_their_ticks_are_those_of_the_directory(directory: Directory) -> None:
    index = SeriesIndex(directory)
    for field in range(4):
        found = index.of(field)
        pairs = list(zip(found.members.tolist(), found.columns.tolist(), strict=True))
        expected = [pair for group in range(directory.groups) for pair in directory.series(field, group)]
        assert pairs == expected
        assert found.groups.tolist() == [member // GROUP for member, _ in expected]
        assert found.rows.tolist() == [directory.place(*pair) for pair in expected]
        for pair, always in zip(pairs, found.always.tolist(), strict=True):
            ticks = directory.ticks_of(*pair).tolist()
            assert index.ticks(*pair).tolist() == ticks
            assert always == (len(ticks) == len(directory))

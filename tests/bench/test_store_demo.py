"""Recorded guests in the history: what a real agent collected is there, sample by sample, in hours."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from domstat.model import Batch, Kind
from domstat_bench import store_demo, store_ours
from domstat_bench.workload import Workload
from domstat_bench.workload_batches import Batches
from domstat_lab.spec import tiny

TICKS = 6


def made() -> Iterator[Batch]:
    """Make an hour of two guests."""
    workload = Workload(2)
    making = Batches(workload.kinds)
    for hour in workload.hours(1):
        yield from making.of(hour)


def test_every_sample_is_written_and_sealed_as_it_would_be_in_so_many_hours(tmp_path: Path) -> None:
    written = store_demo.write(made(), 2, tmp_path)
    assert (written.guests, written.ticks, written.samples) == (2, 360, 360 * 2 * 52)
    assert written.span_ms == pytest.approx(100 * 3_600_000, rel=0.01)
    assert 0.7 * written.samples < written.sizes.sealed_samples < written.samples
    with store_ours.history_in(tmp_path) as history:
        (count,) = next(history.sql("SELECT count(*) FROM samples").rows)
    assert count == written.samples


def test_what_an_agent_collects_of_real_guests_is_given_batch_by_batch() -> None:
    if os.geteuid() != 0:
        pytest.skip("a private libvirtd needs root: run ./dev test as root or with sudo")
    with store_demo.recorded((tiny("one"), tiny("two")), TICKS) as batches:
        records = [record for batch in batches for record in batch.records]
    names = [record.domain.name for record in records if record.domain and record.kind is Kind.GUEST]
    assert names.count("one") == names.count("two") >= TICKS
    assert {record.kind for record in records} >= {Kind.GUEST, Kind.HOST, Kind.AGENT}

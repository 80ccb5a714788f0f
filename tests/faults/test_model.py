"""Whatever is done to a spool, in whatever order, it does what the model of :mod:`.mirror` does.

The machine calls what the threads of spool and couriers would, one step at a time (see :mod:`.rig`), so that every
order of steps can be had, and had again. What only happens when threads meet is in :mod:`.test_races`.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from domstat.deliver import courier as courier_module
from domstat.deliver import journal as journal_module
from domstat.deliver import memory as memory_module
from domstat.sink import Fatal
from shown import Show

from .mirror import Model
from .oracle import seed
from .rig import LIMITS, CrashedError, Rig

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where the journals are: a step waits for a disk several times, and what a disk does is tried elsewhere."""

EXAMPLES_SHORT, STEPS_SHORT = 40, 50
EXAMPLES_LONG, STEPS_LONG = 1000, 100
"""5,000 steps and 100,000."""

FUTURE_MS = 4_000_000_000_000
"""When the first batch is collected, by its own account: none is ever too old."""

NAMES = ("a", "b", "c")

SINKS = st.dictionaries(st.sampled_from(NAMES), st.booleans(), min_size=1)
"""Which sinks there are, and whether each takes any order."""

TROUBLE = st.lists(
    st.sampled_from(("store", "store", "retry", "fail", "reject", "poison", "stop", "crash", *["fail"] * 2)),
    max_size=6,
)
"""What a sink does with the next writes."""


MISHAPS = ("disk dies", "disk is mended", "disk is mended", "crash", "crash, copied", "reconfigure", *["nothing"] * 4)

TROUBLES: st.SearchStrategy[list[str]] = st.one_of(st.just([]), TROUBLE)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have little fit the memory, so that what happens when it is full happens; and nobody waits."""
    monkeypatch.setattr(courier_module, "BACKOFF_BASE_S", 0.0)
    monkeypatch.setattr(journal_module, "RESERVE_BYTES", 4096)
    monkeypatch.setattr(memory_module, "TAIL_RECORDS_MAX", 6)
    monkeypatch.setattr(memory_module, "TAIL_BATCHES_MIN", 2)
    monkeypatch.setattr(memory_module, "PACKED_BYTES_MAX", 8000)
    monkeypatch.setattr(memory_module, "INCOMING_RECORDS_MAX", 24)


class Machine(RuleBasedStateMachine):
    """Does something to a spool and to the model, and compares them."""

    did: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="domstat-model-", dir=MEMORY)
        self.rig = Rig(Path(self._folder.name))
        self.model = Model()
        self.tag = FUTURE_MS
        self.ended: set[str] = set()
        """Sinks that no retry helps."""

    @initialize(sinks=SINKS)
    def begin(self, sinks: dict[str, bool]) -> None:
        self._begin(sinks, oldest=False)

    def _begin(self, sinks: dict[str, bool], *, oldest: bool) -> None:
        names = sorted(sinks)
        self.model.configure(names, names if oldest else ())
        self.rig.begin(sinks, names if oldest else ())
        self.ended = set()

    # What happens.

    @rule(sizes=st.lists(st.integers(1, 3), min_size=1, max_size=8))
    def collect(self, sizes: list[int]) -> None:
        self.did["collect"] += 1
        for records in sizes:
            self.tag += 1
            before = self.rig.in_memory()
            self.rig.offer(self.tag, records)
            self.model.offer(self.tag, records)
            self.model.remove((before | {self.tag}) - self.rig.in_memory())

    @rule(flush=st.booleans())
    def commit(self, flush: bool) -> None:
        self.did["commit"] += 1
        if self.rig.commit(flush=flush):
            assert not self.rig.is_disk_dead
            self.model.commit()

    @rule()
    def trim(self) -> None:
        assert self.rig.spool.journal is not None
        had_by_all = {
            tag for tag in self.model.journal if not any(tag in m.lacking for m in self.model.everybody.values())
        }
        is_over = self.rig.spool.journal.bytes_used() > LIMITS.bytes
        before = self.rig.in_journal()
        self.rig.trim()
        removed = before - self.rig.in_journal()
        assert removed <= had_by_all or is_over, "nothing goes that a sink lacks, unless there is too much of it"
        self.did["trim"] += 1
        self.did["dropped"] += bool(removed - had_by_all)
        self.model.remove(removed)

    @rule(name=st.sampled_from(NAMES), trouble=TROUBLES, writes=st.integers(1, 4))
    def deliver(self, name: str, trouble: list[str], writes: int) -> None:
        if name not in self.model.here or name in self.ended:
            return
        self.rig.sinks[name].plan = list(trouble)
        for _ in range(writes):
            self.did["deliver"] += 1
            try:
                self._deliver(name)
            except CrashedError:
                self.did["crash in a write"] += 1
                self._crash(copied=False)
                return
            except Fatal:
                self.did["fatal"] += 1
                self.ended.add(name)
                return

    def _deliver(self, name: str) -> None:
        before = self.rig.has_done(name)
        lacking = self.model.here[name].lacking
        self.rig.deliver(name)
        self.did["with a gap"] += bool(self.rig.spool.position(name).spans)
        new = (self.rig.has_done(name) - before) & lacking
        if not self.rig.sinks[name].any_order and new:
            assert {tag for tag in lacking if tag < max(new)} <= new, "in order"
        self.model.do(name, new)

    @rule(mishap=st.sampled_from(MISHAPS), sinks=SINKS, oldest=st.booleans())
    def befall(self, mishap: str, sinks: dict[str, bool], oldest: bool) -> None:
        """Have something happen that is rarer than the rest."""
        self.did[mishap] += 1
        match mishap:
            case "disk dies" if not self.rig.is_disk_dead:
                self.rig.kill_disk()
            case "disk is mended":
                self.rig.mend_disk()
            case "crash" | "crash, copied":
                self._crash(copied=mishap != "crash")
            case "reconfigure":
                self._stop()
                self._begin(sinks, oldest=oldest)

    def _crash(self, *, copied: bool) -> None:
        there = {name: self.rig.sinks[name].any_order for name in self.model.here}
        self.rig.crash(copied=copied)
        self.model.crash()
        self._begin(there, oldest=False)

    def _stop(self) -> None:
        self.rig.mend_disk()
        self.rig.stop()
        self.model.commit()

    # What holds.

    @invariant()
    def the_same_is_where_it_should_be(self) -> None:
        if not self.rig.couriers:
            return
        assert self.rig.in_journal() == set(self.model.journal)
        assert self.rig.in_memory() == set(self.model.waiting)

    @invariant()
    def every_sink_is_as_far_as_it_should_be(self) -> None:
        there = {*self.model.journal, *self.model.waiting}
        for name, mirror in self.model.here.items():
            done = self.rig.has_done(name)
            assert mirror.wanted & there & done == mirror.done & there
            assert mirror.done <= set(self.rig.sinks[name].stored), "what is done is stored"

    @invariant()
    def counts_add_up(self) -> None:
        for name, courier in self.rig.couriers.items():
            counts = courier.counts
            assert courier.pending == self.model.pending(name)
            assert min(counts.received, counts.written, counts.rejected, counts.dropped) >= 0

    def teardown(self) -> None:
        try:
            if self.rig.couriers:
                self._finish()
        finally:
            self.rig.close()
            self._folder.cleanup()

    def _finish(self) -> None:
        """Have everything delivered, to sinks that were taken away too."""
        self._stop()
        self._begin(dict.fromkeys(self.model.everybody, False), oldest=False)
        for name, mirror in self.model.here.items():
            for _ in range(len(mirror.lacking)):
                self._deliver(name)
            assert mirror.lacking == set()
            assert mirror.wanted - mirror.gone <= set(self.rig.sinks[name].stored), "nothing is lost"


def go_through(examples: int, steps: int) -> dict[str, Any]:
    chosen = seed()
    Machine.did.clear()
    run_state_machine_as_test(
        seeded(chosen)(Machine),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
        _min_steps=steps,
    )
    return {"test": "model", "seed": chosen, "examples": examples, "steps": examples * steps, "did": dict(Machine.did)}


def test_a_spool_does_what_its_model_does(show: Show) -> None:
    show(go_through(EXAMPLES_SHORT, STEPS_SHORT))


@pytest.mark.faults
def test_a_spool_does_what_its_model_does_for_long(show: Show) -> None:
    show(go_through(EXAMPLES_LONG, STEPS_LONG))

"""The agent's own courier with a sink at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from domstat.model import Batch
from domstat.testing import Keeps, Rig
from domstat.testing import carrying as module
from domstat.testing.carrying import carrying, until
from domstat.testing.records import START_MS, ticks
from goodsink import GoodSink, GoodStore


def rig_of(folder: Path, sink: type[GoodSink] = GoodSink) -> Rig:
    return Rig(GoodStore(folder, sink), folder, Keeps(), START_MS)


def test_what_is_taken_is_delivered_and_counted(tmp_path: Path) -> None:
    rig, written = rig_of(tmp_path), ticks(5)
    with carrying(rig) as agent:
        agent.take(*written)
        agent.deliver_all()
        assert agent.courier.counts.written == sum(len(one.records) for one in written)
    rig.holds(*written)


def test_what_was_not_delivered_is_brought_by_the_next(tmp_path: Path) -> None:
    rig, written = rig_of(tmp_path), ticks(40)
    with carrying(rig) as agent:
        agent.sink.may_write.clear()
        agent.take(*written)
        until(agent.sink.writes.is_set, lambda: "nothing was written")
        agent.courier.begin_stop()
        agent.sink.may_write.set()
    with carrying(rig) as agent:
        agent.deliver_all()
    rig.holds(*written)


def test_a_part_that_is_rejected_is_seen_by_the_agent_and_by_the_suite(tmp_path: Path) -> None:
    class Parting(GoodSink):
        def write(self, batches: Sequence[Batch]) -> None:
            assert self.context is not None
            self.context.reject_part(batches[0].records[0], "why")
            super().write(batches)

    rig = rig_of(tmp_path, Parting)
    with carrying(rig) as agent:
        agent.take(*ticks(1))
        agent.deliver_all()
        assert agent.courier.counts.parts_rejected == 1
    assert [reason for _, reason in rig.parts] == ["why"]


def test_a_sink_that_never_takes_anything_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(GoodSink):
        def write(self, batches: Sequence[Batch]) -> None:
            raise RuntimeError("broken")

    def deliver() -> None:
        with carrying(rig_of(tmp_path, Failing)) as agent:
            agent.take(*ticks(1))
            until(lambda: bool(agent.courier.counts.retries), lambda: "it did not fail")
            with monkeypatch.context() as patch:
                patch.setattr(module, "PATIENCE_S", 0.0)
                agent.deliver_all()

    with pytest.raises(pytest.fail.Exception, match="records still wait: "):
        deliver()

"""How the suite handles a sink: what it skips, and what it makes of a sink that says odd things."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from domstat.model import Batch
from domstat.sink import Fatal, Reject, Retry
from domstat.testing import Keeps, Rig, SinkContract
from domstat.testing import rig as module
from domstat.testing.records import START_MS, batch, guest
from domstat.testing.rig import raises
from goodsink import GoodSink, GoodStore
from judged import cases_of, run_by_hand, variants


def rig_of(folder: Path, sink: type[GoodSink] = GoodSink) -> Rig:
    return Rig(GoodStore(folder, sink), folder, Keeps(), START_MS)


@pytest.mark.parametrize("case", cases_of(SinkContract))
def test_without_a_store_that_can_be_asked_a_case_is_skipped_or_needs_none(
    case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Mute:
        sink = GoodSink

        def __init__(self) -> None:
            self.settings = {"path": str(tmp_path / "store.jsonl")}

    rig = Rig(Mute(), tmp_path, Keeps(), START_MS)
    reason = "the store has no read() and so on"
    try:
        run_by_hand(case, rig, next(variants(case)), capfd)
    except pytest.skip.Exception as skipped:
        reason = str(skipped)
    rig.close_all()
    assert re.search(r"has no (read|outage|slow|refusing|hopeless)\(", reason)


def rejecting(*items: tuple[Batch, object, str]) -> type[GoodSink]:
    class Rejecting(GoodSink):
        def write(self, batches: Sequence[Batch]) -> None:
            raise Reject(items)  # type: ignore[arg-type]  # whatever it says

    return Rejecting


@pytest.mark.parametrize(
    ("sink", "says"),
    [
        (rejecting(), "without a record"),
        (rejecting((batch(), guest(5), "no")), "was not written"),
        (rejecting((batch(), guest(), "")), "without a reason"),
    ],
)
def test_what_is_rejected_is_some_of_what_was_written_and_why(tmp_path: Path, sink: type[GoodSink], says: str) -> None:
    rig = rig_of(tmp_path, sink)
    with pytest.raises(pytest.fail.Exception, match=says):
        rig.write(rig.open(), batch())


def test_a_record_that_is_rejected_as_an_equal_one_is_known_again(tmp_path: Path) -> None:
    record = guest()
    rig = rig_of(tmp_path, rejecting((batch(), replace(record), "no")))
    assert rig.write(rig.open(), batch(record)) == [record]
    rig.reported(record)
    rig.reported_only(record)
    with pytest.raises(pytest.fail.Exception, match="did not report it"):
        rig.reported(guest())
    with pytest.raises(pytest.fail.Exception, match="nothing wrong"):
        rig.reported_only(guest())
    with pytest.raises(pytest.fail.Exception, match="1 records were rejected"):
        rig.reported_nothing()


def test_retries_end_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Away(GoodSink):
        def write(self, batches: Sequence[Batch]) -> None:
            raise Retry("not yet")

    monkeypatch.setattr(module, "PATIENCE_S", 0.0)
    rig = rig_of(tmp_path, Away)
    with pytest.raises(pytest.fail.Exception, match="still Retry, 0 s after the store is back: not yet"):
        rig.write_when_it_can(rig.open(), batch())


def test_an_error_is_one_of_those_that_it_may_be() -> None:
    def act() -> None:
        raise Fatal("no")

    assert str(raises(act, Fatal, Retry, when="then")) == "no"
    assert raises(lambda: None, Fatal, when="then") is None
    with pytest.raises(pytest.fail.Exception, match=r"then the sink raised Fatal\('no'\); it may raise Retry"):
        raises(act, Retry, when="then")


def test_sinks_are_closed_at_the_end_whatever_that_comes_to(tmp_path: Path) -> None:
    closed = []

    class Closing(GoodSink):
        def close(self) -> None:
            closed.append(self)
            raise OSError

    rig = rig_of(tmp_path, Closing)
    rig.open()
    rig.make()
    rig.close_all()
    rig.close_all()
    assert len(closed) == 2


def test_the_log_remembers(tmp_path: Path) -> None:
    log = rig_of(tmp_path).log
    log.bind(sink="x").warning("odd", how="very")
    log.error("bad")
    log.info("fine")
    log.debug("dull")
    assert [(level, event) for level, event, _ in log.said] == [
        ("warning", "odd"),
        ("error", "bad"),
        ("info", "fine"),
        ("debug", "dull"),
    ]

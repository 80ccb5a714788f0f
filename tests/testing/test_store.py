"""What a store tells the suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from domstat.model import Record
from domstat.testing import CanBeAway, CanBeHopeless, CanBeSlow, CanRead, CanRefuse, Keeps, stored, subject
from domstat.testing.records import agent, event, gap, guest, hypervisor, pool
from goodsink import GoodStore


@pytest.mark.parametrize(
    "record", [guest(), hypervisor(), pool(), agent(), event(device="vda"), gap()], ids=lambda r: r.kind
)
def test_a_record_is_about_what_its_parts_say(record: Record) -> None:
    assert record.subject == stored(record).subject
    assert record.subject == subject(
        record.domain.uuid if record.domain else None,
        record.pool.name if record.pool else None,
        record.event.type if record.event else None,
        record.event.device if record.event else None,
    )


def test_all_that_a_record_says_is_in_what_is_stored_of_it() -> None:
    assert stored(guest(params={"balloon.rss": 5}, labels={"team": "shop"})).values == {
        "balloon.rss": 5,
        "label.team": "shop",
        "interval_s": 10.0,
    }
    assert stored(guest()).values["cpu.time.rate"] == 0.5
    assert stored(gap("why")).values["gap.reason"] == "why"


def test_abilities_are_found_by_what_a_store_has(tmp_path: Path) -> None:
    store = GoodStore(tmp_path)
    for ability in (CanRead, CanBeAway, CanBeSlow, CanRefuse, CanBeHopeless):
        assert isinstance(store, ability)
        assert not isinstance(object(), ability)


def test_by_default_a_sink_keeps_everything() -> None:
    keeps = Keeps()
    assert (keeps.again, keeps.latest, keeps.prints, keeps.tolerance) == (False, False, False, 0.0)
    assert (keeps.durable, keeps.reports, keeps.texts, keeps.rates, keeps.remarks) == (True,) * 5
    assert keeps.text("a b") == "a b"

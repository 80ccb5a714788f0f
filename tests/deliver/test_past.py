"""What the agent before knew: rates go on over a restart, also of what the newest record lacked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from answers import Guest, Telling, answer, disk_xml, domain_xml, stamp
from domstat.collect.known import Past
from domstat.deliver.codec import pack
from domstat.deliver.journal import Journal
from domstat.deliver.memory import Parcel
from domstat.deliver.parcels import packed
from domstat.deliver.past import UnreadableError, recall
from domstat.model import Batch, Record, Value

PARAMS: dict[str, Value] = {
    "state.state": 1,
    "cpu.time": 10**12,
    "vcpu.current": 1,
    "block.count": 1,
    "block.0.name": "vda",
    "block.0.path": "/images/web-1.qcow2",
    "block.0.rd.bytes": 5000,
    "block.0.capacity": 10**9,
}


def at(seconds: float, **more: Value) -> Guest:
    grown = {"cpu.time": 10**12 + round(seconds * 10**8), "block.0.rd.bytes": 5000 + round(seconds * 100)}
    return Guest(params={**PARAMS, **grown, **{key.replace("__", "."): value for key, value in more.items()}})


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.db")
    yield journal
    journal.close()


@pytest.fixture
def keep(journal: Journal) -> Callable[..., None]:
    numbers = iter(range(1, 10_000))

    def keep(*batches: Batch) -> None:
        journal.append([packed(Parcel(next(numbers), one)) for one in batches], {})

    return keep


def telling() -> Telling:
    return Telling({UUID: domain_xml(disk_xml("vda"))})


UUID = at(0).uuid


def guest_of(batch: Batch) -> Record:
    return next(record for record in batch.records if record.domain)


def restarted(journal: Journal, told: Telling) -> dict[str, Past]:
    stream = (told.stream.host, told.block.name)
    past = recall(journal, [stream]).guests[stream]
    told.stream.remember(dict(past))
    return past


def test_the_first_tick_after_a_restart_has_the_rates_that_it_would_have_had(
    journal: Journal, keep: Callable[..., None]
) -> None:
    before, after = telling(), telling()
    for seconds in (0, 10, 20):
        keep(*before.tick(answer(stamp(seconds, 12), at(seconds))))
    restarted(journal, after)
    (expected,) = before.tick(answer(stamp(45, 12), at(45)))
    (found,) = after.tick(answer(stamp(45, 12), at(45)))
    assert guest_of(found).rates == guest_of(expected).rates
    assert guest_of(found).rates["cpu.time"] == pytest.approx(0.1)
    assert guest_of(found).interval_s == guest_of(expected).interval_s == 25


def test_what_the_newest_records_lacked_goes_on_from_when_it_was_last_there(
    journal: Journal, keep: Callable[..., None]
) -> None:
    before, after = telling(), telling()
    keep(*before.tick(answer(stamp(0), at(0))))
    silent = {key: value for key, value in at(30).params.items() if not key.endswith(("bytes", "capacity"))}
    for seconds in range(10, 40, 10):
        keep(*before.tick(answer(stamp(seconds), Guest(params={**silent, "cpu.time": 10**12 + seconds * 10**8}))))
    restarted(journal, after)
    (expected,) = before.tick(answer(stamp(40), at(40)))
    (found,) = after.tick(answer(stamp(40), at(40)))
    assert guest_of(found).rates == guest_of(expected).rates
    assert guest_of(found).rates["block.rd.bytes[vda]"] == pytest.approx(100.0)


def test_a_guest_that_was_started_anew_meanwhile_has_no_rate(journal: Journal, keep: Callable[..., None]) -> None:
    before, after = telling(), telling()
    keep(*before.tick(answer(stamp(0), at(0))))
    restarted(journal, after)
    again = Guest(params=at(50).params, id=99)
    (found,) = after.tick(answer(stamp(10), again))
    assert (guest_of(found).rates, guest_of(found).interval_s) == ({}, None)


def test_a_disk_that_is_another_one_under_its_old_name_has_no_rate_and_the_others_have(
    journal: Journal, keep: Callable[..., None]
) -> None:
    before, after = telling(), telling()
    keep(*before.tick(answer(stamp(0), at(0))))
    restarted(journal, after)
    other = Guest(params={**at(10).params, "block.0.path": "/images/other.qcow2"})
    (found,) = after.tick(answer(stamp(10), other))
    assert guest_of(found).anew == ("vda",)
    assert set(guest_of(found).rates) == {"cpu.time"}


def test_the_hosts_rates_go_on_too(journal: Journal, keep: Callable[..., None]) -> None:
    before, after = telling(), telling()
    keep(*before.tick(answer(stamp(0), at(0), host={"host.cpu.user": 10**10, "host.cpus": 4})))
    stream = (after.stream.host, after.block.name)
    recalled = recall(journal, [stream])
    after.stream.remember(recalled.guests[stream], recalled.hosts[stream])
    (found,) = after.tick(answer(stamp(10), at(10), host={"host.cpu.user": 2 * 10**10, "host.cpus": 4}))
    assert found.records[0].rates == {"host.cpu.user": 1.0}
    assert found.records[0].interval_s == 10


def test_a_stream_that_never_was_has_no_past(journal: Journal) -> None:
    assert recall(journal, [("new", "default")]).guests == {("new", "default"): {}}


def test_when_every_stream_was_last_seen_to_is_known_of_gaps_too(journal: Journal, keep: Callable[..., None]) -> None:
    from records import batch, gap_record

    gap = gap_record(time_ms=1_000_000, lasted_ms=30_000)
    keep(batch(gap, time_ms=970_000))
    assert recall(journal, []).seen_ms == {("kvm1", "default"): 999_999}


def test_damaged_rows_are_passed_over_and_a_closed_journal_is_no_past(
    journal: Journal, keep: Callable[..., None]
) -> None:
    told = telling()
    (one,) = told.tick(answer(stamp(0), at(0)))
    keep(one)
    entry = packed(Parcel(500, one))
    damaged = type(entry)(500, entry.stream, 1, 1, pack(one)[:-1])
    journal.append([damaged], {})
    assert recall(journal, [one.stream]).guests[one.stream].keys() == {UUID}
    journal.close()
    with pytest.raises(UnreadableError):
        recall(journal, [one.stream])

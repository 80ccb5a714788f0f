"""Ticks as series: what the prometheus sink shows, told once, in order, and ended when it is gone."""

from __future__ import annotations

from msgspec.structs import replace

from domstat.catalog import DERIVED, FIELDS, ValueType
from domstat.model import Batch, Kind, Partial, Record, Value
from domstat_sinks.remote_write.encoder import LABELS_MAX, Encoder
from domstat_sinks.remote_write.memory import SPEAKS_FOR_MS, Memory
from records import (
    TIME_MS,
    UUID,
    agent_record,
    batch,
    event_record,
    gap_record,
    guest_record,
    host_record,
    one_of_each,
    other_record,
    pool_record,
    sleeper_record,
)
from remotewrite import Sample, read
from scraping import exposed, samples

VALUES: dict[ValueType, Value] = {
    ValueType.I64: -3, ValueType.U64: 2**53, ValueType.F64: 1.5, ValueType.BOOL: True, ValueType.TEXT: 'a "text"',
}  # fmt: skip


class Told:
    """An encoder with its memory."""

    def __init__(self, **labels: str) -> None:
        self.memory = Memory()
        self._encoder = Encoder(labels)

    def tell(self, *batches: Batch) -> list[Sample]:
        return [sample for piece in self._encoder.encode(batches, self.memory, []) for sample in read(piece.body)]


def tick(number: int, *records: Record, collect: str = "default") -> Batch:
    time_ms = TIME_MS + number * 10_000
    placed = [replace(record, time_ms=time_ms, collect=collect) for record in (*records, agent_record())]
    return batch(*placed, time_ms=time_ms, collect=collect)


def guest(name: str = "web-1", uuid: str = UUID, **more: object) -> Record:
    return guest_record(name, uuid=uuid, params={"cpu.time": 5}, first=True, derived={"cpu.cores": 0.5}, **more)  # type: ignore[arg-type]


def named(found: list[Sample], *names: str) -> list[tuple[str, float]]:
    """Pick samples by the ends of their names: by the label ``domain``, their values."""
    return [
        (dict(sample.labels).get("domain", ""), sample.value)
        for sample in found
        if sample.name.endswith(names) and not sample.is_stale
    ]


def ended(found: list[Sample]) -> set[str]:
    return {sample.name + "/" + dict(sample.labels).get("domain", "") for sample in found if sample.is_stale}


def everything() -> list[Batch]:
    params: dict[str, Value] = {
        name if i % 2 else f"{name}[a]": VALUES[field.type] for i, (name, field) in enumerate(FIELDS.items())
    }
    params |= {"vcpu.halt_poll.sum[0]": 5, "vm.unheard-of": 1.25, "vm.unheard_of": 1}
    everywhere = guest_record(
        "all",
        uuid="all",
        params=params,
        first=True,
        derived=dict.fromkeys(DERIVED, 0.5),
        labels={"title": 'a "b"\n\\', "nova.project": "é", "job": "x"},
        devices={"vda": {"path": "/x", "device": "cdrom", "backingIndex": "1"}, "": {"path": "none"}},
        partial=Partial(("balloon",)),
    )
    kinds = one_of_each()
    pool = replace(kinds[Kind.POOL], collect="survey", labels={"type": "dir", "path": "/var"})
    survey = batch(replace(sleeper_record(), collect="survey"), pool, collect="survey")
    gone = [batch(event_record(), event_record(), collect="events"), batch(gap_record())]
    host = other_record(Kind.HOST, host="kvm2", params={"host.cpu.intr": 5})
    return [*gone, survey, batch(kinds[Kind.HOST], host, kinds[Kind.GUEST], everywhere, kinds[Kind.AGENT])]


def test_the_series_are_those_of_the_prometheus_sink_to_the_last_label() -> None:
    batches = everything()
    shown = samples(exposed(*batches))
    found = {
        (one.name, frozenset((n, t) for n, t in one.labels if n != "__name__")): one.value
        for one in Told().tell(*batches)
    }
    assert len(found) > len(FIELDS)
    assert found == shown


def test_each_sample_has_its_records_time_and_every_set_label() -> None:
    found = Told(job="vms", Zone="a", zone="b").tell(tick(0, guest()), tick(1, guest()))
    assert {sample.time_ms for sample in found} == {TIME_MS, TIME_MS + 10_000}
    assert all({("job", "vms"), ("Zone", "a"), ("zone", "b")} <= set(sample.labels) for sample in found)


def test_labels_that_travel_now_and_then_are_in_every_tick() -> None:
    told = Told()
    told.tell(tick(0, guest(labels={"title": "shop"}, devices={"vda": {"bus": "virtio"}})))
    found = told.tell(tick(1, guest()))
    labels = {sample.name: dict(sample.labels) for sample in found}
    assert labels["domstat_guest_info"]["label_title"] == "shop"
    assert labels["domstat_device_info"]["bus"] == "virtio"


def test_a_series_of_many_labels_has_no_more_than_stores_take() -> None:
    labels = {f"l{i:02}": "x" for i in range(60)}
    found = Told(job="vms", cluster="c").tell(tick(0, guest(labels=labels)))
    assert max(len(sample.labels) for sample in found) == LABELS_MAX


def test_a_guest_that_is_gone_is_ended_in_the_tick_that_it_is_not_in_and_only_then() -> None:
    told = Told()
    assert ended(told.tell(tick(0, guest("stays", "a"), guest("goes", "b")))) == set()
    found = told.tell(tick(1, guest("stays", "a")))
    assert ended(found) == {
        f"domstat_{name}/goes" for name in ("cpu_time_seconds_total", "cpu_cores", "guest_info", "guest_partial")
    }
    assert {sample.time_ms for sample in found} == {TIME_MS + 10_000}
    assert ended(told.tell(tick(2, guest("stays", "a")))) == set()
    back = told.tell(tick(3, guest("stays", "a"), guest("goes", "b")))
    assert named(back, "guest_info") == [("stays", 1.0), ("goes", 1.0)]


def test_the_parts_of_a_large_hosts_tick_are_one() -> None:
    told = Told()

    def parts(number: int) -> list[Batch]:
        whole = tick(number, guest("one", "a"), guest("two", "b"))
        return [replace(whole, records=whole.records[:1]), replace(whole, records=whole.records[1:])]

    assert ended([sample for number in range(3) for part in parts(number) for sample in told.tell(part)]) == set()


def test_a_guest_under_a_new_name_is_ended_under_the_old() -> None:
    told = Told()
    told.tell(tick(0, guest("old")))
    found = told.tell(tick(1, guest("new")))
    assert ended(found) == {
        f"domstat_{name}/old" for name in ("cpu_time_seconds_total", "cpu_cores", "guest_info", "guest_partial")
    }
    assert named(found, "_seconds_total") == [("new", 5e-9)]


def test_an_info_whose_labels_change_is_ended_as_it_was() -> None:
    told = Told()
    told.tell(tick(0, guest(labels={"title": "a"})))
    assert ended(told.tell(tick(1, guest(labels={"title": "a"})))) == set()
    found = told.tell(tick(2, guest(labels={"title": "b"})))
    stale = [dict(sample.labels) for sample in found if sample.is_stale]
    assert [labels["label_title"] for labels in stale] == ["a"]


def test_a_guest_in_another_stream_is_not_ended() -> None:
    told = Told()
    told.tell(tick(0, guest(), collect="slow"), tick(0, guest()))
    assert ended(told.tell(tick(1))) == set()
    assert ended(told.tell(tick(6, collect="slow"))) != set()


def test_what_two_streams_could_tell_is_told_by_one_until_that_falls_silent() -> None:
    told = Told()
    one = told.tell(tick(0, guest()), tick(0, guest(), collect="slow"))
    assert named(one, "guest_info") == [("web-1", 1.0)]
    later = SPEAKS_FOR_MS // 10_000 + 1
    assert named(told.tell(tick(later, guest(), collect="slow")), "guest_info") == [("web-1", 1.0)]
    assert named(told.tell(tick(later, guest())), "guest_info") == []


def test_events_and_gaps_are_counted_and_told_with_every_tick() -> None:
    told = Told()
    told.tell(batch(event_record("crashed"), event_record("crashed"), collect="events"), batch(gap_record()))
    for number in (1, 2):
        found = {sample.name: sample.value for sample in told.tell(tick(number))}
        assert found["domstat_events_total"] == 2
        assert (found["domstat_gaps_total"], found["domstat_gap_seconds_total"]) == (1, 30)
    assert "domstat_gaps_total" not in {sample.name for sample in told.tell(tick(3, collect="other"))}


def test_what_comes_again_on_a_copy_of_the_memory_is_the_very_same() -> None:
    told = Told()
    told.tell(tick(0, guest("a", "a", labels={"title": "x"}), guest("b", "b")))
    batches = [
        batch(event_record("crashed"), gap_record(), collect="default"),
        tick(1, guest("c", "a", labels={"title": "y"})),
        tick(2, guest("c", "a")),
    ]
    before = told.memory
    told.memory = before.copy()
    first = told.tell(*batches)
    told.memory = before.copy()
    assert told.tell(*batches) == first
    assert ended(first)


def test_a_survey_is_a_tick_without_the_agent() -> None:
    told = Told()

    def survey(number: int, *names: str) -> Batch:
        time_ms = TIME_MS + number * 10_000
        records = [replace(pool_record(name), collect="survey", time_ms=time_ms) for name in names]
        return batch(*records, collect="survey", time_ms=time_ms)

    found = told.tell(survey(0, "one", "two"))
    assert [sample.value for sample in found if "last_tick" in sample.name] == [TIME_MS / 1000]
    gone = [dict(sample.labels)["pool"] for sample in told.tell(survey(1, "one")) if sample.is_stale]
    assert set(gone) == {"two"}


def test_no_series_is_there_twice_in_a_tick() -> None:
    found = Told().tell(*everything())
    assert len({sample.labels for sample in found}) == len(found)


def test_derived_values_that_would_clash_with_a_parameter_are_left_to_it() -> None:
    clash = guest_record(params={"odd.thing": 1}, first=True, derived={"odd.thing": 2.0})
    found = [sample for sample in Told().tell(batch(clash, host_record())) if "odd" in sample.name]
    assert [sample.value for sample in found] == [1.0]

"""What is remembered between ticks, and no more than may be."""

from __future__ import annotations

import pytest

from domstat.model import Kind
from domstat_sinks.prometheus.subjects import Subject
from domstat_sinks.remote_write import memory as module
from domstat_sinks.remote_write.memory import SPEAKS_FOR_MS, Memory
from records import event_record, gap_record, guest_record

STREAM = ("kvm1", "default")
GUEST: Subject = (Kind.GUEST, "kvm1", "u")


def test_labels_and_devices_are_remembered_apart() -> None:
    memory = Memory()
    memory.about(GUEST, guest_record(labels={"a": "1"}))
    memory.about(GUEST, guest_record(devices={"vda": {}}))
    about = memory.about(GUEST, guest_record())
    assert (about.labels, about.devices) == ({"a": "1"}, {"vda": {}})
    assert memory.about(GUEST, guest_record()) is about


def test_a_copy_goes_on_by_itself() -> None:
    memory = Memory()
    memory.count(event_record())
    copy = memory.copy()
    copy.count(event_record())
    copy.count(gap_record())
    copy.ticks(STREAM).now[GUEST] = guest_record()
    copy.about(GUEST, guest_record(labels={"a": "1"}))
    assert list(memory.events.values()) == [1]
    assert memory.gaps == {}
    assert memory.gone(STREAM) == memory.gone(STREAM) == []
    assert memory.about(GUEST, guest_record()).labels is None


def test_one_stream_speaks_until_it_has_been_silent() -> None:
    memory = Memory()
    assert memory.speaks("kvm1", STREAM, 0)
    assert not memory.speaks("kvm1", ("kvm1", "slow"), SPEAKS_FOR_MS)
    assert memory.speaks("kvm1", ("kvm1", "slow"), SPEAKS_FOR_MS + 1)
    assert not memory.speaks("kvm1", STREAM, SPEAKS_FOR_MS + 2)


def test_labels_of_who_is_gone_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SUBJECTS_MIN", 4)
    memory = Memory()
    memory.ticks(STREAM).now[GUEST] = guest_record()
    memory.about(GUEST, guest_record(labels={"a": "1"}))
    for number in range(module.SUBJECTS_MIN * 300):
        memory.about((Kind.GUEST, "kvm1", str(number)), guest_record(labels={"a": "1"}))
    assert memory.about(GUEST, guest_record()).labels == {"a": "1"}
    assert len(memory._abouts) <= 1_025


def test_counts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COUNTS_MAX", 2)
    memory = Memory()
    for type_ in ("started", "stopped", "crashed", "started"):
        memory.count(event_record(type_))
        memory.count(gap_record(type_))
    assert list(memory.events.values()) == [2, 1]
    assert list(memory.gaps.values()) == [(2, 60_000), (1, 30_000)]


def test_streams_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STREAMS_MAX", 2)
    memory = Memory()
    for host in ("a", "b", "c"):
        memory.ticks((host, "default")).now[GUEST] = guest_record()
    assert [host for host, _ in memory._ticks] == ["c"]

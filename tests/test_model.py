"""Records, stamps and keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from domstat.catalog import FIELDS
from domstat.model import Kind, Moment, Stamp, key_of, moment_within, split_key, stamp_of, whole_device
from records import (
    COLLECT,
    HOST,
    TIME_MS,
    UUID,
    batch,
    event_record,
    gap_record,
    guest_record,
    host_record,
    pool_record,
)

STAMP = Stamp(1_000_000, 5_000_000_000, "boot", 1_000_000_000)


@pytest.mark.parametrize(
    ("field", "device", "key"),
    [
        ("cpu.time", None, "cpu.time"),
        ("block.wr.bytes", "vda", "block.wr.bytes[vda]"),
        ("vcpu.time", "3", "vcpu.time[3]"),
        ("net.rx.bytes", "52:54:00:aa:bb:cc", "net.rx.bytes[52:54:00:aa:bb:cc]"),
    ],
)
def test_a_key_is_written_as_field_and_device(field: str, device: str | None, key: str) -> None:
    assert key_of(field, device) == key
    assert split_key(key) == (field, device)


@pytest.mark.parametrize(("device", "is_shared"), [(None, True), ("vda", True), ("52:54:00:aa:bb:cc", False)])
def test_keys_that_guests_have_in_common_are_there_once(device: str | None, is_shared: bool) -> None:
    """But not those of a NIC, which are one guest's: Python's table of such strings grows with all that ever were."""
    field = b"net.rx.bytes".decode()
    assert (key_of(field, device) is key_of("net.rx.bytes", device)) == is_shared


@given(st.sampled_from(sorted(FIELDS)), st.none() | st.text())
def test_a_key_comes_apart_again_whatever_the_device_is_called(field: str, device: str | None) -> None:
    assert split_key(key_of(field, device)) == (field, device)


def test_a_key_without_a_closing_bracket_is_all_field() -> None:
    assert split_key("odd[name") == ("odd[name", None)


@pytest.mark.parametrize(
    ("device", "whole"),
    [
        (None, None),
        ("vda", "vda"),
        ("vda/0", "vda"),
        ("0/1/2", "0"),
        ("vda#2", "vda#2"),
        ("/dev/sda", "/dev/sda"),
        ("52:54:00:aa:bb:cc@vnet0", "52:54:00:aa:bb:cc@vnet0"),
    ],
)
def test_a_part_belongs_to_its_device(device: str | None, whole: str | None) -> None:
    assert whole_device(device) == whole


def test_the_only_guest_was_read_in_the_middle_of_the_call() -> None:
    assert moment_within(STAMP, 0, 1) == Moment(1_000_500, 5_500_000_000, "boot")


def test_a_tick_of_which_only_the_wall_time_is_known_has_no_boot() -> None:
    assert stamp_of(1000) == Stamp(1000, 0, "", 0)


@given(st.integers(1, 500), st.integers(0, 10**12))
def test_moments_lie_within_the_call_and_in_the_order_of_the_answer(count: int, call_ns: int) -> None:
    stamp = replace(STAMP, call_ns=call_ns)
    moments = [moment_within(stamp, position, count) for position in range(count)]
    assert all(stamp.boot_ns <= moment.boot_ns <= stamp.boot_ns + call_ns for moment in moments)
    assert all(stamp.time_ms <= moment.time_ms <= stamp.time_ms + call_ns // 1_000_000 for moment in moments)
    assert [moment.boot_ns for moment in moments] == sorted(moment.boot_ns for moment in moments)


def test_the_subject_of_a_record_tells_it_from_the_others_of_its_tick() -> None:
    assert guest_record().subject == UUID
    assert pool_record("images").subject == "images"
    assert host_record().subject == ""
    assert gap_record().subject == ""
    assert event_record("started").subject == f"{UUID}/started"
    assert event_record("device-added", None, device="vdb").subject == f"{UUID}/device-added/vdb"


def test_the_key_of_a_record_is_all_that_tells_it_from_others() -> None:
    assert guest_record().key == (HOST, COLLECT, TIME_MS, Kind.GUEST, UUID)


def test_a_batch_belongs_to_the_stream_of_its_host_and_block() -> None:
    assert batch(host="kvm2", collect="slow").stream == ("kvm2", "slow")


def test_records_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        guest_record().kind = Kind.HOST  # type: ignore[misc]

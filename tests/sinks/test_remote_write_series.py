"""A record's samples as protobuf, read back by a reader of its own."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat_sinks.prometheus.names import family_of
from domstat_sinks.remote_write import series
from domstat_sinks.remote_write.series import (
    STALE,
    end,
    labels_of,
    owner_of,
    sample_of,
    series_of,
    split,
    varint,
    write,
)
from records import TIME_MS
from remotewrite import STALE_BITS, read

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True).filter(
    lambda name: name not in {"__name__", "device", "value"}
)
TEXTS = st.binary(max_size=300).filter(lambda raw: raw.decode(errors="replace").encode() == raw)


def floats(body: bytes) -> dict[str, float]:
    return {sample.name: sample.value for sample in read(body)}


@given(st.dictionaries(NAMES, TEXTS, max_size=6), st.integers(0, 2**42), st.text(max_size=200))
def test_labels_are_sorted_whatever_they_are_called_and_lengths_fit(
    labels: dict[str, bytes], time_ms: int, device: str
) -> None:
    device = device.encode(errors="ignore").decode()
    written = write("params", ("cpu.time", f"net.rx.bytes[{device}]"), (1, 2), owner_of(labels), time_ms)
    found = read(written.body)
    assert [sample.time_ms for sample in found] == [time_ms, time_ms]
    there = {name: text.decode() for name, text in labels.items() if text}
    assert dict(found[0].labels) == there | {"__name__": family_of("cpu.time").name}
    own = {"device": device} if device else {}
    assert dict(found[1].labels).items() >= (there | own).items()


def test_labels_beside_those_that_a_sample_has_itself_are_sorted_too() -> None:
    names = ["A", "__name_", "__name__0", "a", "devicd", "device0", "valud", "value0", "values", "z"]
    owner = owner_of(dict.fromkeys(names, b"x"))
    (one, two) = read(write("params", ("host.version.libvirt", "net.rx.bytes[m]"), ("9", 1), owner, TIME_MS).body)
    assert [name for name, _ in one.labels] == sorted([*names, "__name__", "value"])
    assert [name for name, _ in two.labels] == sorted([*names, "__name__", "device"])


@given(st.lists(st.integers(0, 2**64 - 1) | st.floats(-1e290, 1e290) | st.booleans(), max_size=20))
def test_numbers_are_the_nearest_doubles(values: list[float]) -> None:
    keys = tuple(f"vm.new{i}" for i in range(len(values)))
    found = floats(write("params", keys, values, owner_of({}), TIME_MS).body)
    assert found == {f"domstat_vm_new{i}": float(value) for i, value in enumerate(values)}


def test_values_are_in_base_units() -> None:
    found = floats(write("params", ("cpu.time", "balloon.rss"), (1_500_000_000, 3), owner_of({}), TIME_MS).body)
    assert found == {"domstat_cpu_time_seconds_total": 1.5, "domstat_balloon_rss_bytes": 3072.0}


def test_a_text_is_a_label_beside_the_number_1_and_an_empty_one_is_none() -> None:
    keys = ("host.version.libvirt", "vm.empty")
    labels = {"host": b"kvm1", "zone": b"z", "a": b"first"}
    one, two = read(write("params", keys, ("9.0.0", ""), owner_of(labels), TIME_MS).body)
    assert (dict(one.labels)["value"], one.value) == ("9.0.0", 1.0)
    assert (dict(two.labels).get("value"), two.value) == (None, 1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 10**400, -(10**400)])
def test_what_is_no_number_is_left_out_and_named(bad: float) -> None:
    written = write("params", ("cpu.time", "vm.bad", "cpu.user"), (10**9, bad, 2 * 10**9), owner_of({}), TIME_MS)
    assert written.left_out == ("vm.bad",)
    assert list(floats(written.body).values()) == [1.0, 2.0]
    assert written.series == 2


def test_nothing_comes_to_nothing() -> None:
    assert write("params", (), (), owner_of({"host": b"a"}), TIME_MS).body == b""
    alone = write("params", ("vm.bad",), (math.nan,), owner_of({}), TIME_MS)
    assert (alone.body, alone.series, alone.left_out) == (b"", 0, ("vm.bad",))


def test_two_keys_of_one_name_stay_apart() -> None:
    found = read(write("params", ("vm.a-b", "vm.a_b"), (1, 2), owner_of({}), TIME_MS).body)
    assert len({sample.labels for sample in found}) == 2


def test_an_end_is_prometheus_marker_for_every_series_of_the_record() -> None:
    keys, values, owner = ("cpu.time", "vm.text"), (5, "x"), owner_of({"host": b"a"})
    before = read(write("params", keys, values, owner, TIME_MS).body)
    after = read(end("params", keys, values, owner, TIME_MS + 1).body)
    assert [sample.labels for sample in after] == [sample.labels for sample in before]
    assert {(sample.bits, sample.time_ms) for sample in after} == {(STALE_BITS, TIME_MS + 1)}


def test_the_marker_is_a_nan_of_its_own() -> None:
    (value,) = struct.unpack("<d", STALE)
    assert math.isnan(value)
    assert struct.pack("<d", math.nan) != STALE


@given(st.integers(-(2**63), 2**63 - 1))
def test_times_are_int64(time_ms: int) -> None:
    (sample,) = read(series_of(labels_of("a", {}), sample_of(time_ms, STALE)))
    assert sample.time_ms == time_ms & (2**64 - 1)


@given(st.lists(st.integers(0, 400), max_size=30))
def test_a_body_comes_apart_into_its_series(lengths: list[int]) -> None:
    whole = [series_of(labels_of("a", {"b": b"x" * length}), sample_of(TIME_MS, STALE)) for length in lengths]
    assert split(b"".join(whole)) == whole


@pytest.mark.parametrize(
    ("number", "written"),
    [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (2**64 - 1, "ff" * 9 + "01"), (-1, "ff" * 9 + "01")],
)
def test_varints_are_as_protobuf_says(number: int, written: str) -> None:
    assert varint(number).hex() == written


def test_guests_with_the_same_keys_share_a_plan() -> None:
    keys = ("cpu.time", "vm.of-this-test")
    before = series._plan_of.cache_info().misses
    for name in (b"web-1", b"web-2", b"web-3"):
        write("params", keys, (1, 2), owner_of({"domain": name}), TIME_MS)
    assert series._plan_of.cache_info().misses == before + 1

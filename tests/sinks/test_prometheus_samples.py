"""Which samples a record's values come to, before they are written as anything."""

from __future__ import annotations

import math

import pytest

from domstat_sinks.prometheus.samples import EXACT_MAX, REAL_MAX, Numbers, real, samples_of, types_and_texts


def test_samples_are_sorted_by_family_and_know_their_value() -> None:
    samples = samples_of("params", ("net.rx.bytes[m]", "cpu.time"), (int, int), ())
    assert [(one.family.name, one.position, one.device) for one in samples] == [
        ("domstat_cpu_time_seconds_total", 1, b""),
        ("domstat_net_rx_bytes_total", 0, b"m"),
    ]


def test_a_text_is_a_label_and_its_number_is_the_1_behind_all_values() -> None:
    keys, values = ("host.version.libvirt", "host.cpus"), ("9.0.0", 16)
    samples = samples_of("params", keys, *types_and_texts("params", values))
    assert {one.family.name: one.text for one in samples} == {
        "domstat_host_version_libvirt_info": b"9.0.0",
        "domstat_host_cpus": None,
    }
    assert sorted(Numbers(samples).of(values) or []) == [1, 16]


def test_numbers_are_in_base_units_and_flags_are_numbers() -> None:
    keys, values = ("cpu.time", "balloon.rss", "vcpu.halted[0]"), (1_500_000_000, 3, True)
    samples = samples_of("params", keys, *types_and_texts("params", values))
    numbers = dict(zip((one.family.name for one in samples), Numbers(samples).of(values) or [], strict=True))
    assert numbers["domstat_cpu_time_seconds_total"] == 1.5
    assert numbers["domstat_balloon_rss_bytes"] == 3072
    assert 1 in numbers.values()
    assert True not in [value for value in numbers.values() if isinstance(value, bool)]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 10**400])
def test_one_that_is_no_number_is_noticed(bad: float) -> None:
    samples = samples_of("params", ("vm.a", "vm.b"), (int, type(bad)), ())
    assert Numbers(samples).of((1, bad)) is None
    assert real(bad) is None


def test_what_floats_do_not_hold_becomes_the_nearest_one() -> None:
    assert real(EXACT_MAX) is EXACT_MAX
    assert isinstance(real(EXACT_MAX + 1), float)
    assert real(2 * REAL_MAX) is None
    assert real("text") == "text"


def test_two_keys_of_one_name_are_told_apart_by_a_hash() -> None:
    names = [one.family.name for one in samples_of("params", ("vm.a-b", "vm.a_b"), (int, int), ())]
    assert len(set(names)) == 2
    assert "domstat_vm_a_b" in names

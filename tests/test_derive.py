"""Derived values."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from domstat.catalog import DERIVED
from domstat.derive import Derivation, derive, derive_host
from domstat.model import Value, split_key

NOW_MS = 1_795_385_704_500


def derived(params: Mapping[str, Value], rates: Mapping[str, float], time_ms: int = NOW_MS) -> dict[str, float]:
    return derive(Derivation(tuple(params)), params, rates, time_ms)


def test_cpu_time_gives_cores_and_over_the_vcpus_utilization() -> None:
    values = derived({"cpu.time": 9, "vcpu.current": 4}, {"cpu.time": 0.5})
    assert values == {"cpu.cores": 0.5, "cpu.utilization": 0.125}


@pytest.mark.parametrize("params", [{"cpu.time": 9}, {"cpu.time": 9, "vcpu.current": 0}])
def test_without_a_number_of_vcpus_there_is_no_utilization(params: dict[str, Value]) -> None:
    assert derived(params, {"cpu.time": 0.5}) == {"cpu.cores": 0.5}


def test_without_rates_nothing_is_derived_of_them() -> None:
    assert derived({"cpu.time": 9, "vcpu.current": 4, "vcpu.delay[0]": 1, "block.rd.times[vda]": 1}, {}) == {}


def test_steal_is_the_rate_of_a_vcpus_delay() -> None:
    assert derived({"vcpu.delay[3]": 9}, {"vcpu.delay[3]": 0.25}) == {"vcpu.steal[3]": 0.25}


@pytest.mark.parametrize("op", ["rd", "wr", "fl"])
def test_latency_is_time_over_requests_per_disk(op: str) -> None:
    params: dict[str, Value] = {f"block.{op}.reqs[vda]": 1, f"block.{op}.times[vda]": 1, f"block.{op}.times[vdb]": 1}
    rates = {f"block.{op}.reqs[vda]": 50.0, f"block.{op}.times[vda]": 0.1, f"block.{op}.times[vdb]": 0.1}
    assert derived(params, rates) == {f"block.{op}.latency[vda]": pytest.approx(0.002)}


def test_no_request_no_latency() -> None:
    params: dict[str, Value] = {"block.rd.reqs[vda]": 1, "block.rd.times[vda]": 1}
    assert derived(params, {"block.rd.reqs[vda]": 0.0, "block.rd.times[vda]": 0.0}) == {}


def test_memory_used_is_in_bytes_and_says_how_old_it_is() -> None:
    params: dict[str, Value] = {"balloon.available": 4096, "balloon.usable": 1024, "balloon.last-update": 1_795_385_700}
    assert derived(params, {}) == {"memory.used": 3072 * 1024.0, "memory.age": 4.5}


def test_an_old_driver_without_usable_gives_memory_used_by_unused() -> None:
    params: dict[str, Value] = {"balloon.available": 4096, "balloon.unused": 96, "balloon.last-update": 1_795_385_700}
    assert derived(params, {})["memory.used"] == 4000 * 1024.0


@pytest.mark.parametrize("spoke", [{}, {"balloon.last-update": 0}])
def test_a_driver_that_never_spoke_gives_no_figures(spoke: dict[str, Value]) -> None:
    assert derived({"balloon.available": 4096, "balloon.usable": 1024} | spoke, {}) == {}


def test_a_driver_that_spoke_within_this_second_is_not_of_the_future() -> None:
    assert derived({"balloon.last-update": NOW_MS // 1000 + 1}, {}) == {"memory.age": 0.0}


def test_the_age_is_known_where_the_figures_are_not() -> None:
    assert derived({"balloon.last-update": 1_795_385_704, "balloon.available": 1}, {}) == {"memory.age": 0.5}


def test_everything_derived_stands_in_the_catalogue() -> None:
    params: dict[str, Value] = {
        "cpu.time": 1, "vcpu.current": 1, "vcpu.delay[0]": 1, "balloon.available": 2, "balloon.usable": 1,
        "balloon.last-update": 1,
    }  # fmt: skip
    rates = {"cpu.time": 1.0, "vcpu.delay[0]": 0.0}
    for op in ("rd", "wr", "fl"):
        params |= {f"block.{op}.reqs[vda]": 1, f"block.{op}.times[vda]": 1}
        rates |= {f"block.{op}.reqs[vda]": 1.0, f"block.{op}.times[vda]": 1.0}
    of_guests = {name for name in DERIVED if not name.startswith(("host.", "pool."))}
    assert {split_key(key)[0] for key in derived(params, rates)} == of_guests
    host = derive_host({"host.memory.total": 2, "host.memory.available": 1}, {"host.cpu.user": 1.0})
    assert set(host) == {name for name in DERIVED if name.startswith("host.")}


# --- the host


def test_a_host_is_busy_with_what_is_neither_idle_nor_waiting() -> None:
    rates = {
        "host.cpu.user": 1.0, "host.cpu.kernel": 0.5, "host.cpu.intr": 0.25, "host.cpu.idle": 6.0,
        "host.cpu.iowait": 0.25,
    }  # fmt: skip
    assert derive_host({}, rates) == {"host.cpu.utilization": pytest.approx(1.75 / 8)}


def test_a_host_that_does_not_say_what_waits_is_busy_with_what_is_not_idle() -> None:
    assert derive_host({}, {"host.cpu.user": 1.0, "host.cpu.idle": 3.0}) == {"host.cpu.utilization": 0.25}


@pytest.mark.parametrize("rates", [{}, {"host.cpu.user": 0.0, "host.cpu.idle": 0.0}, {"host.cpus": 1.0}])
def test_without_time_spent_a_host_has_no_utilization(rates: dict[str, float]) -> None:
    assert derive_host({"host.cpu.user": 5}, rates) == {}


def test_a_hosts_used_memory_is_what_is_not_available_in_bytes() -> None:
    memory: dict[str, Value] = {
        "host.memory.total": 64, "host.memory.free": 1, "host.memory.cached": 9, "host.memory.available": 24,
    }  # fmt: skip
    assert derive_host(memory, {}) == {"host.memory.used": 40 * 1024.0}


def test_an_old_libvirts_host_has_available_what_is_free_or_cache() -> None:
    memory: dict[str, Value] = {"host.memory.total": 64, "host.memory.free": 8, "host.memory.cached": 16}
    assert derive_host(memory, {}) == {"host.memory.used": 40 * 1024.0}
    memory["host.memory.buffers"] = 4
    assert derive_host(memory, {}) == {"host.memory.used": 36 * 1024.0}


@pytest.mark.parametrize("memory", [{}, {"host.memory.total": 64}, {"host.memory.free": 8}])
def test_a_host_that_does_not_say_enough_has_no_used_memory(memory: dict[str, Value]) -> None:
    assert derive_host(memory, {}) == {}

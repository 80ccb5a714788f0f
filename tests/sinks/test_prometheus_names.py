"""What things are called in Prometheus."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.catalog import DERIVED, FIELDS, FieldKind
from domstat_sinks.prometheus.names import (
    LABEL_BYTES_MAX,
    OWN,
    apart,
    derived_of,
    family_of,
    info_of,
    label_name,
    label_value,
)
from scraping import duplicates, unescaped

KNOWN = (
    [info_of(name) if FIELDS[name].kind is FieldKind.TEXT else family_of(name) for name in FIELDS]
    + [derived_of(name) for name in DERIVED]
    + list(OWN)
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
ANY_TEXT = st.text()


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("cpu.time", "domstat_cpu_time_seconds_total"),
        ("vcpu.delay", "domstat_vcpu_delay_seconds_total"),
        ("block.rd.reqs", "domstat_block_rd_requests_total"),
        ("block.wr.bytes", "domstat_block_wr_bytes_total"),
        ("block.fl.times", "domstat_block_fl_time_seconds_total"),
        ("block.errors", "domstat_block_errors_total"),
        ("block.count", "domstat_block_devices"),
        ("net.rx.pkts", "domstat_net_rx_packets_total"),
        ("net.tx.drop", "domstat_net_tx_dropped_packets_total"),
        ("balloon.usable", "domstat_balloon_usable_bytes"),
        ("balloon.major_fault", "domstat_balloon_major_faults_total"),
        ("balloon.hugetlb_pgfail", "domstat_balloon_hugetlb_pgfail_pages_total"),
        ("balloon.last-update", "domstat_balloon_last_update_timestamp_seconds"),
        ("state.state", "domstat_guest_state"),
        ("iothread.poll-max-ns", "domstat_iothread_poll_max_seconds"),
        ("dirtyrate.megabytes_per_second", "domstat_dirtyrate_bytes_per_second"),
        ("perf.cache_misses", "domstat_perf_cache_misses_total"),
        ("perf.page_faults_min", "domstat_perf_page_faults_min_total"),
        ("memory.bandwidth.monitor.node.bytes.total", "domstat_memory_bandwidth_monitor_node_total_bytes_total"),
        ("cpu.cache.monitor.bank.count", "domstat_cpu_cache_monitor_banks"),
        ("host.cpu.idle", "domstat_host_cpu_idle_seconds_total"),
        ("host.memory.total", "domstat_host_memory_total_bytes"),
        ("agent.call.time", "domstat_agent_call_time_seconds"),
        ("agent.skipped", "domstat_agent_skipped_total"),
    ],
)
def test_a_name_says_group_metric_and_base_unit(field: str, name: str) -> None:
    assert family_of(field).name == name


def test_a_derived_value_has_its_unit() -> None:
    assert [derived_of(name).name for name in ("cpu.utilization", "cpu.cores", "block.rd.latency", "memory.used")] == [
        "domstat_cpu_utilization_ratio",
        "domstat_cpu_cores",
        "domstat_block_rd_latency_seconds",
        "domstat_memory_used_bytes",
    ]


def test_a_text_is_an_info_metric() -> None:
    assert info_of("host.version.libvirt").name == "domstat_host_version_libvirt_info"


def test_the_names_in_the_documentation_are_right() -> None:
    page = (Path(__file__).parents[2] / "docs" / "sinks" / "prometheus.md").read_text()
    shown = set(re.findall(r"`(domstat_[a-z_]+)`", page)) - {"domstat_build_info"}
    assert shown <= {family.name for family in KNOWN}
    assert {family.name for family in OWN} <= shown
    for field, metric in re.findall(r"^\| `([a-z_.]+)`[^|`]* \| `(domstat_[a-z_]+)`", page, re.MULTILINE):
        assert metric in {family_of(field).name, info_of(field).name, derived_of(field).name}


def test_no_two_of_those_that_are_known_have_one_name() -> None:
    assert duplicates(family.name for family in KNOWN) == set()


@pytest.mark.parametrize("family", KNOWN, ids=lambda family: family.name)
def test_a_name_is_legal_and_says_its_type_and_there_is_help(family: object) -> None:
    assert isinstance(family, type(OWN[0]))
    assert re.fullmatch(r"domstat(_[a-z][a-z0-9]*)+", family.name)
    assert family.type == ("counter" if family.name.endswith("_total") else "gauge")
    assert len(family.help.partition(": ")[2] or family.help) > 3
    assert family.head.count(b"\n") == 2


@pytest.mark.parametrize("name", [name for name in FIELDS if FIELDS[name].kind is not FieldKind.TEXT])
def test_a_known_field_is_of_the_type_that_the_catalogue_says(name: str) -> None:
    assert family_of(name).type == ("counter" if FIELDS[name].kind is FieldKind.COUNTER else "gauge")


def test_a_stranger_keeps_its_words_and_counts_if_it_says_so() -> None:
    assert family_of("vcpu.halt_poll_success_ns.sum").name == "domstat_vcpu_halt_poll_success_ns_total"
    assert family_of("vm.remote-Flush.cur").name == "domstat_vm_remote_flush_cur"


@pytest.mark.parametrize(
    "field", ["cpu.time.seconds.sum", "guest.info", "balloon.usable.bytes", "cpu.cores", "CPU.Cores"]
)
def test_a_stranger_never_takes_the_name_of_one_that_is_known(field: str) -> None:
    assert re.fullmatch(r"domstat_[a-z_]+_[0-9a-f]{8}(_total)?", family_of(field).name)


@pytest.mark.parametrize("name", ["vm.total", "vm.x_total", "x.TOTAL"])
def test_a_gauge_is_none_that_counts_whatever_it_is_called(name: str) -> None:
    assert {family_of(name).type, derived_of(name).type, info_of(name).type} == {"gauge"}


@given(ANY_TEXT)
def test_any_field_at_all_has_legal_names_that_say_the_type(field: str) -> None:
    for family in (family_of(field), info_of(field), derived_of(field)):
        assert re.fullmatch(r"[a-z][a-z0-9_]*", family.name)
        assert family.type == ("counter" if family.name.endswith("_total") else "gauge")
        assert family.head.decode().split("\n")[1] == f"# TYPE {family.name} {family.type}"


@given(st.sampled_from([family.name for family in KNOWN]), TEXT)
def test_what_is_told_apart_keeps_its_type(name: str, origin: str) -> None:
    other = apart(name, origin)
    assert other != name
    assert other.endswith("_total") == name.endswith("_total")


@given(ANY_TEXT, st.sampled_from(["", "label_"]))
def test_any_text_makes_a_legal_label_that_is_not_prometheus_own(text: str, prefix: str) -> None:
    name = label_name(text, prefix)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    assert not name.startswith("__")


def test_a_label_is_in_snake_case() -> None:
    assert (label_name("backingIndex"), label_name("nova.project", "label_")) == ("backing_index", "label_nova_project")


@given(TEXT)
def test_a_value_is_read_back_as_it_was(text: str) -> None:
    written = label_value(text)
    assert b"\n" not in written
    assert not re.search(rb'(?<!\\)(\\\\)*"', written)
    if len(text.encode()) <= LABEL_BYTES_MAX:
        assert unescaped(written) == text


@given(st.sets(ANY_TEXT, max_size=8))
def test_different_values_stay_different_even_if_they_are_no_text(texts: set[str]) -> None:
    assert len({label_value(text) for text in texts}) == len(texts)


def test_a_value_that_is_too_long_is_cut_between_two_characters_and_told_from_others() -> None:
    begin = "ä" * LABEL_BYTES_MAX
    written = [label_value(begin + end) for end in ("a", "b")]
    assert written[0] != written[1]
    assert all(len(each) <= LABEL_BYTES_MAX for each in written)
    assert all(re.fullmatch("ä+…[0-9a-f]{8}", each.decode()) for each in written)

"""Records as Prometheus' text format, read back by prometheus-client's parser."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.catalog import FIELDS, Unit, look_up
from domstat.model import Batch, Domain, Kind, Partial, Record, Value, split_key
from domstat_sinks.prometheus import plan
from domstat_sinks.prometheus.exposition import Exposition
from domstat_sinks.prometheus.names import derived_of, family_of
from domstat_sinks.prometheus.store import Store
from records import (
    DISKS,
    HOST,
    MACS,
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
from scraping import STALE_AFTER_S, Key, domains, exposed, families, labels_of, samples, values

GUEST = {"host": HOST, "uuid": UUID, "domain": "web-1"}
U64_MAX = 2**64 - 1


def tick(*records: Record, **more: Any) -> Batch:
    """A whole tick."""
    return batch(*records, agent_record(), **more)


def survey(*records: Record, **more: Any) -> Batch:
    return batch(*records, collect="survey", **more)


def key(name: str, labels: dict[str, str]) -> Key:
    return (name, frozenset(labels.items()))


def expected(record: Record, labels: dict[str, str]) -> dict[Key, float]:
    """The samples that a record's numbers come to, worked out one by one."""
    found: dict[Key, float] = {}
    for param, value in record.params.items():
        field, device = split_key(param)
        if not isinstance(value, str):
            name = family_of(field).name
            own = labels if device is None else labels | {"device": device}
            unit = look_up(field).unit
            found[key(name, own)] = value / 1e9 if unit is Unit.NANOSECONDS else value * unit.scale
    for derived, number in record.derived.items():
        field, device = split_key(derived)
        found[key(derived_of(field).name, labels if device is None else labels | {"device": device})] = number
    return found


@pytest.mark.parametrize(
    ("record", "labels"),
    [
        (guest_record(), GUEST),
        (host_record(), {"host": HOST}),
        (pool_record(), {"host": HOST, "pool": "images"}),
        (agent_record(), {"host": HOST, "collect": "default"}),
        (agent_record(extra={"agent.sink.lag.time[my sink]": 5}), {"host": HOST, "collect": "default"}),
    ],
    ids=["guest", "host", "pool", "agent", "agent of a sink"],
)
def test_every_number_of_a_record_is_a_sample_in_base_units(record: Record, labels: dict[str, str]) -> None:
    found = samples(exposed(batch(record) if record.kind is Kind.AGENT else tick(record)))
    assert {each: found[each] for each in expected(record, labels)} == expected(record, labels)


def test_a_guest_is_its_numbers_and_two_samples_more_and_no_rates() -> None:
    found = samples(exposed(batch(guest_record())))
    more = {"domstat_guest_info", "domstat_guest_partial", "domstat_stream_last_tick_timestamp_seconds"}
    assert found.keys() - expected(guest_record(), GUEST).keys() == {
        key(name, GUEST if "guest" in name else {"host": HOST, "collect": "default"}) for name in more
    }


def test_a_time_is_written_without_the_noise_of_floats() -> None:
    assert 'domain="web-1"} 86400.123456789\n' in exposed(batch(guest_record()))


@pytest.mark.parametrize(
    ("name", "type_", "help_"),
    [
        ("domstat_cpu_time_seconds_total", "counter", "cpu.time: CPU time of the guest, all threads of its process"),
        ("domstat_balloon_usable_bytes", "gauge", f"balloon.usable: {FIELDS['balloon.usable'].help}"),
    ],
)
def test_a_family_has_its_type_and_help(name: str, type_: str, help_: str) -> None:
    family = families(exposed(tick(guest_record())))[name]
    assert (family.type, family.documentation) == (type_, help_)


def test_every_kind_of_record_at_once_is_read_by_the_librarys_parser() -> None:
    records = one_of_each()
    found = samples(exposed(batch(*records.values()), survey(sleeper_record())))
    assert {labels["host"] for _, labels in ((name, dict(labels)) for name, labels in found)} == {HOST}
    assert domains(found) == ["old-1", "web-1"]


def test_a_guest_that_is_off_says_what_is_known_of_it() -> None:
    found = samples(exposed(survey(sleeper_record())))
    assert values(found, "domstat_guest_state", "domain") == {"old-1": 5}
    assert values(found, "domstat_volume_capacity_bytes", "domain", "device") == {("old-1", "vda"): 42_949_672_960}


def test_true_and_false_are_1_and_0() -> None:
    halted = {"vcpu.halted[0]": True, "vcpu.halted[1]": False}
    found = samples(exposed(batch(guest_record(params=halted))))
    assert values(found, "domstat_vcpu_halted", "device") == {"0": 1, "1": 0}


def test_a_text_is_a_label_beside_a_1() -> None:
    found = samples(exposed(tick(host_record(), guest_record(params={"cpu.cache.monitor.name[0]": 'a"b'}))))
    assert labels_of(found, "domstat_host_version_libvirt_info") == [{"host": HOST, "value": "9.0.0"}]
    assert labels_of(found, "domstat_cpu_cache_monitor_name_info") == [GUEST | {"device": "0", "value": 'a"b'}]


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, 10**400, -(10**400), 1e308],
    ids=lambda value: str(value)[:5],
)
def test_what_is_no_number_is_left_out_and_everything_else_is_there(value: Value) -> None:
    params: dict[str, Value] = {"cpu.time": 1, "balloon.usable": value, "net.count": 2, "vcpu.halted[0]": True}
    found = samples(exposed(batch(guest_record(params=params, first=True, derived={}))))
    assert {name for name, _ in found} >= {"domstat_cpu_time_seconds_total", "domstat_net_devices"}
    assert values(found, "domstat_balloon_usable_bytes") == {}


@pytest.mark.parametrize("key_", ["block.capacity[vda]", "balloon.maximum", "vm.unheard-of"])
def test_the_largest_integers_are_there(key_: str) -> None:
    found = samples(exposed(batch(guest_record(params={key_: U64_MAX}, first=True))))
    field = split_key(key_)[0]
    assert float(values(found, family_of(field).name, "host")[HOST]) == U64_MAX * look_up(field).unit.scale


def test_the_largest_integers_do_not_hide_what_is_no_number() -> None:
    params: dict[str, Value] = {"balloon.usable": U64_MAX, "balloon.rss": 10**400, "balloon.unused": -(10**400)}
    found = samples(exposed(batch(guest_record(params=params, first=True, derived={}))))
    assert {name for name, _ in found if name.startswith("domstat_balloon")} == {"domstat_balloon_usable_bytes"}


def test_a_record_without_numbers_is_no_fault() -> None:
    assert domains(exposed(tick(guest_record(params={}, first=True), host_record(params={}, derived={})))) == ["web-1"]


def test_a_partial_record_is_marked() -> None:
    hung = guest_record("hung", uuid="h", params={"cpu.time": 1}, partial=Partial(("block",), 3.0))
    found = samples(exposed(tick(guest_record(), hung)))
    assert values(found, "domstat_guest_partial", "domain") == {"web-1": 0, "hung": 1}


def test_labels_and_devices_are_remembered_between_their_travels() -> None:
    devices = {"vda": {"path": "/a", "backingIndex": "1", "device": "cdrom"}, MACS[0]: {"tap": "vnet0", "bridge": ""}}
    store = Store(STALE_AFTER_S)
    exposed(tick(guest_record(labels={"title": "Shop", "nova.project": "acme"}, devices=devices)), store=store)
    found = samples(exposed(tick(guest_record()), store=store))
    assert labels_of(found, "domstat_guest_info") == [GUEST | {"label_title": "Shop", "label_nova_project": "acme"}]
    assert labels_of(found, "domstat_device_info") == [
        GUEST | {"device": "vda", "path": "/a", "backing_index": "1", "device_type": "cdrom"},
        GUEST | {"device": MACS[0], "tap": "vnet0"},
    ]


def test_labels_that_change_are_written_anew_and_so_is_a_new_name() -> None:
    store, exposition = Store(STALE_AFTER_S), Exposition()

    def scrape(*batches: Batch) -> dict[Key, float]:
        store.add(batches, 0, TIME_MS)
        return samples(b"".join(exposition.write(store.snapshot(0))).decode())

    scrape(tick(guest_record(labels={"title": "a"})))
    assert labels_of(scrape(tick(guest_record())), "domstat_guest_info") == [GUEST | {"label_title": "a"}]
    found = scrape(tick(guest_record(labels={"title": "b"})))
    assert labels_of(found, "domstat_guest_info") == [GUEST | {"label_title": "b"}]
    found = scrape(tick(guest_record("web-2")))
    assert labels_of(found, "domstat_guest_info") == [GUEST | {"domain": "web-2", "label_title": "b"}]
    assert {dict(labels)["domain"] for name, labels in found if name.startswith("domstat_cpu")} == {"web-2"}


def test_a_pool_says_what_it_is() -> None:
    found = samples(exposed(survey(pool_record(labels={"type": "dir", "path": "/images"}))))
    assert labels_of(found, "domstat_pool_info") == [{"host": HOST, "pool": "images", "type": "dir", "path": "/images"}]


def test_labels_whose_names_come_to_the_same_are_both_there() -> None:
    found = samples(exposed(tick(guest_record(labels={"a.b": "1", "a_b": "2", "A.B": "3"}))))
    (labels,) = labels_of(found, "domstat_guest_info")
    assert sorted(value for name, value in labels.items() if name.startswith("label_")) == ["1", "2", "3"]


@pytest.mark.parametrize("name", ["host", "uuid", "domain", "device", "__name__", "le", 'x="1"} 5\nup{a'])
def test_no_label_or_detail_takes_the_place_of_one_of_ours(name: str) -> None:
    found = samples(exposed(tick(guest_record(labels={name: "stolen"}, devices={"vda": {name: "stolen"}}))))
    for labels in labels_of(found, "domstat_guest_info") + labels_of(found, "domstat_device_info"):
        assert labels.items() >= GUEST.items()
        assert labels.get("device", "vda") == "vda"
        assert "__name__" not in labels
    assert {name for name, _ in found if not name.startswith("domstat_")} == set()


QUOTING = ["", " ", "a\nb", 'a"b', "a\\", "\\n", "a{b}", "a,b=c", "# HELP x"]
UNSEEN = ["\r", "\0", "\x7f", "\x85", "\u2028", "😀"]


@pytest.mark.parametrize("name", QUOTING + UNSEEN)
def test_a_guests_name_is_read_back_as_it_was(name: str) -> None:
    assert domains(exposed(tick(guest_record(name)))) == [name]


@pytest.mark.parametrize("name", ["\ud800", "a\udcffb", "n" * 5000])
def test_a_name_that_is_no_text_or_far_too_long_harms_nobody(name: str) -> None:
    found = domains(exposed(tick(guest_record(), guest_record(name, uuid="b"), guest_record(name + "x", uuid="c"))))
    assert len(set(found)) == 3


def test_guests_of_one_name_and_guests_of_one_uuid_on_two_hosts_are_all_there() -> None:
    one_name = [guest_record("twin", uuid=uuid) for uuid in "ab"]
    other_host = tick(guest_record("twin", uuid="a", host="kvm2"), host="kvm2")
    found = samples(exposed(tick(*one_name), other_host))
    assert set(values(found, "domstat_cpu_time_seconds_total", "host", "uuid")) == {
        (HOST, "a"), (HOST, "b"), ("kvm2", "a"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "keys",
    [
        ("net.rx.bytes[]", "net.rx.bytes"),
        ("net.rx.bytes[\ud800]", "net.rx.bytes[\udbff]"),
        (f"net.rx.bytes[{'x' * 3000}a]", f"net.rx.bytes[{'x' * 3000}b]"),
        ("vm.a-b", "vm.a_b"),
        ("vm.a-b", "vm.a.b"),
        ("vm.a.sum", "vm.a.total"),
        ("cpu.time", "cpu.time.seconds.sum"),
        ("cpu.time.seconds.sum", "cpu.time"),
        ("guest.info", "guest.partial"),
        ("a.count", "as"),
    ],
)
def test_keys_that_come_to_one_name_are_all_there_under_different_ones(keys: tuple[str, str]) -> None:
    record = guest_record(params={key: 10_000 + i for i, key in enumerate(keys)}, first=True)
    found = sorted(round(value * (1 if value > 1 else 1e9)) for value in samples(exposed(tick(record))).values())
    assert [value for value in found if 10_000 <= value < 10_100] == [10_000, 10_001]


def test_a_derived_value_nobody_knows_never_doubles_a_parameter() -> None:
    record = guest_record(params={"foo.bar": 1}, first=True, derived={"foo.bar": 2.0})
    assert values(samples(exposed(tick(record))), "domstat_foo_bar") == {(): 1}


WORDS = st.sampled_from(["cpu.time", "vm.a", "vm.a_", "vm.A", "vm.a.sum", "vm.a.total", "vm.a.count", "guest.info", ""])
DEVICES = st.sampled_from([None, "", "vda", "a\\", 'a"', "\ud800", "\udc00"]) | st.text(max_size=3)
VALUES = st.integers() | st.floats() | st.booleans() | st.text(max_size=3)
KEYS = st.tuples(WORDS | st.text(max_size=4), DEVICES).map(
    lambda both: both[0] + ("" if both[1] is None else f"[{both[1]}]")
)
NAMES = st.sampled_from(["", "a", "\ud800", "\udc00"]) | st.text(max_size=3)


@given(st.data())
def test_whatever_records_say_the_text_is_right_and_no_two_samples_are_alike(data: st.DataObject) -> None:
    records = []
    for kind in data.draw(st.lists(st.sampled_from([Kind.GUEST, Kind.HOST, Kind.POOL, Kind.AGENT]), max_size=4)):
        params = data.draw(st.dictionaries(KEYS, VALUES, max_size=6))
        derived = data.draw(st.dictionaries(KEYS, st.floats(), max_size=3))
        labels = data.draw(st.none() | st.dictionaries(NAMES, NAMES, max_size=3))
        devices = data.draw(st.none() | st.dictionaries(NAMES, st.dictionaries(NAMES, NAMES, max_size=2), max_size=3))
        more: dict[str, Any] = {"host": data.draw(NAMES), "collect": data.draw(NAMES)}
        domain = Domain(data.draw(NAMES), data.draw(NAMES)) if kind is Kind.GUEST else None
        records.append(
            other_record(kind, params=params, derived=derived, domain=domain, labels=labels, devices=devices, **more)
        )
    streams = [batch(record, host=record.host, collect=record.collect) for record in records]
    samples(exposed(*streams, batch(*records)))


def test_what_two_blocks_say_of_a_guest_is_one_and_the_newer_value_counts() -> None:
    fast = tick(guest_record(params={"cpu.time": 9_000_000_000, "vcpu.maximum": 4}, first=True), time_ms=TIME_MS)
    slow_guest = guest_record(params={"balloon.rss": 7, "vcpu.maximum": 2}, collect="slow", first=True)
    slow = batch(slow_guest, agent_record(collect="slow"), collect="slow", time_ms=TIME_MS - 20_000)
    found = samples(exposed(slow, fast))
    assert values(found, "domstat_vcpu_maximum", "domain") == {"web-1": 4}
    assert values(found, "domstat_balloon_rss_bytes", "domain") == {"web-1": 7 * 1024}
    assert values(found, "domstat_cpu_time_seconds_total", "domain") == {"web-1": 9}


def test_what_is_of_an_earlier_incarnation_is_left_out() -> None:
    old = survey(sleeper_record("web-1", uuid=UUID), time_ms=TIME_MS - 60_000)
    found = samples(exposed(old, tick(guest_record())))
    assert values(found, "domstat_guest_state", "domain") == {"web-1": 1}
    assert values(found, "domstat_volume_capacity_bytes", "domain") == {}
    newer = survey(sleeper_record("web-1", uuid=UUID), time_ms=TIME_MS + 5_000)
    found = samples(exposed(tick(guest_record()), newer))
    assert values(found, "domstat_guest_state", "domain") == {"web-1": 5}
    assert values(found, "domstat_cpu_time_seconds_total", "domain") == {}


def test_both_blocks_devices_are_described() -> None:
    first = tick(guest_record(devices={"vda": {"path": "/a"}}))
    second_guest = guest_record(collect="slow", devices={MACS[0]: {"tap": "vnet0"}}, labels={"title": "a"})
    second = batch(second_guest, agent_record(collect="slow"), collect="slow")
    found = samples(exposed(first, second))
    assert {labels["device"] for labels in labels_of(found, "domstat_device_info")} == {"vda", MACS[0]}
    assert [labels["label_title"] for labels in labels_of(found, "domstat_guest_info")] == ["a"]


def test_events_and_gaps_are_counted() -> None:
    happened = [event_record("started"), event_record("started", domain=Domain("b", "b")), event_record("stopped")]
    gaps = [gap_record("host-down", 1500), gap_record("host-down", 2500), gap_record("deadline", 1000)]
    found = samples(exposed(*(batch(record) for record in [*happened, *gaps])))
    assert values(found, "domstat_events_total", "host", "type") == {(HOST, "started"): 2, (HOST, "stopped"): 1}
    by = ("host", "collect", "reason")
    assert values(found, "domstat_gaps_total", *by) == {
        (HOST, "default", "host-down"): 2, (HOST, "default", "deadline"): 1,
    }  # fmt: skip
    assert values(found, "domstat_gap_seconds_total", *by) == {
        (HOST, "default", "host-down"): 4.0, (HOST, "default", "deadline"): 1.0,
    }  # fmt: skip


def test_what_the_agent_says_only_now_and_then_is_there_beside_the_newest() -> None:
    costs = batch(agent_record(extra={"agent.cost.qemu": 5_000_000_000, "agent.guests": 1}))
    found = samples(exposed(costs, batch(agent_record(extra={"agent.guests": 2}))))
    assert values(found, "domstat_agent_cost_qemu_seconds", "collect") == {"default": 5}
    assert values(found, "domstat_agent_guests", "collect") == {"default": 2}


def test_the_time_of_every_streams_newest_tick_is_there() -> None:
    found = samples(exposed(tick(guest_record()), survey(pool_record(), time_ms=TIME_MS + 500)))
    assert values(found, "domstat_stream_last_tick_timestamp_seconds", "collect") == {
        "default": TIME_MS / 1000, "survey": TIME_MS / 1000 + 0.5,
    }  # fmt: skip


def test_disks_have_the_same_labels_wherever_they_are() -> None:
    found = samples(exposed(tick(guest_record())))
    of_disks = [
        labels for name, labels in found if name.startswith("domstat_block_") and name != "domstat_block_devices"
    ]
    assert {frozenset(dict(labels)) for labels in of_disks} == {frozenset({*GUEST, "device"})}
    assert {dict(labels)["device"] for labels in of_disks} == set(DISKS)


def test_plans_are_made_once_for_guests_alike() -> None:
    guests = [guest_record(str(number), uuid=str(number)) for number in range(20)]
    before = len(plan._plan_of)
    exposed(tick(*guests))
    exposed(tick(*guests))
    assert len(plan._plan_of) - before <= 3  # the guest's, its derived values', the agent's

"""From a raw answer and the inventory to named parameters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.catalog import IDENTITY_FIELDS
from domstat.collect.definition import Entry, Nic
from domstat.collect.naming import Plan, has_stranger, missing_groups, name_nic, parse_name, silent_groups
from domstat.collect.wire import ALL, Globs
from domstat.model import Value, split_key

MAC_A, MAC_B = "52:54:00:aa:bb:01", "52:54:00:aa:bb:02"


def entry(taps: dict[str, str] | None = None, disks: dict[str, dict[str, str]] | None = None) -> Entry:
    nics = {tap: Nic(tap, mac, {"mac": mac, "tap": tap}) for tap, mac in (taps or {}).items()}
    return Entry(3, {}, nics, disks or {})


def plan(params: dict[str, Value], known: Entry | None = None, fields: Globs = ALL) -> Plan:
    return Plan(tuple(params), list(params.values()), known or entry(), fields)


def named(params: dict[str, Value], known: Entry | None = None, fields: Globs = ALL) -> dict[str, Value]:
    return plan(params, known, fields).params(list(params.values()))


@pytest.mark.parametrize(
    ("name", "field", "indices"),
    [
        ("cpu.time", "cpu.time", ()),
        ("block.1.rd.bytes", "block.rd.bytes", (1,)),
        ("vcpu.12.time", "vcpu.time", (12,)),
        ("cpu.cache.monitor.0.bank.1.bytes", "cpu.cache.monitor.bank.bytes", (0, 1)),
        ("block.0.latency_histogram.read.bin.7.value", "block.latency_histogram.read.bin.value", (0, 7)),
        ("iothread.2.poll-max-ns", "iothread.poll-max-ns", (2,)),
        ("odd.²", "odd.²", ()),
        ("v1.x2", "v1.x2", ()),
    ],
)
def test_a_parameters_name_is_taken_apart(name: str, field: str, indices: tuple[int, ...]) -> None:
    assert parse_name(name) == (field, indices)


def test_disks_are_named_by_target_vcpus_by_number_iothreads_by_id() -> None:
    params: dict[str, Value] = {
        "cpu.time": 1,
        "vcpu.current": 2,
        "vcpu.0.time": 3,
        "vcpu.5.time": 4,
        "iothread.1.poll-max-ns": 5,
        "block.count": 1,
        "block.0.name": "vda",
        "block.0.path": "/images/a.qcow2",
        "block.0.rd.bytes": 6,
        "cpu.cache.monitor.0.bank.1.bytes": 7,
        "block.0.timed_group.2.rd_latency_avg": 8,
    }
    assert named(params) == {
        "cpu.time": 1,
        "vcpu.current": 2,
        "vcpu.time[0]": 3,
        "vcpu.time[5]": 4,
        "iothread.poll-max-ns[1]": 5,
        "block.count": 1,
        "block.rd.bytes[vda]": 6,
        "cpu.cache.monitor.bank.bytes[0/1]": 7,
        "block.timed_group.rd_latency_avg[vda/2]": 8,
    }


def test_nics_are_named_by_mac() -> None:
    params: dict[str, Value] = {"net.count": 1, "net.0.name": "vnet7", "net.0.rx.bytes": 1}
    assert named(params, entry({"vnet7": MAC_A})) == {"net.count": 1, f"net.rx.bytes[{MAC_A}]": 1}


def test_a_nic_whose_mac_nobody_knows_is_named_by_tap() -> None:
    assert named({"net.0.name": "vnet7", "net.0.rx.bytes": 1}) == {"net.rx.bytes[vnet7]": 1}


def test_two_nics_with_one_mac_are_told_apart_by_tap() -> None:
    params: dict[str, Value] = {
        "net.0.name": "vnet0", "net.0.rx.bytes": 1, "net.1.name": "vnet1", "net.1.rx.bytes": 2,
        "net.2.name": "vnet2", "net.2.rx.bytes": 3,
    }  # fmt: skip
    assert named(params, entry({"vnet0": MAC_A, "vnet1": MAC_A, "vnet2": MAC_B})) == {
        f"net.rx.bytes[{MAC_A}@vnet0]": 1,
        f"net.rx.bytes[{MAC_A}@vnet1]": 2,
        f"net.rx.bytes[{MAC_B}]": 3,
    }


def test_before_the_xml_is_known_nics_wait_for_their_names() -> None:
    params: dict[str, Value] = {"net.count": 1, "net.0.name": "vnet7", "net.0.rx.bytes": 1, "cpu.time": 2}
    made = Plan(tuple(params), list(params.values()), None, ALL)
    assert made.params(list(params.values())) == {"net.count": 1, "cpu.time": 2}
    assert made.withheld
    assert not plan(params).withheld


def test_a_guest_without_nics_has_nothing_to_wait_for() -> None:
    assert not Plan(("cpu.time", "net.count"), [1, 0], None, ALL).withheld


def test_a_nic_without_a_host_device_leaves_a_hole() -> None:
    params: dict[str, Value] = {"net.count": 3, "net.2.name": "vnet9", "net.2.rx.bytes": 1}
    assert named(params, entry({"vnet9": MAC_B})) == {"net.count": 3, f"net.rx.bytes[{MAC_B}]": 1}


def test_backing_layers_are_named_by_target_and_index() -> None:
    params: dict[str, Value] = {
        "block.0.name": "vda", "block.0.backingIndex": 1, "block.0.rd.bytes": 10, "block.0.allocation": 11,
        "block.1.name": "vda", "block.1.backingIndex": 3, "block.1.allocation": 12,
        "block.2.name": "vda", "block.2.backingIndex": 4, "block.2.allocation": 13,
        "block.3.name": "vdb", "block.3.backingIndex": 2, "block.3.allocation": 14,
    }  # fmt: skip
    assert named(params) == {
        "block.rd.bytes[vda]": 10,
        "block.allocation[vda]": 11,
        "block.allocation[vda#3]": 12,
        "block.allocation[vda#4]": 13,
        "block.allocation[vdb]": 14,
    }


def test_backing_layers_of_an_old_libvirt_are_numbered_by_row() -> None:
    params: dict[str, Value] = {
        "block.0.name": "vda", "block.0.allocation": 1, "block.1.name": "vda", "block.1.allocation": 2,
    }  # fmt: skip
    assert named(params) == {"block.allocation[vda]": 1, "block.allocation[vda#1]": 2}


def test_devices_say_what_they_are() -> None:
    params: dict[str, Value] = {
        "block.0.name": "vda", "block.0.path": "/a", "block.0.backingIndex": 1,
        "block.1.name": "vda", "block.1.path": "/base", "block.1.backingIndex": 2,
        "net.0.name": "vnet0", "net.0.rx.bytes": 1,
    }  # fmt: skip
    made = plan(params, entry({"vnet0": MAC_A}, {"vda": {"bus": "virtio"}}))
    assert made.devices == {
        "vda": {"bus": "virtio", "path": "/a", "backingIndex": "1"},
        "vda#2": {"path": "/base", "backingIndex": "2"},
        MAC_A: {"mac": MAC_A, "tap": "vnet0"},
    }


def test_a_hot_unplug_renumbers_and_no_name_changes() -> None:
    before: dict[str, Value] = {f"block.{i}.name": disk for i, disk in enumerate(("sda", "sdb", "sdc"))}
    before |= {f"block.{i}.rd.bytes": i for i in range(3)}
    after: dict[str, Value] = {"block.0.name": "sdb", "block.0.rd.bytes": 1, "block.1.name": "sdc"}
    after |= {"block.1.rd.bytes": 2}
    assert named(before) == {"block.rd.bytes[sda]": 0, "block.rd.bytes[sdb]": 1, "block.rd.bytes[sdc]": 2}
    assert named(after) == {"block.rd.bytes[sdb]": 1, "block.rd.bytes[sdc]": 2}


def test_a_swap_of_rows_with_the_same_parameters_needs_another_plan() -> None:
    first: dict[str, Value] = {"block.0.name": "sda", "block.0.rd.bytes": 1}
    known = entry()
    made = plan(first, known)
    assert made.fits(tuple(first), list(first.values()), known)
    assert made.fits(tuple(first), ["sda", 99], known)
    assert not made.fits(tuple(first), ["sdb", 1], known)
    assert not made.fits((*first, "cpu.time"), ["sda", 1, 5], known)
    assert not made.fits(tuple(first), ["sda", 1], entry())


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        (Globs(("block.*",)), {"block.rd.bytes[vda]", "block.wr.bytes[vda]"}),
        (Globs(("*",), ("block.rd.*",)), {"cpu.time", "block.wr.bytes[vda]"}),
        (Globs(("cpu.time", "vcpu.*")), {"cpu.time"}),
        (Globs(()), set()),
    ],
)
def test_fields_are_chosen_by_name_without_their_device(fields: Globs, kept: set[str]) -> None:
    params: dict[str, Value] = {"cpu.time": 1, "block.0.name": "vda", "block.0.rd.bytes": 1, "block.0.wr.bytes": 2}
    assert set(named(params, fields=fields)) == kept


def test_what_is_no_number_is_told() -> None:
    params: dict[str, Value] = {"a": 1.0, "b": 2.0, "c": 3, "d": "nan"}
    assert plan(params).unreal([float("nan"), float("inf"), 3, "nan"]) == ["a", "b"]
    assert plan(params).unreal([0.0, -1.5, 3, "nan"]) == []


def test_a_counter_that_comes_as_text_is_no_number_and_other_texts_are_values() -> None:
    params: dict[str, Value] = {"cpu.time": "n/a", "dirtyrate.calc_mode": "dirty-ring", "new.thing": "odd"}
    assert plan(params).unreal(list(params.values())) == ["cpu.time"]


def test_a_plan_takes_values_and_counters_in_the_order_of_their_keys() -> None:
    params: dict[str, Value] = {
        "state.state": 1, "cpu.time": 2, "block.0.name": "vda", "block.0.rd.bytes": 3, "block.0.capacity": 4,
    }  # fmt: skip
    made, values = plan(params), list(params.values())
    assert made.keys == ("state.state", "cpu.time", "block.rd.bytes[vda]", "block.capacity[vda]")
    assert made.pick(values) == (1, 2, 3, 4)
    assert tuple(made.shape.counters) == ("cpu.time", "block.rd.bytes[vda]")
    assert made.counters(values) == (2, 3)


def test_plans_of_guests_alike_share_what_is_made_of_their_keys() -> None:
    first, second = (plan({"cpu.time": 1, "block.0.name": disk, "block.0.rd.bytes": 1}) for disk in ("vda", "vda"))
    assert first.shape is second.shape
    assert first.derivation is second.derivation


def test_a_device_that_the_xml_did_not_have_is_a_stranger() -> None:
    known = entry({"vnet0": MAC_A}, {"vda": {}})
    assert not has_stranger(("net.0.name", "block.0.name", "cpu.time"), ["vnet0", "vda", 1], known)
    assert has_stranger(("net.0.name",), ["vnet1"], known)
    assert has_stranger(("block.0.name",), ["vdb"], known)
    assert not has_stranger(("block.0.name",), ["vdb"], known, among=("net.name",))


def test_a_nic_is_called_by_its_mac_and_by_its_tap_too_where_that_is_not_enough() -> None:
    known = entry({"vnet0": MAC_A, "vnet1": MAC_A, "vnet2": MAC_B})
    assert [name_nic(nic, known) for nic in known.taps.values()] == [f"{MAC_A}@vnet0", f"{MAC_A}@vnet1", MAC_B]


def test_a_row_without_a_name_shares_none_with_a_disk_called_by_its_number() -> None:
    params: dict[str, Value] = {"block.0.name": "1", "block.0.rd.bytes": 1, "block.1.wr.bytes": 2}
    assert named(params) == {"block.rd.bytes[1]": 1, "block.wr.bytes[1#1]": 2}


def test_two_parameters_that_claim_one_name_are_told_apart() -> None:
    params: dict[str, Value] = {"vcpu.0.time": 1, "vcpu.00.time": 2, "vcpu.000.time": 3, "new.x": 4, "0.new.x": 5}
    assert named(params) == {"vcpu.time[0]": 1, "vcpu.time[0#2]": 2, "vcpu.time[0#3]": 3, "new.x": 4, "new.x[0]": 5}


def test_a_name_that_belongs_to_no_row_is_of_no_device_and_no_value() -> None:
    made = plan({"net.name": "vnet0", "cpu.time": 1})
    assert (made.keys, made.devices) == (("cpu.time",), {})


# --- what is missing

WHOLE = (
    "state.state", "cpu.time", "cpu.haltpoll.fail.time", "balloon.current", "balloon.rss", "balloon.usable",
    "vcpu.time[0]", "vcpu.time[1]", "net.rx.bytes[m]", "block.rd.bytes[vda]", "block.capacity[vda]",
    "block.rd.bytes[sr0]", "block.capacity[sr0]", "iothread.count", "iothread.poll-max-ns[1]",
)  # fmt: skip
DEVICES: dict[str, dict[str, str]] = {"vda": {}, "sr0": {}, "m": {}}


def without(*prefixes: str) -> tuple[str, ...]:
    return tuple(key for key in WHOLE if not key.startswith(prefixes))


def test_nothing_is_missing_from_a_whole_record() -> None:
    assert missing_groups(WHOLE, WHOLE, DEVICES) == frozenset()
    assert missing_groups((), WHOLE, DEVICES) == frozenset()


def test_what_a_stuck_guest_leaves_out_is_missing() -> None:
    keys = without("cpu.haltpoll", "balloon.rss", "balloon.usable", "block.", "iothread.")
    assert missing_groups(WHOLE, keys, DEVICES) == {"cpu-total", "balloon", "block", "iothread"}


def test_an_unplugged_disk_is_gone_and_not_missing() -> None:
    keys = tuple(key for key in WHOLE if "[sr0]" not in key)
    assert missing_groups(WHOLE, keys, {"vda": {}, "m": {}}) == frozenset()


def test_the_last_disk_unplugged_is_gone_and_not_missing() -> None:
    assert missing_groups(WHOLE, without("block."), {"m": {}}) == frozenset()


def test_an_unplugged_vcpu_is_gone_though_another_kind_of_device_has_its_number() -> None:
    assert missing_groups(WHOLE, without("vcpu.time[1]"), DEVICES) == frozenset()


def test_an_ejected_medium_does_not_make_the_guest_partial_for_ever() -> None:
    assert missing_groups(WHOLE, without("block.capacity[sr0]"), DEVICES) == frozenset()


def test_a_balloon_driver_that_was_unloaded_does_not_either() -> None:
    assert missing_groups(WHOLE, without("balloon.usable"), DEVICES) == frozenset()


def test_a_nic_that_gives_no_figures_is_missing_them() -> None:
    assert missing_groups(WHOLE, without("net."), DEVICES) == {"interface"}


# --- what is missing from a guest never seen before


def silent(params: dict[str, Value], disks: dict[str, dict[str, str]] | None = None, fields: Globs = ALL) -> set[str]:
    return set(silent_groups(plan(params, entry(disks=disks), fields)))


DISK: dict[str, Value] = {"cpu.time": 1, "block.count": 1, "block.0.name": "vda", "block.0.backingIndex": 1}


def test_disks_without_a_single_figure_are_of_a_guest_that_does_not_answer() -> None:
    assert silent(DISK | {"block.0.path": "/a"}) == {"block"}
    assert silent(DISK | {"block.0.path": "/a", "block.0.capacity": 5}) == set()


def test_one_disk_that_says_something_shows_that_the_guest_answered() -> None:
    second: dict[str, Value] = {"block.0.path": "/a", "block.1.name": "vdb", "block.1.path": "/b", "block.1.rd.reqs": 0}
    assert silent(DISK | second) == set()


def test_a_disk_without_a_path_is_known_to_be_one_by_its_xml() -> None:
    assert silent(DISK, {"vda": {"bus": "virtio", "protocol": "rbd"}}) == {"block"}
    assert silent(DISK) == set(), "nobody knows what it is"


def test_a_guest_without_disks_has_nothing_to_say_of_any() -> None:
    assert silent({"cpu.time": 1, "block.count": 0}) == set()
    assert silent({"cpu.time": 1, "net.0.name": "vnet0"}) == set()


def test_figures_that_are_not_kept_show_it_as_well() -> None:
    params = DISK | {"block.0.path": "/a", "block.0.rd.bytes": 1}
    assert silent(params, fields=Globs(("cpu.*",))) == set()


# --- whatever the answer looks like

hostile = st.one_of(
    st.sampled_from(["vda", "vdb", "vda#2", "vda#1", "0", "1", "a]b[c", "vda/0", "", "x" * 300, "\x1b[31m", "tap\n"]),
    st.text(max_size=5),
)


@st.composite
def answers(draw: st.DrawFn) -> tuple[dict[str, Value], Entry | None]:  # noqa: C901 - one thing after the other
    """Draw an answer with rows in any order, with holes, hostile names, layers, and an inventory that knows some."""
    params: dict[str, Value] = {}
    numbers = iter(range(10**6))
    for i in draw(st.lists(st.integers(0, 30), unique=True, max_size=5)):
        if draw(st.integers(0, 9)):
            params[f"block.{i}.name"] = draw(hostile)
        if draw(st.booleans()):
            params[f"block.{i}.backingIndex"] = draw(st.integers(0, 4))
        if draw(st.booleans()):
            params[f"block.{i}.path"] = draw(hostile)
        for what in draw(st.sets(st.sampled_from(["rd.bytes", "allocation", "limits.iov_max", "timed_group.0.x"]))):
            params[f"block.{i}.{what}"] = next(numbers)
    taps: dict[str, str] = {}
    for i in draw(st.lists(st.integers(0, 30), unique=True, max_size=4)):
        tap = draw(hostile)
        if draw(st.integers(0, 9)):
            params[f"net.{i}.name"] = tap
        if draw(st.booleans()):
            taps[tap] = draw(st.sampled_from([MAC_A, MAC_B]))
        for what in draw(st.sets(st.sampled_from(["rx.bytes", "tx.drop", "new"]))):
            params[f"net.{i}.{what}"] = next(numbers)
    for i in draw(st.sets(st.integers(0, 9), max_size=3)):
        params[f"vcpu.{i}.time"] = next(numbers)
        params[f"cpu.cache.monitor.{i}.bank.{i + 1}.bytes"] = next(numbers)
    params |= {"cpu.time": next(numbers), "state.state": next(numbers)}
    order = draw(st.permutations(list(params)))
    return {name: params[name] for name in order}, draw(st.sampled_from([entry(taps), entry(), None]))


@given(answers())
def test_no_value_is_lost_doubled_or_swapped(given_: tuple[dict[str, Value], Entry | None]) -> None:
    params, known = given_
    made = Plan(tuple(params), list(params.values()), known, ALL)
    result = made.params(list(params.values()))
    kept = {
        value: parse_name(name)[0]
        for name, value in params.items()
        if parse_name(name)[0] not in IDENTITY_FIELDS
        and not (known is None and name.startswith("net.") and parse_name(name)[1])
    }
    assert {value: split_key(key)[0] for key, value in result.items()} == kept
    assert len(result) == len(kept) == len(made.keys)


@given(answers())
def test_values_of_one_row_go_to_one_device_and_those_of_two_rows_to_two(
    given_: tuple[dict[str, Value], Entry | None],
) -> None:
    params, known = given_
    result = Plan(tuple(params), list(params.values()), known, ALL).params(list(params.values()))
    device_of = {value: split_key(key)[1] for key, value in result.items()}
    rows: dict[tuple[str, int], set[str | None]] = {}
    for name, value in params.items():
        field, indices = parse_name(name)
        if len(indices) == 1 and value in device_of and field not in IDENTITY_FIELDS:
            rows.setdefault((name.partition(".")[0], indices[0]), set()).add(device_of[value])
    assert all(len(devices) == 1 for devices in rows.values())
    for group in ("block", "net", "vcpu"):
        devices = [next(iter(found)) for (of, _), found in rows.items() if of == group]
        assert len(devices) == len(set(devices))


@given(answers())
def test_names_do_not_depend_on_the_order_of_parameters(given_: tuple[dict[str, Value], Entry | None]) -> None:
    params, known = given_
    shuffled = dict(reversed(params.items()))
    first = Plan(tuple(params), list(params.values()), known, ALL).params(list(params.values()))
    second = Plan(tuple(shuffled), list(shuffled.values()), known, ALL).params(list(shuffled.values()))
    assert first == second


@given(
    st.lists(st.from_regex(r"\A[hsv]d[a-h]\Z"), unique=True, min_size=2, max_size=6),
    st.data(),
)
def test_whatever_disk_is_unplugged_the_others_keep_their_names(disks: list[str], data: st.DataObject) -> None:
    def answered(present: list[str]) -> dict[str, Value]:
        params: dict[str, Value] = {"block.count": len(present)}
        for i, disk in enumerate(present):
            params |= {f"block.{i}.name": disk, f"block.{i}.rd.bytes": disks.index(disk)}
        return params

    removed = data.draw(st.sampled_from(disks))
    left = [disk for disk in disks if disk != removed]
    assert named(answered(left)) == {
        "block.count": len(left),
        **{f"block.rd.bytes[{disk}]": disks.index(disk) for disk in left},
    }

"""Line protocol, read back by a reader of its own that follows InfluxDB's rules and nothing of ours."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.model import Kind, Partial, Record, Value
from domstat_sinks.escape import NAME_BYTES_MAX, unescape_name
from domstat_sinks.lineprotocol import Encoder
from lines import Line, read
from records import (
    DISKS,
    MACS,
    SLEEPER_UUID,
    TIME_MS,
    UUID,
    agent_record,
    event_record,
    gap_record,
    guest_record,
    host_record,
    one_of_each,
    pool_record,
    sleeper_record,
)

U64_MAX = 2**64 - 1
I64_MAX = 2**63 - 1


def encode(*records: Record) -> list[Line]:
    encoded = Encoder().encode(records)
    assert encoded.left_out == []
    return read(encoded.text)


def fields_of(lines: list[Line]) -> dict[str, str]:
    """All fields, devices in brackets, as records name them."""
    return {
        f"{name}[{line.tags['device']}]" if "device" in line.tags else name: value
        for line in lines
        for name, value in line.fields.items()
    }


def written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value}i"


def test_every_parameter_rate_and_derived_value_is_a_field() -> None:
    record = guest_record()
    fields = fields_of(encode(record))
    expected = {key: written(value) for key, value in record.params.items()}
    assert {key: value for key, value in fields.items() if key in expected} == expected
    floats = {re.sub(r"(?=\[|$)", ".rate", key, count=1): value for key, value in record.rates.items()}
    floats |= record.derived
    assert {key: float(fields[key]) for key in floats} == floats
    assert len(fields) == len(expected) + len(floats)


def test_a_line_is_one_measurement_and_one_device() -> None:
    lines = encode(guest_record())
    assert [(line.measurement, line.tags.get("device")) for line in lines] == [
        ("domstat_state", None),
        ("domstat_cpu", None),
        ("domstat_balloon", None),
        ("domstat_vcpu", None),
        ("domstat_vcpu", "0"),
        ("domstat_vcpu", "1"),
        ("domstat_net", None),
        ("domstat_net", MACS[0]),
        ("domstat_net", MACS[1]),
        ("domstat_block", None),
        ("domstat_block", DISKS[0]),
        ("domstat_block", DISKS[1]),
        ("domstat_memory", None),
    ]


def test_every_line_says_whose_it_is_and_when_in_nanoseconds() -> None:
    for line in encode(guest_record()):
        own = {key: value for key, value in line.tags.items() if key != "device"}
        assert own == {"domain": "web-1", "host": "kvm1", "uuid": UUID}
        assert line.time == f"{TIME_MS}000000"


def test_tags_are_sorted_by_name() -> None:
    for line in encode(guest_record()):
        assert list(line.tags) == sorted(line.tags)


def test_whole_rates_and_derived_values_are_floats_nevertheless() -> None:
    fields = fields_of(encode(guest_record(rates={"cpu.time": 1.0}, derived={"cpu.cores": 0.0})))
    assert not fields["cpu.time.rate"].endswith("i")
    assert not fields["cpu.cores"].endswith("i")


def test_what_the_catalogue_calls_a_float_is_one_even_where_its_value_is_whole() -> None:
    key = "cpu.energy.monitor.pkg.core_energy[0/0]"
    assert fields_of(encode(guest_record(params={key: 7})))[key] == "7"
    assert fields_of(encode(guest_record(params={key: 7.25})))[key] == "7.25"


def test_a_stranger_has_its_values_type() -> None:
    params: dict[str, Value] = {"new.count": 3, "new.ratio": 0.5, "new.on": True, "new.mode": 'fast, and "loud"'}
    fields = fields_of(encode(guest_record(params=params)))
    assert fields == {"new.count": "3i", "new.ratio": "0.5", "new.on": "true", "new.mode": '"fast, and \\"loud\\""'}


def test_texts_and_numbers_keep_their_places() -> None:
    params: dict[str, Value] = {
        "dirtyrate.calc_status": 2,
        "dirtyrate.calc_mode": "page-sampling",
        "dirtyrate.calc_period": 1,
    }
    assert fields_of(encode(guest_record(params=params))) == {
        "dirtyrate.calc_status": "2i",
        "dirtyrate.calc_mode": '"page-sampling"',
        "dirtyrate.calc_period": "1i",
    }


def test_the_largest_integer_is_exact() -> None:
    assert fields_of(encode(guest_record(params={"balloon.rss": I64_MAX})))["balloon.rss"] == f"{I64_MAX}i"


@pytest.mark.parametrize("value", [I64_MAX + 1, U64_MAX, 2**80, -(2**63) - 1])
def test_a_larger_integer_is_left_out_and_reported_and_the_rest_is_written(value: int) -> None:
    record = guest_record(extra={"balloon.rss": value})
    encoded = Encoder().encode([record])
    fields = fields_of(read(encoded.text))
    assert "balloon.rss" not in fields
    assert len(fields) == len(record.params) + len(record.rates) + len(record.derived) - 1
    assert encoded.left_out == [(record, f"balloon.rss: {value} is more than line protocol's integers hold")]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_left_out_and_reported(value: float) -> None:
    record = guest_record(
        params={"new.gauge": value, "cpu.time": 1}, rates={"cpu.time": value}, derived={"cpu.cores": value}
    )
    encoded = Encoder().encode([record])
    assert fields_of(read(encoded.text)) == {"cpu.time": "1i"}
    assert [reason.partition(":")[0] for _, reason in encoded.left_out] == ["new.gauge", "cpu.time (rate)", "cpu.cores"]


def test_a_value_of_another_type_than_the_catalogues_is_left_out_and_reported() -> None:
    record = guest_record(params={"cpu.time": 1.5, "cpu.user": 2}, first=True, derived={})
    encoded = Encoder().encode([record])
    assert fields_of(read(encoded.text)) == {"cpu.user": "2i"}
    assert encoded.left_out == [(record, "cpu.time: float where the catalogue says int")]


@pytest.mark.parametrize(
    ("key", "right", "wrong"),
    [
        ("cpu.time", 1, True),
        ("cpu.time", 1, "1"),
        ("vcpu.halted[0]", True, 1),
        ("vcpu.halted[0]", True, 0.0),
        ("dirtyrate.calc_mode", "fast", 3),
        ("cpu.energy.monitor.pkg.activity[0/0]", 0.5, False),
        ("cpu.energy.monitor.pkg.activity[0/0]", 0.5, "0.5"),
    ],
)
def test_no_field_changes_its_type_from_one_record_to_the_next(key: str, right: Value, wrong: Value) -> None:
    encoder = Encoder()
    others: dict[str, Value] = {"cpu.user": 2, "vcpu.halted[1]": False, "dirtyrate.calc_status": 1}
    for value, is_written in ((right, True), (wrong, False), (right, True)):
        record = guest_record(params={key: value, **others}, first=True, derived={})
        encoded = encoder.encode([record])
        assert fields_of(read(encoded.text)).keys() == others.keys() | ({key} if is_written else set())
        assert [left for left, _ in encoded.left_out] == ([] if is_written else [record])


def test_two_wrong_types_do_not_make_up_for_each_other() -> None:
    encoder = Encoder()
    encoder.encode([guest_record(params={"cpu.time": 1, "vcpu.halted[0]": True}, first=True, derived={})])
    wrong = guest_record(params={"cpu.time": True, "vcpu.halted[0]": 1}, first=True, derived={})
    encoded = encoder.encode([wrong])
    assert (encoded.text, len(encoded.left_out)) == (b"", 2)


def test_a_stranger_has_its_values_type_whatever_another_guest_says() -> None:
    encoder = Encoder()
    written = [
        fields_of(read(encoder.encode([guest_record(params={"new.x": value}, first=True, derived={})]).text))["new.x"]
        for value in (1, 0.5, 2, True)
    ]
    assert written == ["1i", "0.5", "2i", "true"]


def test_a_record_of_which_nothing_can_be_written_writes_nothing() -> None:
    records = [guest_record(params={"balloon.rss": U64_MAX}), guest_record(params={"balloon.rss": "much"})]
    encoded = Encoder().encode([*records, guest_record(params={})])
    assert encoded.text == b""
    assert [record for record, _ in encoded.left_out] == records


def test_two_fields_of_one_name_do_not_become_one() -> None:
    record = guest_record(params={"cpu.time.rate": 5, "cpu.time": 7}, rates={"cpu.time": 0.25}, derived={})
    encoded = Encoder().encode([record])
    assert fields_of(read(encoded.text)) == {"cpu.time.rate": "5i", "cpu.time": "7i"}
    assert encoded.left_out == [(record, "cpu.time: there is a cpu.time.rate already")]


def test_a_quote_in_a_fields_name_begins_no_text() -> None:
    params: dict[str, Value] = {'new.="x': 1, 'new.a"b': "c"}
    assert {unescape_name(name) for name in fields_of(encode(guest_record(params=params)))} == set(params)


def test_no_field_is_called_time() -> None:
    assert fields_of(encode(guest_record(params={"time": 5}))) == {"time.value": "5i"}


def test_a_partial_record_writes_what_it_has_and_says_what_it_lacks() -> None:
    lines = encode(guest_record(without=("block.",), partial=Partial(("block", "vm"), 12.5)))
    assert not [line for line in lines if line.measurement == "domstat_block"]
    said = lines[-1]
    assert said.measurement == "domstat_partial"
    assert said.fields == {"missing": '"block,vm"', "age_s": "12.5"}
    assert (said.tags["domain"], said.tags["collect"]) == ("web-1", "default")


def test_events_of_one_tick_are_points_of_their_own() -> None:
    lines = encode(event_record("device-added", None, device="vdb"), event_record("device-added", None, device="vdc"))
    assert [(line.measurement, line.tags["type"], line.tags["device"]) for line in lines] == [
        ("domstat_event", "device-added", "vdb"),
        ("domstat_event", "device-added", "vdc"),
    ]
    assert lines[0].fields == {"count": "1i"}


def test_an_event_says_its_reason() -> None:
    (line,) = encode(event_record("stopped", "crashed"))
    assert line.fields == {"count": "1i", "reason": '"crashed"'}


def test_a_gap_says_from_when_to_when() -> None:
    (line,) = encode(gap_record("no answer", lasted_ms=30_000))
    assert line.measurement == "domstat_gap"
    assert line.fields == {"from_ms": f"{TIME_MS - 30_000}i", "to_ms": f"{TIME_MS}i", "reason": '"no answer"'}


def test_the_hosts_figures_are_not_among_the_guests_and_have_no_host_in_their_names() -> None:
    (line,) = encode(host_record(params={"host.cpu.user": 8, "host.cpus": 16, "host.version.libvirt": "9.0.0"}))
    assert (line.measurement, line.tags) == ("domstat_host", {"host": "kvm1"})
    assert line.fields == {
        "cpu.user": "8i",
        "cpus": "16i",
        "version.libvirt": '"9.0.0"',
        "cpu.user.rate": "3.0",
        "cpu.kernel.rate": "1.0",
        "cpu.idle.rate": "12.0",
        "cpu.iowait.rate": "0.0",
        "memory.used": "42949672960.0",
        "cpu.utilization": "0.25",
    }


def test_a_pool_is_named() -> None:
    (line,) = encode(pool_record("my images"))
    assert (line.measurement, line.tags) == ("domstat_pool", {"host": "kvm1", "pool": "my images"})
    assert line.fields == {
        "state": "2i",
        "capacity": "1099511627776i",
        "allocation": "879609302221i",
        "available": "219902325555i",
        "age": "0.0",
    }


def test_what_the_agent_says_of_one_stream_is_no_other_streams() -> None:
    lines = encode(*(agent_record(collect=name, params={"agent.skipped": 3}) for name in ("default", "slow")))
    assert [(line.measurement, line.tags) for line in lines] == [
        ("domstat_agent", {"collect": "default", "host": "kvm1"}),
        ("domstat_agent", {"collect": "slow", "host": "kvm1"}),
    ]
    assert lines[0].fields == {"skipped": "3i", "skipped.rate": "0.1", "failed.rate": "0.0"}


def test_a_guest_that_is_off_is_among_the_guests() -> None:
    lines = encode(sleeper_record())
    assert [(line.measurement, line.tags.get("device"), line.fields) for line in lines] == [
        ("domstat_state", None, {"state.state": "5i", "state.reason": "1i"}),
        ("domstat_vcpu", None, {"vcpu.maximum": "2i"}),
        ("domstat_balloon", None, {"balloon.maximum": "4194304i"}),
        ("domstat_volume", "vda", {"volume.capacity": "42949672960i", "volume.allocation": "8589934592i"}),
    ]
    assert all((line.tags["domain"], line.tags["uuid"]) == ("old-1", SLEEPER_UUID) for line in lines)


def test_only_the_kinds_own_word_is_left_out_of_a_name() -> None:
    (line,) = encode(agent_record(params={"agent.time": 1, "host.agent.x": 2, "other": 3}, rates={}))
    assert line.fields == {"time.value": "1i", "host.agent.x": "2i", "other": "3i"}


def test_chosen_labels_are_tags_also_while_they_do_not_travel() -> None:
    encoder = Encoder(labels=["owner"])
    with_labels = guest_record(params={"cpu.time": 1}, labels={"owner": "a team", "tier": "gold"})
    without = guest_record(params={"cpu.time": 1}, labels=None)
    other = guest_record(params={"cpu.time": 1}, uuid="other", labels={"owner": "them"})
    assert [line.tags["owner"] for line in read(encoder.encode([with_labels, other]).text)] == ["a team", "them"]
    assert [line.tags["owner"] for line in read(encoder.encode([without]).text)] == ["a team"]
    gone = guest_record(params={"cpu.time": 1}, labels={})
    assert "owner" not in read(encoder.encode([gone]).text)[0].tags


def test_a_label_cannot_take_the_place_of_our_own_tags() -> None:
    with pytest.raises(ValueError, match="uuid"):
        Encoder(labels=["owner", "uuid"])


def test_a_renamed_guest_has_its_new_name_at_once() -> None:
    encoder = Encoder()
    names = ["old", "new"]
    encoded = [encoder.encode([guest_record(name, params={"cpu.time": 1})]).text for name in names]
    assert [read(text)[0].tags["domain"] for text in encoded] == names


HOSTILE = st.text(st.one_of(st.sampled_from('\\, ="\n\r\t\0%#a\u202e'), st.characters(codec="utf-8")), max_size=100)


@given(name=HOSTILE, device=HOSTILE, text=HOSTILE)
def test_no_name_device_or_text_can_be_anything_but_itself(name: str, device: str, text: str) -> None:
    params: dict[str, Value] = {f"block.wr.bytes[{device}]": 1, "dirtyrate.calc_mode": text}
    block, dirtyrate = encode(guest_record(name, params=params, first=True))
    assert unescape_name(block.tags["domain"]) == name
    assert unescape_name(block.tags["device"]) == device
    assert unescape_name(dirtyrate.fields["dirtyrate.calc_mode"][1:-1].replace('\\"', '"')) == text
    assert set(block.tags) == {"device", "domain", "host", "uuid"}


@pytest.mark.parametrize("name", ["a\\,x\\=evil", "a\\,host=evil", "a\\\\", "a\\ cpu=1i", "a\\", "a ", "\t", "", "#"])
def test_names_that_are_known_to_fool_servers_are_only_names(name: str) -> None:
    (line,) = encode(guest_record(name, params={"cpu.time": 1}, first=True))
    assert unescape_name(line.tags["domain"]) == name
    assert line.tags["host"] == "kvm1"


def test_a_name_of_5000_characters_is_cut_to_what_servers_take() -> None:
    one, other = encode(*(guest_record("n" * 5000 + end, params={"cpu.time": 1}, first=True) for end in "ab"))
    assert len(one.tags["domain"]) <= NAME_BYTES_MAX
    assert one.tags["domain"] != other.tags["domain"]


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="["), min_size=1, max_size=20),
        st.one_of(st.integers(-(2**63), U64_MAX), st.floats(), st.booleans(), HOSTILE),
        max_size=8,
    )
)
def test_every_value_is_written_or_reported(params: dict[str, int | float | bool | str]) -> None:
    encoded = Encoder().encode([guest_record(params=params, rates={}, derived={})])
    assert sum(len(line.fields) for line in read(encoded.text)) + len(encoded.left_out) == len(params)


def test_every_kind_of_record_has_a_form_of_its_own() -> None:
    records = one_of_each()
    assert set(records) == set(Kind)
    for kind, record in records.items():
        measurements = {line.measurement for line in encode(record)}
        if kind is Kind.GUEST:
            assert not measurements & {f"domstat_{other}" for other in Kind}
        else:
            assert measurements == {f"domstat_{kind}"}


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in {Kind.EVENT, Kind.GAP}])
def test_every_value_of_every_kind_can_be_found_again(kind: Kind) -> None:
    record = one_of_each()[kind]
    own = "" if kind is Kind.GUEST else f"{kind}."
    found = {own + name: value for name, value in fields_of(encode(record)).items()}
    rates = {re.sub(r"(?=\[|$)", ".rate", key, count=1): value for key, value in record.rates.items()}
    wanted: dict[str, Value] = {**record.params, **rates, **record.derived}
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        text = found[key]
        read_back = text.strip('"') if isinstance(value, str) else float(text.removesuffix("i").replace("false", "0"))
        assert read_back == value

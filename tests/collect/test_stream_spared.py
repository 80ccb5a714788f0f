"""Records of guests that do not answer, and of those that are spared: what they lack, and what stays known."""

from __future__ import annotations

from answers import (
    KVM,
    MAC,
    UUID,
    Guest,
    Telling,
    Told,
    answer,
    domain_xml,
    guests_of,
    record_of,
    sample,
    spare,
    stamp,
    stuck,
)
from domstat.model import Domain, Kind, Partial, Value

HOUR_S = 3600

MISSING = ("balloon", "block", "cpu-total", "vcpu")
"""The groups of which a spared guest's record lacks a part."""


# --- guests that do not answer


def test_a_stuck_guests_record_says_what_is_missing_and_since_when() -> None:
    told = Telling(KVM)
    told.record(0, sample(0))
    record = told.record(10, stuck(sample(10)))
    assert record.partial == Partial(("balloon", "block"), 10.0)
    assert record.rates == {"cpu.time": 0.5, "vcpu.time[0]": 0.25, f"net.rx.bytes[{MAC}]": 100.0}
    assert record.params["balloon.current"] == 4096
    assert told.record(20, stuck(sample(20))).partial == Partial(("balloon", "block"), 20.0)


def test_after_a_stuck_time_rates_are_over_their_own_elapsed_time() -> None:
    told = Telling(KVM)
    told.record(0, sample(0))
    told.record(10, stuck(sample(10)))
    told.record(20, stuck(sample(20)))
    record = told.record(30, sample(60))
    assert record.partial is None
    assert record.interval_s == 10.0
    assert record.rates["block.rd.bytes[vda]"] == 2000.0
    assert record.rates["cpu.time"] == 2.0
    assert told.record(40, sample(70)).rates["block.rd.bytes[vda]"] == 1000.0


def test_a_guest_that_is_stuck_when_it_is_first_seen_is_partial_until_it_answers() -> None:
    told = Telling(KVM)
    assert told.record(0, stuck(sample(0))).partial == Partial(("block",))
    assert told.record(10, stuck(sample(10))).partial == Partial(("block",))
    assert told.record(20, sample(20)).partial is None


def test_a_guest_without_a_balloon_driver_any_more_is_whole() -> None:
    told = Telling(KVM)
    told.record(0, sample() | {"balloon.usable": 5})
    assert told.record(10, sample()).partial is None


def test_what_is_no_number_is_left_out_and_said_to_be_missing() -> None:
    told = Telling(domain_xml())
    energy = "cpu.energy.monitor.0.pkg.0.core_energy"
    told.record(0, {"cpu.time": 0, energy: 1.0})
    record = told.record(10, {"cpu.time": 0, energy: float("nan")})
    assert record.params == {"cpu.time": 0}
    assert record.partial == Partial(("cpu-total",), 10.0)
    assert told.log.facts("no_number") == {"uuid": UUID, "params": [energy]}
    assert told.record(20, {"cpu.time": 0, energy: 21.0}).rates == {
        "cpu.time": 0.0,
        "cpu.energy.monitor.pkg.core_energy[0/0]": 1.0,
    }


def test_what_is_no_number_from_the_start_is_missing_from_the_start() -> None:
    told = Telling(domain_xml())
    params: dict[str, Value] = {"cpu.time": 0, "perf.cpu_cycles": "n/a"}
    for seconds in (0, 10, 20):
        record = told.record(seconds, params)
        assert (record.params, record.partial) == ({"cpu.time": 0}, Partial(("perf",)))
    assert told.record(30, {"cpu.time": 0, "perf.cpu_cycles": 5}).partial is None


# --- answers that spare the guests


def test_a_spared_guests_record_lacks_what_only_the_guest_knows() -> None:
    told = Telling(KVM)
    told.record(0, sample(0))
    record = told.record(10, spare(sample(10)), spared=True)
    assert record.params == {"state.state": 1, "net.count": 1, f"net.rx.bytes[{MAC}]": 1000}
    assert record.rates == {f"net.rx.bytes[{MAC}]": 100.0}
    assert record.partial == Partial(MISSING, 10.0)
    assert record.interval_s == 10.0
    assert told.record(20, spare(sample(20)), spared=True).partial == Partial(MISSING, 20.0)


def test_what_was_known_of_a_spared_guest_stays_known() -> None:
    told = Telling(KVM)
    told.record(0, sample(0))
    told.record(10, spare(sample(10)), spared=True)
    told.record(20, spare(sample(20)), spared=True)
    record = told.record(30, sample(30))
    assert (record.partial, record.labels, record.devices, record.anew) == (None, None, None, None)
    assert record.rates == {
        "cpu.time": 0.5, "vcpu.time[0]": 0.25, f"net.rx.bytes[{MAC}]": 100.0, "block.rd.bytes[vda]": 1000.0,
        "block.rd.bytes[vdb]": 1000.0,
    }  # fmt: skip
    assert told.record(40, sample(60)).rates["cpu.time"] == 1.5


def test_a_spared_record_carries_no_details_though_these_are_due() -> None:
    told = Telling(KVM)
    told.record(0, sample())
    assert told.record(HOUR_S, spare(sample()), spared=True).devices is None
    assert told.record(HOUR_S + 10, sample()).devices is not None


def test_a_spared_answer_reads_no_xml() -> None:
    told = Telling(KVM)
    told.record(0, spare(sample()), spared=True)
    assert told.hypervisor.described == []


def test_a_guest_first_seen_in_a_spared_answer_is_a_guest_like_any_other_later() -> None:
    told = Telling(KVM)
    first = told.record(0, spare(sample(0)), spared=True)
    assert first.partial == Partial(tuple(sorted((*MISSING, "interface"))))
    assert (first.interval_s, first.rates) == (None, {})
    assert not any(key.startswith("net.rx") for key in first.params), "its NICs cannot be named yet"
    second = told.record(10, sample(10))
    assert (second.partial, second.interval_s) == (None, 10.0)
    assert second.devices is not None
    assert told.record(20, sample(20)).rates["block.rd.bytes[vda]"] == 1000.0


def test_a_guest_that_was_started_anew_while_it_is_spared_begins_anew() -> None:
    told = Telling(KVM)
    told.record(0, sample(100))
    record = told.record(10, spare(sample(200)), id=4, spared=True)
    assert (record.domain, record.rates, record.interval_s) == (Domain(UUID, "web-1", 4), {}, None)
    told.hypervisor.xml[UUID] = KVM.replace("id='3'", "id='4'")
    assert "cpu.time" not in told.record(20, sample(300), id=4).rates
    assert told.record(30, sample(310), id=4).rates["cpu.time"] == 0.5


def test_a_nic_plugged_into_a_spared_guest_waits_for_its_name() -> None:
    told = Telling(KVM)
    told.record(0, sample())
    params = spare(sample(10)) | {"net.1.name": "vnet7", "net.1.rx.bytes": 5}
    record = told.record(10, params, spared=True)
    assert not any(key.startswith("net.rx") for key in record.params)
    assert record.partial == Partial(tuple(sorted((*MISSING, "interface"))), 10.0)
    assert told.record(20, sample(20)).rates[f"net.rx.bytes[{MAC}]"] == 100.0


def test_a_spared_guest_is_not_forgotten_however_long_it_takes() -> None:
    told = Telling({"a": KVM, "b": KVM})
    told.batch(0, *[Guest(uuid=uuid, params=sample(0)) for uuid in "ab"])
    for seconds in range(1800, 3 * HOUR_S + 1, 1800):
        told.batch(seconds, Guest(uuid="a", params=spare(sample(seconds))), spared=True)
    (record,) = guests_of(told.batch(3 * HOUR_S + 10, Guest(uuid="a", params=sample(3 * HOUR_S + 10))))
    assert record.rates["cpu.time"] == 0.5
    assert set(told.stream._known) == {"a"}


def test_a_block_that_asks_the_guests_for_nothing_lacks_nothing_when_they_are_spared() -> None:
    told = Telling(KVM, groups=("state", "interface"))
    assert told.record(0, spare(sample(0)), spared=True).partial is None
    record = told.record(10, spare(sample(10)), spared=True)
    assert (record.partial, record.rates) == (None, {f"net.rx.bytes[{MAC}]": 100.0})
    assert told.hypervisor.described == [(UUID,)]


def test_a_tick_in_which_a_guest_got_stuck_is_whole_but_for_that_guest() -> None:
    told = Telling(dict.fromkeys("abc", KVM))

    def tick(seconds: int) -> list[Told]:
        whole = [Guest(uuid=uuid, params=sample(seconds)) for uuid in "ab"]
        return [
            answer(stamp(seconds), *whole, more=True),
            answer(stamp(seconds + 1), Guest(uuid="c", params=spare(sample(seconds))), spared=True),
        ]

    told.batch(0, *[Guest(uuid=uuid, params=sample()) for uuid in "abc"])
    batches = told.tick(*tick(10))
    records = {record.subject: record for record in guests_of(*batches)}
    assert [len(record.rates) for record in records.values()] == [5, 5, 1]
    assert [record.partial is None for record in records.values()] == [True, True, False]
    assert [[record.kind for record in batch.records] for batch in batches] == [
        [Kind.GUEST, Kind.GUEST],
        [Kind.GUEST, Kind.AGENT],
    ]
    assert record_of(Kind.AGENT, batches[1]).params["agent.partial"] == 1

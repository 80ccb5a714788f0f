"""Records of the host and of the agent itself."""

from __future__ import annotations

import json

from domstat.collect.subject import Subject
from domstat.jsonlines import encode
from domstat.model import Kind, Moment, Record, Stamp, Value

S = 1_000_000_000


def record(subject: Subject, seconds: int, params: dict[str, Value]) -> Record:
    stamp = Stamp(1_795_385_700_000 + 1000 * seconds, seconds * S, "boot", 0)
    return subject.record(params, stamp, Moment(stamp.time_ms, stamp.boot_ns, "boot"))


def host() -> Subject:
    return Subject(Kind.HOST, "kvm1", "default")


def test_the_first_record_has_no_rates() -> None:
    first = record(host(), 0, {"host.cpu.user": 5, "host.cpus": 2})
    assert (first.kind, first.host, first.collect) == (Kind.HOST, "kvm1", "default")
    assert first.time_ms == 1_795_385_700_000
    assert (first.domain, first.interval_s, first.rates) == (None, None, {})
    assert first.params == {"host.cpu.user": 5, "host.cpus": 2}


def test_the_second_has_rates_and_what_is_derived_of_them() -> None:
    subject = host()
    record(subject, 0, {"host.cpu.user": 0, "host.cpu.idle": 0})
    second = record(subject, 10, {"host.cpu.user": 5 * S, "host.cpu.idle": 15 * S})
    assert second.interval_s == 10.0
    assert second.rates == {"host.cpu.user": 0.5, "host.cpu.idle": 1.5}
    assert second.derived == {"host.cpu.utilization": 0.25}


def test_a_mode_that_falls_begins_the_hosts_counters_anew() -> None:
    subject = host()
    record(subject, 0, {"host.cpu.user": 9 * S, "host.cpu.idle": 0})
    assert record(subject, 10, {"host.cpu.user": 0, "host.cpu.idle": S}).rates == {}
    assert record(subject, 20, {"host.cpu.user": S, "host.cpu.idle": S}).rates["host.cpu.user"] == 0.1


def test_what_is_given_is_copied_and_not_kept() -> None:
    given: dict[str, Value] = {"host.cpus": 2}
    made = record(host(), 0, given)
    given["host.cpus"] = 99
    assert made.params == {"host.cpus": 2}


def test_the_agents_counters_have_rates_and_nothing_is_derived() -> None:
    subject = Subject(Kind.AGENT, "kvm1", "default")
    record(subject, 0, {"agent.skipped": 0, "agent.calls": 1})
    second = record(subject, 10, {"agent.skipped": 5, "agent.calls": 9, "agent.cost.worker": 3})
    assert (second.kind, second.rates, second.derived) == (Kind.AGENT, {"agent.skipped": 0.5}, {})
    assert json.loads(encode([second]))["kind"] == "agent"

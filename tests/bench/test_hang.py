"""What is made of a collector's samples: silences, losses, and what lacks values without saying so."""

from __future__ import annotations

import json
import struct

import pytest

from domstat_bench import hang
from domstat_bench.hang import Figures, Span
from domstat_bench.watching import Sample, sample_of, samples_in

SPAN = Span(hangs=101, goes_on=141, ends=160)


def series(*times: float, values: int = 10) -> list[Sample]:
    return [Sample("one", time, values) for time in times]


def test_what_a_guest_has_within_a_moment_is_one_sample() -> None:
    found = hang.moments([Sample("one", 10.2, 3), Sample("two", 10.1, 1), Sample("one", 10.0, 4, marked=True)], 5)
    assert found == {"one": [Sample("one", 10.2, 7, marked=True)], "two": [Sample("two", 10.1, 1)]}


def test_a_silence_is_counted_from_the_last_sample_before_the_hang_and_to_the_end() -> None:
    assert hang.gaps(series(95, 100, 105, 150), SPAN) == [5, 45, 10]
    assert hang.gaps([], SPAN) == [59]


def test_no_guest_is_silent_while_another_speaks() -> None:
    of_all = {"one": series(100, 150), "two": series(100, 120, 140)}
    assert hang.none_healthy_s(of_all, ["one", "two"], SPAN) == 20


def test_samples_are_lost_when_a_silence_is_longer_than_the_interval() -> None:
    assert hang.lost(series(100, 105, 110, 115, 120, 125, 130, 135, 140, 145, 150, 155), SPAN, 5) == 0
    assert hang.lost(series(100, 141, 146, 151, 156), SPAN, 5) == 7


def test_a_short_sample_is_a_fault_unless_it_says_so() -> None:
    short = Sample("one", 120, 3)
    assert hang.short_unmarked([*series(95, 100), short, Sample("one", 125, 3, marked=True)], SPAN, 5) == [short]
    assert hang.short_unmarked([*series(95, 100), Sample("one", 157, 3)], SPAN, 5) == []


def test_two_samples_at_one_moment_are_seen() -> None:
    twice = Sample("one", 142, 20)
    assert hang.doubled([*series(95, 100), twice, *series(147)], SPAN) == [twice]


def test_a_load_that_is_claimed_too_high_is_seen() -> None:
    loads = [(95, 0.2), (100, 0.3), (141, None), (142, 1.5), (147, 0.25)]
    assert hang.load_factor_max([Sample("one", time, 10, load=load) for time, load in loads], SPAN) == 6
    assert hang.load_factor_max(series(95, 142), SPAN) is None


def test_a_host_is_whole_again_with_the_first_whole_sample_of_its_last_guest() -> None:
    one, two = series(95, 100, 142), [*series(95, 100), Sample("two", 143, 3), Sample("two", 148, 10)]
    assert hang.whole_after_s({"one": one, "two": two}, ["one", "two"], SPAN) == 7
    assert hang.whole_after_s({"one": one, "two": two[:-1]}, ["one", "two"], SPAN) is None


def test_the_samples_in_a_packet_of_collectd_have_its_hosts_and_times() -> None:
    def part(kind: int, content: bytes) -> bytes:
        return struct.pack(">HH", kind, 4 + len(content)) + content

    def at(seconds: float) -> bytes:
        return part(8, struct.pack(">Q", int(seconds * 2**30)))

    two, one = struct.pack("<2sBBdd", b"\0\2", 1, 1, 0.5, 1.5), struct.pack("<2sBd", b"\0\1", 1, 0.5)
    packet = part(0, b"web-1\0") + at(7.5) + part(6, two) + part(0, b"db-1\0") + part(4, b"virt\0") + part(6, one)
    packet += part(4, b"percent\0") + part(5, b"virt_cpu_total\0") + part(6, one)
    loaded = Sample("db-1", 7.5, 1, load=0.5)
    assert samples_in(packet) == [Sample("web-1", 7.5, 2), Sample("db-1", 7.5, 1), loaded]
    with pytest.raises(ValueError, match="shorter"):
        samples_in(bytes(4))


def test_a_partial_record_of_domstat_is_a_marked_sample() -> None:
    record = {"kind": "guest", "time": "1970-01-01T00:00:07.500Z", "domain": {"name": "web-1"}, "params": {"a": 1}}
    assert sample_of(json.dumps(record)) == Sample("web-1", 7.5, 1)
    assert sample_of(json.dumps({**record, "partial": {"missing": ["block"]}})) == Sample("web-1", 7.5, 1, marked=True)
    assert sample_of(json.dumps({"kind": "host", "time": "1970-01-01T00:00:07.500Z", "params": {}})) is None


def test_a_collector_that_goes_on_has_nothing_said_against_it() -> None:
    times = [float(time) for time in range(90, 160, 5)]
    samples = [Sample(name, time, 10, load=0.3) for name in ("busy", "tiny") for time in times]
    samples += [Sample("victim", time, 10, marked=100 < time < 141) for time in times]
    figures = hang.judge("domstat", hang.Seen(samples, [], SPAN, ((3, 9), (3, 9))), ["busy", "tiny", "victim"], 5)
    assert (figures.none_healthy_s, figures.worst_healthy_s, figures.healthy_samples_lost) == (5, 5, 0)
    assert (figures.short_unmarked, figures.doubled, figures.load_factor_max, figures.whole_after_s) == (0, 0, 1, 4)


def test_figures_go_into_a_line_and_a_table() -> None:
    figures = Figures(
        peer="collectd", interval_s=5, guests=10, hung_s=40.1, none_healthy_s=44, worst_healthy_s=44.2,
        healthy_samples_lost=63, short_unmarked=0, doubled=0, load_factor_max=6.2,
        whole_after_s=None, late_answers=0, late_answer_max_s=0,
        late_answers_short=0, threads=(7, 8), descriptors=(9, 9),
    )  # fmt: skip
    assert json.loads(hang.json_line(figures))["threads"] == [7, 8]
    assert "never" in str(hang.table([figures]))

"""How lines of line protocol are refused: by measurement, and counted by some servers."""

from __future__ import annotations

from collections.abc import Sequence

from domstat_sinks.influxdb.refusals import LINE_PROTOCOL
from domstat_sinks.sending.answers import Outcome, Refused, Stored, TooLarge
from domstat_sinks.sending.bisection import Search

LINES = [f"m{number % 7},n={number} f=1 1\n".encode() for number in range(5000)]


def test_a_request_is_refused_as_a_whole_by_whoever_left_out_as_many_lines_as_it_has() -> None:
    assert LINE_PROTOCOL.refuses_all(LINES[:3], Refused("partial write", dropped=3))
    assert not LINE_PROTOCOL.refuses_all(LINES[:3], Refused("partial write", dropped=2))
    assert not LINE_PROTOCOL.refuses_all(LINES[:3], Refused("partial write"))
    assert not LINE_PROTOCOL.refuses_all(LINES[:3], TooLarge())


def test_a_measurement_whose_lines_are_refused_is_found_with_few_requests() -> None:
    bad = {line for line in LINES if line.startswith(b"m3,")}
    requests = 0

    def send(lines: Sequence[bytes]) -> Outcome:
        nonlocal requests
        requests += 1
        dropped = len(bad & set(lines))
        return Refused("partial write", dropped=dropped) if dropped else Stored()

    found = Search(LINES, send, None, LINE_PROTOCOL).run(Refused("partial write", dropped=len(bad)))
    assert {LINES[number] for number in found} == bad
    assert requests <= 60

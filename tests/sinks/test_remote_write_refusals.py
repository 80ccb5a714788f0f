"""Finding what a store refuses of a request, with few requests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.model import Kind
from domstat_sinks.remote_write.encoder import Piece
from domstat_sinks.remote_write.refusals import Refusal, find
from domstat_sinks.remote_write.requests import Request
from domstat_sinks.remote_write.series import ONE, labels_of, sample_of, series_of, split
from domstat_sinks.sending.answers import Outcome, Refused, Stored, TooLarge
from domstat_sinks.sending.bisection import RefusesEverything


def piece(number: int, count: int) -> Piece:
    """A record with so many series, which are called by its number and theirs."""
    body = b"".join(series_of(labels_of(f"m{number}_{i}", {}), sample_of(1, ONE)) for i in range(count))
    return Piece(number, (Kind.GUEST, "kvm1", str(number)), body, count)


class Server:
    def __init__(self, why: Callable[[bytes], str]) -> None:
        self.why = why
        self.stored: set[bytes] = set()
        self.requests = 0

    def send(self, body: bytes) -> Outcome:
        """Store all or nothing."""
        self.requests += 1
        for series in split(body):
            if said := self.why(series):
                return Refused(said, certain=said != "no")
        self.stored.update(split(body))
        return Stored()

    def find(self, *pieces: Piece, ticks: list[str], control: bytes | None = None) -> list[Refusal]:
        request = Request(pieces)
        answer = self.send(request.body)
        assert not isinstance(answer, Stored)
        return find(request, answer, ticks, self.send, control)


@given(st.integers(0, 3), st.integers(0, 9))
def test_a_single_sample_is_found_and_all_others_are_stored(number: int, at: int) -> None:
    server = Server(lambda series: "series limit" if f"m{number}_{at}".encode() in series else "")
    found = server.find(*(piece(n, 10) for n in range(4)), ticks=["a", "a", "b", "b"])
    assert found == [Refusal(number, 1, "series limit")]
    assert len(server.stored) == 39


def test_a_tick_that_is_late_is_known_by_three_of_its_samples() -> None:
    server = Server(lambda _: "out of order sample")
    found = server.find(*(piece(n, 100) for n in range(10)), ticks=["a"] * 10)
    assert found == [Refusal(n, 100, "out of order sample") for n in range(10)]
    assert server.requests == 1 + 3


def test_of_a_tick_that_is_there_as_far_as_it_was_sent_the_rest_is_stored() -> None:
    server = Server(lambda series: "out of order sample" if series in there else "")
    pieces = [piece(n, 50) for n in range(10)]
    there = set(b"".join([each.body for each in pieces[:4]]) and split(b"".join(each.body for each in pieces[:4])))
    found = server.find(*pieces, ticks=["a"] * 10)
    assert found == [Refusal(n, 50, "out of order sample") for n in range(4)]
    assert len(server.stored) == 300
    assert server.requests < 60


def test_ticks_of_other_streams_are_told_apart_even_where_a_late_one_is_on_either_side() -> None:
    server = Server(lambda series: "out of order sample" if b"m0_" in series or b"m2_" in series else "")
    found = server.find(piece(0, 20), piece(1, 5), piece(2, 40), ticks=["a", "b", "c"])
    assert found == [Refusal(0, 20, "out of order sample"), Refusal(2, 40, "out of order sample")]
    assert len(server.stored) == 5


def test_what_is_too_large_by_itself_is_refused() -> None:
    send = Server(lambda _: "").send
    request = Request((piece(0, 4),))
    assert find(request, TooLarge(), ["a"], lambda body: send(body) if len(split(body)) < 2 else TooLarge(), None) == []
    (found,) = find(request, TooLarge(), ["a"], lambda _: TooLarge(), None)
    assert (found.samples, found.reason) == (4, "it is larger than the server takes")


def test_a_server_that_refuses_everything_for_another_reason_is_left() -> None:
    with pytest.raises(RefusesEverything):
        Server(lambda _: "no").find(piece(0, 50), piece(1, 50), ticks=["a", "b"])

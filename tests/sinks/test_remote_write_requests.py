"""Pieces put together to requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.model import Kind
from domstat_sinks.remote_write import requests
from domstat_sinks.remote_write.encoder import Piece
from domstat_sinks.remote_write.requests import Request, packed


def piece(number: int, subject: str = "", size: int = 10, series: int = 1) -> Piece:
    return Piece(number, (Kind.GUEST, "kvm1", subject or str(number)), b"x" * size, series)


def numbers(found: list[Request]) -> list[list[int]]:
    return [[each.number for each in request.pieces] for request in found]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 200)), max_size=40))
def test_pieces_stay_in_order_and_no_request_has_two_of_one_subject(given_: list[tuple[str, int]]) -> None:
    pieces = [piece(number, subject, size) for number, (subject, size) in enumerate(given_)]
    found = list(packed(pieces, 300))
    assert [each for request in found for each in request.pieces] == pieces
    for request in found:
        subjects = [each.subject for each in request.pieces]
        assert len(set(subjects)) == len(subjects)
        assert len(request.body) <= 300


def test_one_that_is_larger_by_itself_is_alone() -> None:
    assert numbers(list(packed([piece(0), piece(1, size=900), piece(2)], 100))) == [[0], [1], [2]]


def test_samples_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "SAMPLES_MAX", 5)
    assert numbers(list(packed([piece(n, series=2) for n in range(5)], 1000))) == [[0, 1], [2, 3], [4]]


def test_a_request_comes_apart_by_tick_and_in_halves() -> None:
    request = Request(tuple(piece(number) for number in range(5)))
    assert numbers(request.runs(["a", "a", "b", "a", "a"])) == [[0, 1], [2], [3, 4]]
    assert numbers(list(request.halves())) == [[0, 1], [2, 3, 4]]


def test_requests_are_told_apart() -> None:
    one, two = Request((piece(0), piece(1))), Request((piece(0), piece(2)))
    assert one.mark == Request((piece(0), piece(1))).mark
    assert one.mark != two.mark
    assert one.mark != Request((piece(0, size=20), piece(1))).mark

"""Finding the lines that a server refuses, with servers that say more or less of which."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat_sinks.influxdb.answers import Refused, Stored, TooLarge
from domstat_sinks.influxdb.bisection import REQUESTS_MAX, Outcome, RefusesEverything, Search

Engine = Callable[[Sequence[bytes], set[bytes]], Outcome]


def counting(_lines: Sequence[bytes], bad: set[bytes]) -> Outcome:
    return Refused("partial write", dropped=len(bad))


def silent(_lines: Sequence[bytes], _bad: set[bytes]) -> Outcome:
    return Refused("unable to parse")


def naming(lines: Sequence[bytes], bad: set[bytes]) -> Outcome:
    """Name at most three."""
    numbers = [n for n, line in enumerate(lines) if line in bad][:3]
    return Refused("partial write", named=dict.fromkeys(numbers, "no good"))


def misnaming(lines: Sequence[bytes], _bad: set[bytes]) -> Outcome:
    """Name lines that there are not."""
    return Refused("partial write", named={len(lines) + 7: "no good"})


def muttering(_lines: Sequence[bytes], _bad: set[bytes]) -> Outcome:
    return Refused("no", certain=False)


ENGINES = (counting, silent, naming, misnaming, muttering)


class Server:
    def __init__(self, bad: set[bytes], engine: Engine) -> None:
        self.bad = bad
        self.engine = engine
        self.stored: set[bytes] = set()
        self.requests = 0

    def send(self, lines: Sequence[bytes]) -> Outcome:
        self.requests += 1
        bad = self.bad & set(lines)
        if not bad:
            self.stored |= set(lines)
            return Stored()
        return self.engine(lines, bad)


def lines_of(count: int) -> list[bytes]:
    return [f"m{number % 7},n={number} f=1 1\n".encode() for number in range(count)]


def search(lines: Sequence[bytes], server: Server, control: bytes | None = None) -> dict[int, str]:
    answer = server.send(lines)
    assert not isinstance(answer, Stored)
    return Search(lines, server.send, control).run(answer)


@pytest.mark.parametrize("engine", ENGINES)
@given(count=st.integers(2, 60), data=st.data())
def test_the_bad_are_refused_and_all_others_stored(engine: Engine, count: int, data: st.DataObject) -> None:
    lines = lines_of(count)
    bad = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=count - 1))
    server = Server({lines[n] for n in bad}, engine)
    assert search(lines, server, control=b"known good\n").keys() == bad
    assert server.stored - {b"known good\n"} == set(lines) - server.bad


@pytest.mark.parametrize("engine", [counting, silent, naming, misnaming])
def test_all_may_be_bad(engine: Engine) -> None:
    lines = lines_of(9)
    assert len(search(lines, Server(set(lines), engine))) == 9


def test_one_among_5000_takes_two_requests_a_halving() -> None:
    lines = lines_of(5000)
    server = Server({lines[4321]}, silent)
    assert list(search(lines, server)) == [4321]
    assert server.requests <= 1 + 2 * 13


def test_16_that_lie_scattered_among_5000_are_all_found() -> None:
    lines = lines_of(5000)
    bad = set(lines[100::311])
    server = Server(bad, silent)
    assert len(bad) == 16
    assert {lines[n] for n in search(lines, server)} == bad


def test_a_whole_measurement_that_is_counted_is_found_with_few() -> None:
    lines = lines_of(5000)
    server = Server({line for line in lines if line.startswith(b"m3,")}, counting)
    assert {lines[n] for n in search(lines, server)} == server.bad
    assert server.requests <= 60


@pytest.mark.parametrize("engine", ENGINES)
def test_a_server_that_refuses_lines_everywhere_is_not_asked_for_ever(engine: Engine) -> None:
    lines = lines_of(5000)
    server = Server(set(lines[::2]), engine)
    refused = {lines[n] for n in search(lines, server, control=b"known good\n")}
    assert refused >= server.bad
    assert refused | server.stored >= set(lines)
    assert server.requests <= REQUESTS_MAX + 4


def test_what_is_too_large_is_halved_until_it_is_not() -> None:
    lines = lines_of(100)

    def send(part: Sequence[bytes]) -> Outcome:
        return TooLarge() if len(part) > 3 or lines[50] in part else Stored()

    assert Search(lines, send, None).run(TooLarge()) == {50: "it is larger than the server takes"}


def test_a_doubtful_refusal_is_not_believed_of_a_server_that_stores_nothing() -> None:
    lines = lines_of(5000)
    server = Server(set(lines), muttering)
    with pytest.raises(RefusesEverything, match="no"):
        search(lines, server)
    assert server.requests <= 20


def test_a_doubtful_refusal_of_the_only_line_is_not_believed() -> None:
    lines = lines_of(1)
    with pytest.raises(RefusesEverything):
        search(lines, Server(set(lines), muttering))


def test_a_doubtful_refusal_is_believed_beside_a_line_that_is_stored() -> None:
    lines = lines_of(50)
    assert list(search(lines, Server({lines[49]}, muttering))) == [49]


def test_a_doubtful_refusal_is_not_believed_if_what_was_stored_is_refused_too() -> None:
    lines = lines_of(50)
    server = Server({lines[7], b"known good\n"}, muttering)
    with pytest.raises(RefusesEverything):
        search(lines, server, control=b"known good\n")
    assert server.requests == 2


def test_a_server_that_stops_storing_on_the_way_is_not_believed() -> None:
    lines = lines_of(50)
    server = Server({lines[7]}, muttering)
    sent = 0

    def send(part: Sequence[bytes]) -> Outcome:
        nonlocal sent
        sent += 1
        return server.send(part) if sent < 6 else Refused("no", certain=False)

    with pytest.raises(RefusesEverything):
        Search(lines, send, b"known good\n").run(Refused("no", certain=False))


def test_a_line_that_has_become_too_old_to_be_stored_again_is_no_control() -> None:
    lines = lines_of(50)

    def send(part: Sequence[bytes]) -> Outcome:
        if part == [b"known good\n"]:
            return Refused("partial write: points beyond retention policy", dropped=1)
        return Refused("no", certain=False) if lines[7] in part else Stored()

    assert list(Search(lines, send, b"known good\n").run(Refused("no", certain=False))) == [7]

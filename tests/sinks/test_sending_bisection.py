"""Finding the items that a server refuses, with servers that say more or less of which."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat_sinks.sending.answers import Outcome, Refused, Stored, TooLarge
from domstat_sinks.sending.bisection import REQUESTS_MAX, Manner, RefusesEverything, Search

Engine = Callable[[Sequence[bytes], set[bytes]], Outcome]


def counting(_items: Sequence[bytes], bad: set[bytes]) -> Outcome:
    return Refused("partial write", dropped=len(bad))


def silent(_items: Sequence[bytes], _bad: set[bytes]) -> Outcome:
    return Refused("unable to parse")


def naming(items: Sequence[bytes], bad: set[bytes]) -> Outcome:
    """Name at most three."""
    numbers = [n for n, item in enumerate(items) if item in bad][:3]
    return Refused("partial write", named=dict.fromkeys(numbers, "no good"))


def misnaming(items: Sequence[bytes], _bad: set[bytes]) -> Outcome:
    """Name items that there are not."""
    return Refused("partial write", named={len(items) + 7: "no good"})


def muttering(_items: Sequence[bytes], _bad: set[bytes]) -> Outcome:
    return Refused("no", certain=False)


ENGINES = (counting, silent, naming, misnaming, muttering)


class Server:
    def __init__(self, bad: set[bytes], engine: Engine) -> None:
        self.bad = bad
        self.engine = engine
        self.stored: set[bytes] = set()
        self.requests = 0

    def send(self, items: Sequence[bytes]) -> Outcome:
        self.requests += 1
        bad = self.bad & set(items)
        if not bad:
            self.stored |= set(items)
            return Stored()
        return self.engine(items, bad)


def counts_all(items: Sequence[bytes], answer: TooLarge | Refused) -> bool:
    return isinstance(answer, Refused) and answer.dropped == len(items)


MANNER = Manner(counts_all, kinship=lambda item: item.partition(b",")[0])
"""Items of one family are refused together, as a rule, and some servers say how many they left out."""


def items_of(count: int) -> list[bytes]:
    return [f"m{number % 7},n={number} f=1 1\n".encode() for number in range(count)]


def search(items: Sequence[bytes], server: Server, control: bytes | None = None) -> dict[int, str]:
    answer = server.send(items)
    assert not isinstance(answer, Stored)
    return Search(items, server.send, control, MANNER).run(answer)


@pytest.mark.parametrize("engine", ENGINES)
@given(count=st.integers(2, 60), data=st.data())
def test_the_bad_are_refused_and_all_others_stored(engine: Engine, count: int, data: st.DataObject) -> None:
    items = items_of(count)
    bad = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=count - 1))
    server = Server({items[n] for n in bad}, engine)
    assert search(items, server, control=b"known good\n").keys() == bad
    assert server.stored - {b"known good\n"} == set(items) - server.bad


@pytest.mark.parametrize("engine", [counting, silent, naming, misnaming])
def test_all_may_be_bad(engine: Engine) -> None:
    items = items_of(9)
    assert len(search(items, Server(set(items), engine))) == 9


def test_one_among_5000_takes_two_requests_a_halving() -> None:
    items = items_of(5000)
    server = Server({items[4321]}, silent)
    assert list(search(items, server)) == [4321]
    assert server.requests <= 1 + 2 * 13


def test_16_that_lie_scattered_among_5000_are_all_found() -> None:
    items = items_of(5000)
    bad = set(items[100::311])
    server = Server(bad, silent)
    assert len(bad) == 16
    assert {items[n] for n in search(items, server)} == bad


def test_a_whole_family_that_is_counted_is_found_with_few() -> None:
    items = items_of(5000)
    server = Server({item for item in items if item.startswith(b"m3,")}, counting)
    assert {items[n] for n in search(items, server)} == server.bad
    assert server.requests <= 60


@pytest.mark.parametrize("engine", ENGINES)
def test_a_server_that_refuses_items_everywhere_is_not_asked_for_ever(engine: Engine) -> None:
    items = items_of(5000)
    server = Server(set(items[::2]), engine)
    refused = {items[n] for n in search(items, server, control=b"known good\n")}
    assert refused >= server.bad
    assert refused | server.stored >= set(items)
    assert server.requests <= REQUESTS_MAX + 4


def test_what_is_too_large_is_halved_until_it_is_not() -> None:
    items = items_of(100)

    def send(part: Sequence[bytes]) -> Outcome:
        return TooLarge() if len(part) > 3 or items[50] in part else Stored()

    assert Search(items, send, None, MANNER).run(TooLarge()) == {50: "it is larger than the server takes"}


def test_a_doubtful_refusal_is_not_believed_of_a_server_that_stores_nothing() -> None:
    items = items_of(5000)
    server = Server(set(items), muttering)
    with pytest.raises(RefusesEverything, match="no"):
        search(items, server)
    assert server.requests <= 20


def test_a_doubtful_refusal_of_the_only_item_is_not_believed() -> None:
    items = items_of(1)
    with pytest.raises(RefusesEverything):
        search(items, Server(set(items), muttering))


def test_a_doubtful_refusal_is_believed_beside_an_item_that_is_stored() -> None:
    items = items_of(50)
    assert list(search(items, Server({items[49]}, muttering))) == [49]


def test_a_doubtful_refusal_is_not_believed_if_what_was_stored_is_refused_too() -> None:
    items = items_of(50)
    server = Server({items[7], b"known good\n"}, muttering)
    with pytest.raises(RefusesEverything):
        search(items, server, control=b"known good\n")
    assert server.requests == 2


def test_a_server_that_stops_storing_on_the_way_is_not_believed() -> None:
    items = items_of(50)
    server = Server({items[7]}, muttering)
    sent = 0

    def send(part: Sequence[bytes]) -> Outcome:
        nonlocal sent
        sent += 1
        return server.send(part) if sent < 6 else Refused("no", certain=False)

    with pytest.raises(RefusesEverything):
        Search(items, send, b"known good\n", MANNER).run(Refused("no", certain=False))


def test_an_item_that_has_become_too_old_to_be_stored_again_is_no_control() -> None:
    items = items_of(50)

    def send(part: Sequence[bytes]) -> Outcome:
        if part == [b"known good\n"]:
            return Refused("partial write: points beyond retention policy", dropped=1)
        return Refused("no", certain=False) if items[7] in part else Stored()

    assert list(Search(items, send, b"known good\n", MANNER).run(Refused("no", certain=False))) == [7]

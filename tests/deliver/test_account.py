"""The account of delivering: every figure has its name in the catalogue, and they add up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec import Struct

from domstat.catalog import FIELDS, FieldKind
from domstat.deliver.account import COLLECT, Account, account_of, journal_account
from domstat.deliver.bounds import Limits, Why
from domstat.deliver.courier import Courier, Outlet, State
from domstat.deliver.spool import Spool
from domstat.hosts import RESERVED_BLOCKS
from domstat.model import Batch, Kind, split_key
from domstat.sink import Fatal
from faked import eventually
from heard import Log
from records import batch, guest_record


class Good:
    Settings: ClassVar[type[Struct]] = Struct

    def __init__(self, settings: Any = None) -> None:
        self.settings = settings

    def open(self, context: object) -> None:
        pass

    def write(self, batches: Sequence[Batch]) -> None:
        pass

    def close(self) -> None:
        pass


class Refusing(Good):
    def write(self, batches: Sequence[Batch]) -> None:
        raise Fatal("wrong token")


@pytest.fixture
def spool(tmp_path: Path, log: Log) -> Iterator[Spool]:
    spool = Spool(tmp_path / "journal.db", Limits(1 << 30, 1e6, 3600), log)
    spool.open()
    spool.start()
    yield spool
    assert spool.stop(60)


@pytest.fixture
def couriers(spool: Spool, tmp_path: Path, log: Log) -> Iterator[list[Courier]]:
    made = [Courier(Outlet(kind.__name__, kind), spool, tmp_path, log) for kind in (Good, Refusing)]
    for courier in made:
        courier.start()
    yield made
    for courier in made:
        assert courier.stop(60)


def test_every_sink_and_the_journal_are_told_of_by_the_catalogues_names(spool: Spool, couriers: list[Courier]) -> None:
    spool.offer(batch(guest_record(), guest_record("b", uuid="u2")))
    assert eventually(lambda: couriers[0].counts.written == 2 and couriers[1].ended is not None)
    account = Account("me", couriers, spool)
    first, second = account.batch(), account.batch()
    (record,) = second.records
    assert (record.kind, record.host, record.collect) == (Kind.AGENT, "me", COLLECT)
    assert {split_key(key)[0] for key in record.params} <= FIELDS.keys()
    assert {split_key(key)[1] for key in record.params} == {None, "Good", "Refusing"}
    assert (record.params["agent.sink.written[Good]"], record.params["agent.sink.good[Good]"]) == (2, 1)
    assert (record.params["agent.sink.pending[Refusing]"], record.params["agent.sink.good[Refusing]"]) == (2, 0)
    assert second.stamp.time_ms > first.stamp.time_ms
    counters = {key for key in record.params if FIELDS[split_key(key)[0]].kind is FieldKind.COUNTER}
    assert set(record.rates) == counters


def test_received_is_what_became_of_it(spool: Spool, couriers: list[Courier]) -> None:
    for i in range(5):
        spool.offer(batch(guest_record(), time_ms=i))
    assert eventually(lambda: couriers[0].counts.written == 5 and couriers[1].ended is not None)
    for courier in couriers:
        account = account_of(courier, spool)
        spent = account.written + account.rejected + sum(account.dropped.values()) + account.pending
        assert account.received == spent == 5
    stopped = account_of(couriers[1], spool)
    assert (stopped.state, stopped.is_good, stopped.last_error) == (State.STOPPED, False, "wrong token")
    assert (stopped.lag_batches, stopped.backlog_bytes > 0) == (5, True)


def test_every_reason_for_dropping_has_a_field() -> None:
    assert {f"agent.sink.dropped.{why}" for why in Why} <= FIELDS.keys()


def test_the_journal_says_what_it_keeps_for_strangers(spool: Spool, couriers: list[Courier]) -> None:
    assert journal_account(spool).strangers == {}
    assert journal_account(spool).failing is None


def test_no_collect_block_can_have_its_name() -> None:
    assert COLLECT in RESERVED_BLOCKS

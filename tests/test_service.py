"""The agent as a whole, on libvirt's test driver: it ticks, it says what goes wrong once, it ends when it should."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
from msgspec import Struct

from domstat import config
from domstat.config import Config
from domstat.model import Batch
from domstat.service import Service
from domstat.sink import Fatal, Finished, SinkContext
from heard import Log

PATIENCE_S = 20.0


class NoSettings(Struct, frozen=True):
    """Nothing to set."""


class Keeper:
    """A sink that keeps what it is given; *take* may raise instead."""

    Settings: ClassVar[type[Struct]] = NoSettings
    taken: ClassVar[list[Batch]] = []
    take: ClassVar[Callable[[Sequence[Batch]], None]]

    def __init__(self, settings: NoSettings) -> None:
        self.settings = settings

    def open(self, context: SinkContext) -> None:
        pass

    def write(self, batches: Sequence[Batch]) -> None:
        type(self).take(batches)

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def keeper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "load_sink", lambda _name: Keeper)
    Keeper.taken = []
    Keeper.take = staticmethod(Keeper.taken.extend)


def configured(uri: str = "test:///default", more: str = "") -> Config:
    return config.parse(
        f'[agent]\nstate_dir = "/nonexistent"\ninterval = "100ms"\n[[hosts]]\nuri = "{uri}"\nname = "h"\n{more}\n'
        '[[sinks]]\ntype = "keeper"\n'
    )


@contextmanager
def running(service: Service) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        yield thread
    finally:
        service.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def test_every_tick_reaches_the_sink_in_order(log: Log) -> None:
    with running(Service(configured(), log)):
        until(lambda: len(Keeper.taken) >= 3)
    times = [batch.stamp.time_ms for batch in Keeper.taken]
    assert times == sorted(set(times))
    assert {batch.stream for batch in Keeper.taken} == {("h", "default")}
    assert log.facts("tick")["guests"] == 1


def test_blocks_are_streams_of_their_own(log: Log) -> None:
    blocks = '[[hosts.collect]]\ngroups = ["state"]\n[[hosts.collect]]\nname = "b"\ngroups = ["vcpu"]\n'
    with running(Service(configured(more=blocks), log)):
        until(lambda: {batch.collect for batch in Keeper.taken} == {"default", "b"})


def test_an_outage_is_one_line_and_the_others_for_those_who_look(log: Log) -> None:
    service = Service(configured("test:///nonexistent.xml"), log)
    with running(service):
        until(lambda: service.lines["h/default"].failed >= 3)
    assert [level for level, event, _ in log.said if event == "tick_failed"][:3] == ["error", "debug", "debug"]
    assert Keeper.taken == []


def test_it_ends_by_itself_when_nobody_takes_anything_any_more(log: Log) -> None:
    def go_away(_batches: Sequence[Batch]) -> None:
        raise Finished("gone")

    Keeper.take = staticmethod(go_away)
    service = Service(configured(), log)
    with running(service) as thread:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert log.events("error") == []


def test_stopping_hands_over_what_was_collected(log: Log) -> None:
    slow = threading.Event()

    def dawdle(batches: Sequence[Batch]) -> None:
        slow.wait(0.3)
        Keeper.taken.extend(batches)

    Keeper.take = staticmethod(dawdle)
    service = Service(configured(), log)
    with running(service):
        until(lambda: service.lines["h/default"].ticks >= 4)
    assert len(Keeper.taken) == service.lines["h/default"].ticks


def test_a_sink_that_hangs_takes_no_time_from_the_others_at_stop(log: Log) -> None:
    forever = threading.Event()

    def hang_in_a(batches: Sequence[Batch]) -> None:
        if threading.current_thread().name == "courier-a":
            forever.wait()
        Keeper.taken.extend(batches)

    Keeper.take = staticmethod(hang_in_a)
    two = '[[sinks]]\ntype = "keeper"\nname = "a"\n'
    service = Service(configured(more=two), log)
    with running(service):
        until(lambda: service.lines["h/default"].ticks >= 2)
    assert [facts["sink"] for _, event, facts in log.said if event == "sink_hangs_at_stop"] == ["a"]
    forever.set()


def test_sinks_that_fail_are_said_to_have_failed(log: Log) -> None:
    def refuse(_batches: Sequence[Batch]) -> None:
        raise Fatal("a wrong token")

    Keeper.take = staticmethod(refuse)
    assert not Service(configured(), log).run()


def test_a_sink_that_hangs_does_not_keep_the_agent(log: Log) -> None:
    forever = threading.Event()

    def hang(_batches: Sequence[Batch]) -> None:
        forever.wait()

    Keeper.take = staticmethod(hang)
    service = Service(configured(), log)
    with running(service):
        until(lambda: service.lines["h/default"].ticks >= 2)
        began = time.monotonic()
        service.stop()
    assert time.monotonic() - began < 5
    assert log.facts("sink_hangs_at_stop")["sink"] == "keeper"
    forever.set()

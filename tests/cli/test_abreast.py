"""Several processes read as one does: all series, in their order, and what is wrong is told."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import pytest

from capacity.made import Made
from domstat.cli.capacity import abreast as module
from domstat.cli.capacity.abreast import abreast
from domstat.history import History, HistoryError, Measure, OnDamaged, Select, Series, Subject
from domstat.model import Kind

HOSTS = ("kvm1", "kvm2", "kvm3", "kvm[4]*")
VALUES = (np.arange(3.0), np.array([1, 2, 3]), np.array([True, False, True]), np.array(["a", "b\n", ""], dtype=object))


class Strange(Made):
    """Has values of every type, and tells of what it does; each is asked in a process of its own."""

    def __init__(self, fails_on: str = "", dies_on: str = "") -> None:
        super().__init__(count=3)
        for host in HOSTS:
            self.host(host, {"host.cpus": 4})
        self.fails_on = fails_on
        self.dies_on = dies_on
        self.pid = os.getpid()

    def read(self, select: Select, on_damaged: OnDamaged | None = None) -> Iterator[Series]:
        for host in HOSTS:
            if not any(name.replace("[[]", "[").replace("[*]", "*") == host for name in select.hosts or HOSTS):
                continue
            if on_damaged is not None:
                on_damaged(f"damage on {host}")
            if host == self.fails_on:
                raise HistoryError(f"no {host}")
            if host == self.dies_on and os.getpid() != self.pid:
                os.kill(os.getpid(), signal.SIGKILL)
            times = np.array([1_000, 2_000, 3_000])
            for field, values in zip(("a", "b", "c", "d"), VALUES, strict=True):
                subject = Subject(host=host, collect="default", kind=Kind.HOST)
                measure = Measure(f"of {os.getpid()}")
                yield Series(
                    subject=subject,
                    field=field,
                    device=None,
                    measure=measure,
                    tier="raw",
                    coverage=0.5,
                    time_ms=times,
                    values=values,
                )


def opening(history: History) -> Callable[[], AbstractContextManager[History]]:
    @contextmanager
    def opened() -> Iterator[History]:
        yield history

    return opened


def told(series: Iterator[Series]) -> list[tuple[Any, ...]]:
    return [
        (one.subject, one.field, one.tier, one.coverage, one.time_ms.tolist(), one.values.tolist()) for one in series
    ]


def readers_of(series: Iterator[Series]) -> dict[str, str]:
    return {one.subject.host: one.measure.base for one in series}


def test_many_read_what_one_reads() -> None:
    with abreast(opening(Strange()), 1) as alone, abreast(opening(Strange()), 3) as history:
        expected = told(alone.read(Select()))
        assert told(history.read(Select())) == expected
        assert len(expected) == len(HOSTS) * len(VALUES)


def test_each_of_them_reads_hosts_of_its_own() -> None:
    with abreast(opening(Strange()), 3) as history:
        readers = readers_of(history.read(Select()))
    assert len(set(readers.values())) == 3
    assert readers["kvm1"] == f"of {os.getpid()}"


def test_values_keep_their_types() -> None:
    with abreast(opening(Strange()), 2) as history:
        kinds = {(one.subject.host, one.field): one.values.dtype.kind for one in history.read(Select())}  # type: ignore[attr-defined]
    assert {kinds["kvm2", field] for field in "abcd"} == {"f", "i", "b", "O"}


def test_parcels_may_be_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARCEL_BYTES", 1)
    with abreast(opening(Strange()), 2) as history:
        assert told(history.read(Select())) == told(Strange().read(Select()))


def test_hosts_that_are_not_asked_for_are_not_read() -> None:
    with abreast(opening(Strange()), 2) as history:
        assert set(readers_of(history.read(Select(hosts=("kvm[12]",))))) == {"kvm1", "kvm2"}
        only = readers_of(history.read(Select(hosts=("kvm2",))))
    assert only == {"kvm2": f"of {os.getpid()}"}  # a single host is nothing to share


def test_damage_is_told_wherever_it_is_met() -> None:
    damages: list[str] = []
    with abreast(opening(Strange()), 2) as history:
        list(history.read(Select(), damages.append))
        assert sorted(damages) == [f"damage on {host}" for host in HOSTS]


@pytest.mark.parametrize("host", HOSTS[:2])
def test_what_cannot_be_read_is_an_error(host: str) -> None:
    with abreast(opening(Strange(fails_on=host)), 2) as history, pytest.raises(HistoryError, match=f"^no {host}$"):
        list(history.read(Select()))


def test_a_history_that_does_not_open_is_an_error() -> None:
    first = os.getpid()

    @contextmanager
    def opened() -> Iterator[History]:
        if os.getpid() != first:
            raise HistoryError("it is gone")
        yield Strange()

    with abreast(opened, 2) as history, pytest.raises(HistoryError, match=r"^it is gone$"):
        list(history.read(Select()))


def test_a_process_that_was_killed_is_an_error() -> None:
    with (
        abreast(opening(Strange(dies_on="kvm2")), 2) as history,
        pytest.raises(HistoryError, match="a process that read for this one has ended: it left no answer"),
    ):
        list(history.read(Select()))


def test_after_a_read_that_was_left_off_the_next_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARCEL_BYTES", 1)  # so that parcels are left over
    with abreast(opening(Strange()), 2) as history:
        next(history.read(Select()))
        assert told(history.read(Select(hosts=("kvm1", "kvm2")))) == told(Strange().read(Select(hosts=HOSTS[:2])))


def test_two_reads_at_a_time_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARCEL_BYTES", 1)
    with abreast(opening(Strange()), 2) as history:
        one, other = history.read(Select()), history.read(Select())
        first = [next(one), next(other)]
        assert told(iter([first[0], *one])) == told(iter([first[1], *other])) == told(Strange().read(Select()))


def test_where_there_can_be_no_further_process_one_reads_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", refused)
    with abreast(opening(Strange()), 3) as history:
        assert told(history.read(Select())) == told(Strange().read(Select()))


def test_none_of_them_is_left_in_the_end() -> None:
    with abreast(opening(Strange()), 3) as history:
        pids = {int(of.split()[1]) for of in readers_of(history.read(Select())).values()} - {os.getpid()}
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_everything_else_is_asked_of_the_history() -> None:
    with abreast(opening(Strange()), 2) as history:
        assert [host.name for host in history.hosts()] == list(HOSTS)

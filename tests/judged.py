"""Cases of the suite, run by hand on a sink that is bad on purpose."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pytest

from domstat.testing import Keeps, Rig, SinkContract
from domstat.testing.records import START_MS
from goodsink import GoodStore

Table: TypeAlias = dict[str, list[tuple[type[Any], str]]]
"""By case: bad sinks, and what is said of them, as a regular expression."""


class Run(NamedTuple):
    """One variant of a case, with one bad sink."""

    case: str
    sink: type[Any]
    says: str
    arguments: dict[str, Any]
    keeps: Keeps

    def __str__(self) -> str:
        return "-".join([self.case, self.sink.__name__, *map(str, self.arguments.values())])


def cases_of(theme: type[Any]) -> list[str]:
    return sorted(name for name in dir(theme) if name.startswith("test_"))


def variants(case: str) -> Iterator[dict[str, Any]]:
    """Give the arguments of a case's variants."""
    for mark in getattr(getattr(SinkContract, case), "pytestmark", []):
        if mark.name == "parametrize":
            name, values = mark.args
            yield from ({name: value} for value in values)
            return
    yield {}


def runs(table: Table, keeps: Mapping[str, Keeps] | None = None, spared: Collection[tuple[str, ...]] = ()) -> list[Run]:
    return [
        Run(case, sink, says, arguments, (keeps or {}).get(case, Keeps()))
        for case, sinks in table.items()
        for sink, says in sinks
        for arguments in variants(case)
        if (case, *map(str, arguments.values())) not in spared
    ]


def found_out(run: Run, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Expect that the case fails, and says why."""
    rig = Rig(GoodStore(folder, run.sink), folder, run.keeps, START_MS)
    with pytest.raises((Exception, pytest.fail.Exception)) as caught:
        run_by_hand(run.case, rig, run.arguments, capfd)
    rig.close_all()
    assert re.search(run.says, str(caught.value)), caught.value


def run_by_hand(case: str, rig: Rig, arguments: Mapping[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    method = getattr(SinkContract(), case)
    more = {"capfd": capfd} if "capfd" in method.__code__.co_varnames else {}
    method(rig, **arguments, **more)

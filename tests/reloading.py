"""An agent that runs, on libvirt's test driver, and whose file tests change; its sinks' stores outlive them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec import Struct

from domstat import config
from domstat.deliver.courier import Courier
from domstat.model import Batch, Kind, Record
from domstat.service import Service
from domstat.sink import SinkContext
from domstat.watching import Watched
from heard import Log
from test_service import NEVER_S, running, until

PATIENCE_S = 60.0
EVERY_MS = 100


class Target(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a batch goes; a test may have writes wait, or fail."""

    target: str = "a"


class Store:
    """A sink whose targets outlive it."""

    Settings: ClassVar[type[Struct]] = Target
    stored: ClassVar[dict[str, list[Batch]]] = {}
    opened: ClassVar[list[str]] = []
    closed: ClassVar[list[str]] = []
    before_write: ClassVar[Callable[[str], None]]

    def __init__(self, settings: Target) -> None:
        self._target = settings.target

    def open(self, context: SinkContext) -> None:
        self.opened.append(self._target)

    def write(self, batches: Sequence[Batch]) -> None:
        type(self).before_write(self._target)
        self.stored.setdefault(self._target, []).extend(batches)

    def close(self) -> None:
        self.closed.append(self._target)


def host(name: str = "h", more: str = "") -> str:
    return f'[[hosts]]\nuri = "test:///default"\nname = "{name}"\nsurvey = {{ enabled = false }}\n{more}\n'


def sink(name: str = "s", more: str = "") -> str:
    return f'[[sinks]]\ntype = "store"\nname = "{name}"\n{more}\n'


class Running:
    """An agent that runs, and its file."""

    def __init__(self, folder: Path, log: Log) -> None:
        self._folder = folder
        self._path = folder / "domstat.toml"
        self.log = log
        self.write(host() + sink())
        self.service = Service(config.load(self._path), log)
        self._reloads = 0

    def write(self, tables: str, agent: str = "", *, head: str = "", state_dir: Path | None = None) -> None:
        interval = "" if "interval" in agent else 'interval = "100ms"'
        table = f'[agent]\nstate_dir = "{state_dir or self._folder}"\n{interval}\n{agent}\n'
        self._path.write_text(head + table + tables)

    def reload(self, tables: str, agent: str = "", **more: Any) -> tuple[str, ...]:
        """Reload that; return what has changed, or why it was refused."""
        self.write(tables, agent, **more)
        self.service.reload()
        self._reloads += 1
        until(lambda: self.service._reloads.account.ended == self._reloads)
        account = self.service._reloads.account
        return account.refused or account.changed

    def watched(self, name: str = "h") -> Watched:
        return self.service._hosts._watched[name]

    def worker(self, name: str = "h") -> int | None:
        return self.watched(name).link.hypervisor.worker_pid

    def courier(self, name: str = "s") -> Courier:
        return next(courier for courier in self.service._sinks.couriers if courier.name == name)

    def wait_ticks(self, count: int = 3, name: str = "h") -> None:
        """Wait for so many ticks more of a host in any store."""
        seen = len(guests(name))
        until(lambda: len(guests(name)) >= seen + count)


def batches(target: str | None = None) -> list[Batch]:
    return [batch for name, stored in dict(Store.stored).items() if target in {None, name} for batch in list(stored)]


def guests(name: str = "h", target: str | None = None) -> list[Record]:
    return [one for batch in batches(target) for one in batch.records if (one.kind, one.host) == (Kind.GUEST, name)]


def assert_nothing_is_missing(agent: Running, name: str = "h") -> None:
    """See that every tick came to some store, but for those that a busy machine let pass, which are said as gaps."""
    records = [one for batch in batches() for one in batch.records if one.host == name and one.collect == "default"]
    # When each was due, by what the agent says of itself: a tick may begin late.
    own = [one for one in records if one.kind is Kind.AGENT]
    dues = {round((one.time_ms - float(one.params["agent.lateness"]) / 1e6) / EVERY_MS) for one in own}
    gaps = [one.gap for one in records if one.gap is not None]
    excused = {due // EVERY_MS for gap in gaps for due in range(gap.start, gap.end, EVERY_MS)}
    assert set(range(min(dues), max(dues))) <= dues | excused


@contextmanager
def running_agent(folder: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """Run an agent with one host and one sink, both of which have seen some ticks."""
    use_store(monkeypatch)
    monkeypatch.setattr("domstat.service.STOP_S", PATIENCE_S)
    made = Running(folder, log)
    with running(made.service):
        made.wait_ticks()
        yield made


def use_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every sink be a :class:`Store`, with nothing in it; nor does an account come into it at a full minute."""
    monkeypatch.setattr("domstat.service.ACCOUNT_EVERY_S", NEVER_S)
    monkeypatch.setattr(config, "load_sink", lambda _name: Store)
    Store.stored, Store.opened, Store.closed = {}, [], []
    Store.before_write = staticmethod(lambda _target: None)

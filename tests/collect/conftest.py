"""Hosts whose workers do as the test plans."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collect.asking import GiveUp, Make
from domstat.collect import hypervisor as hypervisor_module
from domstat.collect import wire
from domstat.collect.hypervisor import Hypervisor
from faked import FAKE, number_workers
from heard import Log


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often, and back off from nothing."""
    monkeypatch.setattr(hypervisor_module, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(hypervisor_module, "BACKOFF_S", 0.0)


@pytest.fixture
def give_up(monkeypatch: pytest.MonkeyPatch) -> GiveUp:
    """Have one of the limits, by its name, be over soon."""
    return lambda limit: monkeypatch.setattr(hypervisor_module, limit, 0.25)


@pytest.fixture
def happened() -> list[wire.Happened]:
    return []


@pytest.fixture
def make(
    brisk: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Log, happened: list[wire.Happened]
) -> Iterator[Make]:
    """Make hypervisors whose fake workers behave as the plan says; all are closed in the end."""
    number_workers(monkeypatch)
    monkeypatch.setenv("DOMSTAT_FAKE_GO", str(tmp_path / "go"))
    made: list[Hypervisor] = []

    def make(plan: str, command: tuple[str, ...] = FAKE) -> Hypervisor:
        made.append(Hypervisor("kvm1", plan, log, command, happened.append))
        return made[-1]

    yield make
    for hypervisor in made:
        hypervisor.close()


@pytest.fixture
def go_on(tmp_path: Path) -> Callable[[], None]:
    """Have the workers that wait go on."""
    return (tmp_path / "go").touch

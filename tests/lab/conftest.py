"""Private libvirtds whose guests each test may do to as it likes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from domstat_lab import guests, migration
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.spec import GuestSpec, tiny

Stats = dict[str, Any]

VERSATILE = tiny("versatile", scsi=True, cdrom=True, vcpus=1, vcpus_max=4)
"""A guest with room to grow."""


def _needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("a private libvirtd needs root: run ./dev test as root or with sudo")


@pytest.fixture(scope="package")
def pair() -> Iterator[tuple[PrivateLibvirtd, PrivateLibvirtd]]:
    _needs_root()
    with tempfile.TemporaryDirectory(prefix="domstat-lab-") as folder, migration.pair(Path(folder)) as both:
        yield both


@pytest.fixture(scope="package")
def lab(pair: tuple[PrivateLibvirtd, PrivateLibvirtd]) -> PrivateLibvirtd:
    return pair[0]


@pytest.fixture
def versatile(lab: PrivateLibvirtd) -> Iterator[str]:
    guests.start(lab, [VERSATILE])
    yield VERSATILE.name
    guests.destroy(lab, [VERSATILE.name])


@pytest.fixture
def start(lab: PrivateLibvirtd) -> Iterator[Callable[..., GuestSpec]]:
    """Start a guest that goes with the test."""
    started: list[str] = []

    def run(spec: GuestSpec, *rest: Any) -> GuestSpec:
        started.append(spec.name)
        guests.start(lab, [spec], *rest)
        return spec

    yield run
    guests.destroy(lab, started)


@pytest.fixture
def stats() -> Iterator[Callable[[PrivateLibvirtd, str], Stats]]:
    """Ask for one guest's statistics, all of them, without waiting for a guest that hangs."""
    import libvirt

    opened: dict[str, Any] = {}

    def ask(lab: PrivateLibvirtd, name: str) -> Stats:
        if lab.uri_ro not in opened:
            opened[lab.uri_ro] = libvirt.openReadOnly(lab.uri_ro)
        connection = opened[lab.uri_ro]
        ((domain, params),) = connection.domainListGetStats([connection.lookupByName(name)], 0, 0)
        return {"id": domain.ID(), "uuid": domain.UUIDString(), **params}

    yield ask
    for connection in opened.values():
        connection.close()


def named(stats: Stats, group: str) -> dict[str, str]:
    """Return the devices of a group, by libvirt's index: their names."""
    return {key.split(".")[1]: value for key, value in stats.items() if key.startswith(group) and key.endswith(".name")}

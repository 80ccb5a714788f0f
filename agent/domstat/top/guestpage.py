"""One guest: its last hour, then its vCPUs, disks and NICs, a line each. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from domstat import units
from domstat.model import key_of, split_key, whole_device
from domstat.text import span
from domstat.top.guest import Row
from domstat.top.lines import Line, fit, spark
from domstat.top.measures import MEASURES, Said
from domstat.top.ring import BIN_MS, BINS
from domstat.units import Write, known

DEVICES_MAX = 512
"""Lines of each kind: QEMU has no guest with more vCPUs in use, and nobody scrolls further."""

VCPU_STATES = ("offline", "running", "blocked")
"""virVcpuState, in virsh's words."""

_DEVICE = 20
"""Cells of a device's name: a MAC address, with room."""


class _Figure(Struct, frozen=True):
    """One column of a device: the rate of *field*, or its parameter, or with *per* that rate over the rate of *per*."""

    title: str
    field: str
    write: Write
    per: str | None = None
    is_rate: bool = True


def _vcpu_state(value: float) -> str:
    return VCPU_STATES[int(value)] if 0 <= value < len(VCPU_STATES) else f"state {value:.0f}"


_KINDS: tuple[tuple[str, tuple[_Figure, ...]], ...] = (
    (
        "vcpu",
        (
            _Figure("state", "vcpu.state", _vcpu_state, is_rate=False),
            _Figure("busy", "vcpu.time", units.percent),
            _Figure("steal", "vcpu.delay", units.percent),
            _Figure("wait", "vcpu.wait", units.percent),
        ),
    ),
    (
        "block",
        (
            _Figure("rd/s", "block.rd.bytes", units.size),
            _Figure("wr/s", "block.wr.bytes", units.size),
            _Figure("reads/s", "block.rd.reqs", units.count),
            _Figure("writes/s", "block.wr.reqs", units.count),
            _Figure("rd lat", "block.rd.times", units.latency, per="block.rd.reqs"),
            _Figure("wr lat", "block.wr.times", units.latency, per="block.wr.reqs"),
        ),
    ),
    (
        "net",
        (
            _Figure("rx/s", "net.rx.bytes", units.size),
            _Figure("tx/s", "net.tx.bytes", units.size),
            _Figure("rx pkt/s", "net.rx.pkts", units.count),
            _Figure("tx pkt/s", "net.tx.pkts", units.count),
            _Figure("drops/s", "net.rx.drop", units.count),
            _Figure("errors/s", "net.rx.errs", units.count),
        ),
    ),
)
"""Kinds of devices by the first word of their fields, and what is shown of each."""

_TITLES = {"vcpu": "vCPU", "block": "disk", "net": "NIC"}


def guest_lines(row: Row, width: int, hour: Callable[[int], Sequence[float | None]]) -> list[Line]:
    """Lay one guest out; *hour* gives a measure's last hour."""
    return [*_head(row, width), (), *_hour(row, width, hour), *_devices(row.said)]


def _head(row: Row, width: int) -> Iterator[Line]:
    yield ((fit(row.name, width).rstrip(), "strong"),)
    yield ((f"{fit(row.uuid, 36).rstrip()} on {fit(row.host, width).rstrip()}", "dim"),)
    parts = [
        row.state,
        f"{known(units.whole, row.vcpus)} vCPUs",
        f"{known(units.cores, row.cores)} CPUs busy",
        f"memory {known(units.size, row.configured)} given",
        f"{known(units.size, row.resident)} resident",
    ]
    yield ((" · ".join(parts), "plain"),)
    if row.stuck:
        age = f"; instead figures that are {span(row.age_s)} old" if row.age_s is not None else ""
        yield ((f"STUCK: its process does not answer{age}", "bad"),)


def _hour(row: Row, width: int, hour: Callable[[int], Sequence[float | None]]) -> Iterator[Line]:
    cells = BINS if width >= BINS + 35 else BINS // 2
    cells = min(cells, max(1, width - 24))
    minutes = BINS * BIN_MS // 60_000
    axis = f"-{minutes} min".ljust(cells)
    yield ((f"last hour {axis[:cells]}{'now':>7}{'most':>7}", "head"),)
    for place, measure in enumerate(MEASURES):
        values = hour(place)
        most = max((value for value in values if value is not None), default=None)
        yield (
            (f"{measure.title:<10}", "plain"),
            (fit(spark(values, cells), cells), "bar"),
            (f"{known(measure.write, row.values[place]):>7}{known(measure.write, most):>7}", "plain"),
        )


def _devices(said: Said) -> Iterator[Line]:
    for kind, figures in _KINDS:
        devices = _devices_of(said, kind)
        if not devices:
            continue
        yield ()
        yield ((fit(_TITLES[kind], _DEVICE), "head"), *((f" {figure.title:>8}", "head") for figure in figures))
        for device in devices[:DEVICES_MAX]:
            cells = (f" {_value(said, figure, device):>8}" for figure in figures)
            yield ((fit(device, _DEVICE), "strong"), *((cell, "plain") for cell in cells))
        if len(devices) > DEVICES_MAX:
            yield ((f"and {len(devices) - DEVICES_MAX} more", "dim"),)


def _devices_of(said: Said, kind: str) -> list[str]:
    """Return the devices of a kind: vCPUs by their numbers, others by their names."""
    found = {
        device
        for figures in said.figures
        for field, device in map(split_key, figures.params)
        if device is not None and field.startswith(f"{kind}.") and device == whole_device(device)
    }
    return sorted(found, key=lambda device: (not device.isdecimal(), len(device) if device.isdecimal() else 0, device))


def _value(said: Said, figure: _Figure, device: str) -> str:
    key = key_of(figure.field, device)
    value = said.rate(key) if figure.is_rate else said.number(key)
    if figure.per is not None and value is not None:
        per = said.rate(key_of(figure.per, device))
        value = value / per if per else None
    return known(figure.write, value)

"""What the doctor may have seen, for tests: everything as it should be, for each test to change what it wants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from domstat import __version__
from domstat.catalog import GROUPS
from domstat.collect.wire import Examined
from domstat.config import Config, HostConfig, parse
from domstat.deliver.account import JournalAccount, SinkAccount
from domstat.deliver.courier import State
from domstat.doctor.finding import Finding, Verdict
from domstat.doctor.scene import (
    AgentSeen,
    ClockSeen,
    DiskSeen,
    FileSeen,
    GuestSeen,
    HostSeen,
    OutageSeen,
    Past,
    Role,
    Scene,
    UnitSeen,
    Versions,
    WriterSeen,
)
from domstat.status import Report, StreamAccount

NOW = 1_795_385_700.0
UID = 991
PID = 4711
GIB = 1 << 30

EXAMINED = Examined(
    driver="QEMU",
    uri="qemu:///system",
    socket="/run/libvirt/virtqemud-sock-ro (virtqemud, pid 812)",
    hypervisor="7.2.22",
    libvirt="9.0.0",
    guests=1,
    groups=dict.fromkeys(GROUPS, True),
)
GUEST = GuestSeen(
    "6a2f41a3-c54c-4a5e-9b5b-3e0f0c9d8a11",
    "web-1",
    updated=int(NOW) - 2,
    vcpu_ns=10**12,
    waited_ns=10**9,
    balloon="virtio",
    period_s=10,
)
HOST = HostSeen(name="kvm1", uri="qemu:///system", examined=EXAMINED, call_s=0.02, now=NOW, guests=(GUEST,))
SINK = SinkAccount(
    name="history",
    state=State.GOOD,
    received=900,
    written=900,
    rejected=0,
    parts_rejected=0,
    dropped={},
    pending=0,
    retries=0,
    lag_batches=0,
    lag_s=0.0,
    backlog_bytes=0,
    write_s=0.012,
    last_error="",
    last_error_at=None,
)
STREAM = StreamAccount("kvm1", "default", 10.0, 4711, 1_795_385_700_000, 3.2, None, 0, 0, 0, 0, 0, 0)
REPORT = Report(True, (), __version__, PID, 3725.0, (STREAM,), (SINK,), JournalAccount(0, 0.003, 0, 0, None, {}))
ENVIRON = {"NOTIFY_SOCKET": "/run/systemd/notify", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(PID)}
AGENT = AgentSeen(REPORT, "", ENVIRON)
UNIT = UnitSeen("/lib/systemd/system/domstat.service", "[Service]\nType=notify\nWatchdogSec=60\n")
STATE = FileSeen(Role.STATE, "/var/lib/domstat", uid=UID, mode=0o700)
CONFIG = FileSeen(Role.CONFIG, "/etc/domstat/domstat.toml", uid=0, mode=0o644)
JOURNAL = FileSeen(Role.JOURNAL, "/var/lib/domstat/journal.db", uid=UID, mode=0o600)
HISTORY = FileSeen(Role.HISTORY, "/var/lib/domstat/history.db", uid=UID, mode=0o600, about="history")
SECRET = FileSeen(Role.SECRET, "/etc/domstat/influxdb.token", uid=UID, mode=0o600, about="influx")
DISK = DiskSeen("history", "/var/lib/domstat", 100 * GIB, GIB, 6 * GIB, 10 * 86400.0, 30 * 86400.0)
OUTAGE = OutageSeen("history", 0.0, 0, 0)
HERE = Versions(__version__, "3.11.2", (3, 46, 1), "9.0.0")


def config(text: str = "") -> Config:
    return parse(f'[[hosts]]\nname = "kvm1"\nuri = "qemu:///system"\n{text}\n', Path("/etc/domstat/domstat.toml"))


def hosts(text: str = "") -> tuple[HostConfig, ...]:
    return config(text).hosts


def guest(**changes: Any) -> GuestSeen:
    return replace(GUEST, **changes)


def host(*guests: GuestSeen, **changes: Any) -> HostSeen:
    return replace(HOST, guests=guests or HOST.guests, **changes)


def examined(**changes: Any) -> HostSeen:
    return replace(HOST, examined=replace(EXAMINED, **changes))


def scene(**changes: Any) -> Scene:
    well = Scene(
        config=config(),
        uid=UID,
        agent=AGENT,
        hosts=(HOST,),
        schedstats="1",
        clock=ClockSeen(True, 0.004),
        files=(STATE, CONFIG, JOURNAL, HISTORY, SECRET),
        disks=(DISK,),
        past=Past("", {("kvm1", "default"): 0.02}, (OUTAGE,), 0),
        versions=HERE,
        writers=(WriterSeen("/var/lib/domstat/history.db", (PID,)),),
        unit=UNIT,
    )
    return replace(well, **changes)


def only(findings: Any) -> Finding:
    """Return the one finding there is."""
    (found,) = findings
    assert isinstance(found, Finding)
    return found


def verdicts(findings: Any) -> list[Verdict]:
    return [found.verdict for found in findings]

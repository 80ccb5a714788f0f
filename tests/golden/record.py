"""Record real answers for the golden test: ``python tests/golden/record.py NAME``, as root.

Boots a Linux guest and a small one in the lab, collects a few ticks while a disk is plugged in and a guest restarts,
and writes ``NAME.answers.json``. Run once per version of libvirt worth keeping; then ``--update-golden``.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from domstat.catalog import GROUPS
from domstat.collect import wire
from domstat.collect.block import ACTIVE, BACKING, NOWAIT
from domstat.collect.hypervisor import Hypervisor
from domstat.collect.stream import deadline_in
from domstat.telemetry import get_logger
from domstat_lab import guests, hotplug, image
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.spec import DiskSpec, GuestSpec, tiny

PAUSE_S = 1.0
LINUX = GuestSpec("web-1", workloads=("writer", "burner", "pinger"), title="Web")
SMALL = tiny("small")


def main(name: str) -> None:
    """Record into *name*."""
    recorded: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="domstat-record-") as folder, PrivateLibvirtd(Path(folder)) as lab:
        guests.start(lab, [LINUX], image.ensure())
        guests.start(lab, [SMALL])
        guests.wait_booted(lab, [LINUX])
        happened: list[wire.Happened] = []
        hypervisor = Hypervisor("kvm1", lab.uri_ro, get_logger(), on_happened=happened.append)

        def tick() -> None:
            recorded.extend(take(hypervisor, happened, folder))
            time.sleep(PAUSE_S)

        tick()
        tick()
        hotplug.attach_disk(lab, LINUX.name, DiskSpec(8), "vdb")
        tick()
        guests.destroy(lab, [SMALL.name])
        tick()
        guests.start(lab, [SMALL])
        tick()
        tick()
        hypervisor.close()
    target = Path(__file__).parent / f"{name}.answers.json"
    target.write_text(json.dumps(recorded, indent=1) + "\n")


def take(hypervisor: Hypervisor, happened: list[wire.Happened], folder: str) -> list[dict[str, Any]]:
    """Take a tick's answers, the XML that belongs to them and what happened before; every group, backing layers too."""
    ask = wire.Ask(sum(GROUPS.values()), ACTIVE | NOWAIT | BACKING, internals=True, host=True)
    taken = []
    for answer, shapes in hypervisor.ask(ask, 30.0):
        described = hypervisor.describe(tuple(guest.uuid for guest in answer.guests), deadline_in(30))
        changed = {change.uuid for events in happened for change in events.changes}
        happened.clear()
        guests = [
            {
                "uuid": guest.uuid,
                "name": guest.name,
                "id": guest.id,
                "params": dict(zip(shapes[guest.shape], guest.values, strict=True)),
            }
            for guest in answer.guests
        ]
        part = {
            "stamp": msgspec.structs.asdict(answer.stamp),
            "xml": {item.uuid: item.xml for item in described},
            "changed": sorted(changed),
            "host": answer.host,
            "guests": guests,
        }
        text = json.dumps(part).replace(folder, "/lab").replace(str(image.default_cache()), "/image")
        taken.append(json.loads(text))
    return taken


if __name__ == "__main__":
    main(sys.argv[1])

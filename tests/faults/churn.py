"""Guests to which something happens all the time, at random, and what is to be heard of it.

Every disk is a file of its own with a size that no other has, and every NIC has a MAC of its own unless two of one
guest share theirs: whatever a record says of a device tells which device it is of.
"""

from __future__ import annotations

import os
import random
import signal
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from domstat_lab import blocks, connection, guests, hotplug, life, processes
from domstat_lab.domain_xml import disk_file, disk_target, disk_xml
from domstat_lab.errors import LabError
from domstat_lab.image import GuestImage
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.serial import BOOTED, read_console
from domstat_lab.spec import DiskSpec, GuestSpec, tiny

from .happenings import Expected
from .truth import Deed, now_ms

PREFIX = "churn-"
PAUSE_MAX_S = 0.7
"""Between the halves of what has two (out and in again, off and on again): at times a tick falls in between."""

DISKS_MANY = 11
NICS_MAX = 4
"""Plugged into one incarnation: without an operating system a guest never lets go of one."""

VCPUS_MAX = 4
DOTTED_TAP = "eth0.100"
"""The name of a tap, which no two NICs of one host can have, with a dot in it as a VLAN's has."""

DESCRIPTOR_MAX_S = 10.0
"""What libvirt may take to notice that a QEMU is gone."""


@dataclass
class Guest:
    """A guest of the menagerie, as it is now."""

    spec: GuestSpec
    persistent: bool
    folder: Path
    name: str = ""
    state: str = "running"
    plugged: dict[str, Path] = field(default_factory=dict)
    """By target the disks that were plugged in since the guest was started."""
    macs: list[str] = field(default_factory=list)
    vcpus: int = 1
    dotted: bool = False

    @property
    def uuid(self) -> str:
        return self.spec.identity

    @property
    def linux(self) -> bool:
        return self.spec.kind == "linux"

    @property
    def prefix(self) -> str:
        """What the names of disks begin with that are plugged into it."""
        return "vd" if self.linux else "sd"

    def stop(self, state: str) -> None:
        """Forget what ends with a QEMU."""
        self.state = state
        self.plugged, self.macs, self.vcpus, self.dotted = {}, [], self.spec.vcpus, False


class Menagerie:
    """Some guests, what may be done to them, what was done, and what is to be heard of it."""

    def __init__(self, lab: PrivateLibvirtd, seed: int, image: GuestImage) -> None:
        self.deeds: list[Deed] = []
        self.expected: list[Expected] = []
        self.sizes: dict[tuple[str, str], int] = {}
        """In bytes, by guest and path, of all files that were ever disks."""
        self.guests: list[Guest] = []
        self.seed = seed
        self._lab = lab
        self._image = image
        self._random = random.Random(seed)
        self._mib = 1
        self._numbers = 0
        self._heard_of: list[Expected] = []

    # Who there is.

    def add_tiny(self, count: int, *, persistent: bool) -> None:
        """Add guests without an operating system."""
        for _ in range(count):
            number = len(self.guests)
            disks = (DiskSpec(self._size_mib()), DiskSpec(self._size_mib(), "qcow2"))
            spec = tiny(f"{PREFIX}{number}", scsi=True, vcpus=1, vcpus_max=VCPUS_MAX, nics=1, disks=disks)
            self._add(spec, persistent=persistent)

    def add_linux(self) -> Guest:
        """Add a guest that boots Linux, and writes and pings from then on."""
        disks = (DiskSpec(64 + self._size_mib()),)
        return self._add(GuestSpec(f"{PREFIX}linux", workloads=("writer", "pinger"), disks=disks), persistent=False)

    def _add(self, spec: GuestSpec, *, persistent: bool) -> Guest:
        folder = guests.guest_folder(self._lab, spec.name)
        guest = Guest(spec, persistent, folder, name=spec.name)
        for index, disk in enumerate(spec.disks):
            file = disk_file(folder, disk, disk_target(index))
            self.sizes[guest.uuid, str(file)] = disk.size_mib << 20
        self.guests.append(guest)
        if persistent:
            guests.define(self._lab, spec)
            life.create(self._lab, spec.name)
        else:
            guests.start(self._lab, [spec], self._image)
        return guest

    def end(self) -> None:
        """End and forget all of them, whatever they are."""
        for guest in self.guests:
            with suppress(LabError):
                guests.destroy(self._lab, [guest.name])
            with suppress(LabError):  # a transient guest is gone already
                life.undefine(self._lab, guest.name)

    def _size_mib(self) -> int:
        self._mib += 1
        return self._mib

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    # What is done.

    def do_something(self) -> Deed:
        """Do something at random: as a rule what has been done least often of what may be done now."""
        may = {what: [guest for guest in self.guests if may(self, guest)] for what, (may, _) in DEEDS.items()}
        whats = [what for what, who in may.items() if who]
        running = sum(guest.state == "running" for guest in self.guests)
        rising = [what for what in whats if what in RISING]
        if rising and running * 2 < len(self.guests):
            whats = rising
        counts = self.counts
        (what,) = self._random.choices(whats, [1 / (1 + counts.get(what, 0)) ** 4 for what in whats])
        return self.do(what, self._random.choice(may[what]))

    @property
    def counts(self) -> dict[str, int]:
        """How often what was done."""
        whats = [deed.what for deed in self.deeds]
        return {what: whats.count(what) for what in DEEDS if what in whats}

    def do(self, what: str, guest: Guest) -> Deed:
        """Do this to a guest, and write down what is to be heard of it."""
        self._heard_of = []
        began_ms = now_ms()
        device = DEEDS[what][1](self, guest) or ""
        ended_ms = now_ms()
        self.deeds.append(Deed(what, guest.uuid, began_ms, ended_ms, device))
        self.expected += [replace(each, since_ms=began_ms, until_ms=ended_ms) for each in self._heard_of]
        return self.deeds[-1]

    def must(self, guest: Guest, type_: str, *reasons: str | None, devices: tuple[str, ...] = ()) -> None:
        """Expect an event, for one of these reasons."""
        self._heard_of.append(
            Expected(
                uuid=guest.uuid, name=guest.name, type=type_, reasons=reasons or (None,), devices=devices or (None,)
            )
        )

    def may(self, guest: Guest, type_: str, *reasons: str) -> None:
        """Put up with an event."""
        self._heard_of.append(Expected(uuid=guest.uuid, name=guest.name, type=type_, reasons=reasons, must=False))

    def pause(self) -> None:
        """Wait, for some part of a tick or more."""
        time.sleep(self._random.uniform(0, PAUSE_MAX_S))

    # How it is done; each says what is to be heard.

    def define(self, guest: Guest) -> None:
        guests.define(self._lab, guest.spec)
        guest.state = "off"
        self.must(guest, "defined", "added")

    def undefine(self, guest: Guest) -> None:
        life.undefine(self._lab, guest.name)
        self.must(guest, "undefined", "removed")
        guest.state = "absent"
        guest.name = guest.spec.name

    def rename(self, guest: Guest) -> None:
        self.must(guest, "undefined", "renamed")
        new_name = f"{guest.spec.name}-{self._number()}"
        life.rename(self._lab, guest.name, new_name)
        guest.name = new_name
        self.must(guest, "renamed", None)

    def start(self, guest: Guest) -> None:
        if guest.persistent:
            life.create(self._lab, guest.name)
        else:
            guests.start(self._lab, [guest.spec], self._image)
        guest.state = "running"
        self.may(guest, "resumed", "unpaused")
        self.must(guest, "started", "booted")

    def destroy(self, guest: Guest) -> None:
        guests.destroy(self._lab, [guest.name])
        guest.stop("off" if guest.persistent else "absent")
        self.may(guest, "shutdown", "host", "finished")
        self.must(guest, "stopped", "destroyed")

    def restart(self, guest: Guest) -> None:
        self.destroy(guest)
        self.pause()
        self.start(guest)

    def kill(self, guest: Guest) -> None:
        """Have its QEMU die without a word."""
        os.kill(self._lab.qemu_pid(guest.name), signal.SIGKILL)
        processes.wait_until(
            lambda: not self._is_active(guest), timeout_s=DESCRIPTOR_MAX_S, otherwise="libvirt notices nothing"
        )
        guest.stop("off" if guest.persistent else "absent")
        self.must(guest, "stopped", "failed")

    def crash(self, guest: Guest) -> None:
        """Dump its memory as after a crash, which libvirt takes it for from then on."""
        file = guest.folder / "core"
        with connection.guest(self._lab.uri_rw, guest.name) as domain:
            domain.coreDump(str(file), connection.binding().VIR_DUMP_CRASH)
        file.unlink()
        guest.stop("off" if guest.persistent else "absent")
        self.may(guest, "paused", "paused")
        self.must(guest, "crashed", None)

    def suspend(self, guest: Guest) -> None:
        life.suspend(self._lab, guest.name)
        guest.state = "paused"
        self.must(guest, "paused", "paused")

    def resume(self, guest: Guest) -> None:
        life.resume(self._lab, guest.name)
        guest.state = "running"
        self.must(guest, "resumed", "unpaused")

    def save(self, guest: Guest) -> None:
        life.save(self._lab, guest.name)
        guest.state = "saved"
        self.may(guest, "paused", "paused")
        self.must(guest, "stopped", "saved")

    def restore(self, guest: Guest) -> None:
        life.restore(self._lab, guest.name)
        guest.state = "running"
        self.must(guest, "started", "restored")
        self.may(guest, "resumed", "unpaused", "from-snapshot")

    def attach(self, guest: Guest) -> None:
        self._attach(guest, self._free_target(guest))

    def attach_many(self, guest: Guest) -> None:
        """Give it more than ten disks."""
        while len(guest.plugged) < DISKS_MANY:
            self._attach(guest, self._free_target(guest))

    def detach(self, guest: Guest) -> None:
        target = self._random.choice(sorted(guest.plugged))
        self._detach(guest, target)
        del guest.plugged[target]

    def replug_another(self, guest: Guest) -> str:
        """Take a disk out, and put another in under its name."""
        target = self._random.choice(sorted(guest.plugged))
        self._detach(guest, target)
        self.pause()
        self._attach(guest, target)
        return target

    def replug_same(self, guest: Guest) -> str:
        """Take a disk out, and put it in again."""
        target = self._random.choice(sorted(guest.plugged))
        self._detach(guest, target)
        self.pause()
        self._plug(guest, target, guest.plugged[target])
        return target

    def layer(self, guest: Guest) -> None:
        """Take a snapshot of a disk, and go back to the image below it."""
        guests.guest_folder(self._lab, guest.name).mkdir(parents=True, exist_ok=True)  # it may have been renamed
        file = blocks.add_layer(self._lab, guest.name, "vda")
        self.sizes[guest.uuid, str(file)] = guest.spec.disks[0].size_mib << 20
        self.pause()
        blocks.commit_layer(self._lab, guest.name, "vda")

    def attach_nic(self, guest: Guest) -> None:
        self._attach_nic(guest, self._mac())

    def attach_twins(self, guest: Guest) -> None:
        """Give it two NICs with one MAC, the second with a dot in its tap's name if nobody has that."""
        mac = self._mac()
        self._attach_nic(guest, mac)
        guest.dotted = not any(other.dotted for other in self.guests)
        self._attach_nic(guest, mac, DOTTED_TAP if guest.dotted else "")

    def detach_nic(self, guest: Guest) -> None:
        mac = guest.macs.pop()
        alias = self._alias(guest, f"interface/mac[@address='{mac}']")
        hotplug.detach_nic(self._lab, guest.name, mac)
        self.must(guest, "device-removed", devices=(mac, alias))

    def plug_vcpu(self, guest: Guest) -> None:
        guest.vcpus += 1
        hotplug.set_vcpus(self._lab, guest.name, guest.vcpus)

    # The parts of it.

    def booted(self, guest: Guest) -> bool:
        """Whether the guest can do its part in plugging: only SCSI disks need none."""
        return not guest.linux or BOOTED in read_console(guest.folder / "serial.log")

    def _is_active(self, guest: Guest) -> bool:
        libvirt = self._lab.connect()
        try:
            return guest.name in {domain.name() for domain in libvirt.listAllDomains(1)}
        finally:
            libvirt.close()

    def _free_target(self, guest: Guest) -> str:
        first = len(guest.spec.disks) if guest.linux else 0
        targets = (disk_target(index, guest.prefix) for index in range(first, 26))
        return next(target for target in targets if target not in guest.plugged)

    def _attach(self, guest: Guest, target: str) -> None:
        """Make a new file, and plug it in as a disk."""
        size_mib = self._size_mib()
        file = guest.folder / f"{target}-{self._number()}.raw"
        with file.open("wb") as handle:
            handle.truncate(size_mib << 20)
        self.sizes[guest.uuid, str(file)] = size_mib << 20
        self._plug(guest, target, file)

    def _plug(self, guest: Guest, target: str, file: Path) -> None:
        with connection.guest(self._lab.uri_rw, guest.name) as domain:
            domain.attachDevice(disk_xml(DiskSpec(1, "raw"), file, target))
        guest.plugged[target] = file
        self.must(guest, "device-added", devices=(target, self._alias(guest, f"disk/target[@dev='{target}']")))

    def _detach(self, guest: Guest, target: str) -> None:
        alias = self._alias(guest, f"disk/target[@dev='{target}']")
        hotplug.detach_disk(self._lab, guest.name, target)
        self.must(guest, "device-removed", devices=(target, alias))

    def _attach_nic(self, guest: Guest, mac: str, tap: str = "") -> None:
        hotplug.attach_nic(self._lab, guest.name, mac, tap)
        guest.macs.append(mac)
        with connection.guest(self._lab.uri_rw, guest.name) as domain:
            nics = ET.fromstring(domain.XMLDesc()).findall("./devices/interface")
        newest = nics[-1]
        own_tap, alias = newest.find("target"), newest.find("alias")
        assert own_tap is not None
        assert alias is not None
        self.must(
            guest,
            "device-added",
            devices=(mac, f"{mac}@{own_tap.get('dev')}", alias.get("name", "")),
        )

    def _alias(self, guest: Guest, path: str) -> str:
        """Return what libvirt calls a device."""
        with connection.guest(self._lab.uri_rw, guest.name) as domain:
            alias = ET.fromstring(domain.XMLDesc()).find(f"./devices/{path}/../alias")
        return "" if alias is None else alias.get("name", "")

    def _mac(self) -> str:
        number = self._number()
        return f"52:54:00:c0:{number >> 8 & 255:02x}:{number & 255:02x}"


May = Callable[[Menagerie, Guest], bool]
How = Callable[[Menagerie, Guest], str | None]


def _in(*states: str, persistent: bool | None = None, linux: bool | None = None) -> May:
    """Make a condition: the guest is in one of these states, and of this sort."""

    def may(menagerie: Menagerie, guest: Guest) -> bool:
        return (
            guest.state in states
            and persistent in {None, guest.persistent}
            and linux in {None, guest.linux}
            and (guest.state != "running" or menagerie.booted(guest))
        )

    return may


def _and(may: May, more: Callable[[Guest], bool]) -> May:
    return lambda menagerie, guest: may(menagerie, guest) and more(guest)


def _startable(menagerie: Menagerie, guest: Guest) -> bool:
    return guest.state == ("off" if guest.persistent else "absent")


_RUNNING = _in("running")
_TINY = _in("running", linux=False)

DEEDS: dict[str, tuple[May, How]] = {
    "define": (_in("absent", persistent=True), Menagerie.define),
    "undefine": (_in("off", persistent=True), Menagerie.undefine),
    "rename": (_in("off", persistent=True), Menagerie.rename),
    "start": (_startable, Menagerie.start),
    "destroy": (_in("running", "paused", linux=False), Menagerie.destroy),
    "restart": (_in("running", "paused", linux=False), Menagerie.restart),
    "kill": (_TINY, Menagerie.kill),
    "crash": (_TINY, Menagerie.crash),
    "suspend": (_TINY, Menagerie.suspend),  # libvirt 9.0 resumes no guest whose tap has an address
    "resume": (_in("paused"), Menagerie.resume),
    "save": (_RUNNING, Menagerie.save),
    "restore": (_in("saved"), Menagerie.restore),
    "attach": (_and(_RUNNING, lambda guest: len(guest.plugged) < DISKS_MANY), Menagerie.attach),
    "attach_many": (_and(_TINY, lambda guest: len(guest.plugged) < DISKS_MANY), Menagerie.attach_many),
    "detach": (_and(_RUNNING, lambda guest: bool(guest.plugged)), Menagerie.detach),
    "replug_another": (_and(_RUNNING, lambda guest: bool(guest.plugged)), Menagerie.replug_another),
    "replug_same": (_and(_RUNNING, lambda guest: bool(guest.plugged)), Menagerie.replug_same),
    "layer": (_RUNNING, Menagerie.layer),
    "attach_nic": (_and(_RUNNING, lambda guest: len(guest.macs) < NICS_MAX), Menagerie.attach_nic),
    "attach_twins": (_and(_TINY, lambda guest: len(guest.macs) < NICS_MAX), Menagerie.attach_twins),
    "detach_nic": (_and(_in("running", linux=True), lambda guest: bool(guest.macs)), Menagerie.detach_nic),
    "plug_vcpu": (_and(_TINY, lambda guest: guest.vcpus < VCPUS_MAX), Menagerie.plug_vcpu),
}
"""What may be done to a guest, when, and how."""

RISING = frozenset({"define", "start", "restore", "resume"})
"""What is done while most guests do not run."""

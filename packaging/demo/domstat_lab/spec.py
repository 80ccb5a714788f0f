"""What a guest of the lab is to be."""

import dataclasses
import ipaddress
import uuid
from typing import Literal

# Any fixed namespace will do: the same name then has the same UUID in every run.
UUIDS = uuid.UUID("6ba7b814-9dad-11d1-80b4-00c04fd430c8")
NETWORK = ipaddress.IPv4Network("10.77.0.0/16")  # cut into a /30 per guest; seen only inside the lab
GUEST_NUMBERS = 2 ** (30 - NETWORK.prefixlen)

Workload = Literal["writer", "burner", "pinger"]


@dataclasses.dataclass(frozen=True, slots=True)
class DiskSpec:
    """One virtio disk; a qcow2 disk stands on a raw backing file, so it has a chain of two."""

    size_mib: int = 64
    format: Literal["raw", "qcow2"] = "raw"


@dataclasses.dataclass(frozen=True, slots=True)
class GuestSpec:
    """A guest: a booted Linux or, of the kind `tiny`, a machine that sleeps from its first sector on.

    Without a UUID it has one made of its name. Workloads may be combined, and without one the guest is idle.
    """

    name: str
    kind: Literal["linux", "tiny"] = "linux"
    uuid: str = ""
    title: str = ""
    memory_mib: int = 160  # what the cloud kernel unpacks itself and the initramfs in, with some room
    vcpus: int = 1
    vcpus_max: int = 0  # up to how many may be plugged in; 0: no more than there are
    disks: tuple[DiskSpec, ...] = (DiskSpec(),)
    nics: int = 1
    workloads: tuple[Workload, ...] = ()
    balloon_period_s: int | None = 5  # how often the balloon driver reports; None: no reports, 0: on request only
    scsi: bool = (
        False  # a controller for disks sda, sdb and so on: unlike virtio disks, any guest releases them at once
    )
    cdrom: bool = False  # a drive, hda, without a medium
    reboot_s: int = 0  # seconds after which a Linux guest reboots by itself, again and again; 0: never

    @property
    def identity(self) -> str:
        """The guest's UUID."""
        return self.uuid or str(uuid.uuid5(UUIDS, self.name))


def tiny(name: str, **changes: object) -> GuestSpec:
    """Describe a guest for counting: two of everything, at 25 MiB of memory and no processor time."""
    base = GuestSpec(name, kind="tiny", memory_mib=4, vcpus=2, disks=(DiskSpec(1), DiskSpec(1, "qcow2")), nics=2)
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def addresses(number: int) -> tuple[str, str]:
    """Return the machine's end and the guest's end of the first interface of guest `number`, in a /30 of their own."""
    base = int(NETWORK.network_address) + 4 * (number % GUEST_NUMBERS)
    return str(ipaddress.IPv4Address(base + 1)), str(ipaddress.IPv4Address(base + 2))

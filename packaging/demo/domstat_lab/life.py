"""What may happen to a guest in its life: started, reset, paused, saved, renamed, made anew under its old UUID."""

from pathlib import Path

from domstat_lab import connection, guests
from domstat_lab.errors import LabError
from domstat_lab.image import GuestImage
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.spec import GuestSpec


def create(lab: PrivateLibvirtd, name: str) -> None:
    """Start a guest that is defined (guests.define) and off."""
    with connection.guest(lab.uri_rw, name) as guest:
        guest.create()


def undefine(lab: PrivateLibvirtd, name: str) -> None:
    """Make libvirt forget a guest that is off; one that runs is transient from now on."""
    with connection.guest(lab.uri_rw, name) as guest:
        guest.undefine()


def recreate(lab: PrivateLibvirtd, spec: GuestSpec, image: GuestImage | None = None) -> None:
    """Pull the plug of a transient guest and start it again: one name and UUID, another QEMU and empty disks."""
    guests.destroy(lab, [spec.name])
    guests.start(lab, [spec], image)


def reset(lab: PrivateLibvirtd, name: str) -> None:
    """Push a guest's reset button: it boots again in the same QEMU, whose counters go on."""
    with connection.guest(lab.uri_rw, name) as guest:
        guest.reset()


def suspend(lab: PrivateLibvirtd, name: str) -> None:
    """Pause a guest's processors."""
    with connection.guest(lab.uri_rw, name) as guest:
        guest.suspend()


def resume(lab: PrivateLibvirtd, name: str) -> None:
    """Let a paused guest go on."""
    with connection.guest(lab.uri_rw, name) as guest:
        guest.resume()


def rename(lab: PrivateLibvirtd, name: str, new_name: str) -> None:
    """Rename a guest that is defined and off: libvirt renames no running one. Its files stay where they are."""
    with connection.guest(lab.uri_rw, name) as guest:
        guest.rename(new_name)


def save(lab: PrivateLibvirtd, name: str) -> None:
    """Write a running guest's memory to a file and end its QEMU."""
    file = _saved(lab, name)
    file.parent.mkdir(parents=True, exist_ok=True)  # a guest that came by migration has no folder here
    with connection.guest(lab.uri_rw, name) as guest:
        guest.save(str(file))


def restore(lab: PrivateLibvirtd, name: str) -> None:
    """Go on with a guest that was saved, in a new QEMU."""
    binding = connection.binding()
    libvirt = lab.connect()
    try:
        libvirt.restore(str(_saved(lab, name)))
    except binding.libvirtError as error:
        raise LabError(f"cannot restore the guest {name}: {error}") from error
    finally:
        libvirt.close()


def _saved(lab: PrivateLibvirtd, name: str) -> Path:
    return guests.guest_folder(lab, name) / "saved"

"""The lab's way to libvirt: the one module that imports its binding, and only when called."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from domstat_lab.errors import LabError

# Starting a guest is one half libvirtd's work and one half QEMU's; more at once than this only queue on small machines.
PARALLEL = 4

T = TypeVar("T")


def open_connection(uri: str, *, readonly: bool = False) -> Any:
    """Connect to a libvirtd; the caller closes the connection."""
    import libvirt

    libvirt.registerErrorHandler(lambda _context, _error: None, None)  # else libvirt prints every error itself
    try:
        return libvirt.openReadOnly(uri) if readonly else libvirt.open(uri)
    except libvirt.libvirtError as error:
        raise LabError(f"cannot connect to {uri}: {error}") from error


def binding() -> Any:
    """Return the binding itself, for its constants."""
    import libvirt

    return libvirt


def for_all(items: Iterable[T], act: Callable[[T], object]) -> None:
    """Do something to every item, several at a time; raise the first failure when all have been tried."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        futures = [pool.submit(act, item) for item in items]
    for future in futures:
        future.result()


@contextmanager
def guest(uri: str, name: str) -> Iterator[Any]:
    """Open libvirt's object of one guest for a while; what libvirt refuses is an error of the lab."""
    import libvirt

    connection = open_connection(uri)
    try:
        yield connection.lookupByName(name)
    except libvirt.libvirtError as error:
        raise LabError(f"the guest {name}: {error}") from error
    finally:
        connection.close()


def create(connection: Any, name: str, xml: str) -> None:
    """Start a transient guest: one libvirt forgets when it ends."""
    import libvirt

    try:
        connection.createXML(xml)
    except libvirt.libvirtError as error:
        raise LabError(f"cannot start the guest {name}: {error}") from error


def define(connection: Any, name: str, xml: str) -> None:
    """Describe a guest to libvirt for good, and leave it off."""
    import libvirt

    try:
        connection.defineXML(xml)
    except libvirt.libvirtError as error:
        raise LabError(f"cannot define the guest {name}: {error}") from error


def destroy(connection: Any, name: str) -> None:
    """Pull a guest's plug; a guest that is gone already is as good."""
    import libvirt

    try:
        connection.lookupByName(name).destroy()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise LabError(f"cannot end the guest {name}: {error}") from error

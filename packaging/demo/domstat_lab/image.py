"""The Linux guests' kernel and initramfs, made once of Debian packages, which are unpacked and never installed."""

import dataclasses
import fcntl
import gzip
import hashlib
import lzma
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from domstat_lab import cpio, processes
from domstat_lab.errors import LabError

KERNEL_METAPACKAGE = "linux-image-cloud-amd64"
# In the order they need each other; loading them three times over in this order needs no modules.dep.
MODULES = (
    *("virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci"),
    *("virtio_blk", "failover", "net_failover", "virtio_net", "virtio_balloon"),
)
# Mounted over by /init, except /dev/console, which the kernel opens for /init itself.
FOLDERS = ("bin", "dev", "proc", "sys", "modules")
DOWNLOAD_TIMEOUT_S = 300.0  # 27 MB of kernel at 100 kB/s, the slowest line worth waiting for
COMMAND_TIMEOUT_S = 60.0  # dpkg and apt-cache work on local files only


@dataclasses.dataclass(frozen=True, slots=True)
class GuestImage:
    """What libvirt boots a Linux guest of."""

    kernel: Path
    initramfs: Path


def default_cache() -> Path:
    """Name the folder for everything that may be fetched or made again, beside the checkout's virtual environment."""
    return Path(__file__).parents[3] / ".dev" / "image"


def ensure(cache: Path | None = None) -> GuestImage:
    """Return the guest image, making it when the cache has none, which takes some 5 s and reaches Debian's mirror."""
    cache = cache or default_cache()
    cache.mkdir(parents=True, exist_ok=True)
    with _lock(cache / "lock"):
        linux = _unpacked(cache, "linux", _kernel_package)
        busybox = _unpacked(cache, "busybox", lambda: "busybox-static") / "bin" / "busybox"
        return GuestImage(_only(linux / "boot", "vmlinuz-*"), _initramfs(cache, linux, busybox))


def _initramfs(cache: Path, linux: Path, busybox: Path) -> Path:
    """Make the initramfs, named by its content, so that a changed /init is a new file and never an overwritten one."""
    entries = [cpio.directory(name) for name in FOLDERS]
    entries.append(cpio.character_device("dev/console", 5, 1))
    entries.append(cpio.program("bin/busybox", busybox.read_bytes()))
    entries.append(cpio.program("init", (Path(__file__).parent / "guest" / "init").read_bytes()))
    for number, name in enumerate(MODULES):
        entries.append(cpio.program(f"modules/{number:02}-{name}.ko", _module(linux, name)))
    archive = cpio.archive(entries)
    file = cache / f"initramfs-{hashlib.sha256(archive).hexdigest()[:16]}.gz"
    if not file.exists():
        unfinished = file.with_suffix(".new")
        unfinished.write_bytes(gzip.compress(archive, compresslevel=1))
        unfinished.rename(file)
    return file


def _module(linux: Path, name: str) -> bytes:
    file = _only(linux / "lib" / "modules", f"**/{name}.ko*")
    return lzma.decompress(file.read_bytes()) if file.suffix == ".xz" else file.read_bytes()


def _unpacked(cache: Path, name: str, package: Callable[[], str]) -> Path:
    """Unpack a package into a folder of the cache, once; a folder that exists is whole, as it is renamed into place."""
    folder = cache / name
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            _download(package(), Path(scratch))
            files = Path(scratch) / "files"
            processes.run("dpkg", "-x", _only(Path(scratch), "*.deb"), files, timeout_s=COMMAND_TIMEOUT_S)
            files.rename(folder)
    return folder


def _kernel_package() -> str:
    """Name the package of today's kernel: what the metapackage stands for."""
    answer = processes.run("apt-cache", "depends", KERNEL_METAPACKAGE, timeout_s=COMMAND_TIMEOUT_S)
    found = re.search(r"Depends: (linux-image-\S+)", answer)
    if found is None:
        raise LabError(f"apt knows no {KERNEL_METAPACKAGE}: run `apt-get update` as root on Debian, and try again")
    return found[1]


def _download(package: str, folder: Path) -> None:
    """Fetch a package's archive; with stale or no package lists, as in a fresh container, refresh those and retry."""
    # The sandbox user of apt may not write here, and root needs none for a file whose checksum apt verifies.
    fetch = ("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package)
    try:
        processes.run(*fetch, timeout_s=DOWNLOAD_TIMEOUT_S, cwd=folder)
    except LabError:
        processes.run("apt-get", "-q", "update", timeout_s=DOWNLOAD_TIMEOUT_S)
        processes.run(*fetch, timeout_s=DOWNLOAD_TIMEOUT_S, cwd=folder)


def _only(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise LabError(f"{folder} should have one {pattern} and has {len(found)}: delete the folder and try again")
    return found[0]


@contextmanager
def _lock(file: Path) -> Iterator[None]:
    """Let one process at a time fill the cache."""
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield

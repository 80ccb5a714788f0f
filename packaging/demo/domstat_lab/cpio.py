"""Writing an initramfs: a cpio archive in the `newc` form, the one the kernel reads."""

import dataclasses
import stat


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One file of an archive; a device node has a device, everything else has none."""

    name: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(name: str) -> Entry:
    """Describe a directory everybody may enter."""
    return Entry(name, stat.S_IFDIR | 0o755)


def program(name: str, content: bytes) -> Entry:
    """Describe a file that can be run."""
    return Entry(name, stat.S_IFREG | 0o755, content)


def character_device(name: str, major: int, minor: int) -> Entry:
    """Describe a device node, for what is needed before /dev is mounted."""
    return Entry(name, stat.S_IFCHR | 0o600, device=(major, minor))


def archive(entries: list[Entry]) -> bytes:
    """Pack the whole archive, ended by the trailer."""
    return b"".join(_packed(number, entry) for number, entry in enumerate([*entries, Entry("TRAILER!!!", 0)], 1))


def _packed(number: int, entry: Entry) -> bytes:
    name = entry.name.encode() + b"\0"
    uid = gid = mtime = device_major = device_minor = check = 0
    links = 1
    fields = (number, entry.mode, uid, gid, links, mtime, len(entry.content), device_major, device_minor)
    header = b"070701" + b"".join(b"%08x" % field for field in (*fields, *entry.device, len(name), check))
    return _padded(header + name) + _padded(entry.content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)

"""A file system that dies when told to, as one on the network does whose server is gone.

It speaks the kernel's FUSE protocol over /dev/fuse, without any library: a folder of read-only files, all in memory.
While it is dead nothing is read from the kernel, so whoever asks it for something waits, and can only be killed.
"""

import contextlib
import errno
import os
import selectors
import stat
import struct
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from domstat_lab import processes
from domstat_lab.errors import LabError
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.pools import inside

DEVICE = "/dev/fuse"
REQUEST_MAX = 1 << 17  # bytes; the kernel refuses to put requests into less than it may send
MOUNT_TIMEOUT_S = 60.0  # seconds; nothing is asked of the file system itself
END_TIMEOUT_S = 30.0  # seconds the thread may take to see that it is over
ROOT = 1  # the kernel's number of the folder; the files have those after it
BLOCK = 4096

# What the kernel asks (include/uapi/linux/fuse.h).
LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, FLUSH = 1, 2, 3, 14, 15, 17, 18, 25
INIT, OPENDIR, READDIR, RELEASEDIR, ACCESS, INTERRUPT, BATCH_FORGET = 26, 27, 28, 29, 34, 36, 42
NOT_ANSWERED = {FORGET, BATCH_FORGET, INTERRUPT}
NOTHING_TO_SAY = {FLUSH, RELEASE, RELEASEDIR, ACCESS}

IN_HEADER = struct.Struct("=IIQQIIIHH")  # length, what, number, node, …
OUT_HEADER = struct.Struct("=IiQ")  # length, error, number
INIT_OUT = struct.Struct("=IIIIHHIIHHII24x")  # version 7.31, …, 4096 bytes to write at most
ATTRIBUTES = struct.Struct("=QQQQQQIIIIIIIIII")
STATFS_OUT = struct.Struct("=QQQQQIIII24x")


class FragileFileSystem:
    """Files of a lab's libvirtd, mounted where only it sees them, on a file system that can die and come back."""

    blocks = 1000  # of 4096 bytes, the size it says it has
    free = 250

    def __init__(self, lab: PrivateLibvirtd, point: Path, files: Mapping[str, bytes]) -> None:
        self.point = point
        self._lab = lab
        self._names = list(files)
        self._contents = list(files.values())
        self._alive = True
        self._over = False
        self._answers: dict[int, Callable[[int, bytes], bytes]] = {
            INIT: lambda _node, _body: INIT_OUT.pack(7, 31, 0, 0, 0, 0, BLOCK, 1, 0, 0, 0, 0),
            LOOKUP: self._look_up,
            GETATTR: lambda node, _body: struct.pack("=QII", 0, 0, 0) + self._attributes(node),
            OPEN: lambda _node, _body: bytes(16),
            OPENDIR: lambda _node, _body: bytes(16),
            READ: self._read,
            READDIR: self._list,
            STATFS: self._say_size,
        }

    def __enter__(self) -> Self:
        """Mount it."""
        self.point.mkdir(parents=True, exist_ok=True)
        try:
            self._device = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK)
        except OSError as error:
            raise LabError(f"there is no FUSE here: {error}") from error
        self._waker, self._wake = os.pipe()
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0"
        command = [*inside(self._lab), "mount", "-i", "-t", "fuse", "-o", options, "fragile", str(self.point)]
        done = subprocess.run(
            command,
            pass_fds=(self._device,),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=MOUNT_TIMEOUT_S,
            check=False,
        )
        self._thread = threading.Thread(target=self._serve, name="fragile", daemon=True)
        self._thread.start()
        if done.returncode != 0:
            self._end()
            raise LabError(f"a file system of the lab's own could not be mounted: {done.stderr.strip()}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take it away: whoever still waits for it is told that it is gone."""
        self._end()
        with contextlib.suppress(LabError):  # the whole lab is gone already
            processes.run(*inside(self._lab), "umount", "-i", "-l", self.point, timeout_s=MOUNT_TIMEOUT_S)

    def die(self) -> None:
        """Answer nobody any more."""
        self._alive = False
        os.write(self._wake, b".")

    def revive(self) -> None:
        """Answer again, those first who have waited."""
        self._alive = True
        os.write(self._wake, b".")

    def _end(self) -> None:
        self._over = True
        os.write(self._wake, b".")
        self._thread.join(END_TIMEOUT_S)
        for descriptor in (self._device, self._waker, self._wake):
            os.close(descriptor)

    def _serve(self) -> None:
        """Answer the kernel's requests until it is over; while it is dead only look at what wakes it."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._waker, selectors.EVENT_READ)
            selector.register(self._device, selectors.EVENT_READ)
            while not self._over:
                ready = {key.fd for key, _ in selector.select()}
                if self._waker in ready:
                    os.read(self._waker, BLOCK)
                    self._watch(selector)
                elif self._device in ready and self._alive:
                    with contextlib.suppress(OSError):  # whoever asked was killed, or not mounted yet
                        self._answer(os.read(self._device, REQUEST_MAX))

    def _watch(self, selector: selectors.BaseSelector) -> None:
        """Look at the kernel's requests or do not."""
        watched = self._device in {key.fd for key in selector.get_map().values()}
        if self._alive and not watched:
            selector.register(self._device, selectors.EVENT_READ)
        elif watched and not self._alive:
            selector.unregister(self._device)

    def _answer(self, request: bytes) -> None:
        _, what, number, node, *_ = IN_HEADER.unpack_from(request)
        if what in NOT_ANSWERED:
            return
        body, error = b"", 0
        try:
            if what not in NOTHING_TO_SAY:
                body = self._answers[what](node, request[IN_HEADER.size :])
        except KeyError:
            error = errno.ENOSYS
        except FileNotFoundError:
            error = errno.ENOENT
        os.write(self._device, OUT_HEADER.pack(OUT_HEADER.size + len(body), -error, number) + body)

    def _look_up(self, _node: int, body: bytes) -> bytes:
        name = os.fsdecode(body.partition(b"\0")[0])
        if name not in self._names:
            raise FileNotFoundError(name)
        node = ROOT + 1 + self._names.index(name)
        return struct.pack("=QQQQII", node, 0, 0, 0, 0, 0) + self._attributes(node)  # never to be remembered

    def _attributes(self, node: int) -> bytes:
        size = 0 if node == ROOT else len(self._contents[node - ROOT - 1])
        mode = stat.S_IFDIR | 0o755 if node == ROOT else stat.S_IFREG | 0o444
        times = (0,) * 6
        return ATTRIBUTES.pack(node, size, -(-size // 512), *times, mode, 1, 0, 0, 0, BLOCK, 0)

    def _read(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("=QQI", body)
        return self._contents[node - ROOT - 1][offset : offset + size]

    def _list(self, _node: int, body: bytes) -> bytes:
        _, offset, _size = struct.unpack_from("=QQI", body)
        entries = b""
        for index, name in enumerate(self._names):
            if index >= offset:
                encoded = os.fsencode(name)
                entry = struct.pack("=QQII", ROOT + 1 + index, index + 1, len(encoded), stat.S_IFREG >> 12) + encoded
                entries += entry.ljust(-(-len(entry) // 8) * 8, b"\0")
        return entries

    def _say_size(self, _node: int, _body: bytes) -> bytes:
        return STATFS_OUT.pack(self.blocks, self.free, self.free // 2, 10, 5, BLOCK, 255, BLOCK, 0)

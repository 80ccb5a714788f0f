"""The pages of an SQLite file that may be damaged, with its WAL laid over them; nothing is ever written.

By https://sqlite.org/fileformat2.html. Which tree a page belongs to is told from its root down, and, since this
file's free pages can be given back, also from the page up: pages in between name the parent of each page.
"""

from __future__ import annotations

import mmap
import struct
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from domstat_sinks.sqlite.rescue.cells import Tree, tree_of

PAGE_BYTES = 4_096
"""SQLite's page, unless the file says otherwise: the history never asks for another."""

_WAL_MAGIC = (0x377F0682, 0x377F0683)
_WAL_HEADER_BYTES, _FRAME_HEADER_BYTES = 32, 24

ROOT, FREE, OVERFLOW_FIRST, OVERFLOW_NEXT, CHILD = 1, 2, 3, 4, 5
"""What a page is, by the pages that say so."""

_ENTRY_BYTES = 5
_DEPTH_MAX = 40
"""Pages from a leaf to its root at most; a tree of all pages there can be has ten."""


class _Frames(Struct):
    """Where a WAL has pages, by number, and how many pages the file has by it."""

    offsets: dict[int, int]
    pages: int = 0


class Pages:
    """The pages of a file at one moment. To be closed."""

    def __init__(self, path: Path) -> None:
        """Open a file. Raises OSError, and ValueError for an empty one."""
        self._file = path.open("rb")
        try:
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        except BaseException:
            self._file.close()
            raise
        self.size = _page_bytes(self._map[:100])
        self._wal = b""
        wal = path.with_name(path.name + "-wal")
        if wal.exists():
            self._wal = wal.read_bytes()
        self._frames = _committed(self._wal, self.size)
        self.count = max(len(self._map) // self.size, self._frames.pages)
        self.tells_owners = self._tells_owners()

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()
        self._file.close()

    def read(self, number: int) -> bytes | None:
        """Return a page, None where there is none of that number."""
        if not 1 <= number <= self.count:
            return None
        offset = self._frames.offsets.get(number)
        if offset is not None:
            return self._wal[offset : offset + self.size]
        start = (number - 1) * self.size
        page = self._map[start : start + self.size]
        return page if len(page) == self.size else None

    def tree(self, number: int) -> Tree | None:
        """Return a page as one of a B-tree, None if it is none."""
        page = self.read(number)
        return None if page is None else tree_of(page, number)

    @property
    def version(self) -> int:
        """The schema's version as the file's header has it, 0 if that is damaged."""
        header = self.read(1) or b""
        return int.from_bytes(header[60:64], "big") if header.startswith(b"SQLite format 3\0") else 0

    def _tells_owners(self) -> bool:
        """Tell whether pages say what their parents are: a damaged header is asked no further, the pages are."""
        found = self.entry(3)
        return found == (ROOT, 0)

    def entry(self, number: int) -> tuple[int, int] | None:
        """Return what a page is, and its parent or the page before it; None where that is not told."""
        every = self.size // _ENTRY_BYTES + 1
        teller = (number - 2) // every * every + 2
        if number < 3 or number == teller:
            return None
        page = self.read(teller)
        if page is None:
            return None
        at = (number - teller - 1) * _ENTRY_BYTES
        return page[at], int.from_bytes(page[at + 1 : at + 5], "big")

    def root_of(self, number: int) -> int | None:
        """Return the root of the tree that a page says it is in, None where it is in none."""
        if not self.tells_owners:
            return None
        for _ in range(_DEPTH_MAX):
            if number == 1:
                return 1
            found = self.entry(number)
            if found is None or found[0] not in {ROOT, CHILD}:
                return None
            if found[0] == ROOT:
                return number
            number = found[1]
        return None


class Forest:
    """The trees of a file, by their roots: each page of theirs once."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._seen = bytearray(pages.count + 1)
        self._strays: dict[int, list[int]] | None = None

    def pages_of(self, root: int) -> Iterator[int]:
        """Give the pages of a tree, as far as they are reached from its root, and those that say they are in it."""
        todo: OrderedDict[int, None] = OrderedDict({root: None})
        while todo:
            number, _ = todo.popitem()
            if not 1 <= number <= self._pages.count or self._seen[number]:
                continue
            self._seen[number] = 1
            yield number
            tree = self._pages.tree(number)
            if tree is not None:
                todo.update(dict.fromkeys(child for child in tree.children if self._is_child(child, number)))

    def strays_of(self, root: int) -> Iterator[int]:
        """Give the pages that say they are in a tree and were not reached; asked when all trees were gone through."""
        if self._strays is None:
            self._strays = {}
            for number in range(1, self._pages.count + 1):
                owner = None if self._seen[number] else self._pages.root_of(number)
                if owner is not None:
                    self._strays.setdefault(owner, []).append(number)
        yield from self._strays.get(root, [])

    def _is_child(self, child: int, parent: int) -> bool:
        """Tell whether a page is its parent's, and not another's that names it too."""
        told = self._pages.entry(child)
        if not self._pages.tells_owners or told is None or told == (CHILD, parent):
            return True
        other = self._pages.tree(told[1]) if told[0] == CHILD else None
        return other is None or child not in other.children


def _page_bytes(header: bytes) -> int:
    """Return the page's size by the file's header, or what it must be if that is damaged."""
    size = int.from_bytes(header[16:18], "big")
    size = 65_536 if size == 1 else size
    is_whole = header.startswith(b"SQLite format 3\0") and size >= 512 and size & (size - 1) == 0
    return size if is_whole else PAGE_BYTES


def _committed(wal: bytes, page_bytes: int) -> _Frames:
    """Return the pages of a WAL's transactions that were committed, as far as its checksums are right."""
    frames = _Frames({})
    if len(wal) < _WAL_HEADER_BYTES:
        return frames
    magic, _, size, _, *salts, _, _ = struct.unpack_from(">8I", wal)
    if magic not in _WAL_MAGIC or size != page_bytes:
        return frames
    order = ">" if magic & 1 else "<"
    sums = _checksum(wal[:24], (0, 0), order)
    if sums != struct.unpack_from(">2I", wal, 24):
        return frames
    begun: dict[int, int] = {}
    for start in range(_WAL_HEADER_BYTES, len(wal) - size - _FRAME_HEADER_BYTES + 1, size + _FRAME_HEADER_BYTES):
        number, pages, *rest = struct.unpack_from(">6I", wal, start)
        body = start + _FRAME_HEADER_BYTES
        sums = _checksum(wal[body : body + size], _checksum(wal[start : start + 8], sums, order), order)
        if rest[:2] != salts or tuple(rest[2:]) != sums:
            break
        begun[number] = body
        if pages:
            frames.offsets.update(begun)
            frames.pages = pages
            begun = {}
    return frames


def _checksum(data: bytes, sums: tuple[int, int], order: str) -> tuple[int, int]:
    first, second = sums
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for one, other in zip(words, words, strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second

"""The garbage collector's setting."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

from domstat.garbage import MMAP_BYTES, YOUNG_OBJECTS_MAX, collect_leftovers, spare_collections


def test_the_collector_goes_on_but_seldom_and_not_through_what_is_there_for_good() -> None:
    spare_collections()
    assert gc.isenabled()
    assert gc.get_threshold()[0] == YOUNG_OBJECTS_MAX
    assert gc.get_freeze_count() > 0


class Knot:
    """Something that refers to itself."""

    def __init__(self) -> None:
        self.itself = self


def test_what_refers_to_itself_goes_when_leftovers_are_collected() -> None:
    knot = weakref.ref(Knot())
    assert knot() is not None
    collect_leftovers()
    assert knot() is None


HEAPS = """
import ctypes, sys, threading, domstat.garbage
if sys.argv[1] == "shared":
    domstat.garbage.share_heaps()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
found, together = set(), threading.Barrier(12)
def take():
    together.wait()
    found.add(libc.malloc(1000) >> 26)  # a heap is at most 64 MiB, and begins at a multiple of it
    together.wait()
threads = [threading.Thread(target=take) for _ in range(12)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(found))
"""


def test_threads_share_few_heaps() -> None:
    def heaps(how: str) -> int:
        return int(
            subprocess.run([sys.executable, "-c", HEAPS, how], capture_output=True, text=True, check=True).stdout
        )

    assert heaps("shared") <= 3 < heaps("each its own")


ROOM = """
import ctypes, sys, pathlib, domstat.garbage
if sys.argv[1] == "given back":
    domstat.garbage.share_heaps()
def held():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096
before = held()
for size in range(1, 8):
    bytearray(size << 20)  # from here on the allocator would keep what is so large
large = [bytearray(domstat.garbage.MMAP_BYTES + 1) for _ in range(64)]
stays = [bytes(1000) for _ in range(1000)]
del large
if sys.argv[1] == "given back":
    domstat.garbage.give_back()
print(held() - before)
"""


def test_room_that_was_taken_for_a_while_is_given_back() -> None:
    def kept(how: str) -> int:
        return int(subprocess.run([sys.executable, "-c", ROOM, how], capture_output=True, text=True, check=True).stdout)

    assert kept("given back") < 16 * MMAP_BYTES < kept("kept")

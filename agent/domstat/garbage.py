"""Memory, for a process that runs for years: Python's collector, and C's heaps.

The collector is set for many objects a tick and hardly a cycle; the heaps for threads that come and go.
"""

from __future__ import annotations

import gc

YOUNG_OBJECTS_MAX = 100_000
"""Objects more made than freed before a collection. A tick makes about eight a guest and the next one frees them."""

ARENAS_MAX = 2
"""Heaps of C's allocator. Its own way is to give every thread one of its own, up to eight a core, each of which keeps
what its threads once needed: with sinks that come and go the agent held half a GiB that nobody used."""

MMAP_BYTES = 512 * 1024
"""What is larger gets pages of its own, given back as soon as it is free. Left to itself the allocator raises this to
32 MiB with what it has seen freed, and then keeps what a sealing took for good, between what stays. A tick's texts of
5,000 guests are among it, which costs their ticks less than one per cent."""

GIVE_BACK_EVERY_S = 10.0
"""How often pages that are free are given back: some milliseconds at most, of a thread that nobody waits for."""

_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3  # mallopt(3)

YOUNG_COLLECTIONS_MAX = 20
"""Collections of one generation before the next older one is looked at."""


def spare_collections() -> None:
    """Keep the collector from looking through every record again and again.

    At its defaults it takes a tenth of a tick at a thousand guests and a third at five thousand. What exists now
    (modules, mostly) is set aside for good; cycles, such as exceptions leave, are still found, only later.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS_MAX, YOUNG_COLLECTIONS_MAX, YOUNG_COLLECTIONS_MAX)


def share_heaps() -> None:
    """Have C's allocator share few heaps among all threads; to be called before there are threads. glibc's alone."""
    _of_libc("mallopt", _M_ARENA_MAX, ARENAS_MAX)
    _of_libc("mallopt", _M_MMAP_THRESHOLD, MMAP_BYTES)


def collect_leftovers() -> None:
    """Free what a host or a sink that has gone leaves behind, objects that refer to each other, and give it back."""
    gc.collect()
    give_back()


def give_back(_due_ms: int = 0) -> None:
    """Give pages that are free back to the system. glibc's alone; it lets other threads run meanwhile."""
    _of_libc("malloc_trim", 0)


def _of_libc(name: str, *numbers: int) -> None:
    import ctypes

    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function(*numbers)

"""Python's cyclic garbage collector, set for a process that makes many objects a tick and hardly a cycle."""

from __future__ import annotations

import gc

YOUNG_OBJECTS_MAX = 100_000
"""Objects more made than freed before a collection. A tick makes about eight a guest and the next one frees them."""

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


def collect_leftovers() -> None:
    """Free what a host or a sink that has gone leaves behind: objects that refer to each other, and live till then."""
    gc.collect()

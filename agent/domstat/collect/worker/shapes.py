"""The sets of parameter names that answers have, numbered, so that each is sent once."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

from domstat.catalog import is_internal
from domstat.model import Value

SHAPES_MAX = 10_000
"""Sets of parameter names remembered; past that all are sent again. A host has a few per kind of guest."""


class Shapes:
    """Numbers sets of parameter names as they are met."""

    def __init__(self) -> None:
        self._known: dict[tuple[bool, tuple[str, ...]], tuple[int, Callable[[dict[str, Value]], Any] | None]] = {}
        self._next = 0
        self._new: dict[int, tuple[str, ...]] = {}
        self._forgotten = False

    def take(self) -> tuple[dict[int, tuple[str, ...]], bool]:
        """Return the shapes to be sent, and whether all sent before are of no use any more."""
        new, self._new = self._new, {}
        forgotten, self._forgotten = self._forgotten, False
        return new, forgotten

    def number(self, params: dict[str, Value], *, internals: bool) -> tuple[int, list[Value]]:
        """Return the shape of *params*, and the values that belong to it."""
        keys = tuple(params)
        known = self._known.get((internals, keys))
        if known is None:
            known = self._learn(keys, internals=internals)
        shape, pick = known
        return shape, list(params.values()) if pick is None else list(pick(params))

    def _learn(self, keys: tuple[str, ...], *, internals: bool) -> tuple[int, Callable[[dict[str, Value]], Any] | None]:
        if len(self._known) >= SHAPES_MAX:
            self._known.clear()
            self._forgotten = True
        kept = keys if internals else tuple(key for key in keys if not is_internal(key))
        pick: Callable[[dict[str, Value]], Any] | None = None
        if len(kept) < len(keys):
            pick = itemgetter(*kept) if len(kept) > 1 else lambda params: [params[key] for key in kept]
        self._next += 1
        self._new[self._next] = kept
        self._known[internals, keys] = (self._next, pick)
        return self._known[internals, keys]

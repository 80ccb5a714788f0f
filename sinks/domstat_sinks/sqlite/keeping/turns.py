"""Whose turn it is, of all the histories that one process keeps, to seal or to merge.

That takes memory for some seconds, as hundreds of thousands of small objects, of which Python can give back only what
no other object lies among: what was taken at once at some time is held from then on. So it is not taken by two at once.
"""

from __future__ import annotations

from threading import Lock, get_ident
from time import monotonic

HOLD_S = 60.0
"""Seconds after which a turn is over that nobody has taken further, and so is a place in the queue: whoever had it has
ended, or its disk hangs."""


class Turns:
    """Gives turns to threads, in the order in which they ask. Histories of one thread never wait for each other."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._holder: int | None = None
        self._until_s = 0.0
        self._asked_s: dict[int, float] = {}
        """By thread that waits, when it asked last, in the order in which they came."""

    def take(self) -> bool:
        """Take a turn, or go on with it; return whether that may be. Never waits."""
        now_s, me = monotonic(), get_ident()
        with self._lock:
            self._asked_s = {one: at_s for one, at_s in self._asked_s.items() if now_s < at_s + HOLD_S}
            if self._holder != me:
                self._asked_s[me] = now_s
                is_held = self._holder is not None and now_s < self._until_s
                if is_held or next(iter(self._asked_s)) != me:
                    return False
                del self._asked_s[me]
            self._holder, self._until_s = me, now_s + HOLD_S
            return True

    def give(self) -> None:
        """End a turn, or no longer wait for one."""
        with self._lock:
            me = get_ident()
            self._asked_s.pop(me, None)
            if self._holder == me:
                self._holder = None


TURNS = Turns()
"""Those of this process."""

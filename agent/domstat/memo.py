"""What is worked out once for a key and used again, for as long as anybody needs it. Pure.

Guests come and go for years, and most keys have a guest's addresses in them. So nothing is remembered up to a number
and no further, as :func:`functools.lru_cache` does it: that number has to be large enough for the largest host, and
sooner or later as much would be held for guests that have gone. What is kept follows from who is there now.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar
from weakref import WeakValueDictionary

P = ParamSpec("P")
T = TypeVar("T")

ROUNDS = 8
"""How often all that is remembered is asked for before what was not is let go. While one in so many asks is for a key
that is new, more and more is remembered: a sink that catches up now and then asks little, and guests go on coming."""


class Shared(Generic[P, T]):
    """Makes one object for each key, which is there for as long as somebody else holds it; it must be hashable.

    The objects' class needs a place for weak references. Two threads may get two objects of one key, once.
    """

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[P, T]) -> None:
        self._make = make
        self._made: WeakValueDictionary[object, T] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._made)

    def __call__(self, *key: P.args, **_nothing: P.kwargs) -> T:
        """Return the object of a key."""
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = self._make(*key, **_nothing)
        return found


class Lately(Generic[P, T]):
    """Remembers what was made of the keys that are asked for again and again, and forgets those that are not.

    In two generations: what is asked for is in the younger. Once that has been asked ``ROUNDS`` times for each of its
    keys, and for one that it does not have, it becomes the older, and what is left of that is forgotten. Never None.
    """

    __slots__ = ("_asked", "_make", "_most", "_old", "_young")

    def __init__(self, make: Callable[P, T], most: int) -> None:
        """*most* is how many keys a generation may have at all."""
        self._make = make
        self._most = most
        self._asked = 0
        self._young: dict[object, T] = {}
        self._old: dict[object, T] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def __call__(self, *key: P.args, **_nothing: P.kwargs) -> T:
        """Return what is made of a key."""
        self._asked += 1
        found = self._young.get(key)
        return self._seek(*key, **_nothing) if found is None else found

    def _seek(self, *key: P.args, **_nothing: P.kwargs) -> T:
        if len(self._young) >= self._most or self._asked > ROUNDS * len(self._young) > 0:
            self._old, self._young = self._young, {}
            self._asked = 0
        found = self._old.pop(key, None)
        if found is None:
            found = self._make(*key, **_nothing)
        self._young[key] = found
        return found

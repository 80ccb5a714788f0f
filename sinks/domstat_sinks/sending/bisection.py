"""Which items a server refuses, where it does not say: found by halving. Pure but for the *send* it is given.

Every item ends in a request that was stored or in one that was refused for it alone. Items that are sent again are the
same ones, which replace themselves, so it does not matter whether a server stores the good items of a refused request
or none. How servers of a protocol refuse is told by its :class:`Manner`: which items are likely to be refused together,
and by what a part is known of which all are refused, and which so need not be looked into.

A refusal that may be about the request rather than about its items (see :mod:`.answers`) is believed of an item only if
the server stores other items, before and after.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from msgspec import Struct

from domstat_sinks.sending.answers import Outcome, Refused, Stored, TooLarge

REQUESTS_MAX = 512
"""Requests that one search may take: 16 refused items, each somewhere else among 5,000, are found with fewer.

What is left then is refused as it stands, in the smallest parts there are: a server that refuses items everywhere
would otherwise hold up all that comes after.
"""

DOUBTFUL_REQUESTS_MAX = 16
"""Requests after which a server that has stored nothing at all, in words that need not be about items, is left."""

Send: TypeAlias = Callable[[Sequence[bytes]], Outcome]


class Manner(Struct, frozen=True):
    """How a server refuses: items of one *kinship* together, if any; all of a part where *refuses_all* can tell."""

    refuses_all: Callable[[Sequence[bytes], TooLarge | Refused], bool]
    kinship: Callable[[bytes], Any] | None = None
    requests_max: int = REQUESTS_MAX


class RefusesEverything(Exception):
    """The server stores nothing, in words that need not be about items: nothing can be said of them."""


class Search:
    """Looks for the refused among *items*, of which all, sent at once, got the answer that :meth:`run` is given.

    *control* is an item that the server has stored before, if there is one: if it takes that again, its refusals are
    about items.
    """

    def __init__(self, items: Sequence[bytes], send: Send, control: bytes | None, manner: Manner) -> None:
        self._items = items
        self._manner = manner
        self._send = send
        self._control = control
        self._requests = 0
        self._doubtful: str | None = None
        self._parts: deque[tuple[list[int], TooLarge | Refused]] = deque()
        self.stored: bytes | None = None
        """An item that was stored on the way."""
        self.refused: dict[int, str] = {}
        """By their number, the items that are refused, with the reason."""

    def run(self, answer: TooLarge | Refused) -> dict[int, str]:
        """Find the refused items, and why. Raises RefusesEverything; whatever *send* raises comes through."""
        self._add(list(range(len(self._items))), answer)
        if self._doubtful is not None:
            self._ask_control(self._doubtful)
        while self._parts:
            self._look_into(*self._parts.popleft())
        if self._doubtful is not None:
            self._ask_control(self._doubtful)
            if self._believes_nothing():
                raise RefusesEverything(self._doubtful)
        return self.refused

    def _look_into(self, part: list[int], answer: TooLarge | Refused) -> None:
        """Refuse *part*, or send what of it may yet be stored."""
        said = answer.named if isinstance(answer, Refused) else {}
        named = {part[n]: why for n, why in said.items() if n < len(part)}
        self.refused |= named
        rest = [number for number in part if number not in named]
        if not named and (len(part) == 1 or self._refuses_all(part, answer)):
            self._refuse(part, answer)
        elif self._requests >= self._manner.requests_max:
            self._refuse(rest, answer)
        elif named:
            self._try(rest)
        else:
            if (kinship := self._manner.kinship) is not None:
                rest.sort(key=lambda number: kinship(self._items[number]))
            self._try(rest[: len(rest) // 2])
            self._try(rest[len(rest) // 2 :])

    def _refuses_all(self, part: list[int], answer: TooLarge | Refused) -> bool:
        return self._manner.refuses_all([self._items[number] for number in part], answer)

    def _refuse(self, part: list[int], answer: TooLarge | Refused) -> None:
        reason = answer.message if isinstance(answer, Refused) else "it is larger than the server takes"
        self.refused |= dict.fromkeys(part, reason)

    def _try(self, part: list[int]) -> None:
        if not part:
            return
        self._requests += 1
        answer = self._send([self._items[number] for number in part])
        if isinstance(answer, Stored):
            self.stored = self._items[part[0]]
            return
        self._add(part, answer)
        if self._doubtful is not None and self._requests >= DOUBTFUL_REQUESTS_MAX and self._believes_nothing():
            raise RefusesEverything(self._doubtful)

    def _add(self, part: list[int], answer: TooLarge | Refused) -> None:
        if isinstance(answer, Refused) and not answer.certain:
            self._doubtful = answer.message
        self._parts.append((part, answer))

    def _believes_nothing(self) -> bool:
        """Whether the server has not stored anything, now or before, as far as is known."""
        return self.stored is None and self._control is None

    def _ask_control(self, doubt: str) -> None:
        """Raise RefusesEverything if the server does not store again what it has stored before."""
        control = self.stored or self._control
        answer = self._send([control]) if control is not None else Stored()
        if isinstance(answer, Refused) and answer.certain:
            self._control = None  # it has become too old, for example
        elif not isinstance(answer, Stored):
            raise RefusesEverything(doubt)

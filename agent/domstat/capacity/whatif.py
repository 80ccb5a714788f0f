"""What if: guests added, removed, resized or moved, a host lost; the summary before and after.

A changed world has other guests, and demand that is what was, with what these guests asked for put in or taken out hour
by hour: so peaks that do not fall together do not add up, and growth goes on as it was. A guest that is added asks for
what the one like it did, and before that was there for its mean. One that gets fewer vCPUs or less memory asks for no
more than it has; one that gets more memory is taken to fill it.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from domstat.capacity import summary, world
from domstat.capacity.changes import Add, Change, Lose, Move, Remove, Resize
from domstat.capacity.fleet import Guest, State
from domstat.capacity.gather import Figures
from domstat.capacity.loads import Loads
from domstat.capacity.summary import Summary
from domstat.capacity.would import Would


class ChangeError(Exception):
    """A change that cannot be: the message says why."""


class Answer(Struct, frozen=True):
    """The summary before and after; *placed* says of guests that went somewhere where, *unplaced* fit nowhere."""

    before: tuple[Summary, ...]
    after: tuple[Summary, ...]
    placed: tuple[tuple[str, str], ...]
    unplaced: tuple[str, ...]
    notes: tuple[str, ...]


def whatif(figures: Figures, changes: Sequence[Change]) -> Answer:
    """Sum up what is and what would be. Raises HistoryError, and ChangeError for a change that cannot be."""
    seen = world.observe(figures)
    concerned = _concerned(figures, changes)
    would = Would(seen, Loads(figures, tuple(sorted({guest.uuid for guest in concerned}))))
    for change in changes:
        _make(would, change)
    with_all = world.are_several(seen)
    return Answer(
        summary.of_world(seen, with_all=with_all),
        summary.of_world(would.world(), with_all=with_all),
        tuple(would.placed),
        tuple(would.unplaced),
        tuple(would.notes),
    )


def _concerned(figures: Figures, changes: Sequence[Change]) -> list[Guest]:
    """Return the guests whose demand is needed."""
    found = []
    for change in changes:
        match change:
            case Add(like=name) | Remove(guest=name) | Resize(guest=name) | Move(guest=name):
                found.append(_guest(figures.fleet.called(name), name))
            case Lose(host=host):
                found += figures.fleet.on(host, State.RUNNING, State.OFF)
    return found


def _make(would: Would, change: Change) -> None:
    match change:
        case Add():
            guest = _guest(would.called(change.like), change.like)
            if change.host is not None:
                _host(would, change.host)
            would.add(guest, change.count, change.host)
        case Remove():
            would.remove(_here(would, change.guest))
        case Resize():
            would.resize(_here(would, change.guest), change.vcpus, change.memory)
        case Move():
            _host(would, change.host)
            would.move(_here(would, change.guest), change.host)
        case Lose():
            _host(would, change.host)
            if len(would.hosts) == 1:
                raise ChangeError(f"{change.host} is the only host: nothing would be left")
            would.lose(change.host)


def _guest(found: Sequence[Guest], name: str) -> Guest:
    if not found:
        raise ChangeError(f"there is no guest {name}")
    return found[0]


def _here(would: Would, name: str) -> Guest:
    guest = _guest(would.called(name), name)
    if guest.state is State.GONE or guest.host not in would.hosts:
        raise ChangeError(f"{name} is gone already")
    return guest


def _host(would: Would, name: str) -> None:
    if name not in would.hosts:
        raise ChangeError(f"there is no host {name}")

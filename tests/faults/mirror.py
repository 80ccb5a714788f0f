"""What the spool should do, as plainly as it can be said: a model to compare it with.

A batch is known by a number of its own, its *tag*, which never comes again; the journal's numbers may, after a crash.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Mirror:
    """One sink, as it should be: the batches it is to have, those it has done, and those it never gets."""

    wanted: set[int] = field(default_factory=set)
    done: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    stored: set[int] | None = None
    """What it had done as of the last commit; None if it has never been in one."""

    @property
    def lacking(self) -> set[int]:
        return self.wanted - self.done - self.gone


@dataclass
class Model:
    """All that is to be remembered. *records* of each batch; what is in the *journal*, what waits for it."""

    records: dict[int, int] = field(default_factory=dict)
    journal: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    here: dict[str, Mirror] = field(default_factory=dict)
    strangers: dict[str, Mirror] = field(default_factory=dict)

    @property
    def everybody(self) -> dict[str, Mirror]:
        return self.here | self.strangers

    def pending(self, name: str) -> int:
        return sum(self.records[tag] for tag in self.here[name].lacking)

    def offer(self, tag: int, records: int) -> None:
        self.records[tag] = records
        self.waiting.append(tag)
        for mirror in self.everybody.values():
            mirror.wanted.add(tag)

    def commit(self) -> None:
        self.journal += self.waiting
        self.waiting = []
        for mirror in self.everybody.values():
            mirror.stored = set(mirror.done)

    def remove(self, tags: Iterable[int]) -> None:
        """Remove batches from wherever they are: who has not done them never gets them."""
        gone = set(tags)
        self.journal = [tag for tag in self.journal if tag not in gone]
        self.waiting = [tag for tag in self.waiting if tag not in gone]
        for mirror in self.everybody.values():
            mirror.gone |= gone & mirror.lacking

    def do(self, name: str, tags: Iterable[int]) -> None:
        self.here[name].done |= set(tags)

    def crash(self) -> None:
        """What was not committed never was, but for sinks that have it; positions are what they were then."""
        lost, self.waiting = set(self.waiting), []
        kept = set(self.journal)
        for name, mirror in [*self.everybody.items()]:
            if mirror.stored is None:  # nobody remembers it
                self.here.pop(name, self.strangers.pop(name, None))
                continue
            mirror.wanted = {tag for tag in mirror.wanted if tag in kept or tag in mirror.stored} - lost
            mirror.done, mirror.gone = set(mirror.stored) & mirror.wanted, mirror.gone & mirror.wanted

    def configure(self, names: Iterable[str], oldest: Iterable[str]) -> None:
        """Begin anew with these sinks; those of them that are new have all or nothing of what there is."""
        everybody, self.here, self.strangers = self.everybody, {}, {}
        for name in names:
            mirror = everybody.pop(name, None)
            if mirror is None:
                mirror = Mirror(set(self.journal) if name in oldest else set())
            self.here[name] = mirror
        self.strangers = everybody

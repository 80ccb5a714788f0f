"""The power goes while the journal is written: what it has said it stored is there, all of it, and nothing half."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domstat.deliver import journal as journal_module
from domstat.deliver.journal import DamagedError, Entry, Journal
from domstat.deliver.position import Position
from shown import Show

from .journals import STREAM, Content, content_of
from .oracle import seed
from .power import Connection, Recorder, Remains, remains

STEPS_SHORT, STEPS_LONG = 16, 60
"""What is done to the journal while it is recorded; some 10 deeds each."""

PER_DEED_SHORT, PER_DEED_LONG = 3, 12
"""What is built after each deed: nothing unsynced is there, all of it is, and by chance."""

WAL_PAGES = 24
"""The WAL is folded into the file after so many pages of 4 KiB, rather than 1,000: so that it happens often."""


class Workload:
    """Does what a spool does to a journal, by chance, and remembers what the journal says after every step."""

    def __init__(self, journal: Journal, recorder: Recorder, chance: random.Random) -> None:
        self._journal = journal
        self._recorder = recorder
        self._chance = chance
        self._number = 0
        self._positions = {"near": Position(), "far": Position()}
        self.done: Counter[str] = Counter()
        self.contents: list[Content] = [Content({}, {}, {}), content_of(journal)]
        recorder.acknowledge(1)

    def go_on(self, steps: int) -> None:
        deeds: list[Callable[[], None]] = [
            self._append, self._append, self._append, self._move, self._remove, self._checkpoint, self._shrink,
            self._reserve, self._forget_devices,
        ]  # fmt: skip
        for number in range(steps):
            deed = (self._append, self._remove)[number] if number < 2 else self._chance.choice(deeds)
            self.done[deed.__name__.strip("_")] += 1
            deed()
            self.contents.append(content_of(self._journal))
            self._recorder.acknowledge(len(self.contents) - 1)

    def _append(self) -> None:
        entries = []
        for _ in range(self._chance.randint(1, 3)):
            self._number += 1
            blob = self._chance.randbytes(self._chance.choice((40, 700, 3000, 9000)))
            devices = ((f"guest-{self._number % 3}", b"devices"),) if self._number % 4 == 0 else ()
            entries.append(Entry(self._number, STREAM, 1000 * self._number, 3, blob, devices))
        self._journal.append(entries, {"near": self._moved("near")})

    def _move(self) -> None:
        self._journal.append([], {"near": self._moved("near"), "far": self._moved("far")})

    def _moved(self, sink: str) -> Position:
        at = self._positions[sink]
        if at.high < self._number:
            first = self._chance.randint(at.high + 1, self._number)
            at = self._positions[sink] = at.done(first, self._chance.randint(first, self._number))
        return at

    def _remove(self) -> None:
        oldest = self._journal.oldest() or 0
        self._journal.remove(range(oldest, oldest + self._chance.randint(1, 6)))

    def _checkpoint(self) -> None:
        self._journal.checkpoint()

    def _shrink(self) -> None:
        self._journal.shrink()

    def _reserve(self) -> None:
        self._journal.give_up_reserve()
        self._journal.keep_reserve()

    def _forget_devices(self) -> None:
        self._journal.forget_devices(1000 * (self._number - 4))


class Verdict:
    """Looks at what is left, and counts what is wrong with it."""

    def __init__(self, folder: Path, contents: list[Content]) -> None:
        self._path = folder / journal_module.FILE
        self._contents = contents
        self.figures: Counter[str] = Counter(states=0, corrupt=0, partial=0, lost=0, unusable=0)

    def judge(self, left: Remains) -> None:
        for name, there in left.files.items():
            self._path.with_name(name).write_bytes(there)
        self.figures["states"] += 1
        try:
            journal = Journal(self._path)
        except DamagedError:
            self.figures["corrupt"] += 1
        else:
            self._compare(journal, left.acknowledged)
            journal.close()
        for path in self._path.parent.iterdir():
            if not path.name.endswith(".reserve"):  # making it anew each time would take most of the time
                path.unlink()

    def _compare(self, journal: Journal, acknowledged: int) -> None:
        there = content_of(journal)
        # One that was under way may have come to its end.
        if there not in self._contents[acknowledged : acknowledged + 2]:
            self.figures["lost" if there in self._contents[:acknowledged] else "partial"] += 1
        number = journal.newest() + 1
        journal.append([Entry(number, STREAM, 0, 1, b"one more")], {})
        if [blob for _, _, blob in journal.read(number - 1, None, 9)] != [b"one more"]:
            self.figures["unusable"] += 1


def lose_power(folder: Path, steps: int, per_deed: int, chosen: int, synchronous: str) -> dict[str, Any]:
    """Record a journal at work, and look at what a loss of power at any moment could leave of it."""
    chance = random.Random(chosen)
    written, left = folder / f"written-{synchronous}", folder / f"left-{synchronous}"
    written.mkdir()
    left.mkdir()
    recorder = Recorder(written)
    try:

        def connect(path: Path, **_options: Any) -> Any:
            return Connection(path, WAL_PAGES, synchronous)

        journal = Journal(written / journal_module.FILE, connect)
        workload = Workload(journal, recorder, chance)
        workload.go_on(steps)
        deeds = list(recorder.deeds)
        journal.close()
    finally:
        recorder.unregister()
    verdict = Verdict(left, workload.contents)
    for remain in remains(deeds, per_deed, chance):
        verdict.judge(remain)
    return {"deeds": len(deeds), "did": dict(workload.done), **verdict.figures}


def go_through(folder: Path, steps: int, per_deed: int) -> dict[str, Any]:
    """Lose power with the journal as it is, and, to compare, as it would be if it waited for the disk less often."""
    chosen = seed()
    with tempfile.TemporaryDirectory(dir=folder) as made:
        full = lose_power(Path(made), steps, per_deed, chosen, "FULL")
        normal = lose_power(Path(made), steps, per_deed, chosen, "NORMAL")
    return {"test": "power", "seed": chosen, **full, "normal": {key: normal[key] for key in ("states", "lost")}}


def assert_held(figures: dict[str, Any]) -> None:
    assert {name: figures[name] for name in ("corrupt", "partial", "lost", "unusable") if figures[name]} == {}, figures
    assert figures["did"].keys() >= {"append", "remove"}, "there was something to lose"


def test_a_journal_that_loses_power_has_all_that_it_said_it_had(in_memory: Path, show: Show) -> None:
    figures = go_through(in_memory, STEPS_SHORT, PER_DEED_SHORT)
    show(figures)
    assert_held(figures)
    assert figures["states"] >= 200


@pytest.mark.faults
def test_a_journal_that_loses_power_anywhere_has_all_that_it_said_it_had(in_memory: Path, show: Show) -> None:
    figures = go_through(in_memory, STEPS_LONG, PER_DEED_LONG)
    show(figures)
    assert_held(figures)
    assert figures["states"] >= 5000
    assert figures["normal"]["lost"] > 0, "the power does go"

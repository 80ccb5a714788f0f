"""Scenarios with a known truth in histories of the sqlite sink, ready to be asked; and a look at all answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from math import isfinite
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import pytest
from msgspec import Struct
from msgspec.structs import replace

from capacity import arithmetic
from domstat.capacity import ahead
from domstat.capacity.contention import contention
from domstat.capacity.explained import Figure, steps
from domstat.capacity.gather import Figures
from domstat.capacity.hours import hours
from domstat.capacity.reclaim import reclaim
from domstat.capacity.remaining import remaining
from domstat.capacity.rightsize import rightsize
from domstat.capacity.runway import runway
from domstat.capacity.settings import Capacity
from domstat.capacity.summary import summary
from domstat.capacity.top import top
from domstat.history import History
from domstat_bench import scenarios
from domstat_bench.scenario_courses import HOUR_MS
from domstat_bench.scenario_truth import Scenario
from domstat_bench.scenario_world import World
from domstat_bench.scenario_writer import write
from domstat_sinks.sqlite import SqliteSink
from domstat_sinks.sqlite.sink import SqliteSettings

T = TypeVar("T")


class Told(Struct, frozen=True):
    """A scenario and the history that tells it."""

    scenario: Scenario
    history: History

    @property
    def world(self) -> World:
        """What happens, in the steps that were written."""
        return self.scenario.world

    @property
    def now_ms(self) -> int:
        """Its end, which is when questions are asked."""
        return self.world.end_ms

    def truth(self, kind: type[T]) -> T:
        """Return the first truth of a kind."""
        return next(truth for truth in self.scenario.truths if isinstance(truth, kind))

    def truths(self, kind: type[T]) -> list[T]:
        """Return all truths of a kind."""
        return [truth for truth in self.scenario.truths if isinstance(truth, kind)]

    def figures(self, **settings: Any) -> Figures:
        """Ask, with such settings."""
        return Figures(self.history, self.now_ms, Capacity(**settings))


Tell: TypeAlias = Callable[..., Told]


def teller(folders: pytest.TempPathFactory, stack: ExitStack) -> Tell:
    """Return what writes a scenario, each once: of hours alone, which is quickest, or of finer steps."""
    told: dict[tuple[str, int, int], Told] = {}

    def tell(name: str, days: int, step_ms: int = HOUR_MS) -> Told:
        key = (name, days, step_ms)
        if key not in told:
            scenario = scenarios.named(name, days=days)
            scenario = replace(scenario, world=replace(scenario.world, step_ms=step_ms))
            folder = folders.mktemp(name)
            write(scenario.world, folder, sketched_ms=0)
            told[key] = Told(scenario, stack.enter_context(opened(folder)))
        return told[key]

    return tell


def opened(folder: Path) -> AbstractContextManager[History]:
    """Open the history in a folder."""
    return SqliteSink.history(SqliteSettings(), folder)


def answers(figures: Figures) -> dict[str, object]:
    """Ask every question that needs no guest to be named."""
    return {
        "summary": summary(figures),
        "runway": runway(figures),
        "remaining": remaining(figures),
        "reclaim": reclaim(figures),
        "rightsize": rightsize(figures),
        "contention": contention(figures),
        "top": top(figures, "cpu.cores"),
        "forecast": ahead.ahead(figures, ahead.Asked("host.memory.used")),
        "hours": hours(figures),
    }


def figures_in(answer: object) -> Iterator[Figure]:
    """Give all figures that an answer is made of, and what these are made of."""
    if isinstance(answer, Figure):
        yield from (step.figure for step in steps(answer, ""))
    elif isinstance(answer, Struct):
        yield from (figure for name in answer.__struct_fields__ for figure in figures_in(getattr(answer, name)))
    elif isinstance(answer, dict):
        yield from (figure for one in answer.values() for figure in figures_in(one))
    elif isinstance(answer, tuple):
        yield from (figure for one in answer for figure in figures_in(one))


def assert_each_is_a_number_or_a_sentence(figures: Figures) -> None:
    """Hold every figure of every answer to it: a finite number that its arithmetic comes to, or a reason for none."""
    for question, answer in answers(figures).items():
        found = list(figures_in(answer))
        for figure in found:
            assert figure.note if figure.value is None else isfinite(figure.value), (question, figure)
        arithmetic.check(found)

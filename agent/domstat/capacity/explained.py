"""Numbers that can say how they came about: for ``--explain``, and so that nobody needs to believe one. Pure.

A :class:`Figure` is a value with its unit, or a sentence why there is none. Its *formula* is written in the names of
its *inputs*, ``threads * (1 - buffer)``, and each input is a figure itself or has no more to say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from enum import StrEnum

from msgspec import Struct

SUMMANDS_MAX = 8
"""Parts of a sum that its formula names; of more it says the number."""


class Unit(StrEnum):
    """What figures are in. All are base units; showing them short is the business of who shows them."""

    NONE = ""
    CORES = "cores"
    BYTES = "bytes"
    BYTES_PER_SECOND = "bytes_per_second"
    SECONDS = "seconds"
    DAYS = "days"
    RATIO = "ratio"
    THREADS = "threads"
    VCPUS = "vcpus"
    GUESTS = "guests"
    PER_SECOND = "per_second"


class Figure(Struct, frozen=True):
    """A number and how it came about; *value* is None where there is none, and *note* then says why.

    A *note* beside a value is a warning: how far it can be trusted. *source* says where a number with no formula is
    from: a field of the history, a setting, the caller.
    """

    value: float | None
    unit: Unit = Unit.NONE
    formula: str = ""
    inputs: tuple[tuple[str, Figure], ...] = ()
    source: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"a figure is a number or None with a note, not {self.value} ({self.formula})")

    @property
    def is_known(self) -> bool:
        """Whether there is a number."""
        return self.value is not None


def given(value: float | None, unit: Unit, source: str, note: str = "", *, lacking: str = "") -> Figure:
    """Make a figure of what was read or set, with a warning in *note*.

    NaN and infinity are unknown, for the reason that *lacking* gives.
    """
    if value is None or not math.isfinite(value):
        return missing(unit, lacking or f"nothing is known of {source}")
    return Figure(float(value), unit, source=source, note=note)


def missing(unit: Unit, note: str) -> Figure:
    """Make a figure that is not there, and say why."""
    return Figure(None, unit, note=note)


def worked_out(value: float | None, unit: Unit, formula: str, inputs: Mapping[str, Figure], note: str = "") -> Figure:
    """Make a figure by a formula over named inputs; where an input is missing so is the figure, for its reason.

    The caller has computed *value*, None where it could not.
    """
    lacking = next((figure for figure in inputs.values() if not figure.is_known), None)
    pairs = tuple(inputs.items())
    if lacking is not None:
        return Figure(None, unit, formula, pairs, note=lacking.note)
    if value is None or not math.isfinite(value):
        return Figure(None, unit, formula, pairs, note=note or "cannot be worked out")
    return Figure(float(value), unit, formula, pairs, note=note)


def added(parts: Mapping[str, Figure], unit: Unit, lacking: str = "there is none") -> Figure:
    """Add parts up, those that are known; says how many are not. Without any it is missing, for their reason."""
    known = {name: part.value for name, part in parts.items() if part.value is not None}
    if not known:
        return missing(unit, next((part.note for part in parts.values()), lacking))
    is_short = len(known) <= SUMMANDS_MAX and all(name.isidentifier() for name in known)
    formula = " + ".join(known) if is_short else f"sum of {len(known)}"
    note = f"without {len(parts) - len(known)} that are not known" if len(known) < len(parts) else ""
    return Figure(math.fsum(known.values()), unit, formula, tuple(parts.items()), note=note)


def reason(figure: Figure, shown: str) -> str:
    """Write a figure, *shown* as it is, with where it is from: ``12.8 cores = threads * (1 - buffer)``."""
    parts = [shown]
    if figure.formula:
        parts.append(f"= {figure.formula}")
    if figure.source:
        parts.append(f"({figure.source})")
    if figure.note and figure.is_known:
        parts.append(f"[{figure.note}]")
    return " ".join(parts)


class Step(Struct, frozen=True):
    """One number of an explanation: how many steps below the result, what it is called there, and the number."""

    depth: int
    name: str
    figure: Figure


def steps(figure: Figure, name: str) -> Iterator[Step]:
    """Give a figure, and below each what it was made of; what was told before is not taken apart again."""
    told: set[int] = set()
    waiting = [Step(0, name, figure)]
    while waiting:
        step = waiting.pop()
        yield step
        if id(step.figure) not in told:
            told.add(id(step.figure))
            waiting += [Step(step.depth + 1, of, one) for of, one in reversed(step.figure.inputs)]

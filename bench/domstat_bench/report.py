"""Figures as a table for a person, and as JSON for a machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct


class Table(Struct, frozen=True):
    """A table, its first column of words and the others of figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        """Align the columns."""
        grid = [list(self.columns), *map(list, self.rows)]
        widths = [max(len(row[i]) for row in grid) for i in range(len(self.columns))]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
            )
            for row in grid
        ]
        rule = "-" * max(map(len, lines))
        return "\n".join(["", self.title, rule, lines[0], rule, *map(str.rstrip, lines[1:]), *self.notes])


def heading(facts: Mapping[str, str]) -> str:
    """Write what was measured on."""
    return "\n".join(f"{name}: {value}" for name, value in facts.items())


def ms(nanoseconds: float) -> str:
    """Write a time in milliseconds with three significant figures."""
    return figures(nanoseconds / 1e6)


def mib(kib: float) -> str:
    """Write an amount of memory."""
    return f"{kib / 1024:.1f}"


def figures(number: float) -> str:
    """Write a number with three significant figures, and none of them lost to an exponent."""
    if number == 0:
        return "0"
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}"


def verdict(value: float, limit: float) -> str:
    """Say whether what was to be reached is."""
    return "reached" if value <= limit else "MISSED"


def jsonable(value: Any) -> Any:
    """Turn figures into what JSON has."""
    if hasattr(value, "to_json"):
        return value.to_json()
    if isinstance(value, Struct):
        return {name: jsonable(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    return value

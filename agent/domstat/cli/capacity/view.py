"""What a question's answer looks like: columns and lines, and how its numbers are written. Pure.

A cell is text, a number, or a :class:`~domstat.capacity.explained.Figure`, which can say how it came about.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias

from msgspec import Struct

from domstat.capacity.explained import Figure, Unit, reason, steps
from domstat.cli.history.units import short
from domstat.history import Answer, Measure

Cell: TypeAlias = "str | int | float | Figure | None"
Line: TypeAlias = tuple[Cell, ...]

MISSING = "-"
"""Stands for a number that is missing for the reason that stands left of it."""

EXPLAINED_MAX = 200
"""Steps that are shown of how one number came about; a sum over thousands of guests says the rest itself."""

LITTLE = 0.001
"""Shares and probabilities below this are written as less than it: nobody reads a billionth of a per cent."""

_PLAIN = {Unit.CORES: "cores", Unit.THREADS: "threads", Unit.VCPUS: "vCPUs", Unit.GUESTS: "guests", Unit.DAYS: "d"}
"""Units that a person needs only where a number stands alone: a column's head says them otherwise."""


class Column(Struct, frozen=True):
    """A column: its *name* in JSON and CSV, and its *head* in a table; None leaves it out there."""

    name: str
    head: str | None


class View(Struct, frozen=True):
    """Columns, a line each of what was found, and sentences that hold for all of it.

    *notes* help a person to read the table; *messages* say what no line does, and are told in every form.
    """

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()


def for_a_person(view: View) -> Answer:
    """Write a view as a table's rows: short, in units that people read, with the reason where a number is missing."""
    places = [place for place, column in enumerate(view.columns) if column.head is not None]
    heads = tuple(view.columns[place].head or "" for place in places)
    return Answer(heads, (tuple(_row([line[place] for place in places])) for line in view.lines))


def _row(cells: Sequence[Cell]) -> Iterator[str]:
    """Write the cells of a line; a reason once, not in every cell that it is the reason of."""
    said: set[str] = set()
    for cell in cells:
        text = written(cell)
        if isinstance(cell, Figure) and cell.value is None:
            yield MISSING if text in said else text
            said.add(text)
        else:
            yield text


def for_a_program(view: View) -> Answer:
    """Write a view as rows of plain values, in base units; what is not known is null."""
    names = tuple(column.name for column in view.columns)
    return Answer(names, (tuple(map(_plain, line)) for line in view.lines))


def explained(view: View) -> Answer:
    """Write how each number of a view came about, a row a step: for CSV."""
    columns = ("line", "column", "of", "value", "unit", "formula", "source", "note")
    return Answer(columns, _explained(view))


def explained_lines(view: View) -> Iterator[dict[str, Any]]:
    """Write a view as rows of plain values that have beside them how each number came about: for JSON."""
    for line in view.lines:
        row: dict[str, Any] = {column.name: _plain(cell) for column, cell in zip(view.columns, line, strict=True)}
        row["explain"] = {
            column.name: _as_object(cell)
            for column, cell in zip(view.columns, line, strict=True)
            if isinstance(cell, Figure)
        }
        yield row


def explained_text(view: View) -> Iterator[str]:
    """Write how each number of a view came about, as lines for a person."""
    for line in view.lines:
        yield ""
        yield _title(line)
        for column, cell in zip(view.columns, line, strict=True):
            if isinstance(cell, Figure):
                for place, step in enumerate(steps(cell, column.head or column.name)):
                    if place >= EXPLAINED_MAX:
                        yield "    and so on"
                        break
                    yield f"{'    ' * step.depth}  {step.name} = {reason(step.figure, alone(step.figure))}"


def written(cell: Cell) -> str:
    """Write a cell for a person, where the column says what it is; of a reason as much as stands before its colon."""
    if cell is None:
        return ""
    if not isinstance(cell, Figure):
        return f"{cell:.6g}" if isinstance(cell, float) else str(cell)
    if cell.value is None:
        return cell.note.partition(":")[0]
    text = _short(cell.value, cell.unit)
    return f"{text} !" if cell.note else text


def alone(figure: Figure) -> str:
    """Write a number that stands alone, with its unit, or why there is none."""
    if figure.value is None:
        return figure.note
    text = _short(figure.value, figure.unit)
    unit = _PLAIN.get(figure.unit)
    return f"{text} {unit}" if unit and figure.unit is not Unit.DAYS else text


def _short(value: float, unit: Unit) -> str:
    match unit:
        case Unit.RATIO:
            return f"< {100 * LITTLE:g} %" if 0 < value < LITTLE else f"{short(100 * value, Measure(''))} %"
        case Unit.BYTES | Unit.BYTES_PER_SECOND | Unit.SECONDS:
            return short(value, Measure(str(unit)))
        case Unit.DAYS:
            return f"{value:.1f} d" if 0 < value < 9.95 else f"{value:.0f} d"
        case _:
            return short(value, Measure(""))


def _plain(cell: Cell) -> Any:
    return cell.value if isinstance(cell, Figure) else cell


def _as_object(figure: Figure) -> dict[str, Any]:
    said: dict[str, Any] = {"value": figure.value, "unit": str(figure.unit)}
    said |= {name: text for name in ("formula", "source", "note") if (text := getattr(figure, name))}
    if figure.inputs:
        said["inputs"] = {name: _as_object(of) for name, of in figure.inputs[:EXPLAINED_MAX]}
    return said


def _explained(view: View) -> Iterator[tuple[Any, ...]]:
    for line in view.lines:
        for column, cell in zip(view.columns, line, strict=True):
            if isinstance(cell, Figure):
                for step in islice(steps(cell, column.name), EXPLAINED_MAX):
                    figure = step.figure
                    told = (figure.value, str(figure.unit), figure.formula, figure.source, figure.note)
                    yield (_title(line), column.name, step.name, *told)


def _title(line: Line) -> str:
    """Name a line by the texts that it begins with."""
    words: list[str] = []
    for cell in line:
        if not isinstance(cell, str):
            break
        words.append(cell)
    return " / ".join(word for word in words if word) or "all"

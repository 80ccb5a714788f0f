"""Tables: columns that know their cells, rows of whatever they take them from. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeAlias, TypeVar

from msgspec import Struct

from domstat.capacity.explained import Figure
from domstat.report.markup import Html, element, joined
from domstat.report.numbers import briefly, how

ROWS_MAX = 100
"""Rows of one table: what nobody reads is not written. The page says how many more there are, and where."""

RowT = TypeVar("RowT")
Cell: TypeAlias = "Html | str | Figure | None"


class Column(Struct, Generic[RowT], frozen=True):
    """A column: its *head*, what a row has in it, and what it means."""

    head: str
    take: Callable[[RowT], Cell]
    meaning: str = ""


def table(
    caption: str,
    columns: Sequence[Column[RowT]],
    rows: Sequence[RowT],
    *,
    command: str,
    nothing: str = "There is none.",
) -> Html:
    """Write a table; *command* has the rows that are too many, *nothing* is said in place of one without rows."""
    if not rows:
        return element("p", nothing, class_="nothing")
    heads = (element("th", one.head, scope="col", title=one.meaning or None) for one in columns)
    body = (_row(columns, row) for row in rows[:ROWS_MAX])
    whole = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *heads)),
        element("tbody", *body),
    )
    scrolled = element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)
    if len(rows) <= ROWS_MAX:
        return scrolled
    more = f"and {len(rows) - ROWS_MAX:,} more, which {command} lists"
    return joined([scrolled, element("p", more, class_="more")])


def _row(columns: Sequence[Column[RowT]], row: RowT) -> Html:
    head, *rest = columns
    return element(
        "tr",
        element("th", _content(head.take(row)), scope="row"),
        *(_cell(column, column.take(row)) for column in rest),
    )


def _cell(column: Column[RowT], cell: Cell) -> Html:
    if not isinstance(cell, Figure):
        return element("td", _content(cell))
    if cell.value is None:
        return element("td", briefly(cell), class_="lacking", title=how(cell, column.head))
    marked = [element("sup", "!", title=cell.note)] if cell.note else []
    return element("td", briefly(cell), *marked, class_="figure", title=how(cell, column.head))


def _content(cell: Cell) -> Html | str:
    if isinstance(cell, Figure):
        return briefly(cell)
    return "" if cell is None else cell

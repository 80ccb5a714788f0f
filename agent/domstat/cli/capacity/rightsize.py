"""``domstat capacity rightsize``: who is too big, and who is too small."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import replace

from domstat.cli.capacity.asking import Asked, Column, Line, View

if TYPE_CHECKING:
    from domstat.capacity.rightsize import Rightsize, Sizing

COLUMNS = (
    Column("host", "host"),
    Column("guest", "guest"),
    Column("resource", "of"),
    Column("verdict", "verdict"),
    Column("now", "has"),
    Column("recommended", "fits"),
    Column("demand", "demand"),
    Column("p99", "p99"),
    Column("peak", "peak"),
    Column("projected", None),
    Column("steal", "steal"),
    Column("spoke_days", "spoke"),
    Column("back", None),
    Column("note", None),
    Column("uuid", None),
)

AllOption = Annotated[bool, typer.Option("--all", help="Also those that fit, and those that cannot be judged.")]


def rightsize(asked: Asked, *, all: AllOption = False) -> View:  # noqa: A002 - which is what the option is called
    """Say which guests have too many or too few vCPUs, too much or too little memory, and what fits them."""
    from domstat.capacity.rightsize import Verdict
    from domstat.capacity.rightsize import rightsize as look

    found = look(asked.figures)
    telling = {Verdict.UNDERSIZED, Verdict.OVERSIZED, Verdict.WAITS}
    lines = tuple(_line(one) for one in found.sizings if all or one.verdict in telling)
    return View(COLUMNS, lines, tuple(_notes(found)))


def _line(one: Sizing) -> Line:
    return (
        one.host,
        one.name,
        str(one.resource),
        str(one.verdict),
        one.now,
        replace(one.recommended, note=one.note) if one.recommended.is_known else one.recommended,
        one.demand,
        one.p99,
        one.peak,
        one.projected,
        one.evidence if one.resource == "cpu" else None,
        one.evidence if one.resource == "memory" else None,
        one.back,
        one.note,
        one.uuid,
    )


def _notes(found: Rightsize) -> Iterator[str]:
    counts = Counter((str(one.resource), str(one.verdict)) for one in found.sizings)
    for resource in dict.fromkeys(resource for resource, _ in counts):
        said = ", ".join(f"{count} {verdict}" for (of, verdict), count in sorted(counts.items()) if of == resource)
        yield f"{resource}: {said}"

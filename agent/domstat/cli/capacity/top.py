"""``domstat capacity top``: who has most of something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from domstat.cli.capacity.asking import Asked, Column, Line, View

if TYPE_CHECKING:
    from domstat.capacity.top import Ranked

COLUMNS = (
    Column("rank", "#"),
    Column("host", "host"),
    Column("name", "name"),
    Column("device", "device"),
    Column("value", "value"),
    Column("coverage", "seen"),
)

COUNT_MAX = 10_000
"""Lines; as many as a table takes."""

ByOption = Annotated[
    str, typer.Option("--by", help="A field or derived value: cpu.cores, block.wr.bytes, host.cpu.utilization …")
]
HowOption = Annotated[str, typer.Option("--how", help="mean, max, min, last, p95, or increase of a counter.")]
CountOption = Annotated[int, typer.Option("--count", "-n", min=1, max=COUNT_MAX, help="How many.")]
DevicesOption = Annotated[bool, typer.Option("--devices", help="Each disk, vCPU or NIC by itself.")]
LeastOption = Annotated[bool, typer.Option("--least", help="Those that have least.")]


def top(
    asked: Asked,
    *,
    by: ByOption = "cpu.cores",
    how: HowOption = "mean",
    count: CountOption = 10,
    devices: DevicesOption = False,
    least: LeastOption = False,
) -> View:
    """Say which guests, hosts, pools or devices have most of something; counters count by their rate."""
    from domstat.capacity.top import How, Unranked
    from domstat.capacity.top import top as rank

    if how not in set(How):
        asked.fail("--how", how, ", ".join(How))
    try:
        found = rank(asked.figures, by, How(how), count, devices=devices, least_first=least)
    except Unranked as error:
        asked.fail("--by", by, f"another field: this one {error}")
    lines = tuple(_line(place, one) for place, one in enumerate(found.ranked, 1))
    if found.note:
        said = f'{by}: {found.note}; "domstat history list --fields" says of what there is any'
        return View(COLUMNS, lines, messages=(said,))
    what = f"{found.how} of {found.grid.step_name} means of {found.field}, of {found.count} {found.of}"
    return View(COLUMNS, lines, (what,))


def _line(place: int, one: Ranked) -> Line:
    return (place, one.host, one.name, one.device, one.value, one.coverage)

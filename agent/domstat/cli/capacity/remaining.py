"""``domstat capacity remaining``: what is left, and how many more guests fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from domstat.cli.capacity.asking import Asked, Column, Line, View
from domstat.cli.capacity.summary import ALL_HOSTS
from domstat.cli.capacity.view import alone
from domstat.settings import Size as Bytes

if TYPE_CHECKING:
    from domstat.capacity.profile import Profile, Size
    from domstat.capacity.remaining import Like, Remaining

RESOURCES = ("cpu", "memory", "storage")
COLUMNS = (
    Column("host", "host"),
    *(Column(f"{resource}_remaining", f"{resource} left") for resource in RESOURCES),
    Column("guests", "guests"),
    Column("limited_by", "limited by"),
    *(Column(f"{resource}_room", None) for resource in RESOURCES),
    Column("guests_by_allocation", "by allocation"),
    Column("room_limited_by", "limited by"),
)

LikeOption = Annotated[str | None, typer.Option("--like", help="Guests like this one: its name or UUID.")]
VcpusOption = Annotated[
    float | None, typer.Option("--vcpus", min=0.01, max=4096, help="Guests of so many vCPUs, used as usual.")
]
MemoryOption = Annotated[str | None, typer.Option("--memory", help='and of so much memory: "8GiB"')]
DiskOption = Annotated[str | None, typer.Option("--disk", help='and with so large a disk: "40GiB"')]


def remaining(
    asked: Asked,
    *,
    like: LikeOption = None,
    vcpus: VcpusOption = None,
    memory: MemoryOption = None,
    disk: DiskOption = None,
) -> View:
    """Say what is left on each host, and how many more guests fit: the average one, one like another, or a size."""
    from domstat.capacity.remaining import NobodyError
    from domstat.capacity.remaining import remaining as what_is_left

    wanted = _wanted(asked, like, vcpus, memory, disk)
    try:
        answer = what_is_left(asked.figures, wanted)
    except NobodyError as error:
        asked.fail("--like", str(error), 'the name or the UUID of a guest; "domstat history list" has them')
    return View(COLUMNS, tuple(map(_line, answer.hosts)), _notes(answer.each))


def _wanted(
    asked: Asked, like: str | None, vcpus: float | None, memory: str | None, disk: str | None
) -> Like | Size | None:
    from domstat.capacity.profile import Size
    from domstat.capacity.remaining import Like

    sized = Size(vcpus, _bytes(asked, "--memory", memory), _bytes(asked, "--disk", disk))
    if like is None:
        return None if sized == Size() else sized
    if sized != Size():
        asked.fail("--like", like, "either a guest or sizes, not both")
    return Like(like)


def _bytes(asked: Asked, option: str, text: str | None) -> float | None:
    try:
        return None if text is None else float(Bytes.parse(text))
    except ValueError as error:
        asked.fail(option, text or "", str(error))


def _line(one: Remaining) -> Line:
    of = {str(standing.resource): standing for standing in one.standings}
    left = (of[resource].remaining if resource in of else None for resource in RESOURCES)
    rooms = (of[resource].room if resource in of else None for resource in RESOURCES)
    limit, room_limit = (None if found is None else str(found) for found in (one.limited_by, one.rooms_limited_by))
    return (one.host or ALL_HOSTS, *left, one.guests, limit, *rooms, one.guests_by_allocation, room_limit)


def _notes(each: Profile) -> tuple[str, ...]:
    demand = f"{alone(each.cores)}, {alone(each.resident)} of memory, {alone(each.held)} of disk"
    size = f"{alone(each.vcpus)}, {alone(each.memory)} of memory, {alone(each.disk)} of disk"
    return (f"each guest is {each.name}: by demand {demand}", f"by allocation {size}")

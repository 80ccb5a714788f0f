"""``domstat capacity forecast``: series ahead, and how well that would have gone in the past."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from domstat.cli.capacity.asking import Asked, Column, Line, View
from domstat.cli.capacity.view import alone
from domstat.cli.history.asking import local_time
from domstat.cli.history.selection import AggregateOption, DeviceOption
from domstat.settings import Duration

if TYPE_CHECKING:
    from domstat.capacity.ahead import Ahead

COLUMNS = (
    Column("host", "host"),
    Column("name", "of"),
    Column("device", "device"),
    Column("time_ms", None),
    Column("time", "time"),
    Column("low", "low"),
    Column("middle", "middle"),
    Column("high", "high"),
    Column("mase_last", None),
    Column("mase_seasonal", None),
    Column("inside", None),
    Column("note", None),
)

FieldOption = Annotated[
    str, typer.Option("--field", "-f", help="Of which field: cpu.cores, memory.used, host.cpu.utilization …")
]
AheadOption = Annotated[str, typer.Option("--ahead", help="How far ahead.")]
StepOption = Annotated[str, typer.Option("--step", help="One value for each such span of time: 1h, 1d.")]


def forecast(
    asked: Asked,
    *,
    field: FieldOption,
    device: DeviceOption = None,
    ahead: AheadOption = "30d",
    step: StepOption = "1d",
    aggregate: AggregateOption = None,
) -> View:
    """Project the series of a field ahead, with an interval, and say how well that would have gone in the past."""
    from domstat.capacity import ahead as looking

    wanted = looking.Asked(
        field,
        tuple(device or ()),
        _duration_ms(asked, "--ahead", ahead, 0),
        _duration_ms(asked, "--step", step, 60_000),
        aggregate,
    )
    try:
        answer = looking.ahead(asked.figures, wanted)
    except ValueError as error:
        asked.fail("--field", field, str(error))
    if not answer.series and not answer.is_young:
        asked.fail("--field", field, 'a field that there is something of; "domstat history list --fields" has them')
    messages = []
    if answer.is_young:
        messages.append(f"not enough history: no step of {step} is over")
    if answer.left_out:
        messages.append(f"{answer.left_out} more series: choose with --guest, --host and --device")
    lines = tuple(line for one in answer.series for line in _lines(one))
    return View(COLUMNS, lines, tuple(map(_note, answer.series)), tuple(messages))


def _duration_ms(asked: Asked, option: str, text: str, least_ms: int) -> int:
    try:
        found = round(1000 * Duration.parse(text))
    except ValueError as error:
        asked.fail(option, text, str(error))
    if found < least_ms:
        asked.fail(option, text, "a minute or more")
    return found


def _lines(one: Ahead) -> Iterator[Line]:
    from domstat.capacity.explained import given

    whose = (one.host, one.name, one.device)
    scores = (one.mase_last, one.mase_seasonal, one.inside)
    found = one.projection
    if found is None:
        yield (*whose, None, one.note, None, None, None, *scores, one.note)
        return
    bounds = zip(found.low.tolist(), found.middle.tolist(), found.high.tolist(), strict=True)
    source = f"projection ({found.method}) of {len(one.values)} values"
    for place, values in enumerate(bounds):
        time_ms = found.start_ms + place * found.step_ms
        cells = (given(value, one.unit, source) for value in values)
        yield (*whose, time_ms, local_time(time_ms, "%Y-%m-%d %H:%M"), *cells, *scores, one.note)


def _note(one: Ahead) -> str:
    name = " ".join(word for word in (one.host, one.name, one.device) if word)
    if one.projection is None:
        return f"{name}: {one.note}"
    if not one.inside.is_known:
        return f"{name}: how well that would have gone is not known: {one.inside.note}"
    errors = [
        f"an error of {alone(error)} times that of saying {what}"
        for error, what in ((one.mase_last, "the last value"), (one.mase_seasonal, "what was a season before"))
        if error.is_known
    ]
    return f"{name}: in its past {', '.join([*errors, f'and {alone(one.inside)} of what came inside the interval'])}"

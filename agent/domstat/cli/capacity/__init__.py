"""``domstat capacity``: the planner's questions. One module per question, all in one frame (:mod:`.asking`)."""

from __future__ import annotations

import typer

from domstat.cli.capacity import (
    contention,
    forecast,
    reclaim,
    remaining,
    report,
    rightsize,
    runway,
    scheduled,
    summary,
    top,
    whatif,
)
from domstat.cli.capacity.asking import Question, command

QUESTIONS: tuple[Question, ...] = (
    summary.summary,
    runway.runway,
    remaining.remaining,
    reclaim.reclaim,
    rightsize.rightsize,
    contention.contention,
    top.top,
    whatif.whatif,
    forecast.forecast,
    report.report,
)

WITHOUT_DISKS: frozenset[Question] = frozenset({rightsize.rightsize, contention.contention, top.top, forecast.forecast})
"""The questions to which it does not matter how large the guests' disks are."""

app = typer.Typer(help="What is full when, what still fits, what is idle.", no_args_is_help=True)
for question in QUESTIONS:
    app.command(question.__name__)(command(question, disks=question not in WITHOUT_DISKS))
app.command(scheduled.scheduled.__name__, hidden=True)(scheduled.scheduled)

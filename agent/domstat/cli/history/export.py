"""``domstat history export``: the history for other programs."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace

from domstat.cli.common import EXIT_TROUBLE, EXIT_USAGE, ConfigOption, SinceOption, UntilOption, fail, say
from domstat.cli.history.asking import Damages, SinkOption, opened
from domstat.cli.history.selection import (
    CollectOption,
    DeviceOption,
    FieldOption,
    GuestOption,
    HostOption,
    KindOption,
    select,
    what_is_there,
)
from domstat.history import History, Select, Span
from domstat.text import printable

DAY_MS = 86_400_000

_MESSAGE_MAX = 500


def export(
    *,
    parquet: Annotated[
        Path, typer.Option(metavar="DIR", help="Write Parquet files into this folder, which is empty or not there yet.")
    ],
    overwrite_partitions: Annotated[
        bool,
        typer.Option("--overwrite-partitions", help="Write the files of its days and hosts anew if they are there."),
    ] = False,
    guest: GuestOption = None,
    field: FieldOption = None,
    device: DeviceOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    host: HostOption = None,
    collect: CollectOption = None,
    kind: KindOption = None,
    config: ConfigOption = None,
    sink: SinkOption = None,
) -> None:
    """Write every sample into Parquet files, a folder a host and a day: host=kvm1/day=2026-11-27/part-0.parquet.

    Counters have their rate too, per second in base units. A file is there whole or not at all.
    """
    wanted = select(
        since=since, until=until, guests=guest, hosts=host, collects=collect, kinds=kind, fields=field, devices=device,
        rate=False, step=None, aggregate=None,
    )  # fmt: skip
    try:
        from domstat.cli.history.parquet import write
    except ImportError:
        fail(EXIT_TROUBLE, "Parquet files need pyarrow: pip install 'domstat[parquet]'")
    if not overwrite_partitions and parquet.exists() and (not parquet.is_dir() or any(parquet.iterdir())):
        what = (
            "is not empty; name another folder, or say --overwrite-partitions" if parquet.is_dir() else "is no folder"
        )
        fail(EXIT_USAGE, printable(f"{parquet}: {what}", _MESSAGE_MAX))
    damages = Damages()
    files = rows = 0
    with opened(config, sink) as history:
        for host_, day, of_day in _partitions(history, wanted):
            samples = history.read(of_day, damages.note)
            rates = history.read(replace(of_day, rate=True), damages.note)
            written = write(parquet, host_, day, samples, rates)
            files, rows = files + (written > 0), rows + written
    if not files:
        fail(EXIT_TROUBLE, what_is_there(wanted))
    say(f"{printable(str(parquet))}: {rows} rows in {files} files")
    if damages.count:
        raise typer.Exit(EXIT_TROUBLE)


def _partitions(history: History, wanted: Select) -> Iterator[tuple[str, str, Select]]:
    """Give the hosts and the days, in UTC, in which there may be something, and what is wanted of each."""
    span = wanted.span
    for host in history.hosts():
        if wanted.hosts and not any(fnmatchcase(host.name, pattern) for pattern in wanted.hosts):
            continue
        first_ms, last_ms = max(span.since_ms, host.first_ms), min(span.until_ms - 1, host.last_ms)
        for begin_ms in range(first_ms // DAY_MS * DAY_MS, last_ms + 1, DAY_MS):
            day = datetime.fromtimestamp(begin_ms // 1000, UTC).strftime("%Y-%m-%d")
            of_day = Span(max(begin_ms, span.since_ms), min(begin_ms + DAY_MS, span.until_ms))
            yield host.name, day, replace(wanted, span=of_day, hosts=(glob.escape(host.name),))

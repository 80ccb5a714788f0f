"""The pages of docs/reference, out of what the program says of itself: ``python packaging/reference_docs.py [FOLDER]``.

settings.md has every setting, metrics.md every field and what Prometheus and InfluxDB call it, events.md what happens
to guests and why ticks are missing, commands.md every command with its options. Nobody writes them by hand: a test
compares them with what this makes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from msgspec import Struct
from typer.main import get_command

from domstat.catalog import DERIVED, FIELDS, IDENTITY_FIELDS, Field, FieldKind, Unit
from domstat.cli import app
from domstat.collect import errors
from domstat.collect.events import event_of
from domstat.collect.unseen import UNSEEN
from domstat.collect.wire import Change
from domstat.config import SinkCommon
from domstat.line import AGENT_STOPPED, FAILED, OVERLOAD, SUSPENDED
from domstat.model import Kind
from domstat.reference import render
from domstat_sinks.lineplan import usual_plan_of
from domstat_sinks.prometheus.names import OWN, derived_of, family_of, info_of
from manpages import commands

FOLDER = Path(__file__).parents[1] / "docs" / "reference"

MADE = "<!-- Made by packaging/reference_docs.py. Do not edit: change what it is made of, and run that. -->"

OTHER_EVENTS = ("reboot", "device-added", "device-removed")
"""libvirt's events that are no lifecycle events, as the worker calls them."""

EVENTS: dict[str, str] = {
    "defined": "Its definition was made or changed",
    "undefined": "Its definition was removed",
    "renamed": "It has another name",
    "started": "It was started",
    "paused": "Its vCPUs were halted",
    "resumed": "Its vCPUs run again",
    "stopped": "It runs no more",
    "shutdown": "It has finished shutting down",
    "pmsuspended": "It suspended itself",
    "crashed": "Its operating system panicked, or its process died",
    "migrated": "It came from another host, or went to one",
    "rebooted": "It was restarted from within",
    "device-added": "A device was plugged",
    "device-removed": "A device was unplugged",
}
"""What each type of event means."""

GAPS: dict[str, tuple[str, str]] = {
    errors.UnreachableError.reason: (
        "The host could not be reached, or its libvirt did not answer",
        "`host_lost`",
    ),
    errors.OverdueError.reason: (
        "No answer by the deadline, and no sign that one would come",
        "`tick_failed`",
    ),
    errors.RefusedError.reason: ("libvirt answered with an error that is not about the connection", "`tick_failed`"),
    errors.WorkerDiedError.reason: ("The process that asks libvirt ended by itself", "`host_lost`"),
    OVERLOAD: ("The tick before took longer than the interval, and so this one was left out", "`interval_too_short`"),
    SUSPENDED: ("The machine slept", "`machine_slept`"),
    AGENT_STOPPED: ("No agent ran, or none that had this stream in its configuration", "`agent_stopped`"),
    FAILED: ("A fault in the agent itself", "`tick_crashed`"),
}
"""What each reason of a gap means, and the line of the log that goes with it."""

_TITLES = {"host": "The host", "pool": "Storage pools", "volume": "Disks of guests that are off",
                 "agent": "The agent itself", "capacity": "Capacity"}  # fmt: skip
"""Groups that are none of libvirt's stats groups."""

_UNITS = {Unit.NONE: "", Unit.KIB: "KiB", Unit.MIB_PER_SECOND: "MiB/s", Unit.BYTES_PER_SECOND: "bytes/s"}
"""Units that are not spelt as they are called."""

_KINDS = {"host": Kind.HOST, "pool": Kind.POOL, "agent": Kind.AGENT, "capacity": Kind.AGENT}
"""Whose records a group's fields are in; all others' are guests'."""


SETTINGS_TEXT = """\
The configuration is TOML: `/etc/domstat/domstat.toml`, else `~/.config/domstat/domstat.toml`, else none, which is fine
too. `domstat config` prints this page as such a file, [config/domstat.toml](../../config/domstat.toml). `domstat check`
says what a file means before it is used, and `domstat reload` has a running agent take it over.

Durations are texts (`500ms`, `10s`, `5m`, `1h`, `30d`), sizes too (`64MiB`). The second column is the default; where
a default depends, or a setting has to be there, it is an example, and the text says so. A key that nobody knows is an
error."""

METRICS_TEXT = """\
What is collected, by libvirt's stats groups. A field is libvirt's parameter without its indices; how devices are told
apart is in [the keys of values](../records.md#the-keys-of-values).

* *Kind*: a counter only grows, until its guest or device begins anew; a state is one of libvirt's enumerations.
* *Unit* is libvirt's own, as in JSON lines, the history and InfluxDB. Prometheus gets base units: seconds, bytes.
* *Since*: the version of libvirt that brought it.
* Of each counter there is a rate too, per second in base units; in InfluxDB it is the field with `.rate` at its end.
  Prometheus takes its own.
* *InfluxDB*: measurement and field. A device is the tag `device`; in Prometheus it is the label of that name.
* A text is a label of a metric that ends in `_info`. Texts that say which device a row is of are no values: they are
  a record's `devices`, and labels of `domstat_device_info`.
* A parameter that is not listed passes through: what ends in `.sum` counts, anything else is a gauge."""

EVENTS_TEXT = """\
What happened to a guest. The reason is libvirt's word for why. A type or a reason that only a newer libvirt knows is
its number: `event-9`, `detail-12`."""

UNSEEN_TEXT = f"""\
`{UNSEEN}` is the reason of what must have happened while nobody listened: the connection was lost, and the ticks before
and after that differ."""

GAPS_TEXT = "A span without ticks of a stream. Every tick that is missing is in one."

COMMANDS_TEXT = """\
`domstat COMMAND --help` says the same. Exit codes: 0 all is well; 1 there is trouble, which is said; 2 what was asked
is wrong."""


class Setting(Struct, frozen=True):
    """One setting: its key, the value that the reference shows, and its reason."""

    key: str
    value: str
    reason: str


class Table(Struct, frozen=True):
    """One table of the configuration: its head (``[[sinks]]``), a sink's type or empty, its note, its settings."""

    head: str
    type: str
    note: str
    settings: list[Setting]

    @property
    def title(self) -> str:
        """What its section is called."""
        return f"The sink {self.type}" if self.type else f"`{self.head}`"


def tables(reference: str) -> list[Table]:
    """Take apart the reference that ``domstat config`` prints."""
    found: list[Table] = []
    text: list[str] = []
    for line in reference.splitlines():
        if head := re.fullmatch(r"(?:# )?(\[+[a-z.]+\]+)", line):
            found.append(Table(head[1], "", " ".join(text), []))
            text = []
        elif found and (pair := re.fullmatch(r"(?:# )?([a-z_]+) = (.+)", line)):
            if pair[1] == "type" and found[-1].head == "[[sinks]]":
                found[-1] = Table(found[-1].head, pair[2].strip('"'), found[-1].note, [])
            else:
                found[-1].settings.append(Setting(pair[1], pair[2], " ".join(text)))
                text = []
        elif line.startswith("# "):
            text.append(line.removeprefix("# "))
        else:
            text = []
    return found


def settings_page() -> str:
    """Return settings.md."""
    found = tables(render())
    parts = [_head("Every setting"), SETTINGS_TEXT]
    for table in found:
        if table.type and "## Every sink" not in parts:
            parts += ["## Every sink", "Each sink is a table `[[sinks]]`, and has these beside its own:"]
            parts.append(_setting_rows(_of_every_sink(found)))
        own = [one for one in table.settings if not (table.type and one.key in SinkCommon.__struct_fields__)]
        parts += [f"## {table.title}", table.note, _setting_rows(own)]
    return _page(parts)


def _of_every_sink(found: Iterable[Table]) -> Iterator[Setting]:
    """Give what every sink's table has, out of one that is no default."""
    settings = {one.key: one for table in found if table.type == "stdout" for one in table.settings}
    for key in SinkCommon.__struct_fields__:
        yield settings.get(key) or Setting(key, '"sqlite"', "Which sink: the name of its entry point. Required.")


def metrics_page() -> str:
    """Return metrics.md."""
    groups: dict[str, list[Field]] = {}
    for field in FIELDS.values():
        groups.setdefault(field.group, []).append(field)
    parts = [_head("Every metric"), METRICS_TEXT]
    for group, fields in groups.items():
        parts += [f"## {_TITLES.get(group, f'Group {group}')}", _field_rows(fields)]
    derived = ([_code(name), unit, text, *_derived_elsewhere(name)] for name, (unit, text) in DERIVED.items())
    own = ([_code(family.name), family.type, family.help] for family in OWN)
    parts += [
        "## Derived values",
        "Worked out by the agent, in base units; how is in [derived values](../records.md#derived-values).",
        _rows(("field", "unit", "what it is", "Prometheus", "InfluxDB"), derived),
        "## What Prometheus has beside",
        _rows(("metric", "type", "what it is"), own),
    ]
    return _page(parts)


def events_page() -> str:
    """Return events.md."""
    reasons = event_reasons()
    types = ([_code(name), text, ", ".join(map(_code, reasons[name]))] for name, text in EVENTS.items())
    gaps = ([_code(name), text, line] for name, (text, line) in GAPS.items())
    parts = [
        _head("Every event, every gap"),
        "Both are [records](../records.md#every-kind); the history has the views `events` and `gaps`.",
        "## Events",
        EVENTS_TEXT,
        _rows(("type", "what happened", "reasons"), types),
        UNSEEN_TEXT,
        "## Gaps",
        GAPS_TEXT,
        _rows(("reason", "why", "said in the log by"), gaps),
    ]
    return _page(parts)


def event_reasons() -> dict[str, list[str]]:
    """Return each type of event with all its reasons, by asking for every number that libvirt may say."""
    found: dict[str, list[str]] = {}

    def take(change: Change) -> bool:
        event = event_of(change)
        if event is None or event.type.startswith("event-") or (event.reason or "").startswith("detail-"):
            return False
        found.setdefault(event.type, []).extend([event.reason] if event.reason else [])
        return True

    number = detail = 0
    while take(Change("lifecycle", "", "", 0, (number, 0))):
        detail = 1
        while take(Change("lifecycle", "", "", 0, (number, detail))):
            detail += 1
        number += 1
    for name in OTHER_EVENTS:
        take(Change(name, "", "", 0))
    for type_ in ("started", "stopped"):
        found[type_].append(UNSEEN)
    return found


def commands_page() -> str:
    """Return commands.md."""
    parts = [_head("Every command"), COMMANDS_TEXT]
    for path, command in commands(get_command(app), "domstat"):
        parts += [f"## `{path}`", *_paragraphs(command.help or "")]
        if rows := list(_option_rows(command)):
            parts.append(_rows(("option", "what it is", "default"), rows))
    return _page(parts)


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "metrics.md": metrics_page,
    "events.md": events_page,
    "commands.md": commands_page,
}
"""Every page by its file's name."""


def _option_rows(command: Any) -> Iterator[list[str]]:
    for param in command.params:
        if param.hidden or param.name == "help":
            continue
        metavar = param.metavar or (param.name or "").upper()
        if param.param_type_name == "argument":
            shown = _code(metavar)
        else:
            names = ", ".join(_code(name) for name in (*param.opts, *param.secondary_opts))
            shown = names if param.is_flag else f"{names} {metavar}"
        help_ = " ".join((param.help or "").split())
        choices = _choices(param)
        if choices and not all(choice in help_ for choice in choices):
            help_ += f" One of {', '.join(map(_code, choices))}."
        yield [shown, help_, _default(param)]


def _choices(param: Any) -> list[str]:
    kind = getattr(getattr(param, "type_descriptor", None), "annotation", None)
    return [str(one.value) for one in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []


def _default(param: Any) -> str:
    if param.required:
        return "required"
    value = param.default
    if value is None or value is False or callable(value) or value in ((), []):
        return ""
    return _code(str(value.value if isinstance(value, Enum) else value))


def _field_rows(fields: Iterable[Field]) -> str:
    return _rows(
        ("field", "kind", "unit", "since", "what it is", "Prometheus", "InfluxDB"),
        ([_code(row.name), str(row.kind), _unit(row), row.since, row.help, *_elsewhere(row)] for row in fields),
    )


def _elsewhere(row: Field) -> tuple[str, str]:
    """Return what Prometheus and InfluxDB call a field."""
    if row.name in IDENTITY_FIELDS:
        return "a label", "not written"
    family = info_of(row.name) if row.kind is FieldKind.TEXT else family_of(row.name)
    return _code(family.name), _influx(_KINDS.get(row.group, Kind.GUEST), (row.name,))


def _derived_elsewhere(name: str) -> tuple[str, str]:
    kind = _KINDS.get(name.partition(".")[0], Kind.GUEST)
    return _code(derived_of(name).name), _influx(kind, derived=(name,))


def _influx(kind: Kind, params: tuple[str, ...] = (), derived: tuple[str, ...] = ()) -> str:
    """Return measurement and field, as the line that would be written begins."""
    begins = usual_plan_of(kind, params, (), derived).pieces[0].decode()
    measurement, field = begins.removesuffix("=").split("\0 ")
    return f"{_code(measurement)} {_code(field)}"


def _unit(row: Field) -> str:
    return _UNITS.get(row.unit, row.unit.name.lower())


def _setting_rows(settings: Iterable[Setting]) -> str:
    return _rows(
        ("setting", "default", "what it is"), ([_code(one.key), _code(one.value), one.reason] for one in settings)
    )


def _head(title: str) -> str:
    return f"{MADE}\n\n# {title}"


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]


def _code(text: str) -> str:
    return f"`{text}`"


def _rows(head: tuple[str, ...], rows: Iterable[list[str]]) -> str:
    lines = [list(head), ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _page(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


def main(folder: Path) -> None:
    """Write all pages."""
    for name, make in PAGES.items():
        (folder / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)

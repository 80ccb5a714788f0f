"""The commented configuration reference, made from the settings themselves: what ``domstat config`` prints."""

from __future__ import annotations

import textwrap
import typing
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import msgspec
from msgspec import NODEFAULT, Meta, Struct

from domstat.capacity.settings import Capacity
from domstat.config import (
    AgentSettings,
    CollectSettings,
    HostSettings,
    JournalSettings,
    ReportSettings,
    SinkCommon,
    SurveySettings,
)
from domstat.settings import Duration, Size
from domstat.sink import BrokenSinkError, find_sinks, load_sink
from domstat.text import printable

_HEAD = """\
# domstat's configuration: every setting with its default and its reason.
#
# As it stands this file changes nothing: it says what is done without one. A setting behind a "#" shows its default,
# or an example where the default depends; take the "#" away to change it. A table behind a "#" ("# [[sinks]]") is an
# example: take the "#" away from its head too, and from what stands directly below its head.
#
# Durations are texts ("500ms", "10s", "5m", "1h", "30d"), sizes too ("64MiB"). `domstat check` says what a file means
# before it is used.
"""

_WIDTH = 118

_DEFAULT_SINK = ("sqlite", "history")
"""Type and name of the sink there is without a configuration."""


def render() -> str:
    """Write the reference, with the settings of every sink that is installed."""
    sinks = sorted(find_sinks(), key=lambda name: (name != _DEFAULT_SINK[0], name))
    return "\n".join(
        [
            _HEAD,
            _table("[agent]", AgentSettings, "The agent itself."),
            _table("[journal]", JournalSettings, JournalSettings.__doc__ or ""),
            _table(
                "[[hosts]]",
                HostSettings,
                "A hypervisor. Write this table once for every host to be watched.",
                skip=("labels", "survey"),
            ),
            _examples("[hosts.labels]", HostSettings, "labels"),
            _table("[hosts.survey]", SurveySettings, _reason_of(HostSettings, "survey")),
            _table(
                "# [[hosts.collect]]",
                CollectSettings,
                "A collect block of the host above: some stats groups at one interval. Blocks stand in place of the "
                "host's plan; write this table once for each.",
                required=("groups",),
            ),
            _table("[capacity]", Capacity, Capacity.__doc__ or ""),
            _table("[report]", ReportSettings, ReportSettings.__doc__ or ""),
            *map(_sink, sinks),
        ]
    )


def _sink(name: str) -> str:
    try:
        return _sink_table(name, load_sink(name).Settings)
    except BrokenSinkError as error:
        why = str(error)
    except Exception as error:  # noqa: BLE001 - whatever may be wrong with a stranger's struct
        why = f'the settings of the sink "{name}" cannot be described: {printable(str(error))}'
    return "\n".join([*_comment(why), ""])


def _sink_table(name: str, settings: type[Struct]) -> str:
    is_default = name == _DEFAULT_SINK[0]
    mark = "" if is_default else "# "
    lines = _comment(textwrap.dedent(settings.__doc__ or "").strip())
    lines += [f"{mark}[[sinks]]", f"{mark}type = {toml(name)}"]
    if is_default:
        lines.append(f"name = {toml(_DEFAULT_SINK[1])}")
    required = [field.encode_name for field in msgspec.structs.fields(settings) if _is_required(field)]
    lines += _settings(settings, only=required)
    lines += _settings(SinkCommon, skip=("type", "name") if is_default else ("type",), examples={"name": name})
    lines += _settings(settings, skip=required)
    return "\n".join([*lines, ""])


def _table(
    head: str, struct: type[Struct], note: str, required: tuple[str, ...] = (), skip: tuple[str, ...] = ()
) -> str:
    """Write a table; *required* settings stand directly below its head, and *skip* are tables of their own."""
    settings = [*_settings(struct, only=required), *_settings(struct, skip=(*required, *skip))]
    return "\n".join([*_comment(note), head, *settings, ""])


def _examples(head: str, struct: type[Struct], name: str) -> str:
    """Write the table of a setting whose keys are the user's own, with its example."""
    (example,) = (example for meta in _metas(_hints(struct)[name]) for example in meta.examples or ())
    lines = (line for key, value in example.items() for line in ("", "# For example.", f"# {key} = {toml(value)}"))
    return "\n".join([*_comment(_reason_of(struct, name)), head, *lines, ""])


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()),
        _WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _settings(
    struct: type[Struct],
    skip: Iterable[str] = (),
    only: Iterable[str] | None = None,
    examples: dict[str, Any] | None = None,
) -> Iterator[str]:
    """Write each setting of *struct*: its reason, and its default or an example."""
    hints = _hints(struct)
    for field in msgspec.structs.fields(struct):
        name, type_ = field.encode_name, hints[field.name]
        if name in skip or (only is not None and name not in only) or _is_tables(type_):
            continue
        value = (examples or {}).get(name) or _default(field, type_)
        if only is None:  # what is required stands directly below its table's head
            yield ""
        yield from _comment(_reason(type_))
        yield f"# {name} = {toml(value)}"


def _hints(struct: type[Struct]) -> dict[str, Any]:
    return typing.get_type_hints(struct, include_extras=True)


def _reason_of(struct: type[Struct], name: str) -> str:
    return _reason(_hints(struct)[name])


def _reason(type_: Any) -> str:
    """Return a setting's description, with the choices where it does not name them all itself."""
    text = next((meta.description for meta in _metas(type_) if meta.description), "")
    choices = _choices(type_)
    if all(f'"{choice}"' in text for choice in choices):
        return text
    return f"{text} Choose from: {', '.join(choices)}."


def _choices(type_: Any) -> list[str]:
    """Return the choices of a setting that has some, wherever in its type they stand."""
    if typing.get_origin(type_) is typing.Literal:
        return list(typing.get_args(type_))
    inner = type_.__origin__ if typing.get_origin(type_) is Annotated else type_
    return [choice for arg in typing.get_args(inner) for choice in _choices(arg)] or (
        _choices(inner) if inner is not type_ else []
    )


def _is_required(field: msgspec.structs.FieldInfo) -> bool:
    return field.default is NODEFAULT and field.default_factory is NODEFAULT


def _default(field: msgspec.structs.FieldInfo, type_: Any) -> Any:
    """Return what a setting is without being set; where that is nothing, its first example."""
    if field.default_factory is not NODEFAULT:
        return field.default_factory()
    if field.default is not NODEFAULT and field.default is not None:
        return field.default
    examples = (example for meta in _metas(type_) for example in meta.examples or ())
    try:
        return next(examples)
    except StopIteration:
        raise ValueError(f"the setting {field.name} has neither a default nor an example") from None


def _is_tables(type_: Any) -> bool:
    """Whether a setting is a list of tables, which stand on their own in TOML."""
    inner = typing.get_args(type_)[0] if typing.get_origin(type_) is Annotated else type_
    return typing.get_origin(inner) is tuple and isinstance(typing.get_args(inner)[0], type(Struct))


def _metas(type_: Any) -> list[Meta]:
    """Return what ``Annotated[…, Meta(…)]`` says of a setting, wherever in its type that stands."""
    found = [meta for meta in getattr(type_, "__metadata__", ()) if isinstance(meta, Meta)]
    return found + [meta for inner in typing.get_args(type_) if not isinstance(inner, Meta) for meta in _metas(inner)]


def toml(value: Any) -> str:
    """Write a value as it stands in a configuration."""
    match value:
        case Duration() | Size():
            return f'"{value}"'
        case Struct() | dict():
            pairs = msgspec.structs.asdict(value) if isinstance(value, Struct) else value
            return "{ " + ", ".join(f"{name} = {toml(item)}" for name, item in pairs.items()) + " }"
        case tuple() | list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case _:  # what is left is written in TOML as it is in JSON
            return msgspec.json.encode(value).decode()

"""The commented configuration reference, made from the settings themselves: what ``domstat config`` prints."""

from __future__ import annotations

import textwrap
import typing
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import NODEFAULT, Meta, Struct

from domstat.config import AgentSettings, CollectSettings, GlobSettings, HostSettings, SinkCommon
from domstat.settings import Duration, Size
from domstat.sink import BrokenSinkError, find_sinks, load_sink

_HEAD = """\
# domstat's configuration: every setting with its default and its reason.
#
# A line that begins with "#" and a setting shows its default; take the "#" away to change it. Durations are texts
# ("500ms", "10s", "5m", "1h", "30d"), sizes too ("64MiB"). Without a file the local hypervisor is watched and the
# history kept in one SQLite file. `domstat check` says what a file means before it is used.
"""

_WIDTH = 118


def render() -> str:
    """Write the reference, with the settings of every sink that is installed."""
    parts = [
        _HEAD,
        _table("[agent]", AgentSettings),
        _table("[[hosts]]", HostSettings, "Any number of hosts; this one is watched when none is named."),
        _table("# [[hosts.collect]]", CollectSettings, "Collect blocks of the host above, in place of its plan."),
    ]
    parts += [_sink(name) for name in sorted(find_sinks())]
    return "\n".join(parts)


def _sink(name: str) -> str:
    try:
        settings = load_sink(name).Settings
    except BrokenSinkError as error:
        return f"# {error}\n"
    is_default = name == "sqlite"
    mark = "" if is_default else "# "
    lines = [f"{mark}[[sinks]]", f'{mark}type = "{name}"']
    lines += _settings(SinkCommon, skip={"type"}, values={"name": "history" if is_default else name})
    lines += _settings(settings)
    doc = textwrap.dedent(settings.__doc__ or "").strip()
    return "\n".join([*_comment(doc), *lines, ""])


def _table(head: str, struct: type[Struct], note: str = "") -> str:
    return "\n".join([*_comment(note), head, *_settings(struct), ""])


def _comment(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), _WIDTH, initial_indent="# ", subsequent_indent="# ")


def _settings(
    struct: type[Struct], skip: typing.Container[str] = (), values: dict[str, Any] | None = None
) -> Iterator[str]:
    hints = typing.get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        name = field.encode_name
        type_ = hints[field.name]
        if name in skip or _is_tables(type_):
            continue
        yield from _comment(_description(type_))
        default = (values or {}).get(name, field.default)
        yield f"# {name} = {_toml(default)}" if default not in {None, NODEFAULT} else f"# {name} = …"


def _is_tables(type_: Any) -> bool:
    """Whether a setting is a list of tables, which stand on their own in TOML."""
    inner = typing.get_args(type_)[0] if typing.get_origin(type_) is Annotated else type_
    return typing.get_origin(inner) is tuple and isinstance(typing.get_args(inner)[0], type(Struct))


def _description(type_: Any) -> str:
    texts = (meta.description for meta in typing.get_args(type_)[1:] if isinstance(meta, Meta))
    return next((text for text in texts if text), "")


def _toml(value: Any) -> str:
    match value:
        case Duration() | Size():
            return f'"{value}"'
        case bool():
            return str(value).lower()
        case GlobSettings():
            return f"{{ include = {_toml(value.include)}, exclude = {_toml(value.exclude)} }}"
        case tuple() | list():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
        case str():
            return msgspec.json.encode(value).decode()
        case _:
            return str(value)

"""The sink's settings: what somebody writes into a file, and what ``domstat config`` shows of them."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import NODEFAULT, Meta, Struct

from domstat import settings
from domstat.sink import Sink
from domstat.testing.rig import Rig, fail

_MISSPELT = "no_such_setting"
_PLAIN = (str, int, float, bool)


class Configuration:
    """What a ``[[sinks]]`` table holds."""

    def test_its_settings_are_read_and_written_back_the_same(self, rig: Rig) -> None:
        """A table is decoded into the struct; written as a table again, it says the same."""
        struct = _struct(rig)
        decoded = settings.decode(dict(rig.store.settings), struct)
        written = _table(decoded)
        again = settings.decode(written, struct)
        if again != decoded:
            fail(f"{rig.store.settings} becomes {decoded}, which written as a table becomes {again}")

    def test_its_settings_do_not_change(self, rig: Rig) -> None:
        """The struct is frozen: what the agent compares after a change of the configuration must not change itself."""
        if not _struct(rig).__struct_config__.frozen:
            fail("Settings is not frozen: class Settings(Struct, frozen=True, forbid_unknown_fields=True)")

    def test_every_setting_says_what_it_is_for(self, rig: Rig) -> None:
        """In one description, which ``domstat config`` prints; and the struct says what the sink is good for."""
        struct = _struct(rig)
        if not _sentence(struct.__doc__, struct):
            fail('Settings has no docstring: one sentence that begins with a verb, "Keeps the latest of everything …"')
        for field in msgspec.structs.fields(struct):
            if not _description(struct, field.name):
                fail(f'{field.encode_name} has no description: Annotated[…, Meta(description="…")]')

    def test_every_default_can_be_written_down(self, rig: Rig) -> None:
        """Defaults are shown as they would be set; where there is no value, the description says what is done."""
        struct = _struct(rig)
        for field in msgspec.structs.fields(struct):
            default = _default(field)
            if default is NODEFAULT:
                continue
            if default is None and not _says_what_none_is(struct, field.name):
                fail(
                    f'{field.encode_name} is None by default: describe what that does ("Default: …"), or give examples'
                )
            if not _can_be_written(_plain(default)):
                fail(f"{field.encode_name} has the default {default!r}, which no configuration can say")

    def test_an_unknown_key_is_named(self, rig: Rig) -> None:
        """A misspelt setting is an error that says which, not one that is passed over."""
        struct = _struct(rig)
        try:
            settings.decode({**rig.store.settings, _MISSPELT: 1}, struct)
        except settings.SettingsError as error:
            if not any(problem.key == _MISSPELT for problem in error.problems):
                fail(f"an unknown key is an error that does not name it: {error}")
        else:
            fail("an unknown key is passed over")
        if not struct.__struct_config__.forbid_unknown_fields:
            fail("Settings takes keys that it does not know: class Settings(Struct, forbid_unknown_fields=True)")


def _struct(rig: Rig) -> type[Struct]:
    sink: type[Sink] = rig.store.sink
    return sink.Settings


def _sentence(text: str | None, struct: type[Struct]) -> bool:
    """Tell a docstring from none, and from what a struct has without one."""
    return bool(text and text.strip()) and text != Struct.__doc__ and not str(text).startswith(f"{struct.__name__}(")


def _description(struct: type[Struct], name: str) -> str:
    hint = typing.get_type_hints(struct, include_extras=True)[name]
    return next((meta.description for meta in _metas(hint) if meta.description), "")


def _says_what_none_is(struct: type[Struct], name: str) -> bool:
    """Whether somebody who reads of a setting without a default sees what it is like, or what is done without."""
    hint = typing.get_type_hints(struct, include_extras=True)[name]
    return "default" in _description(struct, name).lower() or any(meta.examples for meta in _metas(hint))


def _metas(hint: Any) -> Iterator[Meta]:
    if typing.get_origin(hint) is Annotated:
        yield from (meta for meta in typing.get_args(hint)[1:] if isinstance(meta, Meta))
    for inner in typing.get_args(hint):
        yield from _metas(inner)


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default_factory() if field.default_factory is not NODEFAULT else field.default


def _table(struct: Struct) -> dict[str, Any]:
    """Write settings as the table they might have come from; what is None is not written."""
    found = {field.encode_name: getattr(struct, field.name) for field in msgspec.structs.fields(type(struct))}
    return {name: _plain(value) for name, value in found.items() if value is not None}


def _plain(value: Any) -> Any:
    """Write a value as TOML would have it; a duration and a size as texts."""
    match value:
        case settings.Duration() | settings.Size():
            return str(value)
        case Struct():
            return _table(value)
        case tuple() | list() | frozenset():
            return [_plain(item) for item in value]
        case Mapping():
            return {name: _plain(item) for name, item in value.items()}
        case _:
            return value


def _can_be_written(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_can_be_written, value))
    if isinstance(value, dict):
        return all(map(_can_be_written, value.values()))
    return value is None or isinstance(value, _PLAIN)

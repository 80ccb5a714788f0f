"""Settings as typed structs: texts with units, and errors that name the key, what was found and what is allowed.

Every setting is declared once, as an attribute of a struct with its default and, in ``Annotated[…, Meta(…)]``, its
reason; the decoder here, ``domstat config`` and ``config/domstat.toml`` all follow from that. Sinks' own settings go
the same way.
"""

from __future__ import annotations

import re
import types
import typing
from difflib import get_close_matches
from typing import Any, TypeVar

import msgspec
from msgspec import NODEFAULT, Struct

T = TypeVar("T")
StructT = TypeVar("StructT", bound=Struct)

_DURATION_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


class Duration(float):
    """A span of time in seconds, written ``"500ms"``, ``"10s"``, ``"5m"``, ``"1h"``, ``"30d"``."""

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read a duration. Raises ValueError naming what is allowed."""
        return cls(_parse(text, _DURATION_UNITS, 'a duration such as "500ms", "10s", "5m", "1h" or "30d"'))

    def __str__(self) -> str:
        """Write the duration in the largest unit that leaves a whole number."""
        for unit in ("d", "h", "m", "s"):
            if self and (self / _DURATION_UNITS[unit]).is_integer():
                return f"{self / _DURATION_UNITS[unit]:.0f}{unit}"
        return f"{self * 1000:g}ms"


class Size(int):
    """A number of bytes, written ``"64MiB"``, ``"1GiB"``."""

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read a size. Raises ValueError naming what is allowed."""
        return cls(_parse(text, _SIZE_UNITS, 'a size such as "512KiB", "64MiB" or "1GiB"'))

    def __str__(self) -> str:
        """Write the size in the largest unit that leaves a whole number."""
        for unit, factor in reversed(_SIZE_UNITS.items()):
            if self and self % factor == 0:
                return f"{self // factor}{unit}"
        return "0B"


def _parse(text: str, units: dict[str, float] | dict[str, int], allowed: str) -> float:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)", text.strip())
    if match is None or match[2] not in units:
        raise ValueError(allowed)
    number = float(match[1]) * units[match[2]]
    if number <= 0:
        raise ValueError(f"{allowed}, more than nothing")
    return number


class Problem(Struct, frozen=True):
    """One thing wrong in a configuration: at which key, and what was found and is allowed there."""

    key: str
    text: str

    def __str__(self) -> str:
        """Write the problem as one line."""
        return f"{self.key}: {self.text}" if self.key else self.text


class SettingsError(Exception):
    """Everything that is wrong in a configuration."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


def decode(raw: Any, struct: type[StructT], key: str = "") -> StructT:
    """Decode *raw* (what a TOML table holds) into *struct*, naming keys from *key* on.

    Raises SettingsError with every problem there is, not just the first.
    """
    problems = list(_check(raw, struct, key))
    if problems:
        raise SettingsError(problems)
    try:
        return msgspec.convert(raw, struct, dec_hook=_decode_text)
    except (msgspec.ValidationError, ValueError) as error:  # a struct's own __post_init__
        raise SettingsError([Problem(key, str(error).partition(" - at `")[0])]) from error


def show(value: Any) -> str:
    """Show a value from a configuration within an error, short and on one line."""
    text = repr(value) if not isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else text[:57] + "…"


def _decode_text(type_: type, raw: Any) -> Any:
    if issubclass(type_, (Duration, Size)):
        if not isinstance(raw, str):
            raise ValueError(f"expected {type_.__name__.lower()} as text")  # noqa: TRY004 - msgspec's way
        return type_.parse(raw)
    raise NotImplementedError(type_)


def _check(raw: Any, type_: Any, key: str) -> typing.Iterator[Problem]:
    struct, is_list = _struct_in(type_)
    if struct is None:
        yield from _check_leaf(raw, type_, key)
    elif is_list:
        if not isinstance(raw, list):
            yield Problem(key, f"found {show(raw)}, but this is a list of tables: write [[{key}]]")
            return
        for i, item in enumerate(raw):
            yield from _check(item, struct, f"{key}[{i}]")
    elif not isinstance(raw, dict):
        yield Problem(key, f"found {show(raw)}, expected a table")
    else:
        yield from _check_table(raw, struct, key)


def _check_table(raw: dict[str, Any], struct: type[Struct], key: str) -> typing.Iterator[Problem]:
    hints = typing.get_type_hints(struct, include_extras=True)
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for name, value in raw.items():
        path = f"{key}.{name}" if key else name
        if name in fields:
            yield from _check(value, hints[fields[name].name], path)
        else:
            near = get_close_matches(name, fields, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"known here: {', '.join(fields)}"
            yield Problem(path, f"unknown key; {hint}")
    for name, field in fields.items():
        if name not in raw and field.default is NODEFAULT and field.default_factory is NODEFAULT:
            yield Problem(f"{key}.{name}" if key else name, "missing, and there is no default")


def _check_leaf(raw: Any, type_: Any, key: str) -> typing.Iterator[Problem]:
    try:
        msgspec.convert(raw, type_, dec_hook=_decode_text)
    except (msgspec.ValidationError, ValueError) as error:
        expected = str(error).partition(" - at `")[0]
        choices = _choices(type_)
        if choices:
            near = get_close_matches(str(raw), choices, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            expected = "one of " + ", ".join(f'"{choice}"' for choice in choices) + hint
        expected = re.sub(r"^Expected ", "", expected).replace("`", "")
        expected = re.sub(r", got \w+$", "", expected)
        yield Problem(key, f"found {show(raw)}, expected {expected.removeprefix('expected ')}")


def _unwrap(type_: Any) -> Any:
    """Return what stands inside ``Annotated[…]`` and ``… | None``."""
    while True:
        if typing.get_origin(type_) is typing.Annotated:
            type_ = typing.get_args(type_)[0]
        elif typing.get_origin(type_) in {types.UnionType, typing.Union}:
            inner = [arg for arg in typing.get_args(type_) if arg is not type(None)]
            if len(inner) != 1:
                return type_
            type_ = inner[0]
        else:
            return type_


def _struct_in(type_: Any) -> tuple[type[Struct] | None, bool]:
    """Which struct a setting of *type_* is, or is a list of."""
    inner = _unwrap(type_)
    is_list = typing.get_origin(inner) in {list, tuple}
    if is_list:
        inner = _unwrap(typing.get_args(inner)[0])
    found = isinstance(inner, type) and issubclass(inner, Struct)
    return (inner if found else None), is_list


def _choices(type_: Any) -> list[str]:
    inner = _unwrap(type_)
    if typing.get_origin(inner) in {list, tuple}:
        inner = _unwrap(typing.get_args(inner)[0])
    return list(typing.get_args(inner)) if typing.get_origin(inner) is typing.Literal else []

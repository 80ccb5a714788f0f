"""Settings as typed structs: texts with units, and errors that name the key, what was found and what is allowed.

Every setting is declared once, as an attribute of a struct with its default and, in ``Annotated[…, Meta(…)]``, its
reason; the decoder here, ``domstat config`` and ``config/domstat.toml`` all follow from that. Sinks' own settings go
the same way.
"""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

import msgspec
from msgspec import NODEFAULT, Struct

from domstat.uri import HIDDEN, redacted

T = TypeVar("T")
StructT = TypeVar("StructT", bound=Struct)

_DURATION_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_YEAR_S = 365 * 86_400
_FOREVER = "forever"
_SIZE_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_DURATION_MAX_S = 36_500 * 86_400
_SIZE_MAX_BYTES = 1 << 53
"""A century, and what a float still counts exactly: more is a slip of the finger."""

_SECRET = re.compile(
    r"passw(or)?d|passphrase|secret|token|credential|cookie|proxy.authorization|(api|access|private)[-_]?key",
    re.IGNORECASE,
)
"""Names of settings, headers and options that hold a secret, whoever gave them these names…"""

_NO_SECRET = re.compile(r"(file|path|credential|dir)s?$", re.IGNORECASE)
"""…unless they end so: then they say where it is."""

_PLAIN_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}
"""What msgspec's errors call things, and what somebody who writes TOML calls them."""


class Duration(float):
    """A span of time in seconds, written ``"500ms"``, ``"10s"``, ``"5m"``, ``"1h"``, ``"30d"``."""

    allowed = 'a duration such as "500ms", "10s", "5m", "1h" or "30d"'

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read a duration. Raises ValueError naming what is allowed."""
        return cls(_parse(text, _DURATION_UNITS, cls.allowed, least=0.000_001, most=_DURATION_MAX_S))

    def __str__(self) -> str:
        """Write the duration in the largest unit that leaves a whole number."""
        for unit in ("d", "h", "m", "s"):
            if self and (self / _DURATION_UNITS[unit]).is_integer():
                return f"{self / _DURATION_UNITS[unit]:.0f}{unit}"
        return f"{self * 1000:.6f}".rstrip("0").rstrip(".") + "ms"


class Retention(Duration):
    """How long something is kept: a :class:`Duration`, in years too (``"5y"``, of 365 days), or ``"forever"``."""

    allowed = 'a duration such as "12h", "30d" or "5y", or "forever"'

    @classmethod
    def parse(cls, text: str) -> Retention:
        """Read a retention. Raises ValueError naming what is allowed."""
        if text.strip() == _FOREVER:
            return cls(math.inf)
        units = _DURATION_UNITS | {"y": _YEAR_S}
        return cls(_parse(text, units, cls.allowed, least=0.000_001, most=_DURATION_MAX_S))

    def __str__(self) -> str:
        """Write it as :meth:`parse` reads it."""
        if math.isinf(self):
            return _FOREVER
        return f"{self / _YEAR_S:.0f}y" if (self / _YEAR_S).is_integer() else super().__str__()


class Size(int):
    """A number of bytes, written ``"64MiB"``, ``"1GiB"``."""

    allowed = 'a size such as "512KiB", "64MiB" or "1GiB"'

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read a size. Raises ValueError naming what is allowed."""
        return cls(_parse(text, _SIZE_UNITS, cls.allowed, least=1, most=_SIZE_MAX_BYTES))

    def __str__(self) -> str:
        """Write the size in the largest unit that leaves a whole number."""
        for unit, factor in reversed(_SIZE_UNITS.items()):
            if self and self % factor == 0:
                return f"{self // factor}{unit}"
        return "0B"


def _parse(text: str, units: dict[str, float] | dict[str, int], allowed: str, *, least: float, most: float) -> float:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)", text.strip(), re.ASCII)
    if match is None or match[2] not in units:
        raise ValueError(allowed)
    number = float(match[1]) * units[match[2]]
    if number < least:
        raise ValueError(f"{allowed}, more than nothing")
    if number > most:
        raise ValueError(f"{allowed}, within reason")
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


def decode(raw: Any, struct: type[StructT], key: str = "", also: Iterable[str] = ()) -> StructT:
    """Decode *raw* (what a TOML table holds) into *struct*, naming keys from *key* on.

    *also* are keys of the same table that are decoded elsewhere; a misspelt key may have been meant for one of them.
    Raises SettingsError with every problem there is, not just the first.
    """
    problems = list(_check_table(raw, struct, key, also) if isinstance(raw, dict) else _check(raw, struct, key))
    if problems:
        raise SettingsError(problems)
    try:
        return msgspec.convert(raw, struct, dec_hook=_decode_text)
    except (msgspec.ValidationError, ValueError) as error:  # a struct's own __post_init__
        raise SettingsError([Problem(key, str(error).partition(" - at `")[0])]) from error


def show(value: Any) -> str:
    """Show a value from a configuration within an error, short, on one line, and without passwords."""
    text = redacted(repr(value) if not isinstance(value, str) else msgspec.json.encode(value).decode())
    return text if len(text) <= 60 else text[:57] + "…"


def veiled(value: Any, name: str = "") -> Any:
    """Return *value*, a setting called *name*, with what in it is a secret hidden: by the names, and within URLs."""
    if _SECRET.search(name) and not _NO_SECRET.search(name) and value not in (None, "", False, True):
        return HIDDEN
    if isinstance(value, Struct):
        value = {field: getattr(value, field) for field in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {key: veiled(each, str(key)) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(veiled, value))
    return redacted(value) if isinstance(value, str) else value


def holds_secret(settings: Struct) -> bool:
    """Whether a secret stands in the settings themselves, rather than in a file that they name."""
    bare = {field: getattr(settings, field) for field in settings.__struct_fields__}
    return bool(veiled(bare) != bare)


def _decode_text(type_: type, raw: Any) -> Any:
    if issubclass(type_, (Duration, Size)):
        if not isinstance(raw, str):
            raise ValueError(type_.allowed)  # noqa: TRY004 - msgspec's way
        return type_.parse(raw)
    raise ValueError(f"{type_.__name__}, which no setting can be: let it be str, int, float, bool, Duration or Size")


def _check(raw: Any, type_: Any, key: str) -> typing.Iterator[Problem]:
    inner = _unwrap(type_)
    if typing.get_origin(inner) in {list, tuple}:
        yield from _check_list(raw, type_, typing.get_args(inner)[0], key)
    elif not (isinstance(inner, type) and issubclass(inner, Struct)):
        yield from _check_leaf(raw, type_, key)
    elif not isinstance(raw, dict):
        yield Problem(key, f"found {_found(raw, key)}, expected a table")
    else:
        yield from _check_table(raw, inner, key)


def _check_list(raw: Any, type_: Any, item_type: Any, key: str) -> typing.Iterator[Problem]:
    if isinstance(raw, dict):
        head = re.sub(r"\[[0-9]+\]", "", key)
        yield Problem(key, f"found {_found(raw, key)}, but this is a list of tables: write [[{head}]]")
    elif not isinstance(raw, list):
        yield Problem(key, f"found {_found(raw, key)}, expected a list")
    else:
        problems = [problem for i, item in enumerate(raw) for problem in _check(item, item_type, f"{key}[{i}]")]
        yield from problems or _check_leaf(raw, type_, key)


def _check_table(
    raw: dict[str, Any], struct: type[Struct], key: str, also: Iterable[str] = ()
) -> typing.Iterator[Problem]:
    hints = typing.get_type_hints(struct, include_extras=True)
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for name, value in raw.items():
        path = f"{key}.{name}" if key else name
        if name in fields:
            yield from _check(value, hints[fields[name].name], path)
        else:
            known = [*also, *fields]
            near = get_close_matches(name, known, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"known here: {', '.join(known)}"
            yield Problem(path, f"unknown key; {hint}")
    for name, field in fields.items():
        if name not in raw and field.default is NODEFAULT and field.default_factory is NODEFAULT:
            yield Problem(f"{key}.{name}" if key else name, "missing, and there is no default")


def _check_leaf(raw: Any, type_: Any, key: str) -> typing.Iterator[Problem]:
    try:
        msgspec.convert(raw, type_, dec_hook=_decode_text)
    except (msgspec.ValidationError, ValueError) as error:
        yield Problem(key, f"found {_found(raw, key)}, expected {_expected(str(error), raw, _unwrap(type_))}")


def _found(raw: Any, key: str) -> str:
    """Show what stands at *key*."""
    return show(veiled(raw, key.rpartition(".")[2]))


def _expected(error: str, raw: Any, type_: Any) -> str:
    """Say what is allowed, out of msgspec's *error* about *raw*."""
    if typing.get_origin(type_) is typing.Literal:
        choices = typing.get_args(type_)
        near = get_close_matches(str(raw), choices, n=1)
        hint = f'; did you mean "{near[0]}"?' if near else ""
        return "one of " + ", ".join(f'"{choice}"' for choice in choices) + hint
    expected = re.sub(r"^[Ee]xpected |`|, got `\w+`$", "", error.partition(" - at `")[0])
    first, space, rest = expected.partition(" ")
    return _PLAIN_WORDS.get(first, first) + space + rest


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

"""A sink's settings in words: what each is called, what it takes, what it is without being set. Pure."""

from __future__ import annotations

import re
from typing import Any

from msgspec import NODEFAULT, Struct, inspect

from domstat.reference import toml
from domstat.settings import Duration, Retention, Size

_WORDS: dict[type[inspect.Type], str] = {
    inspect.StrType: "text",
    inspect.IntType: "whole number",
    inspect.FloatType: "number",
    inspect.BoolType: "true or false",
    inspect.DictType: "table",
    inspect.StructType: "table",
    inspect.AnyType: "anything",
}
"""What types are called by somebody who writes TOML."""

_CUSTOM: dict[type, str] = {Duration: "duration", Retention: "duration or forever", Size: "size"}


class Setting(Struct, frozen=True):
    """One setting. *default* is as it is written in the configuration: empty for none, None where it must be set."""

    name: str
    type: str
    default: str | None
    help: str


def settings_of(struct: type[Struct]) -> list[Setting]:
    """Say what the settings of *struct* are, in their order. Raises TypeError for types that TOML has no words for."""
    info: Any = inspect.type_info(struct)
    return [Setting(field.encode_name, _type(field.type), _default(field), _help(field.type)) for field in info.fields]


def _type(type_: inspect.Type) -> str:
    while isinstance(type_, inspect.Metadata):
        type_ = type_.type
    match type_:
        case inspect.UnionType():
            return " or ".join(_type(each) for each in type_.types if not isinstance(each, inspect.NoneType))
        case inspect.LiteralType():
            return " or ".join(map(toml, type_.values))
        case inspect.CustomType():
            return _CUSTOM.get(type_.cls, type_.cls.__name__)
        case inspect.ListType() | inspect.VarTupleType():
            return f"list: {_type(type_.item_type)}"
        case _:
            word = _WORDS.get(type(type_), type(type_).__name__.removesuffix("Type").lower())
            return word + _bounds(type_)


def _bounds(number: inspect.Type) -> str:
    if not isinstance(number, inspect.IntType | inspect.FloatType):
        return ""
    bounds = ((">=", number.ge), (">", number.gt), ("<=", number.le), ("<", number.lt))
    return "".join(f" {sign} {bound}" for sign, bound in bounds if bound is not None)


def _default(field: inspect.Field) -> str | None:
    if field.required:
        return None
    value = field.default if field.default_factory is NODEFAULT else field.default_factory()
    return "" if value is None else toml(value)


def _help(type_: inspect.Type) -> str:
    """Find what is said of a setting, wherever in its type that stands."""
    if isinstance(type_, inspect.UnionType):
        return next(filter(None, map(_help, type_.types)), "")
    if not isinstance(type_, inspect.Metadata):
        return ""
    said = (type_.extra_json_schema or {}).get("description", "")
    return re.sub(r"\s+", " ", said) or _help(type_.type)

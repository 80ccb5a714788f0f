"""What a check finds. Pure."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Verdict(StrEnum):
    """How something is. Trouble is what loses data or soon will, or gives away what is secret."""

    OK = "ok"
    WARNING = "warning"  # it works, and something is lacking
    TROUBLE = "trouble"
    UNKNOWN = "cannot tell"


class Finding(Struct, frozen=True):
    """One thing that was looked at. *about*: which host, sink or file, empty where there is but one.

    *fix* is what to do: a command, or lines of a configuration file, with what they are for; empty where all is well.
    """

    verdict: Verdict
    about: str
    found: str
    fix: str = ""


def ok(about: str, found: str) -> Finding:
    """Say that all is well."""
    return Finding(Verdict.OK, about, found)


def warning(about: str, found: str, fix: str) -> Finding:
    """Say that something is lacking."""
    return Finding(Verdict.WARNING, about, found, fix)


def trouble(about: str, found: str, fix: str) -> Finding:
    """Say that something is wrong."""
    return Finding(Verdict.TROUBLE, about, found, fix)


def unknown(about: str, why: str, fix: str = "") -> Finding:
    """Say that it cannot be told, and why; *fix* is what would let it be."""
    return Finding(Verdict.UNKNOWN, about, why, fix)

"""What records are about, the same in every tick and stream, and what people call it. Pure."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from domstat.model import Kind, Record

SURVEY = "survey"
"""The stream of looks that are no ticks, each one batch."""

StreamName: TypeAlias = tuple[str, str]
Subject: TypeAlias = tuple[Kind, str, str]
"""Kind, host and what it is about: a guest's uuid, a pool's name, the agent's collect block."""


def subject_of(record: Record) -> Subject:
    """Return what *record* is about, the same in every tick and stream."""
    if record.domain is not None:
        return (record.kind, record.host, record.domain.uuid)
    if record.pool is not None:
        return (record.kind, record.host, record.pool.name)
    return (record.kind, record.host, record.collect if record.kind is Kind.AGENT else "")


class About(Struct, frozen=True, eq=False):
    """What one stream said of a guest or a pool when it last did: its labels and its devices."""

    labels: dict[str, str] | None
    devices: dict[str, dict[str, str]] | None

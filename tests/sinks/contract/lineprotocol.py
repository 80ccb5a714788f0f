"""What a line of line protocol says of a record."""

from __future__ import annotations

from domstat.model import Kind, Value, key_of
from domstat.testing import Stored, subject
from lines import Line

NOT_GUESTS = {f"domstat_{kind}": str(kind) for kind in (Kind.HOST, Kind.POOL, Kind.AGENT, "weather")}
REMARKS = {"domstat_partial": "partial", "domstat_gap": "gap", "domstat_event": "event"}


def piece(line: Line) -> Stored:
    """Read one line: the piece of a record that one device says."""
    tags, word = line.tags, REMARKS.get(line.measurement)
    device = tags.get("device")
    kind = NOT_GUESTS.get(line.measurement, str(Kind.GUEST))
    if word is not None:
        values: dict[str, Value] = {
            f"{word}.{name}": value_of(text) for name, text in line.fields.items() if name != "count"
        }
        kind = word if word != "partial" else str(Kind.GUEST)
        about = subject(tags.get("uuid"), tags.get("pool"), tags.get("type"), device)
    else:
        prefix = "" if kind == Kind.GUEST else f"{kind}."
        values = {name_of(prefix, name, device): value_of(text) for name, text in line.fields.items()}
        about = subject(tags.get("uuid"), tags.get("pool"))
    return Stored(
        host=tags["host"],
        kind=kind,
        subject=about,
        time_ms=int(line.time) // 1_000_000,
        name=tags.get("domain"),
        values=values,
    )


def name_of(prefix: str, name: str, device: str | None) -> str:
    return key_of(name if name.startswith(("vendor.", "host.")) else prefix + name, device)


def value_of(text: str) -> Value:
    """Read a field's value, typed as line protocol has it."""
    if text.startswith('"'):
        return text[1:-1].replace('\\"', '"')
    if text in {"true", "false"}:
        return text == "true"
    return int(text[:-1]) if text.endswith("i") else float(text)

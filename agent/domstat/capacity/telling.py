"""What the summary comes to as values of records, by the catalogue's names: so that every sink gets it. Pure.

What is not known is absent, a runway beyond the horizon too: an alert on it then has nothing to compare.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from domstat.capacity.demand import ALL, Resource
from domstat.capacity.explained import Figure
from domstat.capacity.runway import CHANCES_DAYS, Runway
from domstat.capacity.standing import Standing
from domstat.capacity.summary import Summary
from domstat.model import key_of

_DAY_S = 86_400.0


def tell(summaries: Sequence[Summary], runways: Sequence[Runway]) -> dict[str, dict[str, float]]:
    """Return, by host, the values of its record: what :func:`.summary.summary` and :func:`.runway.runway` answered."""
    told: dict[str, dict[str, float]] = {one.host: {} for one in summaries if one.host != ALL}
    for one in summaries:
        if one.host in told:
            for standing in one.standings:
                told[one.host].update(_known(_of_standing(standing)))
    for line in runways:
        if line.resource is Resource.STORAGE and line.host in told:
            told[line.host].update(_known(_of_runway("pool", line, line.name)))
    return {host: values for host, values in told.items() if values}


def _of_standing(standing: Standing) -> Iterator[tuple[str, float | None]]:
    figures: dict[str, Figure] = {
        "total": standing.total,
        "usable": standing.usable,
        "allocated": standing.allocated,
        "demand": standing.now,
        "peak": standing.peak,
        "remaining": standing.remaining,
        "coverage": standing.coverage,
    }
    for name, figure in figures.items():
        yield f"capacity.{standing.resource}.{name}", figure.value
    if standing.runway is not None:
        yield from _of_runway(standing.resource, standing.runway, None)


def _of_runway(of: str, line: Runway, device: str | None) -> Iterator[tuple[str, float | None]]:
    for name, days in (("expected", line.expected.value), ("conservative", line.conservative.value)):
        yield key_of(f"capacity.{of}.runway.{name}", device), None if days is None else days * _DAY_S
    for within, chance in zip(CHANCES_DAYS, line.chances, strict=False):
        yield key_of(f"capacity.{of}.risk.days{within}", device), chance.value


def _known(values: Iterator[tuple[str, float | None]]) -> dict[str, float]:
    return {key: value for key, value in values if value is not None}

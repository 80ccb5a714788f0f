"""The numbers that stand for names in the database: asked for once a day, and given where there are none yet.

They are committed before any record that uses them. What is remembered here may have gone from there all the same (a
database that was restored, somebody who tidied up): writing notices, and has it all :meth:`Numbers.forget`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from domstat.forms import describe
from domstat.model import split_key
from domstat_sinks.postgres.rows import Keys, Row, SubjectName, digest, shown

if TYPE_CHECKING:
    from psycopg import Connection, Cursor

KNOWN_MAX = 65_536
"""Names of one table that are remembered; beyond it all are forgotten once, and asked for again."""

_NameT = TypeVar("_NameT", bound=Hashable)

_SUBJECTS = """
INSERT INTO subject (key, host, collect, kind, uuid, pool, seen)
SELECT *, current_date FROM unnest(%s::bytea[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
ON CONFLICT (key) DO UPDATE SET seen = current_date RETURNING key, id
"""
_DOMAINS = """
INSERT INTO domain (key, name, seen) SELECT *, current_date FROM unnest(%s::bytea[], %s::text[])
ON CONFLICT (key) DO UPDATE SET seen = current_date RETURNING key, id
"""
_LAYOUTS = """
INSERT INTO layout (key, seen) SELECT *, current_date FROM unnest(%s::bytea[])
ON CONFLICT (key) DO UPDATE SET seen = current_date RETURNING key, id
"""
_FIELDS = """
INSERT INTO field (key, name, kind, unit, scale, help, seen)
SELECT *, current_date FROM unnest(%s::bytea[], %s::text[], %s::text[], %s::text[], %s::float8[], %s::text[])
ON CONFLICT (key) DO UPDATE SET kind = EXCLUDED.kind, unit = EXCLUDED.unit, scale = EXCLUDED.scale,
                                help = EXCLUDED.help, seen = current_date RETURNING key, id
"""
_EMPTY_LAYOUTS = """
SELECT id FROM layout WHERE id = ANY(%s) AND NOT EXISTS (SELECT FROM layout_key WHERE layout = layout.id)
"""
_LAYOUT_KEYS = """
INSERT INTO layout_key (layout, place, field, device) SELECT * FROM unnest(%s::int[], %s::int[], %s::int[], %s::text[])
ON CONFLICT DO NOTHING
"""


class Numbers:
    """Knows the numbers of subjects, guests' names and layouts."""

    def __init__(self) -> None:
        self.subjects: dict[SubjectName, int] = {}
        self.domains: dict[str, int] = {}
        self.layouts: dict[Keys, int] = {}
        self._day = 0

    def forget(self) -> None:
        """Ask for all of them again."""
        self.subjects.clear()
        self.domains.clear()
        self.layouts.clear()

    def learn(self, connection: Connection[Any], rows: Iterable[Row], day: int) -> None:
        """Have the numbers of all that *rows* name, and commit new ones; *day* is today's, since 1970.

        Once a day all are asked for again: that is how the database knows which are in use.
        """
        if day != self._day or max(len(self.subjects), len(self.domains), len(self.layouts)) > KNOWN_MAX:
            self.forget()
            self._day = day
        subjects, domains, layouts = set[SubjectName](), set[str](), set[Keys]()
        for row in rows:
            if row.subject not in self.subjects:
                subjects.add(row.subject)
            if row.domain is not None and row.domain not in self.domains:
                domains.add(row.domain)
            if row.arrays is not None and row.keys not in self.layouts:
                layouts.add(row.keys)
        if not (subjects or domains or layouts):
            return
        with connection.transaction(), connection.cursor() as cursor:
            found_subjects = _numbers(cursor, _SUBJECTS, {name: tuple(name) for name in subjects})
            found_domains = _numbers(cursor, _DOMAINS, {name: (name,) for name in domains})
            found_layouts = _numbers(cursor, _LAYOUTS, dict.fromkeys(layouts, ()))
            _fill(cursor, {number: keys for keys, number in found_layouts.items()})
        # Only what is committed may be used.
        self.subjects |= found_subjects
        self.domains |= found_domains
        self.layouts |= found_layouts


def _numbers(cursor: Cursor[Any], statement: str, names: Mapping[_NameT, Sequence[Any]]) -> dict[_NameT, int]:
    """Give every name its number; the statement takes the digests and the names' columns."""
    if not names:
        return {}
    # In one order, whoever does it: two agents that add the same names must not wait for each other.
    digests = sorted((_digest(name), name) for name in names)
    columns = zip(*(map(_shown, names[name]) for _, name in digests), strict=True)
    cursor.execute(statement, [[key for key, _ in digests], *map(list, columns)])
    numbers = dict(cursor.fetchall())
    return {name: numbers[key] for key, name in digests}


def _fill(cursor: Cursor[Any], layouts: Mapping[int, Keys]) -> None:
    """Say what those *layouts* are that are new."""
    if not layouts:
        return
    cursor.execute(_EMPTY_LAYOUTS, [list(layouts)])
    new = [number for (number,) in cursor.fetchall() if layouts[number]]
    if not new:
        return
    parts = [(number, place, *split_key(key)) for number in new for place, key in enumerate(layouts[number], 1)]
    descriptions = {field: describe(field) for _, _, field, _ in parts}
    fields = _numbers(
        cursor,
        _FIELDS,
        {field: (field, str(what.kind), what.base, what.scale, what.help) for field, what in descriptions.items()},
    )
    keys = [(number, place, fields[field], _shown(device)) for number, place, field, device in parts]
    cursor.execute(_LAYOUT_KEYS, list(map(list, zip(*keys, strict=True))))


def _digest(name: Any) -> bytes:
    return digest(*name) if isinstance(name, tuple) else digest(name)


def _shown(value: Any) -> Any:
    return shown(value) if isinstance(value, str) else value

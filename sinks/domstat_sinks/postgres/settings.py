"""What can be set of the postgres sink, and what of it is wrong before anything is touched."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import unquote

from msgspec import Meta, Struct

from domstat.settings import Duration, Retention

DEFAULTS = {"host": "localhost", "dbname": "domstat"}
"""What is meant where neither a DSN nor the setting says it."""

_Text = Annotated[str, Meta(min_length=1)]

_PASSWORD_WORD = re.compile(r"password\s*=", re.IGNORECASE)
_PASSWORD_IN_URL = re.compile(r"^\s*postgres(ql)?://[^/?@]*:[^/?]*@", re.IGNORECASE)


class PostgresSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Writes everything that is collected to PostgreSQL 13 or later, into a hypertable where TimescaleDB is there."""

    host: Annotated[
        _Text | None,
        Meta(
            description='The server, or the folder of its socket. Default: "localhost".', examples=["/run/postgresql"]
        ),
    ] = None
    port: Annotated[
        Annotated[int, Meta(ge=1, le=65_535)] | None,
        Meta(description="The server's port. Default: 5432.", examples=[5432]),
    ] = None
    dbname: Annotated[
        _Text | None,
        Meta(description='The database, which must be there. Default: "domstat".', examples=["domstat"]),
    ] = None
    user: Annotated[
        _Text | None,
        Meta(description="As whom. Default: the name of the agent's own user.", examples=["domstat"]),
    ] = None
    sslmode: Annotated[
        Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None,
        Meta(
            description="How much TLS there must be, in libpq's words. Default: libpq's, \"prefer\".",
            examples=["verify-full"],
        ),
    ] = None
    dsn: Annotated[
        _Text | None,
        Meta(
            description="All of that, and whatever else libpq knows, as one text in place of the five above. "
            "No password may be in it. Default: there is none.",
            examples=["postgresql://domstat@db1,db2/domstat?target_session_attrs=read-write"],
        ),
    ] = None
    password_file: Annotated[
        _Text | None,
        Meta(
            description="File with the password, which nobody but its owner may read (mode 0600 or 0400). It is read "
            "anew for every connection. Default: none is sent.",
            examples=["/etc/domstat/postgres.password"],
        ),
    ] = None
    password_credential: Annotated[
        Annotated[str, Meta(pattern=r"^[^/\x00]+$")] | None,
        Meta(
            description="Name of the systemd credential with the password, in place of a file (see LoadCredential=). "
            "Default: none.",
            examples=["postgres-password"],
        ),
    ] = None
    schema: Annotated[
        Annotated[str, Meta(min_length=1, max_length=63, pattern=r"^[^\x00]+$")],
        Meta(description="The schema that everything is in; it is made if it is not there."),
    ] = "domstat"
    keep: Annotated[Retention, Meta(description='How long everything is kept, in whole days of UTC, or "forever".')] = (
        Retention(90 * 86_400)
    )
    timescaledb: Annotated[
        Literal["auto", "off"],
        Meta(description='Whether TimescaleDB is used: "auto", if the database has it or can have it, or "off".'),
    ] = "auto"
    timeout: Annotated[
        Duration, Meta(description="How long one write may take in all, and how long the server may take to connect.")
    ] = Duration(30)

    def __post_init__(self) -> None:
        if self.dsn is not None:
            if _PASSWORD_WORD.search(unquote(self.dsn)) or _PASSWORD_IN_URL.search(self.dsn):
                raise ValueError("dsn has a password in it: put it into password_file")
            if also := [
                name for name in ("host", "port", "dbname", "user", "sslmode") if getattr(self, name) is not None
            ]:
                raise ValueError(f"dsn and {', '.join(also)} are both given: say it in dsn alone")
        if self.password_file is not None and self.password_credential is not None:
            raise ValueError("password_file and password_credential are both given, and there is only one password")
        if self.schema.startswith("pg_"):
            raise ValueError("schema begins with pg_, which PostgreSQL keeps for itself")


def where_to(settings: PostgresSettings) -> dict[str, str]:
    """Return what of the settings libpq is told, by its own names; empty where a DSN says it all."""
    if settings.dsn is not None:
        return {}
    said = {name: getattr(settings, name) for name in ("host", "port", "dbname", "user", "sslmode")}
    return DEFAULTS | {name: str(value) for name, value in said.items() if value is not None}


def is_readable_on_the_way(host: str, sslmode: str) -> bool:
    """Whether a password may travel to *host* (libpq's, several apart by commas) without TLS."""
    away = [one for one in host.split(",") if not one.startswith(("/", "@")) and one not in _HERE]
    return bool(away) and sslmode in {"", "disable", "allow", "prefer"}


_HERE = frozenset({"", "localhost", "127.0.0.1", "::1"})

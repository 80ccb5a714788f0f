"""The sink's settings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from msgspec import Meta, Struct

from domstat.settings import Duration, Retention

WHOLE = frozenset(
    {"abfs", "abfss", "adl", "az", "gcs", "gs", "memory", "oci", "ocilake", "oss", "r2", "s3", "s3a"},
)
"""What fsspec calls stores in which an object is there whole or not at all: object stores, and memory for tests."""

SECRETS = ("key", "secret", "token", "password", "passwd", "credential", "connection_string", "sas")
"""Words in the names of options that hold a secret, or who one is."""

_EVERY_LEAST_S = 10.0
_GLOB = frozenset("*?[]")


class ParquetSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Keeps everything that is collected in Parquet files by host and day, for DuckDB, Spark, Trino and ClickHouse."""

    path: Annotated[
        str,
        Meta(
            description="The folder, relative ones below the state directory; or an object store's URL as fsspec takes "
            "them, such as s3://bucket/domstat. Credentials come from the environment or files, as that store's own "
            "tools have them.",
            min_length=1,
        ),
    ] = "parquet"
    every: Annotated[
        Duration,
        Meta(
            description="How long readers wait for a row at most: so often the running hour's file is made anew. Less "
            "costs CPU."
        ),
    ] = Duration(900)
    retention: Annotated[
        Retention, Meta(description='How long days are kept; or "forever". 200 guests at 10 s take 0.6 GB a day.')
    ] = Retention(math.inf)
    storage_options: Annotated[
        dict[str, Any],
        Meta(
            description="Options of the object store's fsspec library; none that is a secret.",
            examples=[{"anon": False}],
        ),
    ] = {}

    def __post_init__(self) -> None:
        scheme = scheme_of(self.path)
        if scheme and scheme not in WHOLE:
            raise ValueError(
                f'path is of a kind ("{scheme}://") in which a file may be seen half written; use a folder or an '
                f"object store: {', '.join(sorted(WHOLE - {'memory'}))}"
            )
        if scheme and (_GLOB & set(self.path) or "::" in self.path):
            raise ValueError('path is a pattern or a chain of stores: write one place, like "s3://bucket/domstat"')
        if ":" in urlsplit(self.path).netloc.rpartition("@")[0]:
            raise ValueError("path has a user or a password in it: leave them to the environment")
        if not _EVERY_LEAST_S <= self.every <= 3600:
            raise ValueError('every is how often an hour\'s file is made anew: from "10s" to "1h"')
        if secret := next(_secrets(self.storage_options), None):
            raise ValueError(
                f"storage_options.{secret} would be a secret in the configuration: leave it to the environment or to "
                "the files of the store's own tools"
            )
        if not scheme and self.storage_options:
            raise ValueError("storage_options are for object stores, and path is a folder")


def scheme_of(path: str) -> str:
    """Return a URL's scheme; nothing if *path* is a folder of this machine."""
    scheme, mark, _ = path.partition("://")
    return "" if not mark or scheme in {"file", "local"} else scheme


def folder_of(path: str, state_dir: Path) -> Path:
    """Return where a folder of this machine is."""
    _, mark, rest = path.partition("://")
    return state_dir / (unquote(rest) if mark else path)


def _secrets(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if any(word in name.lower() for word in SECRETS):
            yield name
        elif isinstance(value, Mapping):
            yield from (f"{name}.{inner}" for inner in _secrets(value))

"""The sink: rows are made durable with each write, and an hour's file when there is reason to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

from msgspec import Struct

from domstat.model import Batch
from domstat.sink import Fatal, Reject, Retry, SinkContext
from domstat_sinks.parquet.settings import ParquetSettings, folder_of, scheme_of

if TYPE_CHECKING:
    from domstat_sinks.parquet.keeping import Keeper
    from domstat_sinks.parquet.stores import Store

MENDED_AFTER_S = 30.0
"""Seconds until it is tried again when somebody has to do something first: soon enough to be seen at work."""


class ParquetSink:
    """Writes Parquet files, an hour of a host each."""

    Settings: ClassVar[type[Struct]] = ParquetSettings

    any_order: ClassVar[bool] = True
    """Rows find their hours by themselves."""

    def __init__(self, settings: ParquetSettings) -> None:
        self._settings = settings
        self._context: SinkContext | None = None
        self._keeper: Keeper | None = None

    @staticmethod
    def claims(settings: ParquetSettings, state_dir: Path) -> Iterable[Path]:
        """Name the folder, so that two sinks never write one."""
        return [] if scheme_of(settings.path) else [folder_of(settings.path, state_dir)]

    def open(self, context: SinkContext) -> None:
        """Find or make the folder, lock it, and see what waits there. Raises Fatal or Retry."""
        try:
            from domstat_sinks.parquet import stores
            from domstat_sinks.parquet.keeping import Keeper
        except ImportError as error:
            raise Fatal(
                f"the sink parquet needs more than is installed ({error}): pip install 'domstat[parquet]'"
            ) from None
        self.close()
        self._context = context
        try:
            store = self._store(context)
        except stores.TakenError as error:
            raise Fatal(str(error)) from None
        except OSError as error:
            raise Retry(f"{self._settings.path} cannot be opened: {_why(error)}", MENDED_AFTER_S) from error
        try:
            self._keeper = Keeper(store, float(self._settings.every), float(self._settings.retention), context.log)
        except OSError as error:
            store.close()
            raise Retry(f"{self._settings.path} cannot be looked into: {_why(error)}", MENDED_AFTER_S) from error

    def write(self, batches: Sequence[Batch]) -> None:
        """Store *batches*. Raises Retry, and then nothing is stored that would not be replaced; or Reject."""
        if self._keeper is None or self._context is None:
            raise Retry("the sink is not open")
        try:
            faults = self._keeper.store(batches)
        except OSError as error:
            raise Retry(f"{self._settings.path} cannot be written: {_why(error)}") from error
        for record, reason in faults.left_out:
            self._context.reject_part(record, reason)
        if faults.rejected:
            raise Reject(faults.rejected)

    def health(self) -> str:
        """Say that hours' files cannot be made: what comes is stored, but no reader sees it."""
        return self._keeper.trouble if self._keeper is not None else ""

    def close(self) -> None:
        """Make the files of hours that are over, and let go."""
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None

    def _store(self, context: SinkContext) -> Store:
        """Find where to write. Raises TakenError, OSError or Fatal."""
        from domstat_sinks.parquet import stores

        path = self._settings.path
        if not scheme_of(path):
            # Resolved, so that the lock is in the folder itself whichever way it is reached.
            folder = folder_of(path, context.state_dir).resolve()
            if folder.exists() and not folder.is_dir():
                raise Fatal(f"{folder} is a file; parquet writes a folder: name one in path")
            return stores.Folder(folder)
        identity = context.state_dir / f"{quote(context.name, safe='')}.parquet-writer"
        try:
            return stores.Objects(path, self._settings.storage_options, identity)
        except (ImportError, ValueError, TypeError) as error:
            raise Fatal(
                f"{path} cannot be used: {error}. Its library may not be installed (s3fs, gcsfs, adlfs), or "
                "storage_options be none of it"
            ) from error


def _why(error: OSError) -> str:
    return error.strerror or str(error)

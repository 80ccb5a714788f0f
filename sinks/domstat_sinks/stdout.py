"""The sink ``stdout``: a table for a person, JSON lines for a pipe."""

from __future__ import annotations

import math
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import StringIO
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TextIO, TypeAlias

from msgspec import Meta, Struct
from msgspec.structs import replace

from domstat import jsonlines
from domstat.model import Batch, Figures, Record
from domstat.sink import Fatal, Finished, Retry, SinkContext
from domstat_sinks.escape import UNSAFE
from domstat_sinks.lines import is_account

if TYPE_CHECKING:
    from rich.live import Live

PIPE_COLUMNS = 160
"""Width of a table that goes into a pipe, unless COLUMNS says otherwise: all columns, and names in full."""

_UNSAFE = re.compile(f"[{UNSAFE}]".replace("\\x00-\\x1f", ""))  # JSON escapes those by itself
_Encode: TypeAlias = Callable[[Sequence[Batch]], bytes]


class StdoutSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Shows every tick on standard output, for looking at and for piping into other programs."""

    format: Annotated[
        Literal["auto", "table", "json", "influx"],
        Meta(description="auto is a table on a terminal and JSON lines in a pipe; influx is InfluxDB's line protocol."),
    ] = "auto"


class StdoutSink:
    """Writes batches to standard output; done, quietly, when whoever read it has gone."""

    Settings: ClassVar[type[Struct]] = StdoutSettings

    def __init__(self, settings: StdoutSettings) -> None:
        self._format = settings.format
        self._stdout: TextIO | None = None
        self._encode: _Encode | None = None
        self._screen: _Screen | None = None

    def open(self, context: SinkContext) -> None:
        """Choose the form. Raises Fatal if there is no standard output."""
        # The agent leads sys.stdout to standard error, for whoever prints; this is the one sink that it is there for.
        stdout: TextIO | None = sys.__stdout__ if sys.stdout is sys.stderr else sys.stdout
        if stdout is None:
            raise Fatal("there is no standard output")
        self._stdout = stdout
        form = self._format if self._format != "auto" else "table" if stdout.isatty() else "json"
        if form == "json":
            self._encode = _json_encoder(context)
        elif form == "influx":
            self._encode = _influx_encoder(context)
        elif stdout.isatty() and os.environ.get("TERM", "dumb") not in {"dumb", "unknown"}:
            with self._errors_as_contract():
                self._screen = _Screen(stdout)
        else:
            self._encode = lambda batches: _encode_tables(batches).encode(stdout.encoding, "replace")

    def write(self, batches: Sequence[Batch]) -> None:
        """Show *batches*; on a live screen the last of each stream. Raises Finished or Retry."""
        with self._errors_as_contract():
            if self._screen is not None:
                self._screen.show(batches)
            elif self._stdout is not None and self._encode is not None:
                self._stdout.buffer.write(self._encode(batches))
                self._stdout.buffer.flush()
            else:
                raise Retry("the sink is not open")

    def close(self) -> None:
        """Leave the last table on the screen."""
        with suppress(OSError, Finished, Retry), self._errors_as_contract():
            if self._screen is not None:
                self._screen.close()
            elif self._stdout is not None:
                self._stdout.flush()

    @contextmanager
    def _errors_as_contract(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            if self._stdout is not None:
                _send_to_nowhere(self._stdout)
            raise Finished("nobody reads standard output any more") from None
        except OSError as error:
            raise Retry(f"standard output: {error.strerror or error}") from error


class _Screen:
    """A table that stays in place on a terminal, with the latest tick of each stream; log lines come out above it."""

    def __init__(self, stdout: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        from domstat_sinks.latest import Latest

        self._latest = Latest()
        # Where standard error is a file, the log must go on into that file.
        self._live: Live = Live(
            console=Console(file=stdout),
            auto_refresh=False,
            redirect_stderr=sys.stderr is not None and sys.stderr.isatty(),
        )
        self._live.start()

    def show(self, batches: Sequence[Batch]) -> None:
        from rich.console import Group

        from domstat_sinks.table import BatchView, OccurrencesView

        now_s = time.monotonic()
        for batch in batches:
            self._latest.add(batch, now_s)
        views = map(BatchView, self._latest.batches())
        self._live.update(Group(*views, OccurrencesView(self._latest.occurrences(now_s))), refresh=True)

    def close(self) -> None:
        self._live.stop()


def _json_encoder(context: SinkContext) -> _Encode:
    """Write JSON lines in which nothing acts on a terminal: such characters are escaped, to JSON the same text.

    What is no number is left out and reported: JSON has none, and null is not what was read.
    """

    def encode(batches: Sequence[Batch]) -> bytes:
        lines = b"".join([jsonlines.encode(batch.records) for batch in batches])
        if lines.count(b":null") > lines.count(b'"partial":null'):  # or a name looks like that, which costs some time
            whole = [_without_no_numbers(record, context) for batch in batches for record in batch.records]
            lines = jsonlines.encode(whole)
        if lines.isascii() and b"\x7f" not in lines:
            return lines
        return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", lines.decode()).encode()

    return encode


def _without_no_numbers(record: Record, context: SinkContext) -> Record:
    """Leave out, and report, what is no number; rates and derived values that were taken from it go too."""
    parts: list[dict[str, Any]] = []
    for part in (record.params, record.rates, record.derived):
        bad = {key for key, value in part.items() if isinstance(value, float) and not math.isfinite(value)}
        for key in bad:
            context.reject_part(record, f"{key}: {part[key]} is no number")
        parts.append({key: value for key, value in part.items() if key not in bad})
    return replace(record, figures=Figures(*parts))


def _influx_encoder(context: SinkContext) -> _Encode:
    from domstat_sinks.lineprotocol import Encoder

    encoder = Encoder()

    def encode(batches: Sequence[Batch]) -> bytes:
        encoded = encoder.encode(record for batch in batches for record in batch.records)
        for record, reason in encoded.left_out:
            context.reject_part(record, reason)
        return encoded.text

    return encode


def _encode_tables(batches: Sequence[Batch]) -> str:
    from rich.console import Console

    from domstat_sinks.table import BatchView

    width = shutil.get_terminal_size((PIPE_COLUMNS, 0)).columns
    text = StringIO()
    console = Console(file=text, width=width, force_terminal=False, color_system=None)
    for batch in batches:
        if not is_account(batch):
            console.print(BatchView(batch))
            console.print()
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())


def _send_to_nowhere(stdout: TextIO) -> None:
    """Have what is still buffered go to /dev/null, or Python would complain of the closed pipe when it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stdout.fileno())
    os.close(nowhere)

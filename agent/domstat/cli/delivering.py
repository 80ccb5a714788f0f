"""What ``replay`` and ``history import`` share: files of JSON lines, one delivery to its end, and how far it is."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from msgspec import Struct

from domstat.cli.common import EXIT_TROUBLE, EXIT_USAGE, fail, moment, say
from domstat.config import SinkConfig
from domstat.history import HistoryError
from domstat.jsonlines import write_time
from domstat.sink import Fatal, Finished, Rejected, SinkContext
from domstat.text import is_terminal, printable

if TYPE_CHECKING:
    from domstat.replay import Decode, Delivery, Source, Span

SAID_MAX = 20
"""Lines on what cannot be read, and on what is rejected; the rest is counted."""

NAME_MAX = 40
"""Characters of a source's name beside its bar, the last ones: of a path they say more."""

SQLITE_MAGIC = b"SQLite format 3\0"

READ_BYTES = 1 << 20
"""Bytes read from a file at once."""

MESSAGE_MAX = 500
"""Characters of a message that has other people's words in it."""


def wanted_span(since: str | None, until: str | None, hosts: list[str] | None) -> Span:
    """Read which records are wanted, or exit saying what is wrong."""
    from domstat.replay import EVER_MS, Span

    since_ms, until_ms = moment("--since", since, 0), moment("--until", until, EVER_MS)
    if since_ms >= until_ms:
        fail(EXIT_USAGE, f'--until: found "{until}", expected a time after --since')
    return Span(since_ms, until_ms, frozenset(hosts or ()))


class Said:
    """Says the first of many things, and counts them all."""

    def __init__(self) -> None:
        self.count = 0

    def say(self, line: str) -> None:
        """Say *line*, unless so many have been said already."""
        self.count += 1
        if self.count <= SAID_MAX:
            say(printable(line, MESSAGE_MAX))
        elif self.count == SAID_MAX + 1:
            say("and others like it")


Opener = Callable[["Span", Callable[[str], None]], AbstractContextManager["Source"]]
"""Opens a source: for what is wanted of it, and for what is to be said of what cannot be read."""


class Manner(Struct, frozen=True):
    """How records are handed over, and the *verb* for it: so many batches in a write at most.

    *in_bulk* is for a sink that takes imports: it makes ready for much, and does all that is due before more comes.
    """

    verb: str
    batches_max: int
    in_bulk: bool = False


class Work:
    """One delivery from its first source to its last."""

    def __init__(
        self, sink: SinkConfig, state_dir: Path, span: Span, manner: Manner, letters: BinaryIO | None = None
    ) -> None:
        """*letters* takes what the sink refuses."""
        from domstat import telemetry
        from domstat.replay import Delivery

        self._sink = sink
        self._span = span
        self._manner = manner
        self._letters = letters
        self._unread = Said()
        self._refused = Said()
        self._parts = 0
        self._is_open = False
        context = SinkContext(sink.name, state_dir, telemetry.get_logger().bind(sink=sink.name), self._note_part)
        taker: Any = sink.sink(sink.settings)
        if manner.in_bulk:
            taker.expect_bulk()
        self._delivery = Delivery(taker, context, self._note_rejected)

    def run(self, sources: list[tuple[str, Opener]]) -> int:
        """Deliver *sources* one after another; say what came of it and return the exit code."""
        from domstat.deliver.outside import UnusableError
        from domstat.replay import PATIENCE_S, GaveUpError, SourceError

        code = 0
        try:
            self._deliver(sources)
        except Finished:
            return 0  # whoever read our output has seen enough
        except KeyboardInterrupt:
            code = 130
        except GaveUpError as error:
            code = self._fail(f"takes nothing for {PATIENCE_S:.0f} s, and was given up: {error}")
        except Fatal as error:
            code = self._fail(str(error))
        except (SourceError, HistoryError, UnusableError) as error:
            code = EXIT_TROUBLE
            say(printable(str(error), MESSAGE_MAX))
        if self._is_open:
            self._say_what_came_of_it()
        return code or (EXIT_TROUBLE if self._unread.count or self._refused.count else 0)

    def _fail(self, why: str) -> int:
        say(printable(f'the sink "{self._sink.name}": {why}', MESSAGE_MAX))
        return EXIT_TROUBLE

    def _deliver(self, sources: list[tuple[str, Opener]]) -> None:
        from domstat.replay import chunks

        try:
            self._delivery.open()
            self._is_open = True
            # A bar and a sink's own lines do not share a screen.
            with _bar(shown=is_terminal(sys.stderr) and self._sink.common.type != "stdout") as begin:
                for name, opener in sources:
                    with opener(self._span, self._unread.say) as source:
                        advance = begin(name, source, self._delivery)
                        for chunk in chunks(source.batches(), self._manner.batches_max):
                            self._delivery.write(chunk)
                            advance()
                            if self._manner.in_bulk:
                                self._delivery.settle(advance)
                        advance()
        finally:
            self._delivery.close()

    def _note_rejected(self, item: Rejected) -> None:
        from domstat.replay import letter

        record = item.record
        about = f"{record.host}/{record.collect} {write_time(record.time_ms)} {record.kind} {record.subject}"
        self._refused.say(f"rejected: {about.rstrip()}: {item.reason}")
        if self._letters is not None:
            self._letters.write(letter(record, item.reason))

    def _note_part(self, _record: Any, _reason: str) -> None:
        self._parts += 1

    def _say_what_came_of_it(self) -> None:
        delivery = self._delivery
        more = [
            (self._refused.count, "rejected"),
            (self._unread.count, "could not be read"),
            (self._parts, "values left out"),
        ]
        counted = "".join(f"; {count} {what}" for count, what in more if count)
        name = printable(self._sink.name)
        say(f'{self._manner.verb} {delivery.written} records of {delivery.batches} batches into "{name}"{counted}')


# Files of JSON lines.


def file_opener(source: str, decode: Decode) -> Opener:
    """Say how a file is opened, standard input being ``-``, whose lines *decode* reads; or exit if there is none."""
    if source == "-":
        if sys.stdin is None:
            fail(EXIT_USAGE, "there is no standard input")
        return lambda span, complain: _open_file(sys.stdin.buffer, "standard input", span, complain, decode)
    path = Path(source)
    if not path.exists() or path.is_dir():
        what = "is a directory" if path.is_dir() else "there is no such file"
        fail(EXIT_USAGE, printable(f"{source}: {what}", MESSAGE_MAX))
    return lambda span, complain: _open_path(path, span, complain, decode)


@contextmanager
def _open_path(path: Path, span: Span, complain: Callable[[str], None], decode: Decode) -> Iterator[Source]:
    from domstat.replay import SourceError

    try:
        file = path.open("rb", buffering=READ_BYTES)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    with file, _open_file(file, str(path), span, complain, decode) as source:
        yield source


@contextmanager
def _open_file(file: Any, name: str, span: Span, complain: Callable[[str], None], decode: Decode) -> Iterator[Source]:
    from domstat.replay import Lines, SourceError

    if file.peek(len(SQLITE_MAGIC)).startswith(SQLITE_MAGIC):
        raise SourceError(f"{name} is an SQLite file; of a history say history:NAME, with the name of its sink")
    yield Lines(file, name, span, complain, _size(file), decode)


def _size(file: BinaryIO) -> int | None:
    """Return how many bytes there are to be read, None if nobody can say."""
    with contextlib.suppress(OSError):
        if file.seekable():
            here = file.tell()
            end = file.seek(0, 2)
            file.seek(here)
            return end - here
    return None


# Progress.

Begin = Callable[[str, "Source", "Delivery"], Callable[[], None]]
"""Begins a bar for a source, by its name; returns what moves it on."""


@contextmanager
def _bar(*, shown: bool) -> Iterator[Begin]:
    if not shown:
        yield lambda _name, _source, _delivery: lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[records]} records"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False) as progress:

        def begin(name: str, source: Source, delivery: Delivery) -> Callable[[], None]:
            task = progress.add_task(printable(name[-NAME_MAX:]), total=source.total, records=delivery.records)
            return lambda: progress.update(task, completed=source.done, records=delivery.records)

        yield begin

"""``domstat replay``: what was collected once, into a sink again."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from domstat.cli.common import (
    EXIT_TROUBLE,
    EXIT_USAGE,
    ConfigOption,
    SinceOption,
    UntilOption,
    fail,
    leave,
    load_config,
    moment,
    say,
)
from domstat.config import Config, SinkConfig
from domstat.history import HasBatches, HasHistory, HistoryError
from domstat.jsonlines import write_time
from domstat.sink import Fatal, Finished, Rejected, SinkContext
from domstat.text import is_terminal, printable

if TYPE_CHECKING:
    from domstat.replay import Delivery, Source, Span

SAID_MAX = 20
"""Lines on what cannot be read, and on what is rejected; the rest is counted."""

NAME_MAX = 40
"""Characters of a source's name beside its bar, the last ones: of a path they say more."""

SQLITE_MAGIC = b"SQLite format 3\0"

_MESSAGE_MAX = 500


def replay(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="A file of JSON lines, or of dead letters; - for standard input; journal; history, or history:NAME "
            "where several sinks keep one. A file of that name is ./journal.",
            show_default=False,
        ),
    ],
    to: Annotated[str, typer.Option("--to", metavar="SINK", help="Which sink, by its name in the configuration.")],
    config: ConfigOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    host: Annotated[list[str] | None, typer.Option(help="Only this host's; may be given more than once.")] = None,
    rejected: Annotated[
        Path | None, typer.Option(help="Append what the sink will never take to this file, to be replayed later.")
    ] = None,
) -> None:
    """Hand records that were collected once to a sink: from JSON lines, the journal or a history.

    Repeating it does no harm where a record that comes again replaces itself: in a history, in time series databases.
    The exit code is 1 if anything was left out.
    """
    from domstat import telemetry

    loaded = load_config(config)
    chosen = _choose_sink(loaded, to)
    openers = [_opener(source, loaded, to) for source in sources]
    if sources.count("-") > 1:
        fail(EXIT_USAGE, "standard input can be read only once")
    span = _span(since, until, host)
    telemetry.configure("warning")
    with ExitStack() as stack:
        letters = _open_letters(stack, rejected)
        work = _Work(chosen, loaded.state_dir, span, letters)
        code = work.run(list(zip(sources, openers, strict=True)))
    leave(code)


class _Said:
    """Says the first of many things, and counts them all."""

    def __init__(self) -> None:
        self.count = 0

    def say(self, line: str) -> None:
        """Say *line*, unless so many have been said already."""
        self.count += 1
        if self.count <= SAID_MAX:
            say(printable(line, _MESSAGE_MAX))
        elif self.count == SAID_MAX + 1:
            say("and others like it")


Opener = Callable[["Span", Callable[[str], None]], AbstractContextManager["Source"]]
"""Opens a source: for what is wanted of it, and for what is to be said of what cannot be read."""


class _Work:
    """One replay from its first source to its last."""

    def __init__(self, sink: SinkConfig, state_dir: Path, span: Span, letters: BinaryIO | None) -> None:
        from domstat import telemetry
        from domstat.replay import Delivery

        self._sink = sink
        self._span = span
        self._letters = letters
        self._unread = _Said()
        self._refused = _Said()
        self._parts = 0
        context = SinkContext(sink.name, state_dir, telemetry.get_logger().bind(sink=sink.name), self._note_part)
        self._delivery = Delivery(sink.sink(sink.settings), context, self._note_rejected)

    def run(self, sources: list[tuple[str, Opener]]) -> int:
        """Replay *sources* one after another; say what came of it and return the exit code."""
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
            say(printable(str(error), _MESSAGE_MAX))
        self._say_what_came_of_it()
        return code or (EXIT_TROUBLE if self._unread.count or self._refused.count else 0)

    def _fail(self, why: str) -> int:
        say(printable(f'the sink "{self._sink.name}": {why}', _MESSAGE_MAX))
        return EXIT_TROUBLE

    def _deliver(self, sources: list[tuple[str, Opener]]) -> None:
        from domstat.replay import chunks

        try:
            self._delivery.open()
            # A bar and a sink's own lines do not share a screen.
            with _bar(shown=is_terminal(sys.stderr) and self._sink.common.type != "stdout") as begin:
                for name, opener in sources:
                    with opener(self._span, self._unread.say) as source:
                        advance = begin(name, source, self._delivery)
                        for chunk in chunks(source.batches(), self._sink.common.batch):
                            self._delivery.write(chunk)
                            advance()
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
        say(f'replayed {delivery.written} records of {delivery.batches} batches into "{name}"{counted}')


def _choose_sink(config: Config, name: str) -> SinkConfig:
    found = next((sink for sink in config.sinks if sink.name == name), None)
    if found is None:
        there = ", ".join(sink.name for sink in config.sinks) or "none"
        fail(EXIT_USAGE, printable(f'--to: no sink "{name}" is configured (there are: {there})', _MESSAGE_MAX))
    return found


def _span(since: str | None, until: str | None, hosts: list[str] | None) -> Span:
    from domstat.replay import EVER_MS, Span

    since_ms, until_ms = moment("--since", since, 0), moment("--until", until, EVER_MS)
    if since_ms >= until_ms:
        fail(EXIT_USAGE, f'--until: found "{until}", expected a time after --since')
    return Span(since_ms, until_ms, frozenset(hosts or ()))


def _open_letters(stack: ExitStack, path: Path | None) -> BinaryIO | None:
    try:
        return stack.enter_context(path.open("ab")) if path is not None else None
    except OSError as error:
        fail(EXIT_TROUBLE, printable(f"{path}: {error.strerror}", _MESSAGE_MAX))


# Sources.


def _opener(source: str, config: Config, to: str) -> Opener:
    """Find out what *source* is, or exit saying why it is nothing."""
    word, _, name = source.partition(":")
    if source == "-":
        if sys.stdin is None:
            fail(EXIT_USAGE, "there is no standard input")
        return lambda span, complain: _open_file(sys.stdin.buffer, "standard input", span, complain)
    if source == "journal":
        return lambda span, complain: _open_journal(config, span, complain)
    if word == "history":
        kept = _choose_history(config, name, to)
        return lambda span, complain: _open_history(kept, config.state_dir, span, complain)
    path = Path(source)
    if not path.exists() or path.is_dir():
        what = "is a directory" if path.is_dir() else "there is no such file"
        fail(EXIT_USAGE, printable(f"{source}: {what}", _MESSAGE_MAX))
    return lambda span, complain: _open_path(path, span, complain)


def _choose_history(config: Config, name: str, to: str) -> SinkConfig:
    able = [sink for sink in config.sinks if isinstance(sink.sink, HasHistory) and sink.name != to]
    named = [sink for sink in able if name in {"", sink.name}]
    if len(named) == 1:
        return named[0]
    there = ", ".join(f"history:{sink.name}" for sink in able) or "none"
    what = f'no other sink "{name}" with a history' if name else f"{len(able)} other sinks with a history"
    fail(EXIT_USAGE, printable(f"{what} (there are: {there})", _MESSAGE_MAX))


@contextmanager
def _open_path(path: Path, span: Span, complain: Callable[[str], None]) -> Iterator[Source]:
    from domstat.replay import SourceError

    try:
        file = path.open("rb")
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    with file, _open_file(file, str(path), span, complain) as source:
        yield source


@contextmanager
def _open_file(file: Any, name: str, span: Span, complain: Callable[[str], None]) -> Iterator[Source]:
    from domstat.replay import Lines, SourceError

    if file.peek(len(SQLITE_MAGIC)).startswith(SQLITE_MAGIC):
        raise SourceError(f"{name} is an SQLite file; of a history say history:NAME, with the name of its sink")
    yield Lines(file, name, span, complain, _size(file))


def _size(file: BinaryIO) -> int | None:
    """Return how many bytes there are to be read, None if nobody can say."""
    with contextlib.suppress(OSError):
        if file.seekable():
            here = file.tell()
            end = file.seek(0, 2)
            file.seek(here)
            return end - here
    return None


@contextmanager
def _open_journal(config: Config, span: Span, complain: Callable[[str], None]) -> Iterator[Source]:
    from domstat.deliver.journal import FILE
    from domstat.deliver.outside import reading
    from domstat.replay import Stored

    with reading(config.state_dir / FILE) as journal:
        yield Stored.of_journal(journal, span, lambda what: complain(f"journal: {what}"))


@contextmanager
def _open_history(kept: SinkConfig, state_dir: Path, span: Span, complain: Callable[[str], None]) -> Iterator[Source]:
    from domstat.replay import Stored

    opener: Any = kept.sink
    with opener.history(kept.settings, state_dir) as history:
        if not isinstance(history, HasBatches):
            raise HistoryError(f'the history of the sink "{kept.name}" cannot give back what it has')
        yield Stored.of_history(history, span, lambda what: complain(f"{kept.name}: {what}"))


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

"""``domstat replay``: what was collected once, into a sink again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from domstat import jsonlines
from domstat.cli.common import (
    EXIT_TROUBLE,
    EXIT_USAGE,
    ConfigOption,
    SinceOption,
    UntilOption,
    fail,
    leave,
    load_config,
)
from domstat.cli.delivering import MESSAGE_MAX, Manner, Opener, Work, file_opener, wanted_span
from domstat.config import Config, SinkConfig
from domstat.history import HasBatches, HasHistory, HistoryError
from domstat.text import printable

if TYPE_CHECKING:
    from domstat.replay import Source, Span


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
    span = wanted_span(since, until, host)
    telemetry.configure("warning")
    with ExitStack() as stack:
        letters = _open_letters(stack, rejected)
        work = Work(chosen, loaded.state_dir, span, Manner("replayed", chosen.common.batch), letters)
        code = work.run(list(zip(sources, openers, strict=True)))
    leave(code)


def _choose_sink(config: Config, name: str) -> SinkConfig:
    found = next((sink for sink in config.sinks if sink.name == name), None)
    if found is None:
        there = ", ".join(sink.name for sink in config.sinks) or "none"
        fail(EXIT_USAGE, printable(f'--to: no sink "{name}" is configured (there are: {there})', MESSAGE_MAX))
    return found


def _open_letters(stack: ExitStack, path: Path | None) -> BinaryIO | None:
    try:
        return stack.enter_context(path.open("ab")) if path is not None else None
    except OSError as error:
        fail(EXIT_TROUBLE, printable(f"{path}: {error.strerror}", MESSAGE_MAX))


# Sources.


def _opener(source: str, config: Config, to: str) -> Opener:
    """Find out what *source* is, or exit saying why it is nothing."""
    word, _, name = source.partition(":")
    if source == "journal":
        return lambda span, complain: _open_journal(config, span, complain)
    if word == "history":
        kept = _choose_history(config, name, to)
        return lambda span, complain: _open_history(kept, config.state_dir, span, complain)
    return file_opener(source, jsonlines.decode)


def _choose_history(config: Config, name: str, to: str) -> SinkConfig:
    able = [sink for sink in config.sinks if isinstance(sink.sink, HasHistory) and sink.name != to]
    named = [sink for sink in able if name in {"", sink.name}]
    if len(named) == 1:
        return named[0]
    there = ", ".join(f"history:{sink.name}" for sink in able) or "none"
    what = f'no other sink "{name}" with a history' if name else f"{len(able)} other sinks with a history"
    fail(EXIT_USAGE, printable(f"{what} (there are: {there})", MESSAGE_MAX))


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

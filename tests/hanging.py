"""Steps that hang for as long as a test wants, and a sink made of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
from msgspec import Struct

from domstat import config
from domstat.model import Batch
from domstat.sink import SinkContext

PATIENCE_S = 60.0


class Step:
    """What a sink or a stream does, until a test says otherwise; may be told to hang."""

    def __init__(self) -> None:
        self.hangs = False
        self.is_at_it = threading.Event()
        self.let_go = threading.Event()

    def __call__(self) -> None:
        if self.hangs:
            self.is_at_it.set()
            self.let_go.wait(PATIENCE_S)


def held_before(held: Step, call: Callable[..., Any]) -> Callable[..., Any]:
    """Have a call wait for a step first."""

    def both(*given: Any) -> Any:
        held()
        return call(*given)

    return both


class NoSettings(Struct, frozen=True):
    """Nothing to set."""


class Sink:
    """A sink whose steps a test holds in its hands."""

    Settings: ClassVar[type[Struct]] = NoSettings
    opening: ClassVar[Step]
    writing: ClassVar[Step]
    error: ClassVar[Exception | None]

    def __init__(self, settings: NoSettings) -> None:
        self.settings = settings

    def open(self, context: SinkContext) -> None:
        type(self).opening()

    def write(self, batches: Sequence[Batch]) -> None:
        type(self).writing()
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        pass


@contextmanager
def using_sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have every sink be this one, with nothing that hangs, until the end."""
    monkeypatch.setattr(config, "load_sink", lambda _name: Sink)
    Sink.opening, Sink.writing, Sink.error = Step(), Step(), None
    yield
    Sink.opening.let_go.set()
    Sink.writing.let_go.set()

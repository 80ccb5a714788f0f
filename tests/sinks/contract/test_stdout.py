"""The stdout sink keeps the contract in both its forms for machines: JSON lines, and line protocol."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

import msgspec
import pytest
from msgspec.structs import replace

from domstat import jsonlines
from domstat.model import Kind
from domstat.sink import SinkContext
from domstat.testing import Keeps, SinkContract, Store, Stored, stored
from domstat_sinks.escape import escape_name
from domstat_sinks.stdout import StdoutSink
from lines import read

from .lineprotocol import piece

Reads = Callable[[bytes], Iterable[Stored]]


class Output:
    """A file that is standard output: put there at each opening, since pytest gives every phase of a test another."""

    def __init__(self, path: Path, stdout: TextIO, form: str, reads: Reads) -> None:
        class ToFile(StdoutSink):
            def open(self, context: SinkContext) -> None:
                with redirect_stdout(stdout):
                    super().open(context)

        self.sink = ToFile
        self.settings: dict[str, Any] = {"format": form}
        self._path = path
        self._reads = reads

    def read(self) -> Iterable[Stored]:
        return self._reads(self._path.read_bytes())


@contextmanager
def output(folder: Path, form: str, reads: Reads) -> Iterator[Output]:
    path = folder / "stdout"
    with io.TextIOWrapper(path.open("ab"), encoding="utf-8") as stdout:
        yield Output(path, stdout, form, reads)


def read_json(text: bytes) -> Iterator[Stored]:
    for line in text.splitlines():
        raw = msgspec.json.decode(line)
        known = raw["kind"] in set(Kind)  # a kind from the future reads as the host's would
        record = jsonlines.decode(line if known else msgspec.json.encode(raw | {"kind": "host"}))
        yield replace(stored(record), kind=raw["kind"])


def read_lines(text: bytes) -> Iterator[Stored]:
    yield from map(piece, read(text))


class TestJsonLines(SinkContract):
    keeps = Keeps(again=True, prints=True)

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        with output(tmp_path, "json", read_json) as store:
            yield store


class TestLineProtocol(SinkContract):
    keeps = Keeps(again=True, prints=True, text=escape_name)

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        with output(tmp_path, "influx", read_lines) as store:
            yield store

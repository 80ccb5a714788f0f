"""The process whose memory is measured: takes ticks from its standard input, with the sink or without.

It loads neither the generator nor numpy by itself: what the sink needs counts as the sink's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from domstat.garbage import spare_collections
from domstat.sink import Sink, SinkContext, load_sink
from domstat_bench.measure import pss_kib
from domstat_bench.workload_batches import Batches, Tick

LOOK_EVERY = 15
"""Ticks between two looks at the memory; finding out takes a millisecond or two."""


def frames() -> Iterator[bytes]:
    """Give what is sent, each with its length before it."""
    while size := sys.stdin.buffer.read(4):
        yield sys.stdin.buffer.read(int.from_bytes(size, "little"))


def main(how: str, folder: Path) -> None:
    """Take everything; print the greatest PSS in KiB."""
    sent = frames()
    batches = Batches(msgspec.msgpack.decode(next(sent), type=list[str]))
    decoder = msgspec.msgpack.Decoder(Tick)
    sink = _sink(folder) if how == "with" else None
    spare_collections()
    most = 0
    for count, frame in enumerate(sent):
        batch = batches.batch(decoder.decode(frame))
        if sink is not None:
            sink.write([batch])
        if count % LOOK_EVERY == 0:
            most = max(most, pss_kib(os.getpid()))
    most = max(most, pss_kib(os.getpid()))
    if sink is not None:
        sink.close()
    print(most)


def _sink(folder: Path) -> Sink:
    kind = load_sink("sqlite")
    sink = kind(kind.Settings())
    sink.open(SinkContext("history", folder, None, lambda _record, _reason: None))
    return sink


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

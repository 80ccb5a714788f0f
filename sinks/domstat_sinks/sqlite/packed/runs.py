"""The runs of a chunk, unpacked as they are asked for: each one series', or one that several share. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from domstat_sinks.sqlite.heads.row import Words
from domstat_sinks.sqlite.packed import codec
from domstat_sinks.sqlite.packed.codec import Steps
from domstat_sinks.sqlite.packed.differences import Indices


class Runs:
    """Gives the numbers of series."""

    def __init__(self, packed: Sequence[bytes], run_of: Words, counts: Words) -> None:
        """Of each series *run_of* is its run, from 1 on, 0 for none; *counts* are its values, one more than numbers."""
        self._packed = packed
        self._run_of = run_of.view(np.int64)
        self._sizes = counts.view(np.int64) - 1
        self._unpacked: dict[int, Steps] = {}
        """Runs that series share, by number: they are small, and whoever reads one series mostly reads all."""

    @cached_property
    def _sharers(self) -> list[int]:
        """By run, how many series have a part of it."""
        counted: list[int] = np.bincount(self._run_of, minlength=len(self._packed) + 1).tolist()
        return counted

    @cached_property
    def _places(self) -> Indices:
        """By series, where its numbers begin in the run it shares."""
        places = np.zeros(len(self._sizes), dtype=np.int64)
        for run in range(1, len(self._packed) + 1):
            members = np.flatnonzero(self._run_of == run)
            places[members] = np.cumsum(self._sizes[members]) - self._sizes[members]
        return places

    def numbers(self, series: int, count: int) -> Steps:
        """Return the *count* numbers of a series that has some. Raises DamagedError."""
        run = int(self._run_of[series])
        if self._sharers[run] == 1:
            return codec.unpack(self._packed[run - 1], count)
        place = int(self._places[series])
        return self.shared(run)[place : place + count]

    def shared(self, run: int) -> Steps:
        """Return all numbers of a run, those of one series after the other. Raises DamagedError."""
        if run not in self._unpacked:
            self._unpacked[run] = codec.unpack(self._packed[run - 1], int(self._sizes[self._run_of == run].sum()))
        return self._unpacked[run]

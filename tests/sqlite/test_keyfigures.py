"""Blobs of key figures add up, and say so when they are damaged."""

from __future__ import annotations

import numpy as np
import pytest

from domstat_sinks.sqlite.heads.row import DamagedError
from domstat_sinks.sqlite.rollups.keyfigures import BLOCK, Figures, encode, sketches_of, total
from domstat_sinks.sqlite.rollups.sketch import sketch
from domstat_sinks.sqlite.rollups.sketchblob import decode


def figures(seed: int) -> Figures:
    chance = np.random.default_rng(seed)
    return Figures(chance.random(BLOCK), chance.random(BLOCK), sketch(chance.random((20, BLOCK)))[0])


def test_blobs_add_up() -> None:
    one, other = figures(1), figures(2)
    found = total([encode(one), encode(other)])
    assert (found.gains == one.gains + other.gains).all()
    assert (found.covered_s == one.covered_s + other.covered_s).all()
    assert (found.sketches.counts == 40).all()
    assert (found.sketches.maxs == np.maximum(one.sketches.maxs, other.sketches.maxs)).all()


def test_sketches_come_out_alone() -> None:
    one = figures(3)
    assert (decode(sketches_of(encode(one))).sums == one.sketches.sums).all()


def test_a_flipped_byte_is_noticed() -> None:
    blob = bytearray(encode(figures(4)))
    blob[100] ^= 1
    for read in (sketches_of, lambda damaged: total([damaged])):
        with pytest.raises(DamagedError):
            read(bytes(blob))

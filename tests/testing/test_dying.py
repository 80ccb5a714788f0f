"""A process that dies while its sink writes, and what is said of one that does otherwise."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from domstat.testing.dying import Deadly, die, in_a_process_that_dies
from domstat.testing.records import ticks


def test_what_it_did_before_is_done_and_nothing_after_it(tmp_path: Path) -> None:
    def act() -> None:
        (tmp_path / "before").touch()
        die()

    in_a_process_that_dies(act)
    assert [path.name for path in tmp_path.iterdir()] == ["before"]


def test_it_ends_with_what_it_did() -> None:
    in_a_process_that_dies(lambda: None)


def test_an_error_is_told() -> None:
    def act() -> None:
        raise ValueError("no such thing")

    with pytest.raises(pytest.fail.Exception, match=r"raised ValueError\('no such thing'\)"):
        in_a_process_that_dies(act)


def test_a_signal_is_told() -> None:
    with pytest.raises(pytest.fail.Exception, match="ended by signal 9"):
        in_a_process_that_dies(lambda: os.kill(os.getpid(), signal.SIGKILL))


@pytest.mark.parametrize("safe", [0, 1, 3])
def test_batches_are_deadly_from_one_on(tmp_path: Path, safe: int) -> None:
    seen = tmp_path / "seen"
    seen.touch()

    def act() -> None:
        for _ in Deadly(ticks(3), safe):
            with seen.open("a") as file:
                file.write("x")
        raise AssertionError("it lives")

    if safe < 3:
        in_a_process_that_dies(act)
    else:
        with pytest.raises(pytest.fail.Exception, match="it lives"):
            in_a_process_that_dies(act)
    assert seen.read_text() == "x" * safe


def test_they_are_a_sequence_like_any_other_as_far_as_they_are_safe() -> None:
    batches = ticks(3)
    deadly = Deadly(batches, safe=3)
    assert (len(deadly), list(deadly), deadly[-1], deadly[1:]) == (3, batches, batches[2], batches[1:])
    assert Deadly(batches, safe=1)[:1] == batches[:1]

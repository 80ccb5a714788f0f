"""A host asked by tests: what they ask it, and what of its answers they look at."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from domstat.collect import wire
from domstat.collect.hypervisor import Hypervisor
from faked import STARTED_S

ASK = wire.Ask(63, 1, host=True)
SHORT_S = 0.1
"""A deadline that a worker which sleeps or hangs is past."""

LONG_S = 500.0
"""A deadline that is not waited for to its end."""

Make = Callable[..., Hypervisor]
GiveUp = Callable[[str], None]


def ask(hypervisor: Hypervisor, deadline_s: float = STARTED_S, question: wire.Ask = ASK) -> list[wire.Answer]:
    """Make one tick's call to its end; return the answers."""
    return [answer for answer, _ in hypervisor.ask(question, deadline_s)]


def names(answers: list[wire.Answer]) -> list[list[str]]:
    return [[guest.name for guest in answer.guests] for answer in answers]


def pid(answer: wire.Answer) -> object:
    """Return the pid of the worker that answered."""
    return answer.guests[0].values[1]


def asked(answer: wire.Answer) -> wire.Ask:
    """Return the question as it came to the worker that answered."""
    text = answer.guests[0].values[0]
    assert isinstance(text, str)
    return msgspec.json.decode(text, type=wire.Ask)


def in_a_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[BaseException]]:
    caught: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - for the test to look at
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, caught


def in_seconds(seconds: float) -> float:
    return time.monotonic() + seconds

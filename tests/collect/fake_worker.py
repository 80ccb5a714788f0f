"""A worker that behaves as it is told: its URI is a plan.

A plan names what each worker does, one after the other, separated by ``/``; the last part is for all that follow, and
DOMSTAT_FAKE_NUMBER says which one it is, from 0 (see :func:`faked.number_workers`). A worker's part is up to three
lists, separated by ``;``: what it does when asked (Ask, Survey, Examine), and after ``looks=`` and ``xml=`` what it
does when told to Look and to Describe. A list has a behaviour per question, separated by ``,``; the last one goes on
for ever. A behaviour is one step or several, joined by ``+``; a step is a word, with arguments after ``:``.
See :class:`Steps`.

``answer,sleep:0.4+answer;looks=busy:a=50/die`` answers at once, then always late, while looks see a guest "a" that is
occupied for 50 ms; the workers after this one die when asked.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

import msgspec

from domstat.collect import wire
from domstat.model import Stamp

Say = Callable[[bytes], None]

HANGS_S = 600
"""Longer than any test."""

UNREACHABLE = wire.Failure("cannot connect", 38, unreachable=True)
REFUSED = wire.Failure("unsupported", 84, unreachable=False)


def named(text: str) -> list[str]:
    return [name for name in text.split("&") if name]


def occupied(text: str) -> list[wire.Occupied]:
    """Read ``a=50&b=9000`` as guests occupied for so many milliseconds."""
    pairs = (name.split("=") for name in named(text))
    return [wire.Occupied(name, name, int(ms)) for name, ms in pairs]


class Steps:
    """The steps: each method is a word."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._parts = 0

    def run(self, behaviour: str, question: wire.Question, number: int) -> None:
        for step in behaviour.split("+"):
            word, _, arguments = step.partition(":")
            getattr(self, word.replace("-", "_"))(question, number, *(arguments.split(":") if arguments else ()))

    def _answer(self, question: wire.Question, number: int, *names: str, **about: object) -> None:
        """Answer with guests whose values are the question as it came and this worker's pid."""
        assert isinstance(question, wire.Ask)
        asked = msgspec.json.encode(question).decode()
        guests = [wire.Guest(name, name, 3, 1, [asked, os.getpid()]) for name in names]
        stamp = Stamp(time.time_ns() // 1_000_000, time.clock_gettime_ns(time.CLOCK_BOOTTIME), "boot", 1)
        about = {"shapes": {1: ("asked", "pid")}, "spared": question.spare} | about
        self._say(wire.frame(wire.Answer(stamp, guests, **about), number))  # type: ignore[arg-type]

    # What is right.

    def answer(self, question: wire.Question, number: int, names: str = "web-1") -> None:
        """Answer with these guests; those that the question watches are free again."""
        match question:
            case wire.Ask():
                self._answer(question, number, *named(names))
            case wire.Describe():
                items = [wire.Description(uuid, "<domain/>", None) for uuid in question.uuids]
                self._say(wire.frame(wire.Descriptions(items), number))
            case wire.Examine():
                self._say(wire.frame(wire.Examined("fake", "fake:///", "", "1.0.0", "9.0.0", 1, {}), number))
            case wire.Survey():
                self._say(wire.frame(wire.Surveyed(Stamp(0, 0, "boot", 0), [], []), number))
            case wire.Look():
                self.idle(question, number)

    def part(self, question: wire.Question, number: int, names: str) -> None:
        """Answer with these guests, and say that there is more."""
        self._answer(question, number, *named(names), more=True)

    def no_shapes(self, question: wire.Question, number: int) -> None:
        """Answer with the shape that was sent before."""
        self._answer(question, number, "web-1", shapes={})

    def still(self, question: wire.Question, number: int, ms: str = "9000") -> None:
        """Answer, and say that all guests which the question watches are still occupied."""
        assert isinstance(question, wire.Ask)
        self._answer(
            question, number, "web-1", occupied=[wire.Occupied(uuid, uuid, int(ms)) for uuid in question.watch]
        )

    def found(self, question: wire.Question, number: int, stuck: str, unasked: str = "0", gone: str = "") -> None:
        """Answer a question that asks guest by guest: these are stuck, of which *gone* have no record any more."""
        self._answer(question, number, "web-1", more=True)
        there = [name for name in named(stuck) if name not in named(gone)]
        self._answer(question, number, *there, spared=True, stuck=tuple(named(stuck)), unasked=int(unasked))

    def note(self, question: wire.Question, number: int) -> None:
        self._answer(question, number, "web-1", notes=["an odd driver"])

    def refuse(self, question: wire.Question, number: int) -> None:
        self._say(wire.frame(REFUSED, number))

    def unreachable(self, question: wire.Question, number: int) -> None:
        self._say(wire.frame(UNREACHABLE, number))

    def event(self, question: wire.Question, number: int, uuid: str) -> None:
        change = wire.Change("lifecycle", uuid, uuid, 3, (2, 0))
        self._say(wire.frame(wire.Happened([change], boot_id="boot")))

    def connected(self, question: wire.Question, number: int) -> None:
        self._say(wire.frame(wire.Happened([], missed=True)))

    # Looks.

    def idle(self, question: wire.Question, number: int) -> None:
        self._say(wire.frame(wire.Looked([], connected=True), number))

    def busy(self, question: wire.Question, number: int, guests: str) -> None:
        self._say(wire.frame(wire.Looked(occupied(guests), connected=True), number))

    def connecting(self, question: wire.Question, number: int) -> None:
        self._say(wire.frame(wire.Looked([], connected=False), number))

    def cannot_tell(self, question: wire.Question, number: int) -> None:
        self._say(wire.frame(wire.Looked([], connected=True, can_tell=False), number))

    # What is wrong.

    def sleep(self, question: wire.Question, number: int, seconds: str) -> None:
        time.sleep(float(seconds))

    def silence(self, question: wire.Question, number: int) -> None:
        """Do not answer at all."""

    def wait(self, question: wire.Question, number: int) -> None:
        """Go on when the test says so, by a file."""
        while not Path(os.environ["DOMSTAT_FAKE_GO"]).exists():
            time.sleep(0.005)

    def hang(self, question: wire.Question, number: int) -> None:
        time.sleep(HANGS_S)

    def hang_deaf(self, question: wire.Question, number: int) -> None:
        subprocess.run(["sleep", str(HANGS_S)], check=False)

    def die(self, question: wire.Question, number: int) -> None:
        os._exit(3)

    def complain(self, question: wire.Question, number: int) -> None:
        sys.stderr.write("libvirt: something is odd\n" + "x" * 5000 + "\n")
        sys.stderr.flush()

    def trickle(self, question: wire.Question, number: int) -> None:
        """Answer byte by byte."""
        for byte in wire.frame(REFUSED, number):
            self._say(bytes([byte]))
            time.sleep(0.1)

    def half(self, question: wire.Question, number: int) -> None:
        self._say(wire.frame(REFUSED, number)[:-3])
        os._exit(0)

    def rubbish(self, question: wire.Question, number: int) -> None:
        self._say(wire.HEADER.pack(9, number) + b"\xc1rubbish!")

    def rubbish_unasked(self, question: wire.Question, number: int) -> None:
        self._say(wire.HEADER.pack(9, wire.UNASKED) + b"\xc1rubbish!")

    def odd_unasked(self, question: wire.Question, number: int) -> None:
        """Say unasked what is no event."""
        self._say(wire.frame(REFUSED, wire.UNASKED))

    def not_utf8(self, question: wire.Question, number: int) -> None:
        self._say(wire.frame(wire.Failure("X", 1, unreachable=False), number).replace(b"X", b"\xff"))

    def huge(self, question: wire.Question, number: int) -> None:
        self._say(wire.HEADER.pack(2**32 - 1, number))

    def wrong(self, question: wire.Question, number: int) -> None:
        """Answer something else."""
        other: wire.Reply = wire.Looked([], connected=True) if isinstance(question, wire.Ask) else REFUSED
        if isinstance(question, wire.Describe | wire.Look | wire.Examine):
            other = wire.Answer(Stamp(0, 0, "boot", 0), [])
        self._say(wire.frame(other, number))

    def other_number(self, question: wire.Question, number: int) -> None:
        """Answer a question that nobody asked."""
        self._say(wire.frame(REFUSED, number + 1000))


class Lane:
    """Questions of one kind, answered one after the other by a thread of their own."""

    def __init__(self, behaviours: list[str], say: Say) -> None:
        self._behaviours = behaviours
        self._steps = Steps(say)
        self._questions: SimpleQueue[tuple[wire.Question, int]] = SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def put(self, question: wire.Question, number: int) -> None:
        self._questions.put((question, number))

    def _run(self) -> None:
        while True:
            question, number = self._questions.get()
            behaviour = self._behaviours.pop(0) if len(self._behaviours) > 1 else self._behaviours[0]
            self._steps.run(behaviour, question, number)


def read_plan(uri: str, worker: int) -> dict[str, list[str]]:
    """Return what this worker does in each of its lanes."""
    parts = uri.removeprefix("fake:///").split("/")
    mine = parts[min(worker, len(parts) - 1)].split(";")
    lists = [text if text.startswith(("looks=", "xml=")) else f"calls={text}" for text in mine]
    plan = {name: text.split(",") for name, _, text in (item.partition("=") for item in lists)}
    return {"calls": ["answer"], "looks": ["idle"], "xml": ["answer"]} | plan


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    channel = socket.socket(fileno=int(sys.argv[-1]))
    stream = channel.makefile("rb")
    saying = threading.Lock()

    def say(message: bytes) -> None:
        with saying:
            channel.sendall(message)

    def read() -> tuple[bytes, int]:
        head = stream.read(wire.HEADER.size)
        if not head:
            os._exit(0)
        length, number = wire.HEADER.unpack(head)
        return stream.read(length), number

    opened = wire.open_decoder.decode(read()[0])
    worker = int(os.environ["DOMSTAT_FAKE_NUMBER"])
    lanes = {name: Lane(behaviours, say) for name, behaviours in read_plan(opened.uri, worker).items()}
    while True:
        message, number = read()
        question = wire.question_decoder.decode(message)
        lane = "looks" if isinstance(question, wire.Look) else "xml" if isinstance(question, wire.Describe) else "calls"
        lanes[lane].put(question, number)


main()

"""A worker that misbehaves as it is told: the URI is a comma-separated list of what to do, one per question.

The last behaviour goes on for ever. ``once:WORD`` is WORD for the first worker only and "answer" for those after it;
the file named by DOMSTAT_FAKE_COUNT remembers how many there were.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from domstat.collect import wire
from domstat.model import Stamp


def receive(channel: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = channel.recv(count - len(data))
        if not more:
            os._exit(0)
        data += more
    return data


def message(channel: socket.socket) -> bytes:
    return receive(channel, wire.LENGTH.unpack(receive(channel, 4))[0])


def good(question: wire.Question) -> wire.Reply:
    if isinstance(question, wire.Describe):
        return wire.Descriptions([wire.Description(uuid, "<domain/>", None) for uuid in question.uuids])
    guest = wire.Guest("uuid", "web-1", 3, 1, [question.stats, os.getpid()])
    stamp = Stamp(time.time_ns() // 1_000_000, time.clock_gettime_ns(time.CLOCK_BOOTTIME), "boot", 1)
    return wire.Answer(stamp, [guest], {1: ("stats", "pid")}, [], missed=False, notes=[])


def behave(what: str, channel: socket.socket, question: wire.Question) -> None:  # noqa: C901, PLR0912 - a table
    match what:
        case "answer":
            channel.sendall(wire.frame(good(question)))
        case "hang":
            time.sleep(60)
        case "hang-deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            subprocess.run(["sleep", "60"], check=False)
        case "die":
            os._exit(3)
        case "complain":
            sys.stderr.write("libvirt: something is odd\n" + "x" * 5000 + "\n")
            sys.stderr.flush()
            channel.sendall(wire.frame(good(question)))
        case "late":
            time.sleep(0.4)
            channel.sendall(wire.frame(good(question)))
        case "trickle":
            for byte in wire.frame(good(question)):
                channel.sendall(bytes([byte]))
                time.sleep(0.1)
        case "half":
            channel.sendall(wire.frame(good(question))[:-3])
            os._exit(0)
        case "rubbish":
            channel.sendall(wire.LENGTH.pack(9) + b"\xc1rubbish!")
        case "not-utf8":
            channel.sendall(wire.frame(wire.Failure("X", 1, unreachable=False)).replace(b"X", b"\xff"))
        case "huge":
            channel.sendall(wire.LENGTH.pack(2**32 - 1))
        case "wrong":
            channel.sendall(wire.frame(wire.Descriptions([])))
        case "refuse":
            channel.sendall(wire.frame(wire.Failure("unsupported", 84, unreachable=False)))
        case "unreachable":
            channel.sendall(wire.frame(wire.Failure("cannot connect", 38, unreachable=True)))
        case "note":
            answer = good(question)
            assert isinstance(answer, wire.Answer)
            channel.sendall(wire.frame(wire.Answer(answer.stamp, [], {}, [], False, ["an odd driver"])))
        case _:
            raise ValueError(what)


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[-1]))
    plan = wire.open_decoder.decode(message(channel)).uri.split(",")
    count = Path(os.environ["DOMSTAT_FAKE_COUNT"])
    number = int(count.read_text() or 0) if count.exists() else 0
    count.write_text(str(number + 1))
    while True:
        question = wire.question_decoder.decode(message(channel))
        what = plan.pop(0) if len(plan) > 1 else plan[0]
        once, _, word = what.partition(":")
        if word:
            what = word if once == "once" and number == 0 else "answer"
        behave(what, channel, question)


main()

"""Running a program under strace, which kills it at a system call, or has the call fail."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Struct

TESTS = Path(__file__).parents[1]

CALLS = ("pwrite64", "fdatasync", "fsync", "ftruncate", "fallocate", "unlink", "unlinkat", "rename")
"""All by which a journal changes files."""

_CALL = re.compile(r"^\d+ +(\w+)\(", re.MULTILINE)

ENDS_S = 180.0


def need_strace() -> None:
    """Skip the test where there is no strace; ./dev installs it."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: run ./dev test")


class Ran(Struct, frozen=True):
    """What a program said, how many calls it made, and whether it was killed."""

    output: str
    calls: Counter[str]
    was_killed: bool


def traced(
    arguments: tuple[str, ...], calls: tuple[str, ...], inject: str | None = None, program: str = "writing"
) -> Ran:
    """Run :mod:`.writing`, or another *program* beside it, under strace, with what is to be done to its calls.

    *inject* is said of all *calls*, as strace has it: ``signal=SIGKILL:when=3``. Each call is counted by itself, and
    in each thread.
    """
    names = ",".join(calls)
    command = ["strace", "-f", "-qq", "-e", "signal=none", "-e", f"trace={names}", "-o", "/dev/stderr"]
    command += [] if inject is None else ["-e", f"inject={names}:{inject}"]
    command += [sys.executable, "-B", "-m", f"faults.{program}", *arguments]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=ENDS_S,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Ran(done.stdout, Counter(_CALL.findall(done.stderr)), done.returncode == -signal.SIGKILL)


def points(counts: Counter[str]) -> Iterator[tuple[str, int]]:
    """Give every call that was made, by name and number."""
    for call, count in sorted(counts.items()):
        yield from ((call, number) for number in range(1, count + 1))

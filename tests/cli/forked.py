"""``domstat`` as a process of its own, forked from one that has loaded everything: a new one takes 0.4 s to do that.

Whatever depends on the environment that a process starts in is started anew, and so is what a test needs while it runs.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
import tempfile
import traceback
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path

TIMEOUT_S = 180.0
"""For one command, on a busy machine."""

REQUEST_BYTES_MAX = 1 << 17

LOADED = (
    "domstat.cli",
    "domstat.replay",
    "domstat.service",
    "domstat_sinks.influxdb",
    "domstat_sinks.prometheus",
    "domstat_sinks.sqlite",
    "domstat_sinks.stdout",
)
"""What commands load, as a rule when they need it."""


class Forker:
    """The process that forks; it ends with this one, at the latest."""

    def __init__(self) -> None:
        self._channel, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.settimeout(TIMEOUT_S)
        with there:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(there.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(there.fileno(),),
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # no threads where it forks
            )

    def run(self, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        request = json.dumps({"arguments": arguments, "env": dict(os.environ), "folder": str(Path.cwd())}).encode()
        assert len(request) < REQUEST_BYTES_MAX
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, Path(os.devnull).open() as nothing:
            socket.send_fds(self._channel, [request], [nothing.fileno(), out.fileno(), err.fileno()])
            code = int(self._channel.recv(64))
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode())
        return subprocess.CompletedProcess(arguments, code, *texts)

    def end(self) -> None:
        """End it."""
        self._channel.close()
        self._process.wait()


@cache
def forker() -> Forker:
    """Return the one there is, made when it is first asked for."""
    made = Forker()
    atexit.register(made.end)
    return made


def serve(channel: socket.socket) -> None:
    """Fork for each request, with the descriptors that come along as standard input, output and error."""
    for name in LOADED:
        import_module(name)
    with suppress(ImportError):
        import_module("typer._adapters")  # which some versions load with the first argument, and pydantic with it
    while True:
        request, descriptors, _flags, _address = socket.recv_fds(channel, REQUEST_BYTES_MAX, 3)
        if not request:
            return
        child = os.fork()
        if child == 0:
            try:
                begin(json.loads(request), channel, descriptors)
                import_module("domstat.cli").main()  # which ends the process
            except BaseException:  # noqa: BLE001 - whatever it is, this process must not go on as the one that forks
                traceback.print_exc()
            os._exit(70)
        for descriptor in descriptors:
            os.close(descriptor)
        _, status = os.waitpid(child, 0)
        channel.send(str(os.waitstatus_to_exitcode(status)).encode())


def begin(asked: dict[str, object], channel: socket.socket, descriptors: list[int]) -> None:
    """Be the process that was asked for."""
    channel.close()
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    env, arguments = asked["env"], asked["arguments"]
    assert isinstance(env, dict)
    assert isinstance(arguments, list)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(str(asked["folder"]))
    sys.argv = ["domstat", *arguments]


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))

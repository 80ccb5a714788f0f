"""How many bytes a client sends: a relay in a process of its own, whose work is not the client's.

It passes on what comes to it, both ways, and counts what goes to the server: ``python -m domstat_bench.wire PORT``
prints the port that it listens at, and for every line that it reads how many bytes there were so far.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

LOOPBACK = "127.0.0.1"
_READ_BYTES = 1 << 18


class Wire:
    """The way to a server: *port* is what its clients are given instead of the server's own."""

    def __init__(self, port: int, ask: Callable[[], int]) -> None:
        self.port = port
        self.sent_bytes = ask
        """Returns how many bytes clients have sent so far."""


@contextlib.contextmanager
def wire_to(server_port: int) -> Iterator[Wire]:
    """Run a relay to a server on this machine."""
    command = ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-P", "-m", __name__, str(server_port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def ask() -> int:
            stdin.write("\n")
            return int(stdout.readline())

        try:
            yield Wire(int(stdout.readline()), ask)
        finally:
            stdin.close()


class _Relay:
    """Passes on whatever comes in, a thread for each direction of a connection."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._lock = threading.Lock()
        self.sent_bytes = 0

    def serve(self, listener: socket.socket) -> None:
        while True:
            client, _ = listener.accept()
            server = socket.create_connection((LOOPBACK, self._server_port))
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._pass_on, args=(client, server, 1), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(server, client, 0), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket, counts: int) -> None:
        try:
            while part := one.recv(_READ_BYTES):
                with self._lock:
                    self.sent_bytes += counts * len(part)
                other.sendall(part)
            other.shutdown(socket.SHUT_WR)
        except OSError:  # one of both has gone: so does the other
            for each in (one, other):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)


def main() -> None:
    """Relay until nobody wants to know any more."""
    relay = _Relay(int(sys.argv[1]))
    with socket.create_server((LOOPBACK, 0)) as listener:
        threading.Thread(target=relay.serve, args=(listener,), daemon=True).start()
        print(listener.getsockname()[1], flush=True)
        for _ in sys.stdin:
            print(relay.sent_bytes, flush=True)


if __name__ == "__main__":
    main()

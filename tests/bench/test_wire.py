"""What a client sends is counted, and comes to the server all the same."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from domstat_bench.wire import LOOPBACK, wire_to


@contextmanager
def shouting_server() -> Iterator[int]:
    """Answer every connection with twice what comes, and give the port."""
    with socket.create_server((LOOPBACK, 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    while heard := connection.recv(1 << 16):
                        connection.sendall(heard * 2)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def said_and_heard(port: int, words: bytes) -> bytes:
    with socket.create_connection((LOOPBACK, port)) as client:
        client.sendall(words)
        client.shutdown(socket.SHUT_WR)
        heard = b""
        while part := client.recv(1 << 16):
            heard += part
        return heard


def test_what_is_said_arrives_and_so_does_the_answer_and_only_what_is_said_counts() -> None:
    with shouting_server() as port, wire_to(port) as wire:
        assert wire.sent_bytes() == 0
        assert said_and_heard(wire.port, b"hello") == b"hellohello"
        assert wire.sent_bytes() == 5


def test_connections_count_together() -> None:
    with shouting_server() as port, wire_to(port) as wire:
        large = b"x" * (1 << 20)
        assert len(said_and_heard(wire.port, large)) == 2 << 20
        said_and_heard(wire.port, b"hello")
        assert wire.sent_bytes() == (1 << 20) + 5

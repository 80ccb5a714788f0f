"""How a hypervisor is reached: by libvirt's own choice, else by the other daemon; and who is at the other end."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import Any

import libvirt
import pytest

from domstat.collect.worker import connection as connecting
from domstat.collect.worker.connection import (
    KEEPALIVE_COUNT,
    KEEPALIVE_INTERVAL_S,
    is_local,
    keep_alive,
    open_connection,
)

NOT_THERE = (libvirt.VIR_ERR_SYSTEM_ERROR, errno.ENOENT)
REFUSED = (libvirt.VIR_ERR_SYSTEM_ERROR, errno.ECONNREFUSED)
NOT_ALLOWED = (libvirt.VIR_ERR_SYSTEM_ERROR, errno.EACCES)
BROKEN_PIPE = (libvirt.VIR_ERR_SYSTEM_ERROR, errno.EPIPE)
NO_DRIVER = (libvirt.VIR_ERR_NO_CONNECT, -1)


class FakeError(libvirt.libvirtError):  # type: ignore[misc]
    def __init__(self, code: int, int1: int = -1) -> None:
        Exception.__init__(self, f"error {code}/{int1}")
        self.err = (code, 7, "", 2, "", "", "", int1, -1)


class Client:
    """Stands for libvirt's client: answers one attempt after the other, and remembers them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: Any) -> None:
        self._answers = iter(answers)
        self.attempts: list[tuple[str, str]] = []
        monkeypatch.setattr(libvirt, "openReadOnly", lambda uri: self._answer("read", uri))
        monkeypatch.setattr(libvirt, "open", lambda uri: self._answer("write", uri))
        monkeypatch.setattr(connecting, "how_reached", lambda uri: f"socket of {uri}")

    def _answer(self, way: str, uri: str) -> Any:
        self.attempts.append((way, uri))
        answer = next(self._answers)
        if isinstance(answer, tuple):
            raise FakeError(*answer)
        return answer


# --- which attempts are made


def test_a_connection_is_read_only_unless_it_must_write(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(monkeypatch, "first", "second")
    assert open_connection("qemu:///system", False) == ("first", "")
    assert open_connection("qemu:///system", True) == ("second", "")
    assert client.attempts == [("read", "qemu:///system"), ("write", "qemu:///system")]


@pytest.mark.parametrize("first", [NOT_THERE, REFUSED])
@pytest.mark.parametrize("writable", [False, True])
def test_where_nobody_listens_the_other_daemon_is_tried(
    monkeypatch: pytest.MonkeyPatch, first: tuple[int, int], writable: bool
) -> None:
    client = Client(monkeypatch, first, first, "legacy")
    connection, note = open_connection("xen:///system", writable)
    way = "write" if writable else "read"
    assert client.attempts == [
        (way, uri) for uri in ("xen:///system", "xen:///system?mode=direct", "xen:///system?mode=legacy")
    ]
    assert connection == "legacy"
    assert note == f"reached by socket of xen:///system, since: error {first[0]}/{first[1]}"


def test_where_no_daemon_listens_libvirts_first_word_is_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    Client(monkeypatch, REFUSED, NOT_THERE, REFUSED)
    with pytest.raises(FakeError, match=f"/{errno.ECONNREFUSED}"):
        open_connection("qemu:///system", False)


@pytest.mark.parametrize("error", [NOT_ALLOWED, BROKEN_PIPE, NO_DRIVER])
def test_whoever_listens_and_refuses_has_the_last_word(monkeypatch: pytest.MonkeyPatch, error: tuple[int, int]) -> None:
    client = Client(monkeypatch, error, NOT_THERE, error)
    with pytest.raises(FakeError):
        open_connection("qemu:///system", False)
    assert len(client.attempts) == 1


def test_a_second_daemon_that_listens_and_refuses_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    Client(monkeypatch, REFUSED, NOT_ALLOWED, "never asked")
    with pytest.raises(FakeError, match=f"/{errno.EACCES}"):
        open_connection("qemu:///system", False)


@pytest.mark.parametrize(
    "uri",
    [
        "qemu:///session",
        "qemu:///system?mode=legacy",
        "qemu+unix:///system",
        "qemu+ssh://kvm7/system",
        "qemu://kvm7/system",
        "test:///default",
    ],
)
def test_a_uri_that_says_which_daemon_is_meant_is_taken_at_its_word(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    client = Client(monkeypatch, NOT_THERE)
    with pytest.raises(FakeError):
        open_connection(uri, False)
    assert client.attempts == [("read", uri)]


@pytest.mark.parametrize(
    ("uri", "local"),
    [
        ("qemu:///system", True),
        ("qemu+unix:///system?socket=/run/a//b", True),
        ("lxc:///", True),
        ("xen:", True),
        ("qemu:/system", True),
        ("qemu+ssh:///system", False),
        ("qemu+tcp:///system", False),
        ("qemu+ssh://root@kvm7:22/system", False),
        ("qemu://kvm7/system", False),
        ("qemu://kvm7", False),
        ("qemu://kvm7?socket=/x", False),
        ("test:///default", False),
        ("test+unix:///default", False),
    ],
)
def test_a_hypervisor_is_local_if_its_uri_names_no_host(uri: str, local: bool) -> None:
    assert is_local(uri) is local


# --- keeping alive


class Connection:
    def __init__(self, code: int | None = None) -> None:
        self._code = code
        self.asked: list[tuple[int, int]] = []

    def setKeepAlive(self, interval: int, count: int) -> int:  # noqa: N802 - libvirt's name
        self.asked.append((interval, count))
        if self._code is not None:
            raise FakeError(self._code)
        return 0


def test_a_hung_daemon_is_noticed_before_the_second_tick() -> None:
    connection = Connection()
    keep_alive(connection)
    assert connection.asked == [(3, 1)]
    assert KEEPALIVE_INTERVAL_S * (KEEPALIVE_COUNT + 1) <= 6


def test_a_driver_without_a_daemon_has_nothing_to_keep_alive() -> None:
    keep_alive(Connection(libvirt.VIR_ERR_NO_SUPPORT))
    keep_alive(libvirt.openReadOnly("test:///default"))


def test_a_connection_that_broke_meanwhile_is_said_to_be_broken() -> None:
    with pytest.raises(FakeError):
        keep_alive(Connection(libvirt.VIR_ERR_INTERNAL_ERROR))


# --- who is at the other end: each in a process of its own, whose sockets are all known


def run(script: str, *command: str) -> list[str]:
    """Run *script* in a new process; return the lines it prints."""
    done = subprocess.run(
        [*command, sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


PEOPLE = """
import os, socket, sys, tempfile, time
from domstat.collect.worker.connection import daemon_pid, how_reached, socket_of_daemon

def name_oneself(name):
    with open("/proc/self/comm", "w") as file:
        file.write(name)

def child(act):
    "Start a process that acts; return its pid when it has acted."
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        kept = act()
        os.write(done, b"x")
        time.sleep(300)
    os.read(ready, 1)
    return pid

def listen(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    return listener

def connect(path):
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    return client

folder = tempfile.mkdtemp()
path = folder + "/virtfood-sock-ro"
pair = socket.socketpair()
children = []
"""
TIDY = """
import shutil
for pid in children:
    os.kill(pid, 9)
    os.waitpid(pid, 0)
shutil.rmtree(folder)
"""


def test_a_process_without_a_connection_has_nobody_at_the_other_end() -> None:
    script = (
        "print(socket_of_daemon(), daemon_pid())\nprint(how_reached('test:///x'), how_reached('a+ssh://b/'), sep='|')"
    )
    assert run(PEOPLE + script + TIDY) == [
        "('', None) None",
        "inside the worker: this driver has no daemon|through ssh",
    ]


def test_a_daemon_is_found_by_its_socket() -> None:
    script = """
def serve():
    name_oneself("virtfood")
    return listen(path)

children.append(child(serve))
client = connect(path)
print(socket_of_daemon() == (path, children[0]), daemon_pid() == children[0])
print(how_reached("food:///system") == f"{path} (virtfood, pid {children[0]})")
"""
    assert run(PEOPLE + script + TIDY) == ["True True", "True"]


def test_a_daemon_that_was_woken_by_its_socket_is_found_by_its_name() -> None:
    script = """
listener = listen(path)
children.append(child(lambda: name_oneself("virtfood")))
client = connect(path)
print(daemon_pid() == children[0])
children.append(child(lambda: name_oneself("virtfood")))
print(socket_of_daemon() == (path, None))
"""
    assert run(PEOPLE + script + TIDY) == ["True", "True"]


def test_of_a_daemon_elsewhere_only_the_address_is_known() -> None:
    script = """
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
print(socket_of_daemon() == (f"127.0.0.1 port {client.getpeername()[1]}", None), daemon_pid())
print(how_reached("qemu+tls://127.0.0.1/system") == socket_of_daemon()[0])
"""
    assert run(PEOPLE + script + TIDY) == ["True None", "True"]


def test_sockets_that_lead_nowhere_are_passed_over() -> None:
    script = """
unconnected = socket.socket(socket.AF_UNIX)
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.connect(("127.0.0.1", 9))
listener = listen(path)
print(socket_of_daemon())
"""
    assert run(PEOPLE + script + TIDY) == ["('', None)"]


# --- with libvirt's own client, and sockets of ours where it looks for libvirt's

PRIVATE = """
import os, socket, subprocess, threading
subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
os.mkdir("/run/libvirt")
import libvirt
from domstat.collect.worker.connection import open_connection
libvirt.registerErrorHandler(lambda *_: None, None)
hits = []

def serve(name):
    "Take one connection on a socket, and close it."
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("/run/libvirt/" + name)
    listener.listen()

    def take():
        client = listener.accept()[0]
        hits.append(name)
        client.close()

    threading.Thread(target=take, daemon=True).start()

def leave_behind(name):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("/run/libvirt/" + name)
    listener.close()

def attempt(uri, writable=False):
    "Say who was connected to; nobody here speaks libvirt's protocol, so that it ends with an error."
    try:
        open_connection(uri, writable)
    except libvirt.libvirtError as error:
        print(*hits, os.strerror(error.get_int1()) if not hits else "closed")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a private /run")
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ('serve("libvirt-sock-ro"); attempt("qemu:///system")', "libvirt-sock-ro closed"),
        ('serve("virtqemud-sock-ro"); attempt("qemu:///system")', "virtqemud-sock-ro closed"),
        ('serve("virtxend-sock"); attempt("xen:///system", True)', "virtxend-sock closed"),
        (
            'leave_behind("libvirt-sock-ro"); serve("virtlxcd-sock-ro"); attempt("lxc:///system")',
            "virtlxcd-sock-ro closed",
        ),
        (
            'leave_behind("virtqemud-sock-ro"); serve("libvirt-sock-ro"); attempt("qemu:///system")',
            "libvirt-sock-ro closed",
        ),
        ('leave_behind("virtqemud-sock-ro"); attempt("qemu:///system")', "Connection refused"),
        ('serve("virtqemud-sock-ro"); attempt("xen:///system")', "No such file or directory"),
        (
            'leave_behind("virtqemud-sock-ro"); serve("libvirt-sock-ro"); attempt("qemu:///system?mode=direct")',
            "Connection refused",
        ),
    ],
)
def test_whichever_daemon_listens_is_reached(script: str, said: str) -> None:
    assert run(PRIVATE + script, "unshare", "--mount", "--propagation", "private") == [said]


def test_the_test_driver_is_reached_inside_this_process() -> None:
    connection, _ = open_connection("test:///default", False)
    assert connection.getType() == "TEST"
    connection.close()

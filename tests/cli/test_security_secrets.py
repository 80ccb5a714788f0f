"""Secrets of an agent that runs: they reach the servers that they are for, and show nowhere else on the way."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import socketserver
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cli.test_cli import COMMAND, PATIENCE_S, domstat, state
from domstat_bench.measure import descendants

INFLUX, REMOTE, BASIC, POSTGRES = "s3cret-influx", "s3cret-remote", "me:s3cret-basic", "s3cret-postgres"
CREDENTIAL = "s3cret-credential"
MARK = "s3cret"
"""Stands in all of them; of the one that is sent in base64, in that too, see below."""


@dataclass
class Servers:
    """What the servers heard, and where they are."""

    heard: list[str] = field(default_factory=list)
    http: int = 0
    postgres: int = 0


class Refusing(BaseHTTPRequestHandler):
    """Refuses whatever token it is shown, and quotes it, as some gateways do."""

    servers: Servers

    def do_POST(self) -> None:
        self.servers.heard.append(self.headers.get("Authorization", ""))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.dumps(
            {"code": "unauthorized", "message": f"unauthorized: {self.headers.get('Authorization')}"}
        ).encode()
        self.send_response(401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's word
        pass


class Postgres(socketserver.BaseRequestHandler):
    """Asks for the password in the clear, as PostgreSQL's protocol has it, and refuses it."""

    servers: Servers

    def handle(self) -> None:
        asked = self._message(has_type=False)
        if struct.unpack("!i", asked[:4])[0] in {80877103, 80877104}:  # whether it may be encrypted
            self.request.sendall(b"N")
            self._message(has_type=False)
        self.request.sendall(b"R" + struct.pack("!ii", 8, 3))
        self.servers.heard.append(self._message(has_type=True).rstrip(b"\0").decode())
        words = b'SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user "u"\0\0'
        self.request.sendall(b"E" + struct.pack("!i", len(words) + 4) + words)

    def _message(self, *, has_type: bool) -> bytes:
        if has_type:
            self.request.recv(1, socket.MSG_WAITALL)
        (length,) = struct.unpack("!i", self.request.recv(4, socket.MSG_WAITALL))
        return bytes(self.request.recv(length - 4, socket.MSG_WAITALL))


@contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server.socket.getsockname()[1]
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def servers() -> Iterator[Servers]:
    made = Servers()
    web = type("Web", (Refusing,), {"servers": made})
    base = type("Base", (Postgres,), {"servers": made})
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with (
        serving(ThreadingHTTPServer(("127.0.0.1", 0), web)) as made.http,
        serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), base)) as made.postgres,
    ):
        yield made


@pytest.fixture
def config(tmp_path: Path, servers: Servers) -> Path:
    """Every sink that has a secret, each with its own; in files, and one from systemd."""
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o700)
    for name, text in (
        ("influx", INFLUX),
        ("remote", REMOTE),
        ("basic", BASIC),
        ("pg", POSTGRES),
        ("cred", CREDENTIAL),
    ):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    web = f'url = "http://127.0.0.1:{servers.http}/api/v1/write"'
    influx = f'type = "influxdb"\nurl = "http://127.0.0.1:{servers.http}"\n'
    sinks = (
        f'{influx}token_file = "{folder}/influx"',
        f'{influx}name = "basic"\nauthorization = "basic"\ntoken_file = "{folder}/basic"',
        f'type = "remote_write"\n{web}\ntoken_file = "{folder}/remote"',
        f'type = "remote_write"\nname = "credential"\n{web}\ntoken_credential = "cred"',
        f'type = "postgres"\nhost = "127.0.0.1"\nport = {servers.postgres}\nuser = "u"\npassword_file = "{folder}/pg"',
        'type = "sqlite"',
    )
    text = state(tmp_path / "state").replace("[agent]\n", '[agent]\nlog_level = "debug"\n')
    path = tmp_path / "domstat.toml"
    path.write_text(text + "".join(f"[[sinks]]\n{sink}\n" for sink in sinks))
    return path


@pytest.fixture
def cores() -> Iterator[None]:
    """Let whatever is started from here leave its memory on the disk when it crashes."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    if before[1] == 0:
        pytest.skip("nothing can leave its memory here")
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


@pytest.fixture
def agent(config: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    env = {**os.environ, "CREDENTIALS_DIRECTORY": str(tmp_path / "secrets")}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*COMMAND, "run", "--config", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env
        )
    yield process
    if process.poll() is None:
        process.kill()
    process.wait()


def until(condition: Callable[[], object], agent: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert agent.poll() is None
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.05)


def test_a_secret_reaches_its_server_and_shows_nowhere_else(
    agent: subprocess.Popen[bytes], config: Path, servers: Servers, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    in_base64 = "bWU6czNjcmV0LWJhc2lj"
    sent = {f"Token {INFLUX}", f"Bearer {REMOTE}", f"Basic {in_base64}", f"Bearer {CREDENTIAL}", POSTGRES}
    until(lambda: sent <= set(servers.heard), agent)
    until(lambda: log.read_text().count('"event": "tick"') > 5, agent)
    shown: dict[str, str] = {}
    for pid in (agent.pid, *descendants(agent.pid)):
        shown |= {
            f"{what} of {pid}": Path(f"/proc/{pid}/{what}").read_bytes().decode() for what in ("cmdline", "environ")
        }
    env = {"CREDENTIALS_DIRECTORY": str(tmp_path / "secrets"), "COLUMNS": "400"}
    for command in (
        ("status", "--format", "json"),
        ("status", "--format", "table"),
        ("check",),
        ("doctor", "--format", "json"),
        ("doctor",),
        ("sinks", "list"),
    ):
        done = domstat(*command, "--config", str(config), env=env)
        shown[" ".join(command)] = done.stdout + done.stderr
    shown["config"] = domstat("config").stdout
    (tmp_path / "secrets" / "remote").chmod(0o640)  # and one that is refused after a reload
    config.write_text(config.read_text().replace('name = "credential"', 'name = "credential"\nlabels = { a = "b" }'))
    shown["reload"] = str(domstat("reload", "--config", str(config), env=env))
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(PATIENCE_S) == 0
    shown["log"] = log.read_text()
    shown |= {
        str(path): path.read_bytes().decode("latin-1") for path in (tmp_path / "state").rglob("*") if path.is_file()
    }
    assert any(path.endswith("journal.db") for path in shown)
    assert "unauthorized: ***" in shown["log"]
    assert "password authentication failed" in shown["log"]
    assert [where for where, text in shown.items() if MARK in text or in_base64 in text] == []


def test_nothing_that_the_agent_runs_leaves_its_memory_on_the_disk(
    cores: None, agent: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    until(lambda: '"event": "tick"' in (tmp_path / "log").read_text(), agent)
    workers = descendants(agent.pid)
    assert workers
    for pid in (agent.pid, *workers):
        (line,) = (
            line
            for line in Path(f"/proc/{pid}/limits").read_text().splitlines()
            if line.startswith("Max core file size")
        )
        assert line.split()[4] == "0"

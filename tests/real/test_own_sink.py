"""From ``domstat sinks new`` to real guests' records in one's own store: built, installed, found, run, taken away."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from domstat_lab.libvirtd import PrivateLibvirtd

from .conftest import NAUGHTY, PATIENCE_S, WRITER

ROOT = Path(__file__).parents[2]

INSTALL_S = 600.0
"""For pip, which may have to fetch all that domstat needs over a slow line, and to compile libvirt's binding."""

TICKS = 4


class Environment:
    """A virtual environment with nothing in it but what a user installs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)

    def command(self, name: str) -> str:
        return str(self.folder / "bin" / name)

    def run(self, *command: str | Path, seconds: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
        """Run a command of its own to the end, in a folder where there is nothing of this repository."""
        name, *arguments = command
        return subprocess.run(
            [self.command(str(name)), *arguments],
            capture_output=True, text=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL,
            cwd=self.folder, env=self._env,
        )  # fmt: skip

    def do(self, *command: str | Path, seconds: float = PATIENCE_S) -> str:
        """Run a command that must succeed; return what it said."""
        done = self.run(*command, seconds=seconds)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        name, *arguments = command
        return subprocess.Popen(
            [self.command(name), *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=self.folder, env=self._env,
        )  # fmt: skip


@pytest.fixture
def environment() -> Iterator[Environment]:
    with tempfile.TemporaryDirectory(prefix="domstat-own-") as folder:
        made = Environment(Path(folder) / "venv")
        made.do("pip", "install", "--quiet", f"domstat[testing] @ {ROOT.as_uri()}", seconds=INSTALL_S)
        yield made


def ticks_of(database: Path) -> int:
    """Count the ticks that the made sink has of the guests so far."""
    if not database.exists():
        return 0
    with closing(sqlite3.connect(database)) as connection:
        (count,) = connection.execute("SELECT count(DISTINCT time_ms) FROM records WHERE kind = 'guest'").fetchone()
    return int(count)


def test_a_sink_of_ones_own_from_its_making_to_its_removal(lab: PrivateLibvirtd, environment: Environment) -> None:
    where = environment.do("python", "-c", "import domstat; print(domstat.__file__)")
    assert where.startswith(str(environment.folder)), "it is the one that was built, not the repository's"
    folder = environment.folder / "own"
    environment.do("domstat", "sinks", "new", "own", "--directory", folder)
    environment.do("pip", "install", "--quiet", f"{folder}[test]", seconds=INSTALL_S)

    rows = [json.loads(line) for line in environment.do("domstat", "sinks", "list", "--format", "json").splitlines()]
    (own,) = (row for row in rows if row["sink"] == "own")
    assert (own["distribution"], own["version"], own["loads"]) == ("domstat-own", "0.1.0", True)
    assert own["from"] == folder.as_uri()
    assert not [row for row in rows if str(ROOT) in row["from"] and row["distribution"] != "domstat"]

    environment.do("pytest", "--quiet", "-p", "no:cacheprovider", folder)
    environment.do("domstat", "sinks", "test", "own")

    config = environment.folder / "domstat.toml"
    config.write_text(
        f'[agent]\nstate_dir = "{environment.folder}/state"\ninterval = "500ms"\n[[hosts]]\nuri = "{lab.uri_ro}"\n'
        'name = "lab"\nsurvey = { enabled = false }\n[[sinks]]\ntype = "own"\npath = "mine.db"\n'
    )
    assert "own: path = mine.db, timeout = 5s" in environment.do("domstat", "check", "--config", config)
    database = environment.folder / "state" / "mine.db"
    with environment.start("domstat", "run", "--config", str(config)) as agent:
        until = time.monotonic() + PATIENCE_S
        while ticks_of(database) < TICKS and agent.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        agent.send_signal(signal.SIGTERM)
        _, said = agent.communicate(timeout=PATIENCE_S)
    assert agent.returncode == 0, said.decode()
    assert ticks_of(database) >= TICKS, said.decode()
    with closing(sqlite3.connect(database)) as connection:
        records = [json.loads(text) for (text,) in connection.execute("SELECT record FROM records ORDER BY time_ms")]
    guests = {record["domain"]: record for record in records if record["kind"] == "guest"}
    assert guests.keys() >= {WRITER.name, NAUGHTY.name}
    assert guests[WRITER.name]["block.wr.bytes[vda]"] > 0
    assert guests[WRITER.name]["cpu.time.rate"] >= 0

    environment.do("pip", "uninstall", "--yes", "--quiet", "domstat-own")
    done = environment.run("domstat", "check", "--config", config)
    assert (done.returncode, done.stdout) == (2, "")
    assert f'domstat: {config}: sinks[0].type: no sink of type "own" is installed' in done.stderr

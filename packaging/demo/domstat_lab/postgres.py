"""A real PostgreSQL, started for a test on loopback.

The programs are Debian's, unpacked into .dev/servers by ./dev, or those that are installed. PostgreSQL finds whatever
else it needs beside its programs, wherever these are, and refuses to run as root: as root, it runs as ``nobody``, who
must have a way to the folder.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domstat_lab import processes
from domstat_lab.errors import LabError
from domstat_lab.servers import LOG_TAIL, START_TIMEOUT_S, UNPACKED, Server

if TYPE_CHECKING:
    from psycopg import Connection

INITDB_TIMEOUT_S = 120.0  # seconds to make an empty cluster: one on an idle machine
CONNECT_TIMEOUT_S = 10  # seconds a test's own connection may take
UNPRIVILEGED = "nobody"
SUPERUSER = "postgres"
DATABASE = "postgres"

CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
shared_buffers = 32MB
max_connections = 20
autovacuum_naptime = 10s
jit = off
"""
"""In little memory, and without the JIT, whose LLVM would be another hundred megabytes of Debian's packages."""


def home() -> Path:
    """Find the folder ``…/postgresql/VERSION`` that has ``bin``, the newest. Raises LabError if there is none."""
    for root in (UNPACKED / "usr", Path("/usr")):
        there = [path.parent for path in root.glob("lib/postgresql/*/bin") if (path / "postgres").is_file()]
        if there:
            return max(there, key=lambda path: int(path.name))
    raise LabError("PostgreSQL is not here: ./dev test unpacks it into .dev/servers")


def copied(folder: Path) -> Path:
    """Copy the programs and all that belongs to them below *folder*, to add extensions there; return their home."""
    there = home()
    share = there.parents[2] / "share" / "postgresql" / there.name
    copy = folder / "lib" / "postgresql" / there.name
    shutil.copytree(there / "bin", copy / "bin")
    shutil.copytree(there / "lib", copy / "lib", ignore=shutil.ignore_patterns("bitcode"))
    shutil.copytree(share, folder / "share" / "postgresql" / there.name, ignore=shutil.ignore_patterns("man"))
    return copy


def extensions(copy: Path) -> Path:
    """Return the folder of what ``CREATE EXTENSION`` may make, of a home that :func:`copied` made."""
    return copy.parents[2] / "share" / "postgresql" / copy.name / "extension"


class Postgres(Server):
    """A cluster with the superuser ``postgres``, who needs no password; others need one, by SCRAM."""

    name = "postgres"

    def __init__(self, folder: Path, *, where: Path | None = None, settings: Sequence[str] = ()) -> None:
        """Prepare; *where* are the programs (:func:`home`), *settings* are lines of postgresql.conf besides ours."""
        super().__init__(folder)
        self._where = where or home()
        self._settings = settings

    @property
    def data(self) -> Path:
        """Where the cluster is."""
        return self.folder / "data"

    def command(self) -> list[str]:
        """Run in the foreground."""
        return ["-D", str(self.data), "-p", str(self.port)]

    def start(self) -> None:
        """Start it, and return as soon as it lets somebody in; the first time it is made."""
        if self._process is not None:
            raise LabError("this postgres runs already")
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.data.exists():
            self._make()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *_as_somebody(),
                    "setpriv",
                    "--pdeathsig",
                    "INT",
                    "--",
                    str(self._program("postgres")),
                    *self.command(),
                ],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            processes.wait_until(self._is_ready, timeout_s=START_TIMEOUT_S, otherwise="postgres does not answer")
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Have it end all connections, write its data down and end."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it and all its children at once, as a power cut would."""
        if self._process is not None:
            os.kill(self.pid, signal.SIGSTOP)  # so that it neither starts nor tidies up after any
            for child in self.children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        self._end(signal.SIGKILL)

    def hang(self) -> None:
        """Have it and every process that serves a connection do nothing more, while connections stay open."""
        for pid in (self.pid, *self.children()):
            os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after :meth:`hang`."""
        for pid in (*self.children(), self.pid):
            os.kill(pid, signal.SIGCONT)

    def children(self) -> list[int]:
        """Return its processes: one for each connection, and those that write."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    @contextlib.contextmanager
    def connected(self, database: str = DATABASE, **also: Any) -> Iterator["Connection[Any]"]:
        """Connect as the superuser, each statement a transaction of its own."""
        import psycopg

        told = {"host": "127.0.0.1", "port": self.port, "user": SUPERUSER, "connect_timeout": CONNECT_TIMEOUT_S, **also}
        with psycopg.connect(dbname=database, autocommit=True, **told) as connection:
            yield connection

    def query(self, question: str, /, *values: Any, database: str = DATABASE) -> list[tuple[Any, ...]]:
        """Ask it something in SQL, as the superuser; return the rows, none for what gives none."""
        with self.connected(database) as connection:
            done = connection.execute(question, values or None)
            return done.fetchall() if done.description else []

    def _make(self) -> None:
        """Make the cluster, whose folder is its own."""
        if os.geteuid() == 0:
            shutil.chown(self.folder, UNPRIVILEGED)
        options = ["-U", SUPERUSER, "--locale=C.UTF-8", "--encoding=UTF8", "--auth=trust", "--no-sync"]
        initdb = [*_as_somebody(), str(self._program("initdb")), "-D", str(self.data), *options]
        processes.run(*initdb, timeout_s=INITDB_TIMEOUT_S, cwd=self.folder)
        with (self.data / "postgresql.conf").open("a") as file:
            file.write("\n".join([CONFIGURATION, *self._settings, ""]))
        (self.data / "pg_hba.conf").write_text(
            f"host all {SUPERUSER} 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        )

    def _program(self, name: str) -> Path:
        return self._where / "bin" / name

    def _is_ready(self) -> bool:
        import psycopg

        assert self._process is not None
        if self._process.poll() is not None:
            raise LabError(f"postgres ended while starting: {self.log[-LOG_TAIL:]}")
        with contextlib.suppress(psycopg.OperationalError):  # refused, or it starts, or recovers
            self.query("SELECT 1")
            return True
        return False


def _as_somebody() -> list[str]:
    """Begin a command so that it does not run as root, and finds the libraries that are unpacked beside it."""
    libraries = ":".join(str(path) for path in UNPACKED.glob("usr/lib/*-linux-gnu"))
    command = ["env", f"LD_LIBRARY_PATH={libraries}"]
    if os.geteuid() == 0:
        user = pwd.getpwnam(UNPRIVILEGED)
        command += ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]
    return command

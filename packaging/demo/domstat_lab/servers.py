"""Stores that sinks write to, started for a test on loopback: VictoriaMetrics, InfluxDB, Prometheus, vmagent.

The programs are Debian's, unpacked into .dev/servers by ./dev, or wherever PATH has them. Each is a context manager::

    with VictoriaMetrics(folder) as server:
        ...              # write to server.url, look at server.ask("/api/v1/export", **{"match[]": "{__name__!=''}"})
        server.stop()    # gently; kill() is SIGKILL
        server.start()   # again, on the same port, with the same data

Ports are free ones, chosen when the object is made. Whatever is started ends by its pid, and at the latest with the
thread that started it.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from domstat_lab import processes
from domstat_lab.errors import LabError

UNPACKED = Path(__file__).parents[3] / ".dev" / "servers"
START_TIMEOUT_S = 90.0  # seconds until a server answers: below one on an idle machine
END_TIMEOUT_S = 60.0  # seconds a server may take to write its data down before it is killed
ASK_TIMEOUT_S = 90.0  # seconds a question of a test's own may take
PORTS = range(12_000, 32_000)
"""Below those that Linux gives to outgoing connections: a client that asks for one of those again and again while
nobody listens is, sooner or later, connected to itself."""
PORT_TRIES = 100
LOG_TAIL = 2000  # characters of a server's log quoted in an error


def program(name: str) -> Path:
    """Find a server's program. Raises LabError if it is not there."""
    for folder in ("bin", "sbin"):
        if (UNPACKED / "usr" / folder / name).is_file():
            return UNPACKED / "usr" / folder / name
    if found := shutil.which(name):
        return Path(found)
    raise LabError(f"{name} is not here: ./dev test unpacks it into .dev/servers")


def free_port() -> int:
    """Choose a port of loopback nobody listens at."""
    for _ in range(PORT_TRIES):
        port = random.choice(PORTS)
        with socket.socket() as attempt:
            try:
                attempt.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise LabError(f"none of {PORT_TRIES} ports of loopback was free")


class Server:
    """One process that answers HTTP on loopback; its data and its log are below *folder*."""

    name = ""
    """The program's."""
    ready_path = "/health"
    """What answers 2xx as soon as the server serves."""

    def __init__(self, folder: Path, *, arguments: Sequence[str] = ()) -> None:
        """Prepare; nothing runs yet. *arguments* are added to the program's."""
        self.folder = folder.absolute()
        self.port = free_port()
        self._arguments = list(arguments)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process, 0 while there is none."""
        return self._process.pid if self._process is not None else 0

    @property
    def log(self) -> str:
        """What it has printed, over all its starts."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def command(self) -> list[str]:
        """Write the command that starts it, without the arguments given to the constructor."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and return as soon as it answers."""
        if self._process is not None:
            raise LabError(f"this {self.name} runs already")
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [str(program(self.name)), *self.command(), *self._arguments]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *command],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C in the terminal is the test's business
            )
        try:
            processes.wait_until(self._is_ready, timeout_s=START_TIMEOUT_S, otherwise=f"{self.name} does not answer")
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Have it write its data down and end; does nothing where it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, whatever it was doing."""
        self._end(signal.SIGKILL)

    def hang(self) -> None:
        """Have it do nothing more, connections stay open; :meth:`resume` goes on."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after :meth:`hang`."""
        os.kill(self.pid, signal.SIGCONT)

    def request(self, path: str, body: bytes | None = None, /, **query: str) -> bytes:
        """Ask it something and return the answer's body; with *body* it is a POST. Raises urllib.error.HTTPError."""
        url = f"{self.url}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        asked = urllib.request.Request(url, data=body)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(asked, timeout=ASK_TIMEOUT_S) as answer:
            return bytes(answer.read())

    def ask(self, path: str, /, **query: str) -> Any:
        """Ask it something that it answers in JSON; JSON lines are a list."""
        text = self.request(path, None, **query).decode()
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return [json.loads(line) for line in text.split("\n") if line]

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise LabError(f"{self.name} ended while starting: {self.log[-LOG_TAIL:]}")
        with contextlib.suppress(OSError):  # refused, or 503 while it starts
            self.request(self.ready_path)
            return True
        return False

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)  # one that hangs would not hear
        process.send_signal(number)
        try:
            process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class VictoriaMetrics(Server):
    """A single node, which takes InfluxDB's line protocol at /api/v2/write (and /write)."""

    name = "victoria-metrics"

    def command(self) -> list[str]:
        """Keep everything in the folder, and in little memory."""
        return [
            f"-httpListenAddr=127.0.0.1:{self.port}",
            f"-storageDataPath={self.folder / 'data'}",
            "-retentionPeriod=100y",
            "-memory.allowedBytes=128MB",
            "-search.latencyOffset=0s",
        ]

    def export(self, selector: str = "{__name__!=''}") -> list[dict[str, Any]]:
        """Return every sample as it is stored: ``{"metric": labels, "values": […], "timestamps": […]}`` per series."""
        self.request("/internal/force_flush")
        found = self.ask("/api/v1/export", **{"match[]": selector})
        return found if isinstance(found, list) else [found]


class InfluxDB:
    """InfluxDB 1.6 behind nginx, which gives it the /api/v2/write that 1.8 and later have.

    *url* is nginx's, *influxd* and *front* are the two servers, to stop one without the other.
    """

    def __init__(self, folder: Path, *, database: str = "domstat") -> None:
        """Prepare; *database* is created at the first start."""
        self.influxd = _Influxd(folder / "influxd")
        self.front = _Nginx(folder / "nginx", self.influxd)
        self.database = database
        """What is asked and written to; one that is made later is made by :meth:`query`."""

    @property
    def url(self) -> str:
        """What a client of InfluxDB 2 is given; questions of 1.x (/query) are answered there too."""
        return self.front.url

    @property
    def pid(self) -> int:
        """influxd's, 0 while it does not run."""
        return self.influxd.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start both, and have the database."""
        try:
            self.influxd.start()
            self.query(f'CREATE DATABASE "{self.database}"', change=True)
            self.front.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End both: a client's connection is refused."""
        self.front.stop()
        self.influxd.stop()

    def kill(self) -> None:
        """End both at once."""
        self.front.kill()
        self.influxd.kill()

    def query(self, text: str, *, change: bool = False) -> list[dict[str, Any]]:
        """Ask in InfluxQL; return the series of all statements, times in nanoseconds. *change*: it is no SELECT."""
        query = {"db": self.database, "q": text, "epoch": "ns"}
        answer = json.loads(self.influxd.request("/query", b"" if change else None, **query))
        series: list[dict[str, Any]] = []
        for result in answer["results"]:
            if "error" in result:
                raise LabError(f"{text}: {result['error']}")
            series += result.get("series", [])
        return series

    def points(self, measurement: str) -> list[dict[str, Any]]:
        """Return every point of a measurement: its ``time`` (ns), tags and fields by name; absent ones are None."""
        return [
            dict(zip(series["columns"], values, strict=True))
            for series in self.query(f'SELECT * FROM "{measurement}"')
            for values in series["values"]
        ]


class _Influxd(Server):
    name = "influxd"
    ready_path = "/ping"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._rpc_port = free_port()

    def command(self) -> list[str]:
        """Write the configuration, which is influxd's only way to be told where its data is."""
        # Its own monitoring would write into a database beside ours, and reporting speaks to its makers.
        settings: dict[str, dict[str, str | bool]] = {
            "": {"reporting-enabled": False, "bind-address": f"127.0.0.1:{self._rpc_port}"},
            "meta": {"dir": f"{self.folder / 'meta'}"},
            "data": {"dir": f"{self.folder / 'data'}", "wal-dir": f"{self.folder / 'wal'}", "query-log-enabled": False},
            "monitor": {"store-enabled": False},
            "http": {"bind-address": f"127.0.0.1:{self.port}", "log-enabled": False},
        }
        path = self.folder / "influxdb.conf"
        lines = []
        for section, entries in settings.items():
            lines += [f"[{section}]"] if section else []
            lines += [f"{key} = {json.dumps(value)}" for key, value in entries.items()]
        path.write_text("\n".join(lines) + "\n")
        return ["-config", str(path)]


NGINX_CONF = """\
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr warn;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_max_body_size 25m;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location = /ready {{ return 204; }}
        location = /api/v2/write {{
            rewrite ^ /write?db=$arg_bucket&precision=$arg_precision? break;
            proxy_pass {behind};
        }}
        location / {{ proxy_pass {behind}; }}
    }}
}}
"""


class _Nginx(Server):
    name = "nginx"
    ready_path = "/ready"

    def __init__(self, folder: Path, behind: Server) -> None:
        super().__init__(folder)
        self._behind = behind

    def command(self) -> list[str]:
        path = self.folder / "nginx.conf"
        path.write_text(NGINX_CONF.format(folder=self.folder, port=self.port, behind=self._behind.url))
        return ["-p", str(self.folder), "-c", str(path), "-e", "stderr"]


class Prometheus(Server):
    """A Prometheus that scrapes what its configuration says; *config* is the text of prometheus.yml."""

    name = "prometheus"
    ready_path = "/-/ready"

    def __init__(self, folder: Path, *, config: str = "", arguments: Sequence[str] = ()) -> None:
        """Prepare; an empty *config* scrapes nothing."""
        super().__init__(folder, arguments=arguments)
        self.config = config

    def command(self) -> list[str]:
        """Write the configuration and keep everything in the folder."""
        path = self.folder / "prometheus.yml"
        path.write_text(self.config or "scrape_configs: []\n")
        return [
            f"--config.file={path}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            "--storage.tsdb.retention.time=100y",
        ]

    def query(self, text: str) -> list[dict[str, Any]]:
        """Ask in PromQL, as of now; return the result's samples or series."""
        found: list[dict[str, Any]] = self.ask("/api/v1/query", query=text)["data"]["result"]
        return found


class Vmagent(Server):
    """vmagent, which takes line protocol like VictoriaMetrics does and writes on to *target*, a remote-write URL."""

    name = "vmagent"

    def __init__(self, folder: Path, target: str, *, arguments: Sequence[str] = ()) -> None:
        """Prepare to write on to *target*, such as ``f"{victoria.url}/api/v1/write"``."""
        super().__init__(folder, arguments=arguments)
        self._target = target

    def command(self) -> list[str]:
        """Keep its queue in the folder."""
        return [
            f"-httpListenAddr=127.0.0.1:{self.port}",
            f"-remoteWrite.url={self._target}",
            f"-remoteWrite.tmpDataPath={self.folder / 'queue'}",
            "-memory.allowedBytes=64MB",
        ]

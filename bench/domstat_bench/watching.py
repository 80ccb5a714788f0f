"""Collectors on one host, watched from where their samples arrive: which guest had a new one, and when."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from msgspec import Struct

from domstat_bench.peers import COLLECTD, FOLDER, Exporter, command_of, free_port, running
from domstat_lab.libvirtd import PrivateLibvirtd

ANSWER_MAX_S = 300.0
"""How long an answer of the exporter is waited for: longer than any Prometheus would, to see what comes of it."""

END_S = 15.0

_HIGH_RESOLUTION = 2**30
"""collectd's times are in units of 2^-30 s."""

_HOST, _TYPE, _TYPE_INSTANCE, _VALUES, _TIME = 0x0000, 0x0004, 0x0005, 0x0006, 0x0008
_CPU_LOAD = ("percent", "virt_cpu_total")
_PART = struct.Struct(">HH")
_DOMAIN = re.compile(rb'[{,]domain="([^"]*)"')

_DOMSTAT = """\
[agent]
state_dir = {state_dir}
interval = "{interval}s"
[[hosts]]
uri = {uri}
name = "bench"
[[sinks]]
type = "stdout"
format = "json"
"""


class Sample(Struct, frozen=True):
    """New values of one guest, of the moment *time_s* (Unix time); *marked*: said to be incomplete.

    *load* is the collector's own word for the guest's CPU load, in units of its own; None where it has none.
    """

    guest: str
    time_s: float
    values: int
    marked: bool = False
    load: float | None = None


class Answered(Struct, frozen=True):
    """One answer of the exporter: when it was asked for, how long it took, how many guests were in it, its status."""

    asked_s: float
    took_s: float
    guests: int
    status: int


class Watched:
    """A collector's process, the samples that have come, and what else is to be said of it in the end."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.samples: list[Sample] = []
        self.answers: list[Answered] = []


Watch: TypeAlias = Callable[[PrivateLibvirtd, int], contextlib.AbstractContextManager[Watched]]


@contextmanager
def collectd(lab: PrivateLibvirtd, interval_s: int) -> Iterator[Watched]:
    """Run collectd with its plugin virt, which sends what it has to a socket of ours."""
    with (
        tempfile.TemporaryDirectory(prefix="domstat-bench-", ignore_cleanup_errors=True) as folder,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(("127.0.0.1", 0))
        config = Path(folder) / "collectd.conf"
        port = receiver.getsockname()[1]
        config.write_text(COLLECTD.format(state=folder, peers=FOLDER, interval=interval_s, uri=lab.uri_ro, port=port))
        with running([command_of("usr/sbin/collectd"), "-f", "-C", str(config)]) as process:
            watched = Watched(process.pid)
            with _thread(lambda: _receive(receiver, watched), end=lambda: _wake(port)):
                yield watched


def samples_in(packet: bytes) -> list[Sample]:
    """Take a packet of collectd's network protocol apart: a sample for every value list, with its host and time."""
    samples: list[Sample] = []
    known: dict[int, bytes] = {}  # a part holds until another of its kind
    position = 0
    while position + _PART.size <= len(packet):
        kind, length = _PART.unpack_from(packet, position)
        if length < _PART.size:
            raise ValueError("a part shorter than its own head")
        known[kind] = packet[position + _PART.size : position + length]
        if kind == _VALUES:
            samples.append(_sample(known))
        position += length
    return samples


def _sample(parts: Mapping[int, bytes]) -> Sample:
    values = parts[_VALUES]
    (count,) = struct.unpack_from(">H", values)
    # Numbers come after the kinds of all of them, and a gauge is the one thing that is little endian.
    is_load = (_text(parts, _TYPE), _text(parts, _TYPE_INSTANCE)) == _CPU_LOAD
    load = struct.unpack_from("<d", values, 2 + count)[0] if is_load else None
    time_s = int.from_bytes(parts.get(_TIME, b""), "big") / _HIGH_RESOLUTION
    return Sample(_text(parts, _HOST), time_s, count, load=load)


def _text(parts: Mapping[int, bytes], kind: int) -> str:
    return parts.get(kind, b"").rstrip(b"\0").decode(errors="replace")


def _receive(receiver: socket.socket, watched: Watched) -> None:
    while packet := receiver.recv(65536):
        watched.samples += samples_in(packet)


def _wake(port: int) -> None:
    """End _receive with an empty packet, which collectd never sends."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"", ("127.0.0.1", port))


@contextmanager
def exporter(lab: PrivateLibvirtd, interval_s: int) -> Iterator[Watched]:
    """Run prometheus-libvirt-exporter, and ask it as Prometheus does.

    An answer later than the interval, which is Prometheus's longest patience, is no sample; it is noted all the same.
    """
    port = free_port()
    address = f"--web.listen-address=127.0.0.1:{port}"
    with running(
        [command_of("usr/bin/prometheus-libvirt-exporter"), address, f"--libvirt.uri={lab.uri_ro}"]
    ) as process:
        Exporter(port).wait()
        watched = Watched(process.pid)
        ended = threading.Event()
        url = f"http://127.0.0.1:{port}/metrics"
        with _thread(lambda: _scrape_regularly(url, interval_s, watched, ended), end=ended.set):
            yield watched


def _scrape_regularly(url: str, interval_s: int, watched: Watched, ended: threading.Event) -> None:
    """Ask every interval, whether or not there was an answer to the last."""
    while not ended.wait(interval_s):
        threading.Thread(target=_scrape, args=(url, interval_s, watched), daemon=True).start()


def _scrape(url: str, patience_s: float, watched: Watched) -> None:
    asked_s = time.time()
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_MAX_S) as answer:
            status, body = answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        status, body = refusal.code, b""
    except OSError:
        return  # it was ended meanwhile
    took_s = time.time() - asked_s
    values = Counter(match[1].decode() for match in map(_DOMAIN.search, body.splitlines()) if match)
    watched.answers.append(Answered(asked_s, took_s, len(values), status))
    if took_s <= patience_s:
        watched.samples += [Sample(guest, asked_s, count) for guest, count in values.items()]


@contextmanager
def domstat(lab: PrivateLibvirtd, interval_s: int) -> Iterator[Watched]:
    """Run ``domstat run`` with JSON lines as its only sink."""
    with tempfile.TemporaryDirectory(prefix="domstat-bench-", ignore_cleanup_errors=True) as folder:
        config = Path(folder) / "domstat.toml"
        # JSON's strings are TOML's too.
        config.write_text(
            _DOMSTAT.format(state_dir=json.dumps(folder), interval=interval_s, uri=json.dumps(lab.uri_ro))
        )
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", Path(sys.executable).with_name("domstat"), "run", "--config", config],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        watched = Watched(process.pid)
        with process, _thread(lambda: _read(process, watched), end=lambda: _end(process)):
            yield watched


def sample_of(line: str) -> Sample | None:
    """Read one of domstat's JSON lines; None where it is not about a guest."""
    record: dict[str, Any] = json.loads(line)
    if record["kind"] != "guest":
        return None
    time_s = _unix_time(record["time"])
    marked, load = record.get("partial") is not None, record.get("rates", {}).get("cpu.time")
    return Sample(record["domain"]["name"], time_s, len(record["params"]), marked, load)


def _unix_time(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def _read(process: subprocess.Popen[str], watched: Watched) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        sample = sample_of(line)
        if sample is not None:
            watched.samples.append(sample)


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()


@contextmanager
def _thread(run: Callable[[], None], end: Callable[[], None]) -> Iterator[None]:
    """Have something done beside for as long as the context lasts; *end* is what makes it end."""
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end()
        thread.join(END_S)

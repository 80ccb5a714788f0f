"""A collector's delivering, as a process: ``python -m domstat_bench.outage_writer HOW URL FOLDER FIRST``.

Ticks come every TICK_S, numbered from FIRST. Each is handed to what is compared, and its number printed as soon as
that has taken it over: ``domstat`` once it is committed to the journal, ``client`` (influxdb-client's batching) once
its write call has returned, ``vmagent`` once vmagent has answered.
"""

from __future__ import annotations

import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from domstat.model import Batch, Domain, Figures, Kind, Record, Stamp
from domstat_sinks.lineprotocol import Encoder

TICK_S = 0.05
"""A tick of 10 s, SCALE times faster."""

SCALE = 200
STEP_MS = 10_000
BEGIN_MS = 1_795_385_700_000
GUESTS = 20


def tick(number: int) -> Batch:
    """Make one tick of GUESTS guests, whose CPU time is the tick's number."""
    time_ms = BEGIN_MS + STEP_MS * number
    records = tuple(
        Record(
            kind=Kind.GUEST,
            host="kvm1",
            collect="default",
            time_ms=time_ms,
            domain=Domain(f"uuid-{guest}", f"web-{guest}", 3),
            figures=Figures({"cpu.time": number * 1_000_000, "state.state": 1}),
        )
        for guest in range(GUESTS)
    )
    return Batch(host="kvm1", collect="default", stamp=Stamp(time_ms, time_ms * 1_000_000, "boot", 0), records=records)


def say(number: int) -> None:
    """Say that a tick was taken over."""
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def domstat(url: str, folder: Path) -> Callable[[int], None]:
    """Deliver as the agent does."""
    from domstat.deliver import courier as couriers
    from domstat.deliver.bounds import Limits
    from domstat.deliver.courier import Courier, Outlet
    from domstat.deliver.spool import Spool
    from domstat_sinks.influxdb import InfluxdbSink
    from domstat_sinks.influxdb.settings import InfluxdbSettings

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(file=sys.stderr))
    log = structlog.get_logger()
    couriers.BACKOFF_BASE_S /= SCALE
    spool = Spool(folder / "journal.db", Limits(1 << 30, 1e6, 3600.0), log)
    spool.open()
    outlet = Outlet("store", lambda: InfluxdbSink(InfluxdbSettings(url=url)), oldest=True, backoff_max_s=TICK_S)
    Courier(outlet, spool, folder, log).start()
    spool.start()
    offered: list[int] = []

    def watch() -> None:
        while True:
            spool.wait(lambda: bool(offered) and spool.figures().committed >= first + len(said))
            say(offered[len(said)])
            said.append(offered[len(said)])

    said: list[int] = []
    first = spool.figures().committed + 1
    threading.Thread(target=watch, daemon=True).start()

    def offer(number: int) -> None:
        offered.append(number)
        spool.offer(tick(number))

    return offer


def client(url: str, _folder: Path) -> Callable[[int], None]:
    """Deliver by influxdb-client's batching, at its own settings, as many times faster as the ticks are."""
    from influxdb_client.client.influxdb_client import InfluxDBClient
    from influxdb_client.client.write_api import WriteOptions

    options = WriteOptions(
        batch_size=1000,
        flush_interval=1000 // SCALE,
        retry_interval=5000 // SCALE,
        max_retry_delay=125_000 // SCALE,
        max_retry_time=180_000 // SCALE,
        jitter_interval=0,
        max_retries=5,
    )
    write = InfluxDBClient(url=url, token="-", org="-").write_api(write_options=options).write
    encoder = Encoder()

    def offer(number: int) -> None:
        write(bucket="domstat", record=encoder.encode(tick(number).records).text)
        say(number)

    return offer


def vmagent(url: str, _folder: Path) -> Callable[[int], None]:
    """Deliver through a vmagent at *url*; a tick that it does not take is tried until it does."""
    encoder = Encoder()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def offer(number: int) -> None:
        text = encoder.encode(tick(number).records).text
        until = time.monotonic() + TICK_S
        while time.monotonic() < until:
            with suppress(OSError):
                opener.open(f"{url}/api/v2/write", data=text, timeout=1).close()
                say(number)
                return
            time.sleep(TICK_S / 10)

    return offer


HOW = {"domstat": domstat, "client": client, "vmagent": vmagent}


def main() -> None:
    """Offer a tick every TICK_S until standard input ends."""
    how, url, folder, first = sys.argv[1:]
    offer = HOW[how](url, Path(folder))
    ended = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    number, begin = int(first), time.monotonic()
    while not ended.wait(max(0.0, begin + (number - int(first)) * TICK_S - time.monotonic())):
        offer(number)
        number += 1


if __name__ == "__main__":
    main()

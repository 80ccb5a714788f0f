"""``domstat once``: two calls, some time apart, and what they say, on the screen."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from domstat.cli.common import EXIT_TROUBLE, EXIT_USAGE, fail, leave
from domstat.text import is_terminal, printable


class Format(StrEnum):
    """How the records are shown."""

    TABLE = "table"
    JSON = "json"
    INFLUX = "influx"


FIRST_DEADLINE_S = 15.0
"""Somebody is waiting: a large host may take its time, a hung one must not keep them for ever."""


def once(
    uri: Annotated[str, typer.Option(help="libvirt's connection URI; opened read-only.")] = "qemu:///system",
    interval: Annotated[str, typer.Option(help="Time between the two calls.")] = "2s",
    format: Annotated[  # noqa: A002 - the option's name
        Format | None, typer.Option(help="Default: table on a terminal, JSON lines in a pipe.")
    ] = None,
) -> None:
    """Collect twice, INTERVAL apart, and show the second tick: with rates, without configuration or history."""
    from domstat.settings import Duration

    try:
        pause = Duration.parse(interval)
    except ValueError as error:
        fail(EXIT_USAGE, f'--interval: found "{interval}", expected {error}')
    shown = format or (Format.TABLE if is_terminal(sys.stdout) else Format.JSON)
    _show(_collect_twice(uri, pause), shown)
    leave(0)


def _collect_twice(uri: str, pause: float) -> Any:
    from msgspec.structs import replace

    from domstat import telemetry
    from domstat.collect.errors import CollectError
    from domstat.collect.hypervisor import Hypervisor
    from domstat.collect.inventory import Inventory
    from domstat.collect.stream import Stream
    from domstat.config import ConfigError, parse
    from domstat.uri import redacted
    from domstat.watching import make_block

    telemetry.configure("warning")
    log = _Aside(telemetry.get_logger())
    try:
        config = parse(f"hosts = [{{ uri = {_toml_text(uri)} }}]\nsinks = []")
    except UnicodeEncodeError:  # a byte that is no UTF-8 comes as a lone surrogate
        fail(EXIT_USAGE, f'--uri: found "{printable(redacted(uri))}", expected a URI such as "qemu:///system"')
    except ConfigError as error:
        fail(EXIT_USAGE, *(f"--uri: {problem.text}" for problem in error.problems))
    host = config.hosts[0]
    inventory = Inventory()  # `once` is for looking: it has no configuration, and so no rules for labels
    hypervisor = Hypervisor(
        host.name, uri, log, on_happened=lambda happened: inventory.note(happened.changes, missed=happened.missed)
    )
    # Details travel with both ticks: only the second is shown, and it must stand alone.
    stream = Stream(hypervisor, inventory, make_block(host.blocks[0], host, with_host=True), log, details_every_ns=0)
    try:
        first = next(batch.stamp for batch in list(stream.collect(FIRST_DEADLINE_S)))
        since_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - first.boot_ns  # of the call, not of the worker's start
        time.sleep(max(0.0, pause - since_ns / 1e9))
        batches = list(stream.collect(FIRST_DEADLINE_S))
        return replace(batches[0], records=tuple(record for batch in batches for record in batch.records))
    except CollectError as error:
        fail(EXIT_TROUBLE, f"{printable(redacted(uri))}: {redacted(str(error))}")
    except KeyboardInterrupt:
        leave(130)
    finally:
        hypervisor.close()


class _Aside:
    """A log for what goes on beside the command's own message: that the host is lost is in that."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def bind(self, **facts: Any) -> _Aside:
        """Bind facts to what is said from here on."""
        return _Aside(self._log.bind(**facts))

    def error(self, event: str, **facts: Any) -> None:
        """Say something that somebody must act on."""
        if event != "host_lost":
            self._log.error(event, **facts)


def _toml_text(text: str) -> str:
    import msgspec

    return msgspec.json.encode(text).decode()  # a JSON string is a TOML string


def _show(batch: Any, shown: Format) -> None:
    from domstat.sink import Finished, SinkContext, SinkError, load_sink

    sink_class = load_sink("stdout")
    sink = sink_class(sink_class.Settings(format=str(shown)))
    try:
        sink.open(SinkContext("stdout", Path(), None, lambda _record, _reason: None))
        sink.write([batch])
    except Finished:
        pass  # whoever read our output has seen enough
    except SinkError as error:
        fail(EXIT_TROUBLE, str(error))
    finally:
        sink.close()

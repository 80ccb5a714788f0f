"""Where the time goes: functions of domstat timed from within its own processes, for ``--profile``.

Each stage is charged with the CPU time of its thread less that of the stages inside it. What the clock itself costs,
measured beforehand, is taken off again; what no stage has is "the rest".
"""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

CALIBRATION_CALLS = 20_000


class _Stack(threading.local):
    def __init__(self) -> None:
        self.frames: list[list[int]] = []


class Stages:
    """The CPU time of each stage, in this process."""

    def __init__(self) -> None:
        self._stack = _Stack()
        self._own_ns: dict[str, int] = {}
        self._calls: dict[str, int] = {}
        self._inner: dict[str, int] = {}
        self._inside_ns, self._outside_ns = self._calibrate()
        self.reset()

    def reset(self) -> None:
        """Forget what was measured."""
        for counts in (self._own_ns, self._calls, self._inner):
            for name in counts:
                counts[name] = 0
        self._began_ns = time.process_time_ns()

    def wrap(self, holder: Any, attribute: str, name: str) -> None:
        """Have the function *attribute* of a module or class timed as the stage *name*."""
        function = holder.__dict__[attribute] if isinstance(holder, type) else getattr(holder, attribute)
        static = isinstance(function, staticmethod)
        timed = self.timed(function.__func__ if static else function, name)
        setattr(holder, attribute, staticmethod(timed) if static else timed)

    def timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """Return *function*, timed."""
        self._own_ns[name] = self._calls[name] = self._inner[name] = 0

        def timed(*args: Any, **kwargs: Any) -> Any:
            self._enter()
            try:
                return function(*args, **kwargs)
            finally:
                self._leave(name)

        return timed

    def watch_garbage_collector(self) -> None:
        """Time Python's cyclic garbage collector as a stage."""
        self._own_ns["garbage collector"] = self._calls["garbage collector"] = self._inner["garbage collector"] = 0

        def on_event(phase: str, _info: dict[str, int]) -> None:
            if phase == "start":
                self._enter()
            else:
                self._leave("garbage collector")

        gc.callbacks.append(on_event)

    def save(self, file: Path, ticks: int) -> None:
        """Write nanoseconds per tick and stage, and the process's own."""
        own = {
            name: max(0, ns - self._calls[name] * self._inside_ns - self._inner[name] * self._outside_ns) / ticks
            for name, ns in self._own_ns.items()
        }
        clock = sum(self._calls.values()) * (self._inside_ns + self._outside_ns) / ticks
        process = (time.process_time_ns() - self._began_ns) / ticks
        file.write_text(json.dumps({"ticks": ticks, "process": process, "clock": clock, "stages": own}))

    def _enter(self) -> None:
        self._stack.frames.append([time.thread_time_ns(), 0, 0])

    def _leave(self, name: str) -> None:
        now = time.thread_time_ns()
        frames = self._stack.frames
        began, inner_ns, inner_calls = frames.pop()
        self._own_ns[name] += now - began - inner_ns
        self._calls[name] += 1
        self._inner[name] += inner_calls
        if frames:
            frames[-1][1] += now - began
            frames[-1][2] += 1

    def _calibrate(self) -> tuple[float, float]:
        """Measure what timing a call costs: as seen by the stage itself, and by the stage around it."""
        nothing = self.timed(lambda: None, "calibration")
        began = time.thread_time_ns()
        for _ in range(CALIBRATION_CALLS):
            nothing()
        whole = (time.thread_time_ns() - began) / CALIBRATION_CALLS
        inside = self._own_ns.pop("calibration") / CALIBRATION_CALLS
        del self._calls["calibration"], self._inner["calibration"]
        return inside, whole - inside


AGENT = (
    ("domstat.line:Line.run", "tick: schedule's job, offering"),
    ("domstat.line:Line._note_tick", "log"),
    ("domstat.collect.process:WorkerProcess._read_message", "read the answer"),
    ("domstat.collect.process:Mailbox.get", "wait for the answer"),
    ("domstat.collect.wire:reply_decoder.decode", "decode the answer"),
    ("domstat.collect.stream:Stream._settle", "recognize: nothing but values has changed"),
    ("domstat.collect.stream:Stream._describe", "look for what is to be described"),
    ("domstat.collect.stream:Stream.assemble", "assemble: moments, batch"),
    ("domstat.collect.stream:Stream._record", "record: partial, details, making it"),
    ("domstat.collect.stream:Stream._recognize", "recognize: make a plan"),
    ("domstat.collect.subject:Subject.record", "records of host and agent"),
    ("domstat.collect.chronicle:Chronicle.see", "look for what no event told"),
    ("domstat.collect.naming:Plan.params", "name params"),
    ("domstat.collect.sample:rates_between", "rates"),
    ("domstat.collect.sample:derive", "derive"),
    ("domstat.deliver.parcels:pack", "journal: pack"),
    ("domstat.deliver.journal:Journal.append", "journal: insert, commit"),
    ("domstat.jsonlines:encode", "JSON"),
    ("domstat_sinks.lineprotocol:Encoder.encode_each", "line protocol"),
    ("domstat_sinks.influxdb.client:Client.send", "influxdb: request"),
    ("domstat_sinks.sqlite.sink:SqliteSink.write", "sqlite: transaction, commit"),
    ("domstat_sinks.sqlite.writer:Writer._insert", "sqlite: row, entries, insert"),
    ("domstat_sinks.sqlite.writer:Writer._pack", "sqlite: pack values"),
    ("domstat_sinks.sqlite.writer:Writer._layout", "sqlite: layout"),
    ("domstat_sinks.sqlite.heads.row:encode", "sqlite: difference, planes, deflate"),
)
"""What is timed in the agent's parent process, as ``module:function``; a stage excludes those inside it."""

WORKER = (
    ("domstat.collect.worker.calls:BulkCalls._taken", "(the bare call)"),
    ("domstat.collect.worker.calls:BulkCalls._answer", "answer: uuid, name, id, records"),
    ("domstat.collect.worker.calls:BulkCalls._short", "look for guests that came short"),
    ("domstat.collect.worker.shapes:Shapes.number", "shapes and values"),
    ("domstat.collect.worker.listening:Listener.drain", "wait for events"),
    ("domstat.collect.worker.host:Host.sample", "sample the host"),
    ("domstat.collect.wire:frame", "encode the answer"),
)
"""What is timed in the worker process."""


class _Method:
    """Stands in for an object of which one method is wanted, where the object itself cannot be changed."""

    def __init__(self, name: str, method: Callable[..., Any]) -> None:
        setattr(self, name, method)


def find(function: str) -> tuple[Any, str]:
    """Return the module or class that holds *function* (``module:function``), and its name in there."""
    module_name, _, path = function.partition(":")
    module = import_module(module_name)
    *outer, name = path.split(".")
    if not outer:
        return module, name
    holder = getattr(module, outer[0])
    return (holder if isinstance(holder, type) else _Method(name, getattr(holder, name))), name


def install(stages: Stages, timed: Sequence[tuple[str, str]]) -> None:
    """Time these functions, and Python's garbage collector."""
    for function, name in timed:
        holder, attribute = find(function)
        stages.wrap(holder, attribute, name)
        if isinstance(holder, _Method):
            module_name, _, path = function.partition(":")
            setattr(import_module(module_name), path.partition(".")[0], holder)
    stages.watch_garbage_collector()

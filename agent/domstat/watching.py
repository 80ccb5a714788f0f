"""The hosts that are watched: what each comes to, and how they become what is configured anew.

A host that is configured otherwise is made anew from what of the old may stay. With the same URI, labels and guests
chosen that is its worker and what is known of its guests; with the same block, its stream and line. Ticks never wait
for any of it: the schedule's job is handed from one line to the next, so that a tick which is due goes to the one or
to the other, and what the old stream knew for its rates is taken over by the new one's first tick.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from domstat.collect import wire
from domstat.collect.block import Block
from domstat.collect.chronicle import Chronicle
from domstat.collect.errors import CollectError
from domstat.collect.hypervisor import Hypervisor
from domstat.collect.inventory import Inventory
from domstat.collect.labels import LabelRules
from domstat.collect.stream import Stream
from domstat.collect.survey import Survey
from domstat.hosts import CollectSettings, GlobSettings, HostConfig
from domstat.line import Line
from domstat.model import Batch
from domstat.schedule import Schedule
from domstat.settings import Duration

SURVEY_DEADLINE_S = 60.0
"""A survey that takes longer hangs, on a dead NFS server as a rule; its process is killed."""

PREPARE_S = 2.0
"""How long a new connection may take before ticks are given to it all the same: then the first of them waits for it."""

RETIRE_S = 5.0
"""How long a tick that runs as its host goes, or is reached otherwise, may take before its worker is killed."""

RETIRE_LOOK_S = 0.1
"""How often it is looked whether it has come back; and how long a tick may take to begin that was due just before."""

Streams: TypeAlias = dict[tuple[str, str], Stream]


class Means(Struct, frozen=True):
    """What hosts are watched with: a logger, the command of a worker, and who takes batches."""

    log: Any
    worker_command: tuple[str, ...]
    offer: Callable[[Batch], None]


def make_block(block: CollectSettings, host: HostConfig, *, with_host: bool = False) -> Block:
    """Make what a stream asks for out of the settings of its block and host."""
    settings = host.settings
    return Block(
        block.name,
        block.groups,
        _globs(settings.domains),
        _globs(settings.fields),
        probe=block.probe,
        internals=block.internals,
        backing=block.backing,
        host=with_host,
    )


def _globs(settings: GlobSettings) -> wire.Globs:
    return wire.Globs(settings.include, settings.exclude)


class _Link:
    """One host's worker, and what is known of its guests and heard from them."""

    def __init__(self, host: HostConfig, means: Means) -> None:
        settings = host.settings
        self.rules = LabelRules(settings.labels)
        self.inventory = Inventory(self.rules)
        self.chronicle = Chronicle(host.name, self.inventory, _globs(settings.domains), self._tell)
        self.hypervisor = Hypervisor(host.name, settings.uri, means.log, means.worker_command, self.chronicle.hear)
        self.is_current = False
        """Whether it is this one's to tell of events: while one takes the place of another, both hear them."""
        self._offer = means.offer

    def _tell(self, batch: Batch) -> None:
        if self.is_current:
            self._offer(batch)

    def show(self, batch: Batch) -> None:
        """Take a batch of the stream that has all guests."""
        self._offer(batch)
        self.chronicle.see(batch)

    def prepare(self) -> None:
        """Connect, so that the first tick finds a worker that is ready."""
        with suppress(CollectError):
            self.hypervisor.converse(wire.Describe(()), wire.Descriptions, time.monotonic() + PREPARE_S)


class Watched:
    """One host: its worker, its streams and its survey, with a line for each."""

    def __init__(self, host: HostConfig, means: Means, before: Watched | None = None) -> None:
        """*before* is the host as it was; what of it may stay is taken over, and still that one's until :meth:`begin`.

        Nothing is started: a worker is with its first question.
        """
        self.config = host
        self.lines: dict[str, Line] = {}
        self.is_reached_anew = before is None or _reach(before.config) != _reach(host)
        self._means = means
        self._before = before
        self.link: _Link = _Link(host, means) if before is None or self.is_reached_anew else before.link
        self.streams: dict[str, Stream] = {}
        self.survey: Survey | None = None
        self._times: dict[str, tuple[float, float]] = {}
        """Of lines, by name, the interval and the deadline, in seconds."""
        for position, block in enumerate(host.blocks):
            self._add_block(block, is_first=position == 0)
        if host.settings.survey.enabled:
            self._add_survey()

    @property
    def new_streams(self) -> Streams:
        """The streams that have none before them to go on from."""
        before = self._before.streams if self._before is not None else {}
        return {(self.config.name, name): stream for name, stream in self.streams.items() if name not in before}

    def _add_block(self, block: CollectSettings, *, is_first: bool) -> None:
        host, before = self.config, self._before
        wanted = make_block(block, host, with_host=is_first)
        old = before.streams.get(block.name) if before is not None else None
        names, times = (host.name, block.name), (float(block.interval or 0), host.deadline_s(block))
        if before is not None and old is not None and old.block == wanted and not self.is_reached_anew:
            self.streams[block.name] = old
            self._add_line(before.lines["/".join(names)], times)
            return
        tally = None if old is None else old.tally
        stream = Stream(self.link.hypervisor, self.link.inventory, wanted, self._means.log, tally=tally)
        if old is not None:
            stream.succeed(old)
        self.streams[block.name] = stream
        offer = self.link.show if is_first else self._means.offer
        self._add_line(Line(names, stream, *times, offer, self._means.log), times)

    def _add_survey(self) -> None:
        host, before, settings = self.config, self._before, self.config.settings
        names, times = (host.name, "survey"), (float(settings.survey.interval), SURVEY_DEADLINE_S)
        if before is not None and before.survey is not None and _surveyed(before.config) == _surveyed(host):
            self.survey = before.survey
            self._add_line(before.lines["/".join(names)], times)
            return
        self.survey = Survey(
            host.name,
            settings.uri,
            self._means.log,
            self._means.worker_command,
            refresh=settings.survey.refresh,
            domains=_globs(settings.domains),
            fields=_globs(settings.fields),
            rules=self.link.rules,
        )
        line = Line(names, self.survey, *times, self._means.offer, self._means.log, is_watched=False)
        self._add_line(line, times)

    def _add_line(self, line: Line, times: tuple[float, float]) -> None:
        self.lines[line.name] = line
        self._times[line.name] = times

    def prepare(self) -> None:
        """Connect, if it is a new connection."""
        if self.is_reached_anew:
            self.link.prepare()

    def begin(self) -> None:
        """Take the place of the host as it was, but for the ticks."""
        if self._before is not None and self._before.link is not self.link:
            self._before.link.is_current = False
        self.link.is_current = True
        for name, line in self.lines.items():
            line.retime(*self._times[name])
        self._before = None

    def retire(self, after: Watched | None) -> None:
        """Let the ticks that run come to their end, and then close what *after* has not taken over."""
        kept = set(map(id, after.lines.values())) if after is not None else set()
        left = [line for line in self.lines.values() if id(line) not in kept]
        for line in left:
            line.is_retired = True
        until = time.monotonic() + RETIRE_S
        time.sleep(RETIRE_LOOK_S)
        while any(line.busy_since is not None for line in left) and time.monotonic() < until:
            time.sleep(RETIRE_LOOK_S)
        for close in self.closing(after):
            close()

    def closing(self, after: Watched | None = None) -> Iterator[Callable[[], None]]:
        """Give what ends the workers, but for those that *after* has taken over."""
        if after is None or after.link is not self.link:
            yield self.link.hypervisor.close
        if self.survey is not None and (after is None or after.survey is not self.survey):
            yield self.survey.close


def _reach(host: HostConfig) -> object:
    """Return what a worker, and what is heard from it, depend on."""
    settings = host.settings
    return settings.uri, settings.labels, settings.domains


def _surveyed(host: HostConfig) -> object:
    """Return what a survey depends on, but for how often it is made."""
    return _reach(host), host.settings.fields, replace(host.settings.survey, interval=Duration(0))


class Hosts:
    """All hosts, and their lines."""

    def __init__(self, hosts: Iterable[HostConfig], means: Means) -> None:
        self.lines: dict[str, Line] = {}
        """By name; changed while it is read: who goes through it takes a copy."""
        self._means = means
        self._retiring: list[Watched] = []
        """Hosts on their way out, until their workers have ended."""
        self._watched = {host.name: Watched(host, means) for host in hosts}
        for watched in self._watched.values():
            self._note_lines(watched)

    @property
    def new_streams(self) -> Streams:
        """The streams that have not begun yet."""
        return {key: stream for watched in self._watched.values() for key, stream in watched.new_streams.items()}

    def start(self, schedule: Schedule) -> None:
        """Have ticks run."""
        for watched in self._watched.values():
            self._begin(watched, schedule)

    def change(
        self, hosts: Iterable[HostConfig], schedule: Schedule, on_new: Callable[[Streams, list[Line]], None]
    ) -> None:
        """Watch these hosts from now on; those that did not change are not touched.

        *on_new* is told of the streams that have none before them, and of their lines, before these begin.
        """
        wanted = {host.name: host for host in hosts}
        before = self._watched
        others = {name: host for name, host in wanted.items() if name not in before or before[name].config != host}
        made = {name: Watched(host, self._means, before.get(name)) for name, host in others.items()}
        gone = [before[name] for name in before if name not in wanted]
        self._retiring += [*gone, *(before[name] for name in made if name in before)]
        self._watched = {name: made[name] if name in made else before[name] for name in wanted}
        for watched in gone:
            self._drop(watched.lines, schedule)
            self._retire(watched, None)
        _prepare(list(made.values()))
        for name, watched in made.items():
            streams = watched.new_streams
            if streams:
                on_new(streams, [watched.lines["/".join(key)] for key in streams])
            self._replace(before.get(name), watched, schedule)

    def _replace(self, before: Watched | None, watched: Watched, schedule: Schedule) -> None:
        if before is not None:
            self._drop(before.lines.keys() - watched.lines.keys(), schedule)
        self._note_lines(watched)
        self._begin(watched, schedule)
        if before is not None:
            self._retire(before, watched)

    def _drop(self, names: Iterable[str], schedule: Schedule) -> None:
        for name in names:
            schedule.remove(name)
            del self.lines[name]

    def _begin(self, watched: Watched, schedule: Schedule) -> None:
        watched.begin()
        for line in watched.lines.values():
            schedule.add(line.name, line.interval_s, line.run)

    def _note_lines(self, watched: Watched) -> None:
        for line in watched.lines.values():
            self.lines[line.name] = line

    def _retire(self, watched: Watched, after: Watched | None) -> None:
        """Have a host end in its own time, which nobody waits for."""

        def retire() -> None:
            watched.retire(after)
            self._retiring.remove(watched)

        threading.Thread(target=retire, name=f"retire {watched.config.name}", daemon=True).start()

    def closing(self) -> list[Callable[[], None]]:
        """Return what ends the workers of all that are watched, and of those that are on their way out."""
        every = [*self._watched.values(), *self._retiring]
        return [partial(_close_all, list(watched.closing())) for watched in every]


def _close_all(closing: list[Callable[[], None]]) -> None:
    for close in closing:
        close()


def _prepare(made: list[Watched]) -> None:
    """Have all of them connect, at once: one that hangs takes no time from the others."""
    threads = [threading.Thread(target=watched.prepare, daemon=True) for watched in made if watched.is_reached_anew]
    for thread in threads:
        thread.start()
    until = time.monotonic() + PREPARE_S
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))

"""One guest hangs: what becomes of the others, with domstat and with other collectors.

Each collector has a libvirtd with the same guests for itself. One guest's QEMU is stopped for a while and goes on;
what counts is for how long the healthy guests had no new sample, and whether everything is well again afterwards.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from itertools import pairwise
from pathlib import Path
from statistics import median

from msgspec import Struct

from domstat_bench import lab, watching
from domstat_bench.agent_run import BenchError
from domstat_bench.report import Table, jsonable
from domstat_bench.watching import Answered, Sample, Watch, Watched
from domstat_lab import guests, image
from domstat_lab.hang import hung
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.processes import is_running
from domstat_lab.spec import GuestSpec

COLLECTORS: dict[str, Watch] = {
    "domstat": watching.domstat,
    "collectd": watching.collectd,
    "exporter": watching.exporter,
}

BUSY = GuestSpec("busy", workloads=("burner",))
"""The one guest of them with a load, which is steady; it comes first in order and is never the one that hangs."""

INTERVAL_S = 5
"""Between two samples: all can do it, and libvirt's own wait of 30 s for a stuck guest is several of it."""

GUESTS = 10

BEFORE_INTERVALS = 4
"""To learn what is usual; the first is the collector's start."""

AFTER_S = 60
"""Watched after the guest goes on: a call that waits for a stuck guest does so for 30 s, and may have just begun."""

LOOK_S = 0.5
"""Between two looks whether the collector is there still."""

ONE_MOMENT = 0.25
"""Share of the interval within which a guest's values are one sample, though each may have a time of its own."""


class Figures(Struct, frozen=True):
    """What became of the guests. Times are in seconds, None where it did not happen while it was watched."""

    peer: str
    interval_s: int
    guests: int
    hung_s: float
    none_healthy_s: float
    """The longest time in which no healthy guest had a new sample; with nothing amiss it is the interval."""
    worst_healthy_s: float
    """The longest time in which some healthy guest had none."""
    healthy_samples_lost: int
    short_unmarked: int
    """Samples with fewer values than usual that do not say so, of any guest, since the guest hung."""
    doubled: int
    """Moments at which a guest had the values of two samples: a rate between them is over no time at all."""
    load_factor_max: float | None
    """The highest CPU load that was claimed of a healthy guest since the hang, times what was claimed of it before,
    its load being the same all the time. None of a collector that claims no rates.
    """
    whole_after_s: float | None
    """From the guest's going on until every guest had a whole sample again."""
    late_answers: int
    """Answers, of those asked for, that took longer than the interval: nobody waits for them."""
    late_answer_max_s: float
    late_answers_short: int
    """Of those, how many lacked healthy guests and were said to be good, with status 200."""
    threads: tuple[int, int]
    """The collector's threads, before and in the end."""
    descriptors: tuple[int, int]
    """Its open files, before and in the end."""


class Span(Struct, frozen=True):
    """When the guest hung, when it went on, and when watching ended: Unix times in seconds."""

    hangs: float
    goes_on: float
    ends: float


class Seen(Struct, frozen=True):
    """What was seen of a collector; *handles* are its threads and its open files, before and in the end."""

    samples: list[Sample]
    answers: list[Answered]
    span: Span
    handles: tuple[tuple[int, int], tuple[int, int]]


def run(peer: str, hung_s: float, count: int = GUESTS, interval_s: int = INTERVAL_S) -> Figures:
    """Let one guest hang under one collector."""
    made = image.ensure()
    with lab.running(count - 1) as private:
        guests.start(private, [BUSY], made)
        guests.wait_booted(private, [BUSY])
        names = sorted(private.qemu_pids())
        with COLLECTORS[peer](private, interval_s) as watched:
            seen = _let_hang(private, watched, names[-1], hung_s, interval_s)
    return judge(peer, seen, names, interval_s)


def _let_hang(private: PrivateLibvirtd, watched: Watched, victim: str, hung_s: float, interval_s: int) -> Seen:
    _watch(watched, interval_s * BEFORE_INTERVALS)
    before = _handles(watched.pid)
    hangs = time.time()
    with hung(private, [victim]):
        _watch(watched, hung_s)
    goes_on = time.time()
    _watch(watched, AFTER_S)
    span = Span(hangs, goes_on, time.time())
    return Seen(list(watched.samples), list(watched.answers), span, (before, _handles(watched.pid)))


def judge(peer: str, seen: Seen, names: Sequence[str], interval_s: int) -> Figures:
    """Make figures of what was seen; the last of *names* is the guest that hung."""
    healthy, span = names[:-1], seen.span
    series = moments(seen.samples, interval_s)
    late = [answer for answer in seen.answers if answer.took_s > interval_s]
    (threads_before, files_before), (threads_after, files_after) = seen.handles
    return Figures(
        peer=peer,
        interval_s=interval_s,
        guests=len(names),
        hung_s=round(span.goes_on - span.hangs, 1),
        none_healthy_s=round(none_healthy_s(series, healthy, span), 1),
        worst_healthy_s=round(max(max(gaps(series[name], span)) for name in healthy), 1),
        healthy_samples_lost=sum(lost(series[name], span, interval_s) for name in healthy),
        short_unmarked=sum(len(short_unmarked(series[name], span, interval_s)) for name in names),
        doubled=sum(len(doubled(series[name], span)) for name in names),
        load_factor_max=load_factor_max(series[BUSY.name], span),
        whole_after_s=whole_after_s(series, names, span),
        late_answers=len(late),
        late_answer_max_s=round(max((answer.took_s for answer in late), default=0.0), 1),
        late_answers_short=sum(answer.guests < len(healthy) and answer.status == HTTPStatus.OK for answer in late),
        threads=(threads_before, threads_after),
        descriptors=(files_before, files_after),
    )


def _watch(watched: Watched, seconds: float) -> None:
    until = time.time() + seconds
    while (left := until - time.time()) > 0:
        time.sleep(min(LOOK_S, left))
        if not is_running(watched.pid):
            raise BenchError("the collector ended by itself")


def _handles(pid: int) -> tuple[int, int]:
    """Count a process's threads and open files."""
    process = Path(f"/proc/{pid}")
    return len(list((process / "task").iterdir())), len(list((process / "fd").iterdir()))


def moments(samples: Iterable[Sample], interval_s: float) -> dict[str, list[Sample]]:
    """Make one sample of what a guest has at one moment, and put each guest's in order."""
    series: dict[str, list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: sample.time_s):
        of_guest = series[sample.guest]
        if of_guest and sample.time_s - of_guest[-1].time_s < interval_s * ONE_MOMENT:
            last = of_guest[-1]
            of_guest[-1] = Sample(
                last.guest,
                sample.time_s,
                last.values + sample.values,
                last.marked or sample.marked,
                last.load if sample.load is None else sample.load,
            )
        else:
            of_guest.append(sample)
    return series


def gaps(series: Sequence[Sample], span: Span) -> list[float]:
    """Give the times between one sample and the next, from the one before the hang to the end of watching."""
    times = [sample.time_s for sample in series]
    before = max((time for time in times if time <= span.hangs), default=span.hangs)
    between = [before, *(time for time in times if span.hangs < time <= span.ends), span.ends]
    return [later - earlier for earlier, later in pairwise(between)]


def none_healthy_s(series: Mapping[str, Sequence[Sample]], healthy: Iterable[str], span: Span) -> float:
    """Return the longest time without a sample of any of the healthy guests."""
    of_any = sorted((sample for name in healthy for sample in series[name]), key=lambda sample: sample.time_s)
    return max(gaps(of_any, span))


def lost(series: Sequence[Sample], span: Span, interval_s: float) -> int:
    """Count the samples that a guest should have had and had not."""
    return sum(max(0, round(gap / interval_s) - 1) for gap in gaps(series, span))


def usual_values(series: Sequence[Sample], span: Span) -> float:
    """Return how many values a guest's sample had before the hang."""
    return median([sample.values for sample in series if sample.time_s <= span.hangs] or [0])


def short_unmarked(series: Sequence[Sample], span: Span, interval_s: float) -> list[Sample]:
    """Find samples since the hang that lack values and do not say so; of the last the rest may be on its way."""
    usual = usual_values(series, span)
    since = [sample for sample in series if span.hangs < sample.time_s < span.ends - interval_s]
    return [sample for sample in since if sample.values < usual and not sample.marked]


def doubled(series: Sequence[Sample], span: Span) -> list[Sample]:
    """Find moments since the hang with far more values than a sample has."""
    usual = usual_values(series, span)
    return [sample for sample in series if sample.time_s > span.hangs and sample.values > 1.5 * usual]


def load_factor_max(series: Sequence[Sample], span: Span) -> float | None:
    """Return the highest load claimed since the hang, as a multiple of the usual one; None if none is claimed."""
    before = [sample.load for sample in series if sample.load is not None and sample.time_s <= span.hangs]
    since = [sample.load for sample in series if sample.load is not None and sample.time_s > span.hangs]
    return round(max(since) / median(before), 1) if before and since else None


def whole_after_s(series: Mapping[str, Sequence[Sample]], names: Iterable[str], span: Span) -> float | None:
    """Return how long after the hang every guest has had a sample with everything in it; None if not yet."""
    firsts = []
    for name in names:
        usual = usual_values(series[name], span)
        whole = [
            sample.time_s
            for sample in series[name]
            if sample.time_s >= span.goes_on and sample.values >= usual and not sample.marked
        ]
        if not whole:
            return None
        firsts.append(whole[0])
    return round(max(firsts) - span.goes_on, 1)


def table(measured: Sequence[Figures]) -> Table:
    """Show all collectors side by side."""
    first = measured[0]
    rows = [
        [
            item.peer,
            f"{item.none_healthy_s:.1f}",
            f"{item.worst_healthy_s:.1f}",
            str(item.healthy_samples_lost),
            str(item.short_unmarked),
            str(item.doubled),
            "-" if item.load_factor_max is None else f"{item.load_factor_max:.1f}",
            "never" if item.whole_after_s is None else f"{item.whole_after_s:.1f}",
            f"{item.late_answers} ({item.late_answers_short})",
            f"{item.late_answer_max_s:.1f}",
            f"{item.threads[1] - item.threads[0]:+}",
            f"{item.descriptors[1] - item.descriptors[0]:+}",
        ]
        for item in measured
    ]
    columns = [
        "seconds", "no healthy guest", "worst of them", "samples lost", "short unmarked", "doubled", "load",
        "whole after", "late answers (short)", "latest", "threads", "files",
    ]  # fmt: skip
    notes = [
        f"{first.guests} guests, a sample every {first.interval_s} s.",
        "No healthy guest: the longest time without a new sample of any of those that did not hang; worst of them: of",
        "the one that fared worst. Samples lost: of all healthy guests together. Short unmarked: samples that lack",
        "values and do not say so. Doubled: two samples of a guest at one moment. Load: the highest claimed of a guest",
        "whose load is steady, times what it is. Whole after: since the guest went on, until all had whole samples.",
        "Late answers: later than the interval, when nobody waits for them; (short): without all the healthy guests.",
    ]
    return Table(f"One guest hangs for {first.hung_s:.0f} s", columns, rows, notes)


def json_line(item: Figures) -> str:
    """Write the figures of one collector as a line of JSON."""
    return json.dumps(jsonable(item))

"""The history's figures beside what is to be reached, as tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from domstat_bench.report import Table, figures, verdict
from domstat_bench.store import Figures, Peer, quantile_of
from domstat_bench.store_demo import Recorded
from domstat_bench.store_queries import COLD, HOUR_MS, QUESTIONS, Question, difference
from domstat_bench.workload_drive import DAY_HOURS

RATIOS = {
    "victoria": 0.75, "victoria-ms": 0.45, "prometheus": 0.40, "prometheus-ms": 0.40, "influxdb": 0.35,
    "influxdb-ms": 0.35,
}  # fmt: skip
"""Our sealed bytes a sample over theirs, at the most."""
SEALED_BYTES, FILE_BYTES = 0.70, 0.80
"""Bytes a sample, at the most: sealed, and of the whole file."""
CPU_US, COMMIT_P99_MS, COMMIT_WORST_MS, WRITTEN_BYTES, PSS_MIB = 0.25, 20.0, 120.0, 8.5, 60.0
COLD_MS = 60.0
ALIKE = 0.02
"""Answers that differ by no more are the same: each store reads a rate in its own way where a sample is missing."""


UNLIKE = 0.1
"""An answer that differs by more from every other store's is wrong, and however quick it was reaches nothing."""


def tables(measured: Figures) -> Iterator[Table]:
    """Give all tables."""
    yield _sizes(measured)
    if measured.demo is not None:
        yield _recorded(measured.demo)
    yield _ingest(measured)
    yield _answers(measured)


def _span(guests: int, hours: int) -> str:
    return f"{guests} guests, " + (f"{hours / DAY_HOURS:g} days" if hours >= DAY_HOURS else f"{hours} h")


def _sizes(measured: Figures) -> Table:
    plan, ours, same = measured.plan, measured.ours, measured.same
    whole, some = _span(plan.guests, plan.hours), _span(plan.peers_guests, plan.peers_hours)
    rows = [
        _row(f"raw tier, sealed; {whole}", SEALED_BYTES, _sealed(ours.sizes.sealed_bytes, ours.sizes.sealed_samples)),
        _row(f"whole file; {whole}", FILE_BYTES, ours.bytes_a_sample),
    ]
    sealed = _sealed(same.sizes.sealed_bytes, same.sizes.sealed_samples)
    for peer in measured.peers:
        theirs = peer.kept.bytes_a_sample
        goal, ratio = RATIOS[peer.name], sealed / theirs
        cells = [f"{goal:.2f} x", figures(sealed), figures(theirs), figures(ratio), _verdict(ratio, goal)]
        rows.append([f"sealed, beside {peer.kept.name}; {some}", *cells])
    return Table(
        "Bytes a raw sample",
        ["", "goal", "ours", "theirs", "ratio", ""],
        rows,
        list(_notes_of_sizes(measured, whole, some)),
    )


def _recorded(demo: Recorded) -> Table:
    """Make the table of recorded guests; the goals are not for so few, of whom the file's own pages are a good part."""
    hours = demo.span_ms / HOUR_MS
    rows = [
        ["raw tier, sealed", figures(_sealed(demo.sizes.sealed_bytes, demo.sizes.sealed_samples))],
        ["whole file", figures(demo.sizes.file_bytes / demo.samples)],
    ]
    how = (
        f"{demo.guests} real guests as the demo starts them, the host and the agent; {demo.ticks} ticks, asked for ten"
        f" times a second and stretched to {hours:.1f} h: what a tick counts is what a tenth of a second brings"
    )
    what = (
        f"sealed are {demo.sizes.sealed_samples / demo.samples:.0%} of {demo.samples / 1e6:.2f} M samples; the file has"
        f" {demo.sizes.file_bytes / 2**10:.0f} KiB, of which {demo.sizes.sealed_bytes / 2**10:.0f} are theirs"
    )
    return Table("Bytes a raw sample of recorded guests", ["", "ours"], rows, [how, what])


def _notes_of_sizes(measured: Figures, whole: str, some: str) -> Iterator[str]:
    ours, same = measured.ours, measured.same
    ratios = [f"{figures(same.bytes_a_sample / peer.kept.bytes_a_sample)} x {peer.name}" for peer in measured.peers]
    yield "; ".join([f"whole file on these {some}: {figures(same.bytes_a_sample)} bytes a sample", *ratios])
    for peer in measured.peers:
        yield f"{peer.kept.name}: {peer.kept.version}, {peer.kept.samples / 1e6:.1f} M samples"
    pages = {**ours.sizes.tables, "free pages": ours.sizes.free_bytes}
    each = {name: f"{size / ours.samples:.3f}" for name, size in sorted(pages.items(), key=lambda one: -one[1])}
    yield f"of {whole}, bytes a sample by table: " + ", ".join(
        f"{name} {size}" for name, size in each.items() if float(size)
    )
    share = ours.sizes.sealed_samples / ours.samples
    yield f"sealed are {share:.0%} of {ours.samples / 1e6:.1f} M samples"


def _sealed(size: int, samples: int) -> float:
    return size / samples if samples else math.nan


def _verdict(value: float, limit: float) -> str:
    return "nothing sealed" if math.isnan(value) else verdict(value, limit)


def _row(name: str, goal: float, value: float) -> list[str]:
    return [name, figures(goal), figures(value), "", "", _verdict(value, goal)]


def _ingest(measured: Figures) -> Table:
    ours, memory = measured.ours, measured.memory
    p50, p99, worst = (quantile_of(ours.commits_ns, share) / 1e6 for share in (0.5, 0.99, 1.0))
    cpu_us = ours.cpu_ns / ours.samples / 1000
    more_mib = (memory.with_kib - memory.without_kib) / 1024
    rows = [
        _row("CPU, us a sample", CPU_US, cpu_us),
        *(
            [
                f"  {peer.kept.name}, the server alone",
                "",
                figures(cpu_us),
                figures(theirs),
                figures(cpu_us / theirs),
                "",
            ]
            for peer in measured.peers
            for theirs in [peer.kept.cpu_ns / peer.kept.samples / 1000]
        ),
        ["a tick's commit, p50, ms", "", figures(p50), "", "", ""],
        _row("a tick's commit, p99, ms", COMMIT_P99_MS, p99),
        _row("a tick's commit, worst, ms", COMMIT_WORST_MS, worst),
        _row("bytes written a sample", WRITTEN_BYTES, ours.written_bytes / ours.samples),
        _row("memory with the sink, PSS, MiB more", PSS_MIB, more_mib),
    ]
    note = (
        f"{ours.guests} guests, {ours.ticks} ticks, each committed durably; memory: {memory.hours} h,"
        f" {memory.with_kib / 1024:.1f} MiB with the sink and {memory.without_kib / 1024:.1f} without, at the most"
    )
    return Table("Taking it in", ["", "goal", "ours", "theirs", "ratio", ""], rows, [note])


def _beside(peer: Peer, cpu_us: float) -> list[str]:
    theirs = peer.kept.cpu_ns / peer.kept.samples / 1000
    return [f"  {peer.kept.name}, the server alone", "", figures(cpu_us), figures(theirs), figures(cpu_us / theirs), ""]


def _answers(measured: Figures) -> Table:
    plan = measured.plan
    scale = plan.guests * plan.hours / (plan.peers_guests * plan.peers_hours)
    asked = [peer for peer in measured.peers if peer.answers]
    rows = [_answer(question, measured, asked, scale) for question in QUESTIONS]
    cold_ms, dashes = measured.cold_ns / 1e6, ["-" for _ in asked]
    cold = [f"{COLD.name}, cold file, ms by the clock", f"< {COLD_MS:g}", figures(cold_ms), *dashes]
    rows.insert(2, [*cold, "", verdict(cold_ms, COLD_MS)])
    what = (
        f"ours: {_span(plan.guests, plan.hours)}; theirs: {_span(plan.peers_guests, plan.peers_hours)}, times"
        f" {scale:g} but for one series; ms of CPU where not said otherwise; warm, the least of three"
    )
    notes = [
        what,
        *(_likeness(measured, peer) for peer in asked),
        f"a fixed loop takes {measured.calibration_ms:.1f} ms of CPU here",
        "not asked: a year at once" + ("" if measured.demo else ". Not measured: recorded guests"),
    ]
    columns = ["", "goal", "ours", *(peer.name for peer in asked), "best of theirs/ours", ""]
    return Table("Answers", columns, rows, notes)


def _answer(question: Question, measured: Figures, asked: Sequence[Peer], scale: float) -> list[str]:
    ours = measured.answers[question.name]
    spent_ms = (ours.wall_ns if question.by_clock else ours.cpu_ns) / 1e6
    if question.a_row:
        each_us = spent_ms * 1000 / max(ours.found["rows"], 1)
        row = [f"{question.name}, us a row", f"<= {question.goal:g}", figures(each_us), *["-" for _ in asked], ""]
        return [*row, verdict(each_us, question.goal)]
    theirs = []
    for peer in asked:
        found = peer.answers.get(question.name)
        if found is not None:
            theirs.append(found.wall_ns / 1e6 if question.by_clock else found.cpu_ns / 1e6 * scale)
    cells = [figures(each) for each in theirs] or ["-" for _ in asked]
    best = figures(min(theirs) / spent_ms) if theirs and spent_ms else ""
    unit = "ms by the clock" if question.by_clock else "ms"
    return [
        f"{question.name}, {unit}", f"< {question.goal:g}", figures(spent_ms), *cells, best,
        "UNLIKE THEIRS" if _is_unlike(question, measured, asked) else verdict(spent_ms, question.goal),
    ]  # fmt: skip


def _is_unlike(question: Question, measured: Figures, asked: Sequence[Peer]) -> bool:
    """Tell whether nobody has our answer, on the samples that all have."""
    ours = measured.same_answers[question.name].found
    theirs = [peer.answers[question.name].found for peer in asked if question.name in peer.answers]
    return bool(theirs) and all(difference(ours, each) > UNLIKE for each in theirs)


def _likeness(measured: Figures, peer: Peer) -> str:
    """Say which of a store's answers are not ours."""
    others = []
    for name, answer in peer.answers.items():
        apart = difference(measured.same_answers[name].found, answer.found)
        if apart > ALIKE:
            others.append(f"{name} " + ("(of others)" if math.isinf(apart) else f"(by up to {apart:.1%})"))
    return f"{peer.kept.name} answers as ours does" + (f", but not: {', '.join(others)}" if others else "")

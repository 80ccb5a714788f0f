"""What the page's words mean, with the settings that were used. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from domstat.capacity.settings import Capacity

DAY_S = 86_400

_TEXT = """
capacity, usable
    Capacity is what there is: a host's threads and memory, a pool's size. Usable is that less a buffer: {cpu_buffer}
    of CPU, {memory_buffer} of memory, {storage_buffer} of storage. A thin disk has no buffer.

demand
    CPUs that are kept busy, memory that is in use, storage that is allocated. Of a host it is what the host's own
    figures say; where it has none, the sum of its guests'.

peak
    A sustained peak, which demand does not exceed for {peak} of the time, in means over the last {window}. Not the
    highest single sample.

projection, interval
    One figure a day, of up to {history} back, carried {horizon} ahead: growth, and weekly patterns where the history
    shows them; a jump in the level is no growth. {level} of what comes should lie in the interval between its lower
    and its upper bound.

time remaining
    Days until projected demand reaches what is usable. Earliest, or conservative, is when the upper bound does,
    expected when the middle does, latest when even the lower bound does. Short is less than {warning} by the
    earliest.

in 30, 90, 180 days
    How probable it is that it is full by then: one half at the expected day.

most constrained
    What of a host has the least time remaining; where nothing is full within the horizon, that of which the greatest
    share is in use.

capacity remaining
    By demand: usable less the highest that the upper bound reaches within {ahead}. By allocation (room): capacity
    times a ratio, less what is given out. The ratios are {cpu_ratio} vCPUs for each thread, {memory_ratio} of memory,
    {storage_ratio} of storage.

guests remaining
    How many more guests fit: by demand as many as their peaks go into what remains, by allocation as many as their
    sizes go into the room; the least over CPU, memory and storage.

off, idle
    Off: for more than {off_after}. Idle: for {idle_share} of the hours below {idle_cpu} of its vCPUs, below
    {idle_disk} a second of disk and below {idle_net} a second of network, all at once. Who works in the same few
    hours of every day is told apart, and not counted as idle.

what comes back
    Of an idle guest the memory that is resident and the CPU that it really uses; its disks if it is deleted. Taking
    away vCPUs that are idle frees no CPU.

too small, too big
    The recommended size holds the peak, or what is projected of it within {size_ahead}, with {cpu_headroom} of vCPUs
    and {memory_headroom} of memory to spare. Memory is judged only while the guest's balloon driver tells how much it
    uses.

waiting
    A vCPU that is ready and not running for {steal} of the time; a disk that takes {latency_factor} times as long as
    usual at that hour; a guest that swaps. Who may be the cause is known from coincidence alone: who uses
    {bully_share} or more of all that is used on its host, more than it usually does, while others wait more than they
    usually do.

seen
    The share of the time of which there are figures. Below {coverage} an answer is a warning, marked with an
    exclamation mark; of what has no figures for {stale} nothing is projected.
"""

_SHARES = (
    "cpu_buffer", "memory_buffer", "storage_buffer", "peak", "level", "idle_share", "idle_cpu", "cpu_headroom",
    "memory_headroom", "steal", "bully_share", "coverage",
)  # fmt: skip
_SPANS = ("window", "history", "horizon", "warning", "ahead", "off_after", "size_ahead", "stale")
_SIZES = ("idle_disk", "idle_net")
_NUMBERS = ("cpu_ratio", "memory_ratio", "storage_ratio", "latency_factor")


def definitions(settings: Capacity) -> Iterator[tuple[str, str]]:
    """Give terms and what they mean."""
    said = {name: f"{100 * getattr(settings, name):g} %" for name in _SHARES}
    said |= {name: _days(getattr(settings, name)) for name in _SPANS}
    said |= {name: f"{getattr(settings, name):g}" for name in _NUMBERS}
    said |= {name: f"{getattr(settings, name) / 1000:g} kB" for name in _SIZES}
    for block in _TEXT.strip().split("\n\n"):
        term, *lines = block.splitlines()
        yield term, " ".join(line.strip() for line in lines).format_map(said)


def _days(seconds: float) -> str:
    days = seconds / DAY_S
    return f"{days:g} {'day' if days == 1 else 'days'}" if days >= 1 else f"{seconds / 3600:g} hours"

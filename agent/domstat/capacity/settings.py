"""``[capacity]`` of the configuration: windows, buffers and thresholds of the planner's questions.

Defaults are taken from the field, each from whom it says.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from domstat.settings import Duration, Size

DAY_S = 86_400

HORIZON_MAX_S = 5 * 365 * DAY_S
"""Nobody can say what is in five years; and every day ahead is computed."""

HISTORY_MAX_S = 10 * 365 * DAY_S
"""Of so many years hours are read at most, some 90,000 a row."""

Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
"""A share of something, from 0 to 1."""

Buffer: TypeAlias = Annotated[float, Meta(ge=0, lt=1)]
"""A share of a capacity that is not to be used."""

Ratio: TypeAlias = Annotated[float, Meta(gt=0, le=99)]
"""How much is given out for each that there is; no more than Aria takes."""


class Capacity(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `domstat capacity` reckons with. Each may be given per call too: `--set cpu_buffer=0.1`."""

    # What is looked at.
    window: Annotated[
        Duration,
        Meta(description="How far back peaks, use and waiting are looked at. As BMC Helix and Nutanix do for P95."),
    ] = Duration(30 * DAY_S)
    history: Annotated[
        Duration,
        Meta(description="How far back growth is looked at, where there is as much. A year has every season once."),
    ] = Duration(365 * DAY_S)
    horizon: Annotated[
        Duration,
        Meta(description="How far ahead is looked for the day on which something is full. As Aria does."),
    ] = Duration(365 * DAY_S)
    ahead: Annotated[
        Duration,
        Meta(description="Capacity remaining is what the projected peak of so long from now leaves. As in Aria."),
    ] = Duration(3 * DAY_S)
    peak: Annotated[
        Share,
        Meta(
            description="Which of all five-minute means is the peak, where a month of these can be read, else of hours:"
            " demand is no more for such a share of the time. As BMC Helix, Azure and ITRS have it."
        ),
    ] = 0.95
    level: Annotated[
        Annotated[float, Meta(gt=0, lt=1)],
        Meta(description="How sure an interval is: such a share of what comes should be inside."),
    ] = 0.8
    coverage: Annotated[
        Share,
        Meta(description="A share of the time that must have been seen; of less an answer is a warning."),
    ] = 0.5
    stale: Annotated[
        Duration,
        Meta(description="Of a host or a pool whose newest figure is older nothing is projected."),
    ] = Duration(DAY_S)

    # How much there is.
    cpu_buffer: Annotated[
        Buffer,
        Meta(
            description="Share of the host's CPUs that stays free: usable capacity is what is left. oVirt calls a host "
            "highly loaded from 80 % on. Aria's own default is 0."
        ),
    ] = 0.2
    memory_buffer: Annotated[
        Buffer,
        Meta(description="The same of the host's memory. Proxmox VE gives guests more below 80 % of use."),
    ] = 0.2
    storage_buffer: Annotated[
        Buffer,
        Meta(description="The same of a storage pool. OpenStack Watcher moves volumes away from 80 % on."),
    ] = 0.2
    cpu_ratio: Annotated[
        Ratio,
        Meta(description="vCPUs that may be given out for each thread of the host. As OpenStack Nova has it."),
    ] = 4.0
    memory_ratio: Annotated[
        Ratio,
        Meta(description="Memory that may be given out for each byte of the host's. As OpenStack Nova has it."),
    ] = 1.0
    storage_ratio: Annotated[
        Ratio,
        Meta(description="Disk sizes that may be given out for each byte of a pool. As OpenStack Nova has it."),
    ] = 1.0
    count_off: Annotated[
        bool,
        Meta(description="Whether vCPUs and memory of guests that are off count as given out. Their disks always do."),
    ] = False
    warning: Annotated[
        Duration,
        Meta(description="Time remaining below this is called short. As in Aria."),
    ] = Duration(120 * DAY_S)

    # What is idle or off.
    idle_cpu: Annotated[
        Share,
        Meta(description="A guest is idle while it uses less of its vCPUs than this. As BMC Helix has it."),
    ] = 0.05
    idle_disk: Annotated[
        Size,
        Meta(description="and reads and writes less in a second than this. As BMC Helix has it."),
    ] = Size(100_000)
    idle_net: Annotated[
        Size,
        Meta(description="and receives and sends less in a second than this. As BMC Helix has it."),
    ] = Size(200_000)
    idle_share: Annotated[
        Share,
        Meta(description="for such a share of the window. As BMC Helix has it."),
    ] = 0.95
    idle_after: Annotated[
        Duration,
        Meta(description="A guest that is known for less is not called idle. As BMC Helix has it."),
    ] = Duration(7 * DAY_S)
    off_after: Annotated[
        Duration,
        Meta(description="A guest that is off for so long can be reclaimed. As Nutanix has it."),
    ] = Duration(21 * DAY_S)
    idle_regular: Annotated[
        Duration,
        Meta(
            description="A guest that works in so many hours of the day, the same ones on most days, and is idle in all"
            " others, is told as such: a nightly backup. It is not reclaimable."
        ),
    ] = Duration(4 * 3600)

    # What is too big or too small.
    size_after: Annotated[
        Duration,
        Meta(description="No size is recommended from less than this has been seen. 30 hours are AWS's least."),
    ] = Duration(30 * 3600)
    size_ahead: Annotated[
        Duration,
        Meta(description="A recommended size holds the peak projected for so long. Aria's: warning and 30 days."),
    ] = Duration(150 * DAY_S)
    cpu_headroom: Annotated[
        Buffer,
        Meta(description="Share of a recommended number of vCPUs that its peak leaves free. As AWS has it."),
    ] = 0.2
    memory_headroom: Annotated[
        Buffer,
        Meta(description="The same of a recommended memory size. As AWS has it."),
    ] = 0.2
    memory_age: Annotated[
        Duration,
        Meta(description="How long ago a guest's balloon driver may have spoken for its memory figures to count."),
    ] = Duration(600)
    size_even: Annotated[
        bool,
        Meta(description="Whether more than two vCPUs are recommended in even numbers only. Users of Aria add that."),
    ] = True
    size_memory_step: Annotated[
        Size,
        Meta(
            description="Memory is recommended in whole steps of this; of less than one step in quarters of it. "
            "Users of Aria step by 2 GB."
        ),
    ] = Size(1 << 30)

    # Who waits.
    steal: Annotated[
        Share,
        Meta(description="Share of the time that a vCPU waits for a CPU from which on it is contended. As Netdata."),
    ] = 0.10
    latency_factor: Annotated[
        Annotated[float, Meta(gt=1)],
        Meta(
            description="Waiting is more than usual when it is so many times what this guest's was at that hour of the "
            "day: for a CPU, and of a disk's latency, which is slow then."
        ),
    ] = 2.0
    bully_share: Annotated[
        Share,
        Meta(description="Who uses such a share of all that a host's guests use while others wait may be the cause."),
    ] = 0.3
    latency_least: Annotated[
        Duration,
        Meta(description="A disk is not slow as long as its requests take no longer than this: a seek and a turn."),
    ] = Duration(0.01)
    swap: Annotated[
        Size,
        Meta(description="Bytes that a guest swaps in a second from which on it lacks memory. As esxtop is read."),
    ] = Size(1 << 20)
    major_faults: Annotated[
        Annotated[float, Meta(gt=0)],
        Meta(description="Major page faults in a second from which on it does. As rules for Prometheus have it."),
    ] = 1000.0
    wait_span: Annotated[
        Duration,
        Meta(description="Who waits, and why, is looked at for so long back; what is usual is the window before."),
    ] = Duration(7 * DAY_S)
    wait_after: Annotated[
        Duration,
        Meta(description="Waiting counts once it goes on for so long. Netdata looks at means of 20 minutes."),
    ] = Duration(20 * 60)

    def __post_init__(self) -> None:
        for name, most in (("horizon", HORIZON_MAX_S), ("history", HISTORY_MAX_S), ("window", HISTORY_MAX_S)):
            if getattr(self, name) > most:
                raise ValueError(f'{name}: found "{getattr(self, name)}", expected no more than "{Duration(most)}"')

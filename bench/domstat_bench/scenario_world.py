"""What there is in a scenario: hosts with guests, disks, pools and guests that are off, and what each does when. Pure.

All times are milliseconds since 1970, and multiples of an hour wherever something begins, ends or changes its form:
so nothing but values changes within a bucket.
"""

from __future__ import annotations

from msgspec import Struct

from domstat_bench.scenario_courses import EVER_MS, NOTHING, Course

GIB = 1 << 30
KIB = 1024


class Disk(Struct, frozen=True, kw_only=True):
    """A disk of a guest; a thick one has all of its capacity allocated. Requests are per second, *latency* in s."""

    name: str = "vda"
    capacity: int = 40 * GIB
    allocation: Course = Course(level=10.0 * GIB)
    reads: Course = NOTHING
    writes: Course = NOTHING
    latency: Course = Course(level=0.001)
    read_bytes: int = 16_384
    write_bytes: int = 12_288
    path: str = ""


class Guest(Struct, frozen=True, kw_only=True):
    """A guest that runs on a host from one time on and before another; what changes its form is another one.

    *cores* are host CPUs kept busy, *memory* is what it uses in bytes, *steal* what each vCPU waits in a second.
    Its balloon driver speaks until *speaks_until_ms*; 0 is never. *resets* are when it was started anew. *rx* and *tx*
    are bytes per second, *swap* is bytes per second in, and as much out.
    """

    uuid: str
    name: str
    vcpus: int = 2
    memory_kib: int = 4 * GIB // KIB
    current_kib: Course | None = None
    from_ms: int = 0
    until_ms: int = EVER_MS
    cores: Course = NOTHING
    memory: Course = NOTHING
    steal: Course = NOTHING
    swap: Course = NOTHING
    major_faults: Course = NOTHING
    rx: Course = NOTHING
    tx: Course = NOTHING
    disks: tuple[Disk, ...] = (Disk(),)
    speaks_until_ms: int = EVER_MS
    resets: tuple[int, ...] = ()
    mac: str = "52:54:00:00:00:01"
    labels: tuple[tuple[str, str], ...] = ()


class Sleeper(Struct, frozen=True, kw_only=True):
    """A guest that is off from one time on, as surveys see it; *volumes* are (disk, capacity, allocation) in bytes."""

    uuid: str
    name: str
    vcpus: int = 2
    memory_kib: int = 4 * GIB // KIB
    from_ms: int = 0
    until_ms: int = EVER_MS
    volumes: tuple[tuple[str, int, int], ...] = (("vda", 40 * GIB, 10 * GIB),)


class Pool(Struct, frozen=True, kw_only=True):
    """A storage pool; *allocation* is in bytes."""

    name: str = "images"
    capacity: int = 2048 * GIB
    allocation: Course = NOTHING
    type: str = "dir"
    path: str = "/var/lib/libvirt/images"


class Host(Struct, frozen=True, kw_only=True):
    """A host from one time on and before another; *gaps* are when nobody looked.

    *own_cores* and *own_memory* (bytes) are what it needs beside its guests.
    """

    name: str
    cpus: int = 32
    memory_kib: int = 256 * GIB // KIB
    own_cores: Course = Course(level=0.3, noise=0.1)
    own_memory: Course = Course(level=4.0 * GIB)
    guests: tuple[Guest, ...] = ()
    sleepers: tuple[Sleeper, ...] = ()
    pools: tuple[Pool, ...] = ()
    from_ms: int = 0
    until_ms: int = EVER_MS
    gaps: tuple[tuple[int, int], ...] = ()


class World(Struct, frozen=True, kw_only=True):
    """All hosts from *begin_ms* on until *end_ms*, which is "now".

    What happens is made in steps of *step_ms*: five minutes, or an hour where only hours are wanted.
    """

    begin_ms: int
    end_ms: int
    hosts: tuple[Host, ...]
    seed: int = 6
    step_ms: int = 300_000

"""What the agent and its worker processes say to each other, and how it is framed.

Over a socket pair, each message has eight bytes before it, its length and its number, both big endian; the rest is
msgpack. A question's number comes back with every reply to it, so that the worker can be looked at while a call of
its hangs; what it says unasked has number 0. A guest's parameter names are sent once, as a numbered *shape*; after
that only values travel.
"""

from __future__ import annotations

import struct
from fnmatch import fnmatchcase
from typing import TypeAlias

import msgspec
from msgspec import Struct

from domstat.model import Stamp, Value

MESSAGE_BYTES_MAX = 256 * 1024 * 1024
"""No message is larger: libvirt's own reply ends at 32 MiB, and its text grows at most a few times on the way."""

HEADER = struct.Struct(">II")
"""Length of the message, and its number."""

UNASKED = 0
"""The number of what no question asked for: an Open, a Happened."""


class Globs(Struct, frozen=True):
    """Names chosen by shell patterns: those that match one of *include* and none of *exclude*."""

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self == ALL

    def choose(self, name: str) -> bool:
        """Whether *name* is chosen."""
        included = any(fnmatchcase(name, pattern) for pattern in self.include)
        return included and not any(fnmatchcase(name, pattern) for pattern in self.exclude)


ALL = Globs()


class Open(Struct, frozen=True, omit_defaults=True):
    """The first message to a worker, not answered: which hypervisor it is for. The first question connects.

    *writable* opens the connection so that pools may be refreshed; nothing else ever asks for that.
    """

    uri: str
    writable: bool = False


class Ask(Struct, frozen=True, tag="ask", omit_defaults=True):
    """Make the bulk call: *stats* and *flags* are libvirt's bits; *domains* chooses guests by name.

    *internals* asks for the hypervisor's own ``vcpu.*`` and ``vm.*`` statistics too, *host* for a sample of the host,
    *cost* for the CPU time that the call causes elsewhere. *watch* names guests that are known to be stuck.

    There is one Answer, or several, each with its own stamp, of which all but the last say that there is *more*:
    with *chunk* the guests are asked for in lists of so many. With *alone* every guest is asked for by itself, in so
    many threads; whoever has not answered after *limit_s* is stuck. *done* names guests that are not asked for, and
    *spare* asks only for what needs no monitor.
    """

    stats: int
    flags: int
    domains: Globs = ALL
    internals: bool = False
    host: bool = False
    cost: bool = False
    watch: tuple[str, ...] = ()
    chunk: int = 0
    alone: int = 0
    limit_s: float = 0.0
    done: tuple[str, ...] = ()
    spare: bool = False


class Describe(Struct, frozen=True, tag="describe"):
    """Read the XML of the guests with these uuids."""

    uuids: tuple[str, ...]


class Look(Struct, frozen=True, tag="look"):
    """Look, without waiting for anything, which guests are occupied by a monitor command, and for how long."""


class Survey(Struct, frozen=True, tag="survey", omit_defaults=True):
    """Look at what is not part of a tick: storage pools, and guests that are off. *refresh*: the pools first."""

    refresh: bool = False
    domains: Globs = ALL


class Examine(Struct, frozen=True, tag="examine"):
    """Find out what the connection leads to, and which stats groups its driver knows."""


Question: TypeAlias = Ask | Describe | Look | Survey | Examine


class Guest(Struct, frozen=True, array_like=True, gc=False):
    """One guest's record as libvirt gave it; *id* is -1 for a guest that is off."""

    uuid: str
    name: str
    id: int
    shape: int
    values: list[Value]


class Change(Struct, frozen=True, array_like=True, gc=False):
    """A libvirt event about a guest: which event, libvirt's numbers for it, the device's alias if any, and when."""

    event: str
    uuid: str
    name: str
    id: int
    detail: tuple[int, ...] = ()
    device: str = ""
    time_ms: int = 0
    boot_ns: int = 0


class Happened(Struct, frozen=True, tag="happened"):
    """Said unasked: *changes*, in their order; *missed* says that some may be lacking: the connection is new.

    *boot_id* is the boot that the changes' ``boot_ns`` belong to.

    Whatever happened before an Answer's call was made is said before that Answer.
    """

    changes: list[Change]
    missed: bool = False
    boot_id: str = ""


class Occupied(Struct, frozen=True, array_like=True, gc=False):
    """A guest in whose monitor somebody's command has been for *ms* milliseconds."""

    uuid: str
    name: str
    ms: int


class Cost(Struct, frozen=True, array_like=True, gc=False):
    """CPU time in nanoseconds spent during a call: by the daemon, by the guests' main threads, by the worker.

    None where ``/proc`` does not tell.
    """

    libvirtd: int | None
    qemu: int | None
    worker: int | None


class Answer(Struct, frozen=True, tag="answer", omit_defaults=True):
    """One bulk call's answer; *shapes* are the parameter names of shapes not sent before.

    *forgotten* says that shapes sent earlier are not used after this answer: the worker remembers a bounded number.

    *occupied* are those of the question's *watch* that still are. The guests of a *spared* answer were asked only for
    what needs no monitor; *stuck* are those of them that have just been found not to answer, and *unasked* is how many
    guests of the host nobody has tried yet. *notes* are things to log once.
    """

    stamp: Stamp
    guests: list[Guest]
    shapes: dict[int, tuple[str, ...]] = {}
    forgotten: bool = False
    more: bool = False
    host: dict[str, Value] | None = None
    cost: Cost | None = None
    occupied: list[Occupied] = []
    spared: bool = False
    stuck: tuple[str, ...] = ()
    unasked: int = 0
    notes: list[str] = []


class Description(Struct, frozen=True, array_like=True, gc=False):
    """A guest's XML, or why there is none; both None when the guest is gone."""

    uuid: str
    xml: str | None
    error: str | None


class Descriptions(Struct, frozen=True, tag="descriptions"):
    """What Describe brought."""

    items: list[Description]


class Looked(Struct, frozen=True, tag="looked"):
    """What Look saw; *connected* is False while the connection is still being made.

    *can_tell* is False where the driver does not know what its guests are occupied with.
    """

    occupied: list[Occupied]
    connected: bool
    can_tell: bool = True


class PoolFigures(Struct, frozen=True, array_like=True):
    """A storage pool: libvirt's state and figures in bytes; *fresh* if they are of this very moment."""

    name: str
    type: str
    state: int
    capacity: int
    allocation: int
    available: int
    fresh: bool
    path: str = ""


class Sleeper(Struct, frozen=True, array_like=True):
    """A guest that is off: libvirt's state and reason, its XML, and by disk target its (capacity, allocation)."""

    uuid: str
    name: str
    state: tuple[int, int]
    xml: str | None
    volumes: dict[str, tuple[int | None, int | None]]


class Surveyed(Struct, frozen=True, tag="surveyed"):
    """What a Survey found. *notes* say what could not be looked at."""

    stamp: Stamp
    pools: list[PoolFigures]
    sleepers: list[Sleeper]
    notes: list[str] = []


class Examined(Struct, frozen=True, tag="examined"):
    """What a connection leads to. *groups*: the stats groups by virsh's names, True where the driver knows them."""

    driver: str
    uri: str
    socket: str
    hypervisor: str
    libvirt: str
    guests: int
    groups: dict[str, bool]


class Failure(Struct, frozen=True, tag="failure"):
    """libvirt refused: its message, its error number, and whether the connection itself is the trouble."""

    message: str
    code: int
    unreachable: bool


Reply: TypeAlias = Answer | Descriptions | Looked | Surveyed | Examined | Failure | Happened

encoder = msgspec.msgpack.Encoder()
open_decoder = msgspec.msgpack.Decoder(Open)
question_decoder = msgspec.msgpack.Decoder(Question)
reply_decoder = msgspec.msgpack.Decoder(Reply)


def frame(message: Open | Question | Reply, number: int = UNASKED) -> bytes:
    """Write one message, framed."""
    body = encoder.encode(message)
    return HEADER.pack(len(body), number) + body

"""What the agent and its worker processes say to each other, and how it is framed.

Strictly question and answer, over a socket pair: each message is four bytes of length, big endian, and that much
msgpack. A guest's parameter names are sent once, as a numbered *shape*; after that only values travel.
"""

from __future__ import annotations

import struct
from typing import TypeAlias

import msgspec
from msgspec import Struct

from domstat.model import Stamp, Value

MESSAGE_BYTES_MAX = 256 * 1024 * 1024
"""No message is larger: libvirt's own reply ends at 32 MiB, and its text grows at most a few times on the way."""

LENGTH = struct.Struct(">I")


class Globs(Struct, frozen=True):
    """Names chosen by shell patterns: those that match one of *include* and none of *exclude*."""

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self == ALL


ALL = Globs()


class Open(Struct, frozen=True):
    """The first message to a worker, not answered: which hypervisor it is for. The first question connects."""

    uri: str


class Ask(Struct, frozen=True, tag="ask"):
    """Make one bulk call: *stats* and *flags* are libvirt's bits; *domains* chooses guests by name.

    *internals* asks for the hypervisor's own ``vcpu.*`` and ``vm.*`` statistics too.
    """

    stats: int
    flags: int
    domains: Globs = ALL
    internals: bool = False


class Describe(Struct, frozen=True, tag="describe"):
    """Read the XML of the guests with these uuids."""

    uuids: tuple[str, ...]


Question: TypeAlias = Ask | Describe


class Guest(Struct, frozen=True, array_like=True, gc=False):
    """One guest's record as libvirt gave it; *id* is -1 for a guest that is off."""

    uuid: str
    name: str
    id: int
    shape: int
    values: list[Value]


class Change(Struct, frozen=True, array_like=True, gc=False):
    """A libvirt event about a guest: which event, libvirt's numbers for it, the device if any."""

    event: str
    uuid: str
    name: str
    detail: tuple[int, ...] = ()
    device: str = ""


class Answer(Struct, frozen=True, tag="answer"):
    """One bulk call's answer; *shapes* are the parameter names of shapes not sent before.

    *forgotten* says that shapes sent earlier are not used after this answer: the worker remembers a bounded number.

    *changes* are the events since the answer before; *missed* says that some may be lacking (the connection is new, or
    there were too many), so that everything known from events must be read again. *notes* are things to log once.
    """

    stamp: Stamp
    guests: list[Guest]
    shapes: dict[int, tuple[str, ...]]
    changes: list[Change]
    missed: bool
    notes: list[str]
    forgotten: bool = False


class Description(Struct, frozen=True, array_like=True, gc=False):
    """A guest's XML, or why there is none; both None when the guest is gone."""

    uuid: str
    xml: str | None
    error: str | None


class Descriptions(Struct, frozen=True, tag="descriptions"):
    """What Describe brought."""

    items: list[Description]


class Failure(Struct, frozen=True, tag="failure"):
    """libvirt refused: its message, its error number, and whether the connection itself is the trouble."""

    message: str
    code: int
    unreachable: bool


Reply: TypeAlias = Answer | Descriptions | Failure

encoder = msgspec.msgpack.Encoder()
open_decoder = msgspec.msgpack.Decoder(Open)
question_decoder = msgspec.msgpack.Decoder(Question)
reply_decoder = msgspec.msgpack.Decoder(Reply)


def frame(message: Open | Question | Reply) -> bytes:
    """Write one message, framed."""
    body = encoder.encode(message)
    return LENGTH.pack(len(body)) + body

"""All that is looked at, as it was found. Pure: the structs that go from looking to judging.

Times are seconds since 1970 unless they say otherwise.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from domstat.collect.wire import Examined
from domstat.config import Config
from domstat.status import Report


class AgentSeen(Struct, frozen=True):
    """The agent that answers, or *why* none does. *environ* is what it was started with, None where it is hidden."""

    report: Report | None = None
    why: str = ""
    environ: dict[str, str] | None = None


class GuestSeen(Struct, frozen=True):
    """A guest that runs. *balloon*: its device's model, None if the XML was not read; *period_s* how often it is asked.

    *updated* is when the guest's driver last spoke, 0 for never, None where the answer does not say. *waited_ns* is
    what its vCPUs waited, None where none of them says.
    """

    uuid: str
    name: str
    updated: int | None = None
    vcpu_ns: int = 0
    waited_ns: int | None = None
    balloon: str | None = None
    period_s: int | None = None


class HostSeen(Struct, frozen=True, kw_only=True):
    """A host: what the connection leads to, or the *failure* with what to do about it.

    *call_s* is how long one call took that asks for all that is ever asked for; *now* when it was made.
    """

    name: str
    uri: str
    failure: tuple[str, str] | None = None
    examined: Examined | None = None
    not_writable: tuple[str, str] | None = None
    call_s: float | None = None
    now: float = 0.0
    guests: tuple[GuestSeen, ...] = ()
    is_local: bool = True


class ClockSeen(Struct, frozen=True):
    """What adjtimex(2) says: whether the clock is kept in time, and by how much it may be wrong at most."""

    synchronised: bool
    max_error_s: float


class Role(StrEnum):
    """What a file is there for."""

    STATE = "state directory"
    CONFIG = "configuration"
    FOLDER = "configuration's folder"
    JOURNAL = "journal"
    HISTORY = "sink's file"
    SECRET = "secret"  # noqa: S105 - a word


class FileSeen(Struct, frozen=True):
    """A file or a folder as the file system has it; *error* says why it could not be looked at.

    *about* is whose it is, where that is not clear: a sink's name. *network* is the type of the file system if that is
    another machine's. *shared*: a group is configured that may read it.
    """

    role: Role
    path: str
    there: bool = True
    uid: int = 0
    mode: int = 0
    is_link: bool = False
    network: str | None = None
    shared: bool = False
    about: str = ""
    error: str = ""


class DiskSeen(Struct, frozen=True):
    """The file system below a sink's history, or below the state directory.

    *reserved_bytes* of what is free are the journal's to take. *history_bytes* is how large the history is, 0 where
    there is none; *age_s* how long it has been written, *keep_s* how long ticks are kept (None: for ever), *max_bytes*
    its bound if there is one.
    """

    about: str
    folder: str
    free_bytes: int
    reserved_bytes: int = 0
    history_bytes: int = 0
    age_s: float = 0.0
    keep_s: float | None = None
    max_bytes: int | None = None


class OutageSeen(Struct, frozen=True):
    """The worst that a sink has been behind, in seconds and in the journal's bytes; *dropped* records gave way."""

    sink: str
    lag_s: float
    backlog_bytes: int
    dropped: int


class Past(Struct, frozen=True):
    """What the history knows of the agent itself; *why* it is not known.

    *calls_s*: by host and block the time that 99 of 100 ticks' calls stayed below in the last day.
    """

    why: str = ""
    calls_s: dict[tuple[str, str], float] = {}
    outages: tuple[OutageSeen, ...] = ()
    clock_steps: int = 0


class TargetSeen(Struct, frozen=True):
    """A server that a sink's settings name, and why it cannot be connected to; empty if it can."""

    sink: str
    address: str
    error: str = ""


class Versions(Struct, frozen=True):
    """What is installed here. *bindings* is libvirt-python's."""

    domstat: str
    python: str
    sqlite: tuple[int, int, int]
    bindings: str


class WriterSeen(Struct, frozen=True):
    """A database and the processes that have it open for writing, as far as they can be seen."""

    path: str
    pids: tuple[int, ...]


class UnitSeen(Struct, frozen=True):
    """A unit's file with the files that are added to it, in the order in which systemd reads them."""

    path: str
    text: str


class Scene(Struct, frozen=True, kw_only=True):
    """Everything. *uid* is the user that the agent runs as, or would."""

    config: Config
    uid: int
    agent: AgentSeen
    hosts: tuple[HostSeen, ...] = ()
    schedstats: str | None = None
    clock: ClockSeen | None = None
    files: tuple[FileSeen, ...] = ()
    disks: tuple[DiskSeen, ...] = ()
    past: Past = Past()
    targets: tuple[TargetSeen, ...] = ()
    versions: Versions
    writers: tuple[WriterSeen, ...] = ()
    unit: UnitSeen | None = None

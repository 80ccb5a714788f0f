"""What can go wrong with a tick, each with the word that counters and gaps give as the reason."""

from __future__ import annotations


class CollectError(Exception):
    """A tick could not be collected; *reason* is a constant word for counters and gaps."""

    reason = "failed"


class OverdueError(CollectError):
    """No answer, though nothing shows that one is still to come; the worker was killed."""

    reason = "deadline"


class UnreachableError(CollectError):
    """The hypervisor cannot be reached, or does not answer at all."""

    reason = "host-down"


class RefusedError(CollectError):
    """libvirt answered with an error that is not about the connection."""

    reason = "refused"


class WorkerDiedError(CollectError):
    """The worker process ended by itself."""

    reason = "worker-died"


class ClosedError(CollectError):
    """The agent is stopping."""

    reason = "agent-stopped"

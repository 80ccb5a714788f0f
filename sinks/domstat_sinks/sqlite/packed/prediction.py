"""Which columns follow from others. Pure.

libvirt reads a guest's CPU times from its cgroup, whose total is user and system time together, to the microsecond:
one of the three is free. What is only likely (a delay from a wait, bytes from packets) is left alone: it would cost
every reader of the one a look at the other.
"""

from __future__ import annotations

from collections.abc import Sequence

from domstat_sinks.sqlite.heads.row import Words

PREDICTED = {"cpu.system": ("cpu.time", "cpu.user")}
"""By field, the fields it is predicted from: of the same member and device, with values in the same ticks."""


def predict(parts: Sequence[Words]) -> Words:
    """Return what is predicted from the values of those it is predicted from. Arithmetic modulo 2^64."""
    total, user = parts
    return total - user

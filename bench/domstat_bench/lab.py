"""The guests that are measured on: a private libvirtd with machines that sleep."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from domstat_lab import guests
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.spec import tiny


@contextlib.contextmanager
def running(count: int) -> Iterator[PrivateLibvirtd]:
    """Run *count* guests with two vCPUs, two disks and two NICs each, for as long as the context lasts."""
    with (
        tempfile.TemporaryDirectory(prefix="domstat-bench-", ignore_cleanup_errors=True) as folder,
        PrivateLibvirtd(Path(folder)) as lab,
    ):
        guests.start(lab, [tiny(f"tiny-{number:04}") for number in range(1, count + 1)])
        yield lab

"""Which file system a path is on, as the kernel says: whether it is another machine's."""

from __future__ import annotations

import os
import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")

NETWORK = frozenset(
    {
        "9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs",
        "nfs4", "ocfs2", "orangefs", "pvfs2", "smb3", "smbfs", "virtiofs",
    }
)  # fmt: skip
"""File systems that other machines may have mounted too, by their types in /proc/mounts."""

NETWORK_FUSE = frozenset({"fuse.ceph", "fuse.davfs", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"})


def network_file_system(path: Path) -> str | None:
    """Return the type of the network file system that *path*, or the nearest folder above it, is on; None if local.

    None too where the kernel does not say. The source is proc(5), mountinfo: fields 3 and 5, and the first behind the
    dash.
    """
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        device = there.stat().st_dev
        lines = MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return None
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in reversed(lines):  # what was mounted last hides what was there before
        found = re.match(r"\S+ \S+ (\S+) .* - (\S+) ", line)
        if found and found[1] == wanted:
            return found[2] if found[2] in NETWORK | NETWORK_FUSE else None
    return None

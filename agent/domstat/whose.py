"""Whose a path is: who besides root and this process's own user could put something else in its place."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

_ROOT = 0


def intruder(path: Path) -> str | None:
    """Say by which file or folder somebody else could change what is at *path*, or None if nobody can.

    Looked at are the path and every folder above it, as it is written and as it is once links are followed; a link
    itself is changed by whoever may write its folder. A folder like /tmp, sticky, lets nobody take away what is
    another's. A group that is its user's alone is that user. Raises OSError.
    """
    uid = os.geteuid()
    for each in _places(path):
        found = each.lstat()
        if stat.S_ISLNK(found.st_mode):
            continue
        if found.st_uid not in {_ROOT, uid}:
            return f"{each} is uid {found.st_uid}'s"
        is_sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
        if found.st_mode & stat.S_IWOTH and not is_sticky:
            return f"everybody may write {each} (mode {stat.S_IMODE(found.st_mode):04o})"
        if found.st_mode & stat.S_IWGRP and not is_sticky and not _is_alone(found.st_gid, uid):
            return f"a group (gid {found.st_gid}) may write {each} (mode {stat.S_IMODE(found.st_mode):04o})"
    return None


def _places(path: Path) -> Iterator[Path]:
    seen: dict[Path, None] = {}
    for start in (path.absolute(), path.resolve()):
        seen |= dict.fromkeys((start, *start.parents))
    return iter(seen)


def _is_alone(gid: int, uid: int) -> bool:
    """Whether a group has nobody in it but *uid*, by its name and members: as systems make one for each user."""
    if gid == _ROOT:
        return True
    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(uid)
    except KeyError:
        return False
    return user.pw_gid == gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}

"""The page's file: there whole, or as it was before.

It gets the mode that the umask leaves, as any file one has a program write: who may read it is the caller's business,
and a page is made to be passed on.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def obstacle(path: Path) -> str | None:
    """Say why a page cannot be put there, before any work is done for it; None where it seems it can."""
    if path.exists() and not path.is_file():
        return "is there and no file; name a file"
    if not path.resolve().parent.is_dir():
        return "its folder is not there; make it, or name another"
    return None


def replace(path: Path, content: bytes) -> None:
    """Write a file under another name beside it, and give it its own once it is whole. Raises OSError.

    What a symbolic link points at is replaced, not the link.
    """
    meant = path.resolve()
    beside = meant.with_name(f".{meant.name}.{os.getpid()}")
    file = beside.open("xb")
    try:
        with file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(meant)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise

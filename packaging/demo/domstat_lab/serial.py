"""What Linux guests say on their serial consoles."""

import dataclasses
import re
from pathlib import Path

TAIL = 4096  # bytes read from the end of a console: a hundred of the guest's lines


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """A guest's own count of the bytes it has written to vda, and when (this machine's clock) it said so."""

    bytes: int
    time_ns: int


def read_console(file: Path) -> str:
    """All a guest has said so far; nothing when it has not begun."""
    try:
        return file.read_text(errors="replace")
    except FileNotFoundError:
        return ""


def last_written(file: Path) -> Written:
    """Read the last complete `written` line. Its time is the file's, good to the piece of work between two lines."""
    with file.open("rb") as handle:
        size = handle.seek(0, 2)
        handle.seek(max(0, size - TAIL))
        tail = handle.read().decode(errors="replace")
    time_ns = file.stat().st_mtime_ns
    counts = re.findall(r"^written (\d+)\r?\n", tail, flags=re.MULTILINE)
    return Written(int(counts[-1]) if counts else 0, time_ns)

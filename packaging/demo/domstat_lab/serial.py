"""What Linux guests say on their serial consoles."""

import dataclasses
import re
from pathlib import Path

BOOTED = "lab: booted"
TAIL = 4096  # bytes read from the end of a console: a hundred of the guest's lines
PIECE = 65536  # bytes the guest writes between two lines, see guest/init
COUNT = re.compile(r"^written (\d+)\r?\n", re.MULTILINE)


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


def all_written(file: Path) -> Written:
    """Add up what the guest says it has written in all its boots: a count that falls is the first of another boot.

    What a boot had written and not yet said when it ended, at most PIECE bytes, is not in it.
    """
    counts = [int(text) for text in COUNT.findall(read_console(file))]
    time_ns = file.stat().st_mtime_ns
    last_of_boots = [count for count, following in zip(counts, [*counts[1:], 0], strict=True) if following <= count]
    return Written(sum(last_of_boots), time_ns)


def last_written(file: Path) -> Written:
    """Read the last complete `written` line of this boot.

    Its time is the file's, good to the piece of work between two lines.
    """
    with file.open("rb") as handle:
        size = handle.seek(0, 2)
        handle.seek(max(0, size - TAIL))
        tail = handle.read().decode(errors="replace")
    time_ns = file.stat().st_mtime_ns
    counts = COUNT.findall(tail.rpartition(BOOTED)[2])
    return Written(int(counts[-1]) if counts else 0, time_ns)

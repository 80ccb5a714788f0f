"""Finding and awaiting processes, looked at from outside their pid namespace."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from domstat_lab.errors import LabError

POLL_S = 0.02  # seconds between two looks at a condition: far below anything waited for, and costs nothing


def run(*command: str | Path, timeout_s: float, cwd: Path | None = None) -> str:
    """Run a command to its end and return what it printed; a failure names the command and quotes its complaint."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except FileNotFoundError:
        raise LabError(f"the command {words[0]!r} is not installed: ./dev installs all the lab needs") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"`{' '.join(words)}` took more than {timeout_s:g} s") from None
    if done.returncode != 0:
        raise LabError(f"`{' '.join(words)}` failed with {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout


def wait_until(holds: Callable[[], bool], *, timeout_s: float, otherwise: str) -> None:
    """Return as soon as the condition holds; after timeout_s raise `otherwise`."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise LabError(f"{otherwise} (waited {timeout_s:g} s)")
        time.sleep(POLL_S)


def is_running(pid: int) -> bool:
    """Tell whether the process exists and is no zombie."""
    return _state(Path(f"/proc/{pid}")) not in {"", "Z", "X"}


def is_stopped(pid: int) -> bool:
    """Tell whether SIGSTOP has reached every thread of the process."""
    return {_state(task) for task in Path(f"/proc/{pid}/task").iterdir()} == {"T"}


def _state(process: Path) -> str:
    """Return the letter of a process's or thread's state; nothing when it is gone."""
    try:
        stat = (process / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return stat.rpartition(")")[2].split()[0]


def pid_namespace(pid: int) -> str | None:
    """Name the process's pid namespace; None when the process is gone."""
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return None


def namespace_members(namespace: str) -> dict[int, int]:
    """Find all processes of a pid namespace: {pid inside: pid outside}."""
    members = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and pid_namespace(int(entry.name)) == namespace:
            inside = _innermost_pid(int(entry.name))
            if inside is not None:
                members[inside] = int(entry.name)
    return members


def _innermost_pid(pid: int) -> int | None:
    """Return the pid a process has in its own namespace, the last of NSpid; None when it is gone or a zombie."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    fields = dict(line.partition(":\t")[::2] for line in status.splitlines())
    return None if fields["State"].startswith("Z") else int(fields["NSpid"].split()[-1])

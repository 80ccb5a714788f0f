"""Looking at what runs: the agent, what it was started with, the unit that starts it, and as whom."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from domstat.doctor.scene import AgentSeen, UnitSeen
from domstat.doctor.service import service_settings
from domstat.status import StatusError, ask, read

TIMEOUT_S = 5.0
"""How long the agent may take: it answers within milliseconds, unless its disk hangs."""

UNIT = "domstat.service"
UNIT_FOLDERS = tuple(
    map(
        Path, ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")
    )
)
"""Where systemd looks for a unit, the first that has it counts (systemd.unit(5)); /lib is /usr/lib."""

UNIT_BYTES_MAX = 1 << 16
"""A unit is some 2 KiB."""


def see_agent(socket: Path) -> AgentSeen:
    """Ask the running agent how it is."""
    try:
        report = read(ask(socket, TIMEOUT_S))
    except StatusError as error:
        return AgentSeen(None, str(error))
    return AgentSeen(report, "", environ_of(report.pid))


def environ_of(pid: int) -> dict[str, str] | None:
    """Return what a process was started with, whatever it has changed since; None where that is hidden."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    pairs = (entry.partition("=") for entry in raw.decode(errors="replace").split("\0") if "=" in entry)
    return {name: value for name, _, value in pairs}


def see_unit(folders: Sequence[Path]) -> UnitSeen | None:
    """Read the agent's unit and its drop-ins, None where there is none that can be read."""
    path = next((folder / UNIT for folder in folders if (folder / UNIT).is_file()), None)
    if path is None:
        return None
    # Drop-ins of all folders count, in the order of their names.
    added = sorted((each for folder in folders for each in folder.glob(f"{UNIT}.d/*.conf")), key=lambda each: each.name)
    text = ""
    for each in (path, *added):
        with suppress(OSError), each.open(encoding="utf-8", errors="replace") as file:
            text += file.read(UNIT_BYTES_MAX) + "\n"
    return UnitSeen(str(path), text)


def user_of(agent: AgentSeen, unit: UnitSeen | None, state_dir: Path) -> int:
    """Return the uid that the agent runs as, or would: as its unit says, or as whoever has its state directory."""
    if agent.report is not None:
        with suppress(OSError):
            return Path(f"/proc/{agent.report.pid}").stat().st_uid
    if unit is not None:
        with suppress(KeyError):
            return pwd.getpwnam(service_settings(unit.text).get("User", "")).pw_uid
    if os.geteuid() == 0:
        with suppress(OSError):
            return state_dir.stat().st_uid
    return os.geteuid()

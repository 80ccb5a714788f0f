"""Looking at files: whose they are, how they are guarded, and who has them open for writing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from domstat.config import Config, SinkConfig
from domstat.deliver.journal import FILE as JOURNAL_FILE
from domstat.doctor.scene import FileSeen, Role, WriterSeen
from domstat.mounts import network_file_system
from domstat.sink import ClaimsFiles

SECRET_WORDS = ("token", "password", "passwd", "secret", "key")
"""A setting that ends in ``_file`` and has one of these in its name is the file of a secret."""


def see_files(config: Config) -> tuple[FileSeen, ...]:
    """Look at every file that is the agent's, or that it reads."""
    grouped = any(getattr(sink.settings, "group", None) for sink in config.sinks)
    seen = [replace(_see(Role.STATE, config.state_dir), shared=bool(config.agent.status_group) or grouped)]
    if config.path is not None:
        path = config.path.absolute()
        seen += [_see(Role.CONFIG, path), _see(Role.FOLDER, path.parent)]
    seen.append(_see(Role.JOURNAL, config.state_dir / JOURNAL_FILE))
    for sink in config.sinks:
        shared = bool(getattr(sink.settings, "group", None))
        seen += [
            replace(_see(Role.HISTORY, path), shared=shared, about=sink.name)
            for path in claimed(sink, config.state_dir)
        ]
        seen += [replace(_see(Role.SECRET, path), about=sink.name) for path in secret_files(sink.settings)]
    return tuple(seen)


def _see(role: Role, path: Path) -> FileSeen:
    try:
        is_link = stat.S_ISLNK(path.lstat().st_mode)
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return FileSeen(role, str(path), there=False)
    except OSError as error:
        return FileSeen(role, str(path), error=error.strerror or str(error))
    mode = stat.S_IMODE(status.st_mode)
    return FileSeen(role, str(path), uid=status.st_uid, mode=mode, is_link=is_link, network=network_file_system(path))


def claimed(sink: SinkConfig, state_dir: Path) -> tuple[Path, ...]:
    """Return the files that a sink says it writes; the configuration has been found right, so it can say."""
    claims: Any = sink.sink
    return tuple(claims.claims(sink.settings, state_dir)) if isinstance(claims, ClaimsFiles) else ()


def secret_files(settings: Any) -> Iterator[Path]:
    """Give the files of secrets that a sink's settings name."""
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if name.endswith("_file") and isinstance(value, str) and any(word in name for word in SECRET_WORDS):
            yield Path(value)


def see_writers(config: Config) -> tuple[WriterSeen, ...]:
    """Find who has the journal and the sinks' files open for writing, among the processes that may be looked at."""
    paths = [config.state_dir / JOURNAL_FILE]
    paths += [path for sink in config.sinks for path in claimed(sink, config.state_dir)]
    wanted = {str(path.resolve()): path for path in paths if os.path.isfile(path)}  # noqa: PTH113 - a Path would raise
    found: dict[str, set[int]] = {path: set() for path in wanted}
    for pid, path in _open_for_writing():
        if path in found:
            found[path].add(pid)
    return tuple(WriterSeen(str(wanted[path]), tuple(sorted(pids))) for path, pids in found.items())


def _open_for_writing() -> Iterator[tuple[int, str]]:
    """Give who has which file open for writing; no file is touched, since one may be on a server that is gone."""
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        with suppress(OSError):  # it is somebody else's, or has ended
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):
                    path = str(descriptor.readlink())
                    if path.startswith("/") and _may_write(process / "fdinfo" / descriptor.name):
                        yield int(process.name), path


def _may_write(fdinfo: Path) -> bool:
    """Whether a descriptor was opened for writing: its flags are there in octal (proc(5))."""
    for line in fdinfo.read_text(encoding="ascii").splitlines():
        if line.startswith("flags:"):
            return int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
    return False

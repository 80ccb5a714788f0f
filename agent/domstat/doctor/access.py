"""Whose are the files, and who may use them? Pure."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Sequence

from domstat.doctor.finding import Finding, ok, trouble, unknown
from domstat.doctor.scene import FileSeen, Role

_ALLOWED = {
    Role.STATE: (0o700, 0o750),
    Role.CONFIG: (0o755, 0o755),
    Role.FOLDER: (0o755, 0o755),
    Role.JOURNAL: (0o600, 0o600),
    Role.HISTORY: (0o600, 0o640),
    Role.SECRET: (0o600, 0o600),
}
"""The bits a mode may have: as it is, and where a group is configured that may read."""

_ROOT = 0

_THE_AGENTS_OWN = frozenset({Role.STATE, Role.JOURNAL, Role.HISTORY, Role.SECRET})
"""What the agent's user itself must own: to write it, or since nobody else may read it. The rest may be root's too."""


def files(seen: Iterable[FileSeen], uid: int) -> Iterator[Finding]:
    """Say of the agent's files, *uid*'s, whether anybody else could change them or read what they should not."""
    yield from _all_of((file for file in seen if file.role is not Role.SECRET), uid)


def secrets(seen: Sequence[FileSeen], uid: int, *, revealing: bool) -> Iterator[Finding]:
    """Say who could read secrets: sinks' files, and a configuration that is *revealing*, with a secret in it."""
    config = [file for file in seen if file.role is Role.CONFIG and file.there and not file.error]
    if revealing and any(file.mode & 0o044 for file in config):
        path = config[0].path
        text = f"{path} has a secret in it, and others may read it (mode {_octal(config[0].mode)})"
        better = "a key (qemu+ssh) or a certificate (qemu+tls) in place of a password, a file for a sink's token"
        yield trouble(path, text, f"chmod 0600 {path}; better {better}")
    found = [file for file in seen if file.role is Role.SECRET]
    yield from _all_of(found, uid)
    if not found and not revealing:
        yield ok("", "no secret is configured")


def _all_of(seen: Iterable[FileSeen], uid: int) -> Iterator[Finding]:
    for file in seen:
        yield _file(file, uid)


def _file(file: FileSeen, uid: int) -> Finding:
    name = f"{file.about}: {file.path}" if file.about else file.path
    if file.error:
        return unknown(
            name, f"the {file.role} cannot be looked at: {file.error}", "ask as the agent's user, or as root"
        )
    if not file.there:
        return _missing(file, name, uid)
    if fault := _place(file) or _owner(file, uid) or _mode(file):
        return trouble(name, *fault)
    return ok(name, f"{file.role}, mode {_octal(file.mode)}, of uid {file.uid}")


def _missing(file: FileSeen, name: str, uid: int) -> Finding:
    if file.role is Role.SECRET:
        return trouble(name, "there is no such file", f"install -m 0600 -o {uid} /dev/stdin {file.path}")
    return ok(name, f"{file.role}: not there yet, the agent makes it")


def _place(file: FileSeen) -> tuple[str, str] | None:
    if file.network is not None and file.role in {Role.STATE, Role.JOURNAL, Role.HISTORY}:
        return f"the {file.role} is on {file.network}, where SQLite loses data", "state_dir = a folder on a local disk"
    if file.is_link and file.role is Role.STATE:
        return "it is a symbolic link, which whoever owns it can turn", "state_dir = the folder that it leads to"
    return None


def _owner(file: FileSeen, uid: int) -> tuple[str, str] | None:
    owners = {uid} if file.role in _THE_AGENTS_OWN else {uid, _ROOT}
    if file.uid in owners:
        return None
    return f"the {file.role} is uid {file.uid}'s, and the agent runs as uid {uid}", f"chown {uid} {file.path}"


def _mode(file: FileSeen) -> tuple[str, str] | None:
    allowed = _ALLOWED[file.role][file.shared]
    others_sticky = file.role is Role.FOLDER and file.mode & stat.S_ISVTX  # as /tmp: nobody renames another's file
    if others_sticky or not stat.S_IMODE(file.mode) & ~allowed & 0o077:
        return None
    may = "change" if file.mode & 0o022 else "read" if file.mode & 0o044 else "enter"
    return (
        f"others may {may} the {file.role} (mode {_octal(file.mode)})",
        f"chmod {_octal(file.mode & allowed)} {file.path}",
    )


def _octal(mode: int) -> str:
    return f"{stat.S_IMODE(mode) & 0o777:04o}"

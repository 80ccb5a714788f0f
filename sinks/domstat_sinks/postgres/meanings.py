"""What an error of PostgreSQL's means for what was to be written. Pure.

Errors are told by their SQLSTATE (the manual's appendix A); the words may be in any language. One that came while
connecting has none, and may mean anything from a password that is being changed to a server that starts: tried again,
with the password read anew.
"""

from __future__ import annotations

from enum import Enum, auto


class Meaning(Enum):
    """What is to be done about an error."""

    LATER = auto()  # try again: nothing is wrong with what was written
    MENDED = auto()  # try again in a while: somebody has to do something first
    STOP = auto()  # no retry helps
    REFUSED = auto()  # something about the rows themselves


MENDED_AFTER_S = 30.0
"""Seconds until it is tried again when somebody has to do something first: soon enough to be seen at work."""

_BY_STATE = {
    "42501": Meaning.STOP,  # insufficient_privilege
    "3D000": Meaning.MENDED,  # invalid_catalog_name: there is no such database
    "53100": Meaning.MENDED,  # disk_full
    "54000": Meaning.REFUSED,  # program_limit_exceeded: a value that fits into no row or index
    "22021": Meaning.REFUSED,  # character_not_in_repertoire
}

_BY_CLASS = {
    "08": Meaning.LATER,  # connection
    "0A": Meaning.STOP,  # feature_not_supported: too old
    "22": Meaning.REFUSED,  # data
    "23": Meaning.REFUSED,  # integrity constraint: there may be some that are not ours
    "25": Meaning.LATER,  # invalid transaction state: a standby, which takes no writes, among them
    "28": Meaning.MENDED,  # authorization
    "40": Meaning.LATER,  # rolled back: deadlock, serialization
    "42": Meaning.LATER,  # something is not as it was made: it is looked at anew with the next connection
    "53": Meaning.LATER,  # resources
    "54": Meaning.REFUSED,  # limits
    "55": Meaning.LATER,  # not in the right state: locks
    "57": Meaning.LATER,  # somebody stepped in: a shutdown, a timeout
    "58": Meaning.MENDED,  # the system: files
    "P0": Meaning.REFUSED,  # somebody's own trigger
    "XX": Meaning.MENDED,  # damage
}


def meaning_of(sqlstate: str | None) -> Meaning:
    """Say what an error with that SQLSTATE means; what nobody has heard of is tried again."""
    if sqlstate is None:
        return Meaning.LATER
    return _BY_STATE.get(sqlstate) or _BY_CLASS.get(sqlstate[:2], Meaning.LATER)

r"""Untrusted names on their way into formats that cannot carry every character: escaped reversibly.

Line protocol has no way to write a newline or a trailing backslash in a tag, and servers disagree on what any
backslash means; some trim blanks, and none stores an empty value. So those, and only those, are percent-encoded
(as their UTF-8 bytes), together with the percent sign itself and the marks that would reorder a terminal's line:

====================================  =================
``\``, ``%``                          ``%5C``, ``%25``
control characters, C0, DEL and C1    ``%0A`` …
bidirectional marks, U+2028, U+2029   ``%E2%80%AE`` …
blanks at either end                  ``%20`` …
the empty name                        ``%empty``
====================================  =================

The set is written out rather than asked of Python's Unicode tables: what is escaped today must be escaped in ten
years, or a guest's series would split. A name longer than :data:`NAME_BYTES_MAX` is cut, and told apart from others
that begin alike by a hash.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from itertools import accumulate

NAME_BYTES_MAX = 512
"""Bytes of an escaped name: far above what people call a guest, far below any server's limit on a tag."""

UNSAFE = "\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069"
"""Characters that act on a terminal instead of being shown, as the inside of a regular expression's class."""

_BLANK = "[ \\u00a0\\u1680\\u2000-\\u200a\\u202f\\u205f\\u3000]"
_ESCAPED = re.compile(rf"[{UNSAFE}\\%\ud800-\udfff]|^{_BLANK}+|{_BLANK}+\Z")
_ESCAPE_RUN = re.compile(r"(?:%[0-9A-F]{2})+")
_CHARACTER = re.compile(r"%[0-7].|%[CD].%..|%E.%..%..|%F.%..%..%..|.", re.DOTALL)

_EMPTY = "%empty"  # no other name can begin so: "em" is not hexadecimal
_CUT = "%~"


def escape_name(name: str) -> str:
    """Escape *name* as the module's text says. Different names stay different; :func:`unescape_name` reads it."""
    if name.isascii() and name.isidentifier():  # most are
        escaped = name
    else:
        escaped = _ESCAPED.sub(lambda match: _percent(match[0]), name) or _EMPTY
    if len(escaped) * 4 <= NAME_BYTES_MAX or len(escaped.encode()) <= NAME_BYTES_MAX:
        return escaped
    suffix = _CUT + blake2b(_bytes(name), digest_size=8).hexdigest()
    characters = _CHARACTER.findall(escaped)
    lengths = accumulate(len(character.encode()) for character in characters)
    kept = sum(length <= NAME_BYTES_MAX - len(suffix) for length in lengths)
    return "".join(characters[:kept]) + suffix


def unescape_name(escaped: str) -> str:
    """Read a name back that :func:`escape_name` wrote; one that was cut comes back cut, with an ellipsis."""
    if escaped == _EMPTY:
        return ""
    whole, cut, _hash = escaped.partition(_CUT)
    return _ESCAPE_RUN.sub(lambda match: _read(match[0]), whole) + ("…" if cut else "")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in _bytes(text))


def _read(run: str) -> str:
    return bytes.fromhex(run.replace("%", "")).decode("utf-8", "surrogatepass")

"""The sqlite sink: a history of everything collected, in one SQLite file.

``SqliteSink`` writes it; :func:`connect` opens it for anybody's own queries; :mod:`.schema` says what is in it.
"""

from domstat_sinks.sqlite.reader import connect, register
from domstat_sinks.sqlite.sink import SqliteSink

__all__ = ["SqliteSink", "connect", "register"]

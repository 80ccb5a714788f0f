"""Which SQLite this Python has, for whoever asks."""

from __future__ import annotations

import sqlite3

SQLITE_VERSION = sqlite3.sqlite_version_info
"""As ``(3, 40, 1)``."""

"""The one exception of the lab."""


class LabError(Exception):
    """Something the lab needs is missing or did not happen in time; the message says what to do about it."""

"""The planner's questions, asked of any history: what is idle, what is too big, when is it full, what still fits.

Pure: a :class:`~domstat.history.History` and a time in, typed answers out; no clock, no I/O, no logger. One module per
question, each on top of the same few: :mod:`.gather` asks the history, :mod:`.fleet` says who is there, :mod:`.grid`
has figures over time, :mod:`.explained` numbers that can say how they came about. Nothing is imported here, so that
:mod:`.settings` costs the agent nothing.
"""

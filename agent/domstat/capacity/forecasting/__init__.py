"""Series in, projection out: pure, numpy only, and the same answer every time.

* :func:`project` projects a :class:`Series` some steps ahead: a :class:`Projection`, or a :class:`Refused` whose
  ``reason`` is a sentence for people. :func:`project_many` does it for many series at once, with the same answers.
* :func:`crossing` says when a projection reaches a limit, and how probable that is within some days.
* :func:`backtest` says how well the same method would have done in the past of a series.

A hole is NaN. A series may begin and end with holes: a projection always starts one step after the series' grid ends.

How it is done, module by module: `shifts` are found and taken out; `parts` takes what is left apart, into levels over
several windows, slopes (`trend`) and seasons of the day and the week; `mixing` tries all combinations of these at
earlier origins of the same series and mixes them by their errors; `spread` makes the interval of the errors that the
mixture had there. `together` does all that for many rows of numbers, `projecting` for series.
"""

from domstat.capacity.forecasting.backtest import Backtest, backtest
from domstat.capacity.forecasting.crossing import Crossing, crossing
from domstat.capacity.forecasting.projecting import project, project_many
from domstat.capacity.forecasting.series import FloatArray, Projection, Refused, Series

__all__ = [
    "Backtest",
    "Crossing",
    "FloatArray",
    "Projection",
    "Refused",
    "Series",
    "backtest",
    "crossing",
    "project",
    "project_many",
]

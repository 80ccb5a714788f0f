"""Records of what is no guest: the host, and the agent itself."""

from __future__ import annotations

from collections.abc import Mapping

from domstat.derive import derive_host
from domstat.model import Figures, Kind, Moment, Record, Stamp, Value
from domstat.rates import Baseline, advance, elapsed_ns, shape_of


class Subject:
    """One such subject of one stream, with the baseline of its rates."""

    def __init__(self, kind: Kind, host: str, collect: str) -> None:
        self._kind = kind
        self._host = host
        self._collect = collect
        self.baseline: Baseline | None = None
        """What the next rates are taken against."""

    def remember(self, baseline: Baseline) -> None:
        """Go on from what the agent before knew of the subject."""
        self.baseline = baseline

    def record(self, params: Mapping[str, Value], stamp: Stamp, moment: Moment) -> Record:
        """Make the subject's record of one tick out of its parameters, read at *moment*."""
        params = dict(params)
        before = self.baseline
        rates, self.baseline = advance(before, shape_of(tuple(params)), params, moment, None)
        return Record(
            kind=self._kind,
            host=self._host,
            collect=self._collect,
            time_ms=stamp.time_ms,
            interval_s=elapsed_ns(before.moment, moment) / 1e9 if before else None,
            figures=Figures(params, rates, derive_host(params, rates) if self._kind is Kind.HOST else {}),
        )

"""What is known of a guest between ticks, and what of it is handed on to the agent that comes next. Pure."""

from __future__ import annotations

from msgspec import Struct

from domstat.collect.naming import Plan, plugged_anew
from domstat.collect.sample import Sample
from domstat.model import Domain, Moment
from domstat.rates import Baseline


class Past(Struct, frozen=True):
    """What an agent that ran before knew of a guest: what rates are taken against, and what its devices were.

    *devices* is None where nobody knows any more.
    """

    domain: Domain
    baseline: Baseline
    devices: dict[str, dict[str, str]] | None = None


class Known:
    """What a stream keeps of one guest between ticks."""

    __slots__ = (
        "asked_ns",
        "checked",
        "details_ns",
        "domain",
        "no_number",
        "older",
        "plan",
        "sample",
        "sent",
        "settled",
        "spared_ns",
        "whole",
        "whole_moment",
    )

    def __init__(self, domain: Domain, plan: Plan) -> None:
        self.domain = domain
        self.plan = plan
        self.sample: Sample | None = None
        """The newest sample, if it lacked nothing: then it is all that rates need."""
        self.older: Baseline | None = None
        """What rates need otherwise."""
        self.asked_ns = 0
        """When the call of the newest record began, on the boot-time clock; spared ones have their own."""
        self.spared_ns = 0
        self.settled = 0
        """The tick at which the guest was last found to be as it was."""
        self.checked = -1
        """The inventory's version with which the plan's entry was last compared."""
        self.no_number: frozenset[str] = frozenset()
        """Stats groups of which the newest answer had values that are no numbers."""
        self.whole: tuple[str, ...] = ()
        """The keys of the last record that lacked nothing, read at *whole_moment*."""
        self.whole_moment: Moment | None = None
        self.sent: tuple[dict[str, str], dict[str, dict[str, str]]] | None = None
        """Labels and devices as they last travelled, at *details_ns* of the boot-time clock."""
        self.details_ns = 0

    @property
    def baseline(self) -> Baseline | None:
        """What the next rates are taken against; None for a guest that was never seen."""
        return self.sample.baseline() if self.sample is not None else self.older

    def inherit(self, past: Past | None) -> tuple[str, ...]:
        """Go on from what was known before the agent began; return the devices that are not what they were then."""
        if past is None or past.domain.id != self.domain.id:
            return ()
        self.older = past.baseline
        return () if past.devices is None else plugged_anew(past.devices, self.plan.devices)

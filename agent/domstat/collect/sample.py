"""A guest's figures, worked out when somebody asks for them.

Most of what a tick would compute nobody reads: the history keeps the parameters and takes rates when it is read. So a
record of a guest that is as it was holds its values as they came, and those before them; rates, derived values and
even the parameters' dictionary are made for the sink that wants them, by the functions that otherwise made them at
once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from domstat.derive import Derivation, derive
from domstat.memo import Shared
from domstat.model import Figures, Moment, Value
from domstat.rates import Baseline, Number, Shape, advance, elapsed_ns, picker, rates_between, shape_of


class Naming(Protocol):
    """How the values of a sample are named: a guest's :class:`domstat.collect.naming.Plan`, or :class:`Keyed`."""

    keys: tuple[str, ...]
    shape: Shape
    derivation: Derivation
    counters: Callable[[Sequence[Value]], tuple[Any, ...]]

    def pick(self, values: Sequence[Value]) -> Sequence[Value]:
        """Take the values that have keys, in the order of these."""

    def params(self, values: Sequence[Value]) -> dict[str, Value]:
        """Name *values*."""


class Keyed:
    """The naming of values that stand in the order of their keys already, as they are stored."""

    __slots__ = ("__weakref__", "counters", "derivation", "keys", "shape")

    def __init__(self, keys: tuple[str, ...]) -> None:
        self.keys = keys
        self.shape = shape_of(keys)
        self.derivation = Derivation(keys)
        position = {key: i for i, key in enumerate(keys)}
        self.counters = picker([position[key] for key in self.shape.counters])

    def pick(self, values: Sequence[Value]) -> Sequence[Value]:
        """Return *values*: all of them have keys."""
        return values

    def params(self, values: Sequence[Value]) -> dict[str, Value]:
        """Name *values*."""
        return dict(zip(self.keys, values, strict=True))


keyed = Shared(Keyed)
"""The naming by a tuple of keys (see :class:`Keyed`); guests alike share theirs."""


class Sample:
    """What a guest of one incarnation said at one moment: values as they came, which *plan* names."""

    __slots__ = ("incarnation", "moment", "plan", "values")

    def __init__(self, plan: Naming, values: Sequence[Value], moment: Moment, incarnation: int | None) -> None:
        self.plan = plan
        self.values = values
        self.moment = moment
        self.incarnation = incarnation

    def baseline(self) -> Baseline:
        """Return what the next rates are taken against."""
        counters = cast(tuple[Number, ...], self.plan.counters(self.values))
        return Baseline(self.incarnation, self.moment, self.plan.shape, counters, {})


class Sampled(Figures):
    """The figures of *sample*, with rates against *before*, a sample of the same plan and incarnation.

    The threads of two sinks may work them out at once, to the same end.
    """

    __slots__ = ("_before", "_sample", "_values")

    _values: Sequence[Value]

    def __init__(self, sample: Sample, before: Sample) -> None:
        self._sample = sample
        self._before: Sample | None = before

    @property
    def follows(self) -> bool:
        """Whether rates and derived values are no more than what the two samples come to: they are."""
        return True

    @property
    def keys(self) -> tuple[str, ...]:
        """The parameters' keys; the same tuple for as long as the guest is as it was."""
        return self._sample.plan.keys

    @property
    def values(self) -> Sequence[Value]:
        """The parameters' values, in the order of the keys."""
        try:
            return self._values
        except AttributeError:
            self._values = self._sample.plan.pick(self._sample.values)
            return self._values

    @property
    def params(self) -> dict[str, Value]:
        """The typed parameters, by key."""
        try:
            return self._params
        except AttributeError:
            self._params = dict(zip(self.keys, self.values, strict=False))  # both are the plan's
            return self._params

    @property
    def rates(self) -> dict[str, float]:
        """Rates per second, by key."""
        before = self._before  # read first: once it is gone the rates are there
        if before is not None:
            sample = self._sample
            plan, span = sample.plan, elapsed_ns(before.moment, sample.moment)
            rates = rates_between(plan.shape, plan.counters(before.values), plan.counters(sample.values), span)
            if rates is None:  # something fell: the long way, which finds out what begins anew
                rates, _ = advance(before.baseline(), plan.shape, self.params, sample.moment, sample.incarnation)
            self._rates = rates
            self._before = None  # whoever keeps a record must not keep the sample before it
        return self._rates

    @property
    def derived(self) -> dict[str, float]:
        """Derived values, by key."""
        try:
            return self._derived
        except AttributeError:
            sample = self._sample
            self._derived = derive(sample.plan.derivation, self.params, self.rates, sample.moment.time_ms)
            return self._derived

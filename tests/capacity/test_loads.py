"""What single guests ask for, to be put elsewhere."""

from __future__ import annotations

import numpy as np

from capacity.fleets import HOURS, asked, guest, two_hosts
from capacity.made import GIB, Made
from domstat.capacity.demand import Resource
from domstat.capacity.loads import Loads


def moved() -> Made:
    made = two_hosts()
    made.guest("m", guest(np.full(HOURS - 480, 1.0), 2, 2, 1), host="kvm1")
    made.guest("m", guest(np.full(240, 3.0), 2, 2, 1), host="kvm2", first=HOURS - 480)
    return made


def test_a_guest_asks_of_a_host_only_while_it_is_there() -> None:
    figures = asked(moved())
    (one,) = figures.fleet.called("m")
    found = Loads(figures, (one.uuid,))
    assert found.on(one, "kvm1", found.past, Resource.CPU).tolist() == [1.0] * (HOURS - 480) + [0.0] * 480
    assert found.on(one, "kvm2", found.past, Resource.CPU)[-480:].tolist() == [3.0] * 240 + [0.0] * 240


def test_what_is_typical_is_what_it_asked_anywhere_and_else_its_mean() -> None:
    figures = asked(moved())
    (one,) = figures.fleet.called("m")
    found = Loads(figures, (one.uuid,))
    typical = found.typical(one, found.past, Resource.CPU)
    mean = ((HOURS - 480) * 1.0 + 240 * 3.0) / (HOURS - 240)
    assert typical[: HOURS - 480].tolist() == [1.0] * (HOURS - 480)
    assert np.allclose(typical[-240:], mean)


def test_the_peak_is_that_of_the_window() -> None:
    figures = asked(two_hosts())
    (one,) = figures.fleet.called("db-1")
    found = Loads(figures, (one.uuid,))
    assert found.peak(one, Resource.MEMORY) == 8 * GIB


def test_a_guest_that_nobody_knows_asks_for_nothing() -> None:
    figures = asked(two_hosts())
    (one,) = figures.fleet.called("old")
    found = Loads(figures, ())
    assert found.peak(one, Resource.CPU) == 0
    assert not found.typical(one, found.window, Resource.CPU).any()

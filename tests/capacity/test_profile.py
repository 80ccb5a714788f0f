"""What one guest takes."""

from __future__ import annotations

import numpy as np
import pytest

from capacity.fleets import HOURS, asked, guest, two_hosts
from capacity.made import GIB, Made
from domstat.capacity import profile
from domstat.capacity.explained import Unit
from domstat.capacity.profile import Profile, Size


def of(made: Made, name: str) -> Profile:
    figures = asked(made)
    return profile.of_guest(figures.fleet.called(name)[0], profile.peaks(figures))


def test_a_guest_takes_its_peaks_by_demand_and_its_size_by_allocation() -> None:
    made = two_hosts()
    busy = np.where(np.arange(HOURS) % 10 == 0, 3.0, 1.0)  # a tenth of the time, so that it is the peak
    made.guest("batch", guest(busy, 4, 8, 40))
    found = of(made, "batch")
    assert (found.cores.value, found.resident.value, found.held.value) == (3, 8 * GIB, 20 * GIB)
    assert (found.vcpus.value, found.memory.value, found.disk.value) == (4, 8 * GIB, 40 * GIB)


def test_what_is_busy_for_less_than_the_share_is_no_peak() -> None:
    made = two_hosts()
    made.guest("spiky", guest(np.where(np.arange(HOURS) % 50 == 0, 3.0, 1.0), 4, 8, 40))
    assert of(made, "spiky").cores.value == 1


def test_a_guest_without_disks_or_figures_says_so() -> None:
    made = two_hosts()
    made.guest("bare", {"vcpu.current": 2})
    found = of(made, "bare")
    assert found.cores.note.startswith("nothing is known of")
    assert (found.vcpus.value, found.held.value, found.disk.value) == (2, None, None)


def test_guests_that_are_off_are_not_part_of_the_average() -> None:
    figures = asked(two_hosts())
    found = profile.average(figures.fleet.guests, profile.peaks(figures))
    assert found.vcpus.value == pytest.approx(14 / 3)


def test_of_nobody_there_is_no_average() -> None:
    figures = asked(Made(count=48))
    found = profile.average((), profile.peaks(figures))
    assert found.cores.note == "nothing is known of the peaks of CPU of guests"


def test_what_a_size_leaves_open_is_as_the_average_has_it() -> None:
    figures = asked(two_hosts())
    usual = profile.average(figures.fleet.guests, profile.peaks(figures))
    found = profile.of_size(Size(memory=GIB), usual)
    assert found.vcpus is usual.vcpus
    assert found.memory.value == GIB
    assert found.resident.unit is Unit.BYTES

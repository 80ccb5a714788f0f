"""What a guest's figures come to: sums over devices, the worst vCPU, and nothing where nothing is known."""

from __future__ import annotations

import pytest

from domstat.model import Figures
from domstat.top.measures import CPU, LATENCY, MEMORY, READ, RX, STEAL, TX, WRITE, Said, measured
from records import guest_record


def said(params: dict[str, float] | None = None, rates: dict[str, float] | None = None, **derived: float) -> Said:
    return Said((Figures(dict(params or {}), rates or {}, {key.replace("_", "."): derived[key] for key in derived}),))


def test_the_usual_guest_shows_what_its_devices_do_together() -> None:
    values = measured(Said((guest_record().figures,)))
    assert values[CPU] == pytest.approx(0.25)
    assert values[READ] == 2 * 2_097_152
    assert values[WRITE] == 2 * 4_194_304
    assert values[RX] == values[TX] == 2 * 1_048_576
    assert values[STEAL] == pytest.approx(0.02), "of the vCPU that has most"
    assert values[LATENCY] == pytest.approx((0.02 + 0.15) / 140), "time in reads and writes over their number"


def test_what_is_not_known_is_none() -> None:
    assert measured(said()) == (None,) * 8


def test_without_requests_there_is_no_latency() -> None:
    assert measured(said(rates={"block.rd.times[vda]": 0.0, "block.rd.reqs[vda]": 0.0}))[LATENCY] is None


def test_memory_is_not_shown_of_a_driver_that_has_been_silent() -> None:
    assert measured(said(memory_used=1024.0, memory_age=59.0))[MEMORY] == 1024.0
    assert measured(said(memory_used=1024.0, memory_age=61.0))[MEMORY] is None
    assert measured(said(memory_used=1024.0))[MEMORY] == 1024.0, "a history's mean has no age"


def test_backing_layers_are_part_of_their_disk_and_not_counted_again() -> None:
    assert measured(said(rates={"block.rd.bytes[vda]": 5.0, "block.rd.bytes[vda#2]": 3.0}))[READ] == 5.0


def test_a_guest_of_several_streams_has_the_figures_of_all() -> None:
    both = Said((Figures({"vcpu.current": 2}, {"cpu.time": 1.0}), Figures({}, {"block.rd.bytes[vda]": 5.0})))
    assert measured(both)[CPU] == 0.5
    assert measured(both)[READ] == 5.0
    assert both.rate("block.rd.bytes[vda]") == 5.0
    assert both.rate("block.rd.bytes[vdb]") is None


def test_a_parameter_that_is_no_number_is_none() -> None:
    assert Said((Figures({"vcpu.current": "two"}),)).number("vcpu.current") is None

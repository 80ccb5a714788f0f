"""A guest's row: its name, state, whether it is stuck, and its figures."""

from __future__ import annotations

import pytest

from domstat.model import Domain, Partial
from domstat.top.guest import row_of
from domstat.top.measures import CPU, READ
from domstat.units import MISSING
from records import GIB_IN_KIB, HOST, TIME_MS, UUID, guest_record
from top.fleets import guest, stuck


def test_a_row_has_what_is_known_of_a_guest() -> None:
    row = row_of((guest_record(),))
    assert (row.key, row.name, row.time_ms, row.state) == ((HOST, UUID), "web-1", TIME_MS, "running")
    assert (row.stuck, row.age_s) == (False, None)
    assert (row.vcpus, row.iops) == (2, 280)
    assert row.cores == pytest.approx(0.5)
    assert (row.configured, row.resident) == (4 * GIB_IN_KIB * 1024, 3 * GIB_IN_KIB * 1024)


@pytest.mark.parametrize(("number", "word"), [(0, "no state"), (3, "paused"), (5, "off"), (77, "state 77")])
def test_a_state_is_a_word(number: int, word: str) -> None:
    assert row_of((guest_record(extra={"state.state": number}),)).state == word


def test_without_a_state_there_is_no_word_for_it() -> None:
    assert row_of((guest_record(without=("state.",)),)).state == MISSING


def test_a_guest_whose_process_does_not_answer_is_stuck() -> None:
    row = row_of((stuck(1, age_s=12.0),))
    assert (row.stuck, row.age_s) == (True, 12.0)
    assert row.values[READ] is None
    assert row.values[CPU] is not None, "which the host knows"


def test_a_guest_that_lacks_only_names_of_nics_is_not_stuck() -> None:
    assert not row_of((guest(1, partial=Partial(("interface",))),)).stuck


def test_a_guest_without_a_name_has_its_uuid() -> None:
    record = guest_record("")
    assert record.domain == Domain(UUID, "", 3)
    assert row_of((record,)).name == UUID


def test_of_several_streams_the_newest_says_when_and_who() -> None:
    slow = guest_record("old", collect="slow", time_ms=TIME_MS - 40_000, without=("cpu.", "vcpu."))
    fast = guest_record("new", time_ms=TIME_MS, without=("block.",))
    row = row_of((slow, fast))
    assert (row.name, row.time_ms) == ("new", TIME_MS)
    assert row.values[READ] == 2 * 2_097_152
    assert row.values[CPU] == pytest.approx(0.25)

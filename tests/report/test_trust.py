"""How far to trust the page."""

from __future__ import annotations

from domstat.report.trust import doubts
from report.asked import growing, lost, young


def test_what_could_not_be_judged_is_said_with_the_reason_and_the_names() -> None:
    found = list(doubts(growing()))
    assert "No size is recommended for 3 guests, db-1, web-1 and web-2: stale figures (memory)." in found
    assert "Whether idle cannot be said of 3 guests, db-1, web-1 and web-2: nothing is known of its CPU." in found


def test_a_host_that_is_not_seen_any_more_is_named() -> None:
    found = list(doubts(lost()))
    assert "Not seen any more, and left out of sums: kvm1 and kvm2." in found
    assert any(text.startswith("When it is full cannot be said of") and "stale" in text for text in found)
    assert not any("0 %" in text for text in found)


def test_of_a_history_that_is_young_it_is_said_what_takes_longer() -> None:
    found = list(doubts(young()))
    assert any("When it is full cannot be said of" in text for text in found)
    assert any(text.startswith("nothing was seen before") and text.endswith(".") for text in found)
    assert "When they are busy is not known of kvm1." in found

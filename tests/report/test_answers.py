"""All questions in one go."""

from __future__ import annotations

from capacity.fleets import two_hosts
from capacity.made import DAY_MS
from domstat.capacity.gather import Figures
from domstat.capacity.summary import summary
from report.asked import growing, young


def test_they_are_what_the_questions_answer_one_by_one() -> None:
    made = two_hosts()
    alone = summary(Figures(made, made.until_ms))
    assert [(one.host, one.constrained) for one in growing().summaries] == [
        (one.host, one.constrained) for one in alone
    ]
    assert growing().now_ms == made.until_ms
    assert growing().since_ms == made.since_ms


def test_an_hour_of_one_guest_has_answers_too() -> None:
    assert [one.name for one in young().fleet.guests] == ["web-1"]
    assert young().now_ms - young().since_ms < DAY_MS

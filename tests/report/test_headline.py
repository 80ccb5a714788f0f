"""The sentence that matters, and those after it."""

from __future__ import annotations

from msgspec.structs import replace

from domstat.capacity.explained import Unit, given, missing
from domstat.capacity.runway import Runway, Status
from domstat.report import headline
from domstat.report.answers import Answers
from report.asked import full, growing, hostile, lost, young


def cpu_of(answers: Answers, host: str = "kvm1") -> Runway:
    return next(one for one in answers.runways if (one.host, one.resource) == (host, "cpu"))


def of_one(**changes: object) -> Answers:
    """Answer of kvm1's CPU alone, with something changed."""
    return replace(growing(), runways=(replace(cpu_of(growing()), **changes),))


def days(count: float) -> object:
    return given(count, Unit.DAYS, "made")


def test_it_says_what_is_full_first_and_when() -> None:
    assert headline.first(growing()) == "kvm1 CPU is full first: expected in 102 days (22 July 2026)."


def test_it_says_how_sure_that_is() -> None:
    answers = of_one(conservative=days(12), expected=days(22), latest=days(40))
    assert headline.first(answers) == (
        "kvm1 CPU is full first: expected in 22 days (3 May 2026), at the earliest in 12 days, "
        "at the latest in 40 days."
    )
    beyond = missing(Unit.DAYS, "not within the horizon: 365d")
    assert headline.first(of_one(conservative=days(0), expected=days(22), latest=beyond)) == (
        "kvm1 CPU is full first: expected in 22 days (3 May 2026), at the earliest today, perhaps not within 365 days."
    )
    assert headline.first(of_one(conservative=days(22), expected=beyond, latest=beyond)) == (
        "kvm1 CPU may be full first: in 22 days (3 May 2026) at the earliest, though not within 365 days by the middle "
        "of its projection."
    )


def test_it_says_what_is_full_already() -> None:
    assert headline.first(full()) == "4 of 5 are full already: kvm1 memory, kvm2 memory, kvm1 CPU and 1 more."
    alone = replace(full(), runways=(cpu_of(full()),))
    assert headline.first(alone) == "kvm1 CPU is full already: 9.52 cores of the 4.8 cores that are usable."


def test_it_says_that_nothing_is_full_and_of_how_much_that_is_not_known() -> None:
    beyond = missing(Unit.DAYS, "not within the horizon")
    calm = replace(cpu_of(growing()), status=Status.BEYOND, conservative=beyond, expected=beyond)
    dark = replace(calm, status=Status.YOUNG)
    assert headline.first(replace(growing(), runways=(calm,))) == "Nothing is full within the next 365 days."
    assert headline.first(replace(growing(), runways=(calm, dark))) == (
        "Nothing is full within the next 365 days, as far as that is known: of 1 nothing can be said."
    )


def test_it_says_so_where_nothing_can_be_said() -> None:
    assert headline.first(young()) == "There is not enough history yet to say when anything is full."
    assert headline.first(lost()) == "Nothing can be said of when anything is full: all figures are stale."
    assert headline.first(replace(growing(), runways=())) == "Nothing is known of how full hosts are."


def test_after_that_comes_what_else_a_planner_would_ask() -> None:
    assert list(headline.others(growing())) == [
        "2 guests more like the average of 3 guests fit, by demand.",
        "1 guest is idle or off: 30 GiB of disk would come back.",
    ]
    assert any("less than 120 days left" in text for text in headline.others(full()))
    assert any("too small" in text for text in headline.others(hostile()))
    assert any("thin disks" in text for text in headline.others(hostile()))


def test_where_there_is_nothing_to_say_there_is_no_sentence() -> None:
    assert list(headline.others(young())) == []

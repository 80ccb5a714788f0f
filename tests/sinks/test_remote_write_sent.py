"""Which samples that a store calls late are there all the same."""

from __future__ import annotations

from domstat_sinks.remote_write.sent import STREAMS_MAX, TICKS_MAX, Sent

ONE, OTHER = ("kvm1", "default"), ("kvm2", "default")
OPENED_MS = 1000


def test_what_was_collected_before_the_sink_was_opened_may_have_been_sent_by_another() -> None:
    sent = Sent(OPENED_MS)
    assert sent.has((ONE, OPENED_MS - 1))
    assert not sent.has((ONE, OPENED_MS))


def test_what_is_stored_is_there() -> None:
    sent = Sent(OPENED_MS)
    sent.stored([(ONE, 2000), (ONE, 3000)])
    assert sent.has((ONE, 2000))
    assert sent.has((ONE, 3000))


def test_what_is_older_than_what_is_stored_and_is_not_that_is_not_there() -> None:
    sent = Sent(OPENED_MS)
    sent.stored([(ONE, 2000)])
    assert not sent.has((ONE, 500))
    assert sent.has((OTHER, 500)), "of another stream nothing is known"


def test_it_remembers_no_more_than_it_may() -> None:
    sent = Sent(0)
    sent.stored([(ONE, time_ms) for time_ms in range(TICKS_MAX + 1)])
    assert not sent.has((ONE, 0))
    assert sent.has((ONE, 1))
    sent.stored([((f"h{i}", "default"), 5) for i in range(STREAMS_MAX)])
    assert not sent.has((ONE, 1))

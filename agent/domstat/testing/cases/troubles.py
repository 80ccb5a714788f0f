"""A store that is away, slow, or does not want what it is given."""

from __future__ import annotations

import math

from domstat.model import Batch, Record
from domstat.sink import Fatal, Reject, Retry
from domstat.testing.records import RATIO, agent, batch, guest, ticks, uuid_of
from domstat.testing.rig import Rig, fail, raises
from domstat.testing.store import CanRead

BAD = 1
"""The guest that the store refuses."""


class Troubles:
    """What a sink raises, and that it goes on afterwards."""

    def test_a_store_that_is_away_means_retry_and_then_success(self, rig: Rig) -> None:
        """Nothing is lost in an outage, and nothing is there twice after it."""
        away = rig.outage()
        sink = rig.open()
        one, two, three = ticks(3, start_ms=rig.at(0))
        rig.write(sink, one)
        with away:
            for _ in range(2):
                if raises(lambda: sink.write([two]), Retry, when="while its store was away") is None:
                    fail("write returned although the store was away")
        rig.write_when_it_can(sink, two, three)
        rig.reported_nothing()
        rig.holds(one, two, three)

    def test_opened_while_its_store_is_away_it_tries_again(self, rig: Rig) -> None:
        """Opening says Retry, or puts off the meeting until there is something to write."""
        away = rig.outage()
        sink = rig.make()
        with away:
            refused = raises(lambda: sink.open(rig.context()), Retry, when="opened while its store was away")
        if refused is not None:
            rig.try_until(lambda: sink.open(rig.context()))
        tick = batch(guest(time_ms=rig.at(0)))
        rig.write_when_it_can(sink, tick)
        rig.holds(tick)

    def test_a_slow_store_loses_nothing(self, rig: Rig) -> None:
        """Either write takes as long as it takes, or it is Retry; what was half done then is not there twice."""
        slow = rig.slow()
        sink = rig.open()
        one, two, three = ticks(3, start_ms=rig.at(0))
        rig.write(sink, one)
        with slow:
            refused = raises(lambda: sink.write([two]), Retry, when="while its store was slow")
        rig.write_when_it_can(sink, *((two, three) if refused is not None else (three,)))
        rig.holds(one, two, three)

    def test_a_record_that_cannot_be_stored_takes_no_other_with_it(self, rig: Rig) -> None:
        """All but that is stored in the same call, and the sink says which one it was."""
        sink = rig.open()
        bad = _impossible(BAD, rig.at(0))
        tick = batch(guest(0, time_ms=rig.at(0)), bad, guest(2, time_ms=rig.at(0)))
        after = _whole_tick(rig.at(1))
        rig.write(sink, tick, after)
        rig.reported_only(bad)
        rig.holds(tick, after)

    def test_of_a_batch_that_cannot_be_stored_every_record_is_reported(self, rig: Rig) -> None:
        """And the sink goes on with the next."""
        sink = rig.open()
        bad = [_impossible(number, rig.at(0)) for number in range(3)]
        after = _whole_tick(rig.at(1))
        rig.write(sink, batch(*bad))
        rig.write(sink, after)
        rig.reported_only(*bad)
        rig.holds(batch(*bad), after)

    def test_what_the_store_refuses_is_rejected_and_the_rest_stored(self, rig: Rig) -> None:
        """Reject names it; that is no Retry, which would come to nothing for ever."""
        refusing = rig.refusing(uuid_of(BAD))
        sink = rig.open()
        bad = guest(BAD, time_ms=rig.at(0))
        tick = batch(guest(0, time_ms=rig.at(0)), bad, guest(2, time_ms=rig.at(0)))
        after = _whole_tick(rig.at(1))
        with refusing:
            raises(lambda: rig.write(sink, tick, after), Reject, when="while its store refused a record")
        rig.reported(bad)
        rig.reported_only(bad)
        rig.holds(tick, after)

    def test_where_the_store_refuses_everything_everything_is_rejected(self, rig: Rig) -> None:
        """And the sink goes on with the next."""
        refusing = rig.refusing(uuid_of(BAD))
        sink = rig.open()
        bad = [guest(BAD, time_ms=rig.at(at)) for at in range(3)]
        after = batch(guest(BAD, time_ms=rig.at(3)))
        with refusing:
            raises(
                lambda: rig.write(sink, *(batch(record) for record in bad)), Reject, when="while its store refused all"
            )
        rig.reported(*bad)
        rig.write(sink, after)
        rig.reported_only(*bad)
        rig.holds(*(batch(record) for record in bad), after)

    def test_what_no_retry_helps_is_fatal(self, rig: Rig) -> None:
        """At the opening or with the first write; the message says why, and closing is still possible."""
        sink = rig.make(rig.hopeless())
        error = raises(lambda: sink.open(rig.context()), Fatal, when="opened with settings that cannot do")
        if error is None:
            tick = batch(guest(time_ms=rig.at(0)))
            error = raises(lambda: sink.write([tick]), Fatal, when="with settings that cannot do")
        sink.close()
        if error is None:
            fail("it opens and writes with settings with which no retry helps, and says nothing")
        if not str(error):
            fail("Fatal has no message: it is all that somebody has to mend it by")
        if isinstance(rig.store, CanRead):
            rig.holds()


def _whole_tick(time_ms: int) -> Batch:
    """Make a tick without the guest BAD, which the agent's own record ends."""
    return batch(guest(0, time_ms=time_ms), guest(2, time_ms=time_ms), agent(time_ms=time_ms))


def _impossible(number: int, time_ms: int) -> Record:
    """Make a record that says nothing but what is no number."""
    return guest(number, time_ms=time_ms, params={RATIO: math.nan})

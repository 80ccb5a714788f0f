"""Behind the agent's own journal and courier: what is counted, and stopping in the middle."""

from __future__ import annotations

import math

from domstat.testing.carrying import carrying, until
from domstat.testing.records import RATIO, batch, guest, ticks
from domstat.testing.rig import Rig, fail


class Delivery:
    """The sink where it will live."""

    def test_received_is_written_and_rejected_and_pending(self, rig: Rig) -> None:
        """What the agent says of the sink is what the store has."""
        good = ticks(4, start_ms=rig.at(0))
        bad = guest(7, time_ms=rig.at(4), params={RATIO: math.nan})
        (whole,) = ticks(1, start_ms=rig.at(4))
        mixed = batch(bad, *whole.records)
        with carrying(rig) as agent:
            agent.take(*good, mixed)
            agent.deliver_all()
            counts = agent.courier.counts
            if counts.retries:
                fail(f"the sink failed {counts.retries} times: {agent.courier.last_error}")
            received = sum(len(one.records) for one in (*good, mixed))
            if (counts.received, counts.written + counts.rejected) != (received, received):
                fail(f"of {received} records {counts.written} were written and {counts.rejected} rejected")
            if counts.rejected > 1:
                fail(f"{counts.rejected} records were rejected, though only one of them cannot be stored")
            rig.rejected += [bad] * counts.rejected
            rig.holds(*good, mixed)

    def test_stopped_in_the_middle_of_a_write_it_loses_nothing(self, rig: Rig) -> None:
        """The write is ended and the sink closed; the next agent brings what had not come by then."""
        written = ticks(40, guests=1, start_ms=rig.at(0))
        with carrying(rig) as agent:
            agent.sink.may_write.clear()
            agent.take(*written[:1])
            until(agent.sink.writes.is_set, lambda: "the agent has not begun to write")
            agent.take(*written[1:])
            agent.courier.begin_stop()
            agent.sink.may_write.set()
        with carrying(rig) as agent:
            agent.deliver_all()
            if rig.keeps.durable:
                rig.holds(*written)
            else:
                agent.take(*written)
                agent.deliver_all()
                rig.holds(*written)

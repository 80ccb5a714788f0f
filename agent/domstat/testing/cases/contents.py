"""Whatever records say, and however those are called whom they are about."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any

import pytest
from msgspec.structs import replace

from domstat.model import Event, Figures, Kind, Value
from domstat.testing.records import (
    COUNT,
    FLAG,
    HOSTILE,
    NOTE,
    RATIO,
    batch,
    event,
    gap,
    guest,
    hypervisor,
    one_of_each,
    partial_guest,
    pool,
)
from domstat.testing.rig import Rig, fail

ALIKE = ("a b", "a_b", "a,b", "a\\,b", "a%20b", "A B", "a  b", "a/b", "a\nb", "a\\nb", "x" * 5_000, "x" * 5_001)
"""Names that a careless escape makes one of."""

U64 = (0, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
NEGATIVE = (-1, -(1 << 31) - 1, -(1 << 63))
FLOATS = (0.1, -2.5, 1e300, 5e-324, 12.0)
NO_NUMBERS = {"NaN": math.nan, "infinity": math.inf, "minus infinity": -math.inf}


class Newer(StrEnum):
    """A kind of a domstat that is newer than the sink."""

    WEATHER = "weather"


class Contents:
    """Records of every make."""

    @pytest.mark.parametrize("kind", Kind)
    def test_every_kind_of_record_is_stored(self, rig: Rig, kind: Kind) -> None:
        """A sink that does not keep a kind says so in ``keeps``."""
        sink = rig.open()
        tick = batch(one_of_each(rig.at(0))[kind])
        rig.write(sink, tick)
        rig.reported_nothing()
        rig.holds(tick)

    def test_records_of_all_kinds_are_stored_together(self, rig: Rig) -> None:
        """As they come in a tick; several events of one guest among them."""
        sink = rig.open()
        time_ms = rig.at(0)
        events = [event("device-added", device=device, time_ms=time_ms, collect="default") for device in ("vdb", "vdc")]
        tick = batch(*events, *one_of_each(time_ms).values())
        rig.write(sink, tick)
        rig.reported_nothing()
        rig.holds(tick)

    def test_a_kind_it_does_not_know_costs_no_other_record(self, rig: Rig) -> None:
        """A newer domstat may have one: the record is stored by what it says, or rejected."""
        sink = rig.open()
        kind: Any = Newer.WEATHER
        strange = replace(hypervisor(time_ms=rig.at(0)), kind=kind, figures=Figures({COUNT: 5}))
        tick = batch(guest(0, time_ms=rig.at(0)), strange, guest(1, time_ms=rig.at(0)))
        rig.write(sink, tick)
        rig.reported_only(strange)
        rig.holds(tick, also_kinds=frozenset(Newer))

    def test_fields_it_does_not_know_are_stored(self, rig: Rig) -> None:
        """A newer libvirt has parameters that no catalogue has; of devices too."""
        sink = rig.open()
        tick = batch(guest(time_ms=rig.at(0), extra={COUNT: 5, f"{COUNT}[vda]": 6}))
        rig.write(sink, tick)
        rig.reported_nothing()
        rig.holds(tick)

    def test_all_types_of_values_are_stored(self, rig: Rig) -> None:
        """Integers, floats, booleans and texts, each as itself."""
        sink = rig.open()
        values: dict[str, Value] = {COUNT: 7, FLAG: True, f"{FLAG}[x]": False, NOTE: "9.0.0"}
        values |= {f"{RATIO}[{i}]": number for i, number in enumerate(FLOATS)}
        tick = batch(guest(time_ms=rig.at(0), extra=values))
        rig.write(sink, tick)
        rig.reported_nothing()
        rig.holds(tick)

    def test_the_largest_integers_are_stored_exactly_or_reported(self, rig: Rig) -> None:
        """Counters have 64 bits without a sign; what the store cannot hold is reported, never cut or turned over."""
        sink = rig.open()
        tick = batch(guest(time_ms=rig.at(0), extra={f"{COUNT}[{i}]": number for i, number in enumerate(U64)}))
        rig.write(sink, tick)
        if rig.rejected:
            fail("the record was rejected for one of its values, which can be left out (reject_part)")
        rig.holds(tick)

    def test_negative_values_are_stored(self, rig: Rig) -> None:
        """They are rare, and real."""
        sink = rig.open()
        tick = batch(guest(time_ms=rig.at(0), extra={f"{COUNT}[{i}]": number for i, number in enumerate(NEGATIVE)}))
        rig.write(sink, tick)
        rig.reported_nothing()
        rig.holds(tick)

    @pytest.mark.parametrize("name", NO_NUMBERS)
    def test_what_is_no_number_is_reported_and_never_something_else(self, rig: Rig, name: str) -> None:
        """A store that cannot hold it leaves it out and says so, or rejects its record; it never becomes 0 or null."""
        sink = rig.open()
        bad = guest(0, time_ms=rig.at(0), extra={RATIO: NO_NUMBERS[name]})
        tick = batch(bad, guest(1, time_ms=rig.at(0)))
        rig.write(sink, tick)
        rig.reported_only(bad)
        rig.holds(tick)

    def test_a_value_that_is_missing_is_missing(self, rig: Rig) -> None:
        """It is neither 0 nor what it was before."""
        sink = rig.open()
        whole = batch(guest(time_ms=rig.at(0)))
        less = batch(guest(time_ms=rig.at(1), without=("balloon.", "block.rd.bytes[vdb]")))
        rig.write(sink, whole)
        rig.write(sink, less)
        rig.reported_nothing()
        rig.holds(whole, less)

    def test_a_partial_record_is_stored_as_far_as_it_goes(self, rig: Rig) -> None:
        """What libvirt left out is said with it."""
        sink = rig.open()
        tick = batch(partial_guest(time_ms=rig.at(0)), guest(1, time_ms=rig.at(0)))
        rig.write(sink, tick)
        rig.reported_nothing()
        rig.holds(tick)

    @pytest.mark.parametrize("hostile", HOSTILE)
    def test_hostile_names_are_stored_as_names(self, rig: Rig, hostile: str) -> None:
        """Whoever may name a guest, a pool, a device or a host may name it so; texts can say so too."""
        sink = rig.open()
        time_ms, text = rig.at(0), HOSTILE[hostile]
        host, device = text or "kvm1", text or "vda"  # which always have a name
        tick = batch(
            guest(
                name=text, host=host, time_ms=time_ms, extra={f"{COUNT}[{device}]": 1, NOTE: text}, labels={"a": text}
            ),
            pool(text, host=host, time_ms=time_ms, collect="default"),
            replace(event(host=host, time_ms=time_ms, collect="default"), event=Event("crashed", text, device)),
            gap(text, host=host, time_ms=time_ms),
        )
        rig.write(sink, tick)
        rig.reported_nothing()
        rig.holds(tick)

    def test_names_that_look_alike_stay_apart(self, rig: Rig) -> None:
        """However names are escaped or cut, two of them never become one."""
        if len(set(map(rig.keeps.text, ALIKE))) < len(ALIKE):
            fail("different names are one when the sink has written them: see Keeps.text")
        sink = rig.open()
        time_ms = rig.at(0)
        pools = [pool(name, time_ms=time_ms, extra={"pool.state": i}) for i, name in enumerate(ALIKE)]
        tick = batch(*pools)
        rig.write(sink, tick)
        rig.reported_nothing()
        rig.holds(tick)

    def test_time_may_go_back(self, rig: Rig) -> None:
        """Somebody sets the clock: each tick is kept at the time that it says, and the last is the newest."""
        sink = rig.open()
        written = [batch(guest(time_ms=rig.at(at)), nth=nth) for nth, at in enumerate((5, 6, 2, 3))]
        for tick in written:
            rig.write(sink, tick)
        rig.reported_nothing()
        rig.holds(*written)

    def test_two_streams_may_have_one_time(self, rig: Rig) -> None:
        """Two collect blocks of a host, which ask for different things, fire at the same moment."""
        sink = rig.open()
        time_ms = rig.at(0)
        often = batch(guest(time_ms=time_ms, collect="often", params={"cpu.time": 5}))
        seldom = batch(guest(time_ms=time_ms, collect="seldom", params={"balloon.current": 6}))
        rig.write(sink, often)
        rig.write(sink, seldom)
        rig.reported_nothing()
        rig.holds(often, seldom)

    def test_a_label_that_changes_splits_nothing(self, rig: Rig) -> None:
        """Labels travel when they change: the records before and after are the same guest's, each there once."""
        sink = rig.open()
        one, two, three = (
            batch(guest(time_ms=rig.at(at), labels=labels))
            for at, labels in enumerate(({"team": "shop"}, None, {"team": "bank"}))
        )
        rig.write(sink, one, two)
        rig.write(sink, three)
        rig.write(sink, two, three)
        rig.reported_nothing()
        rig.holds(one, two, three)

    def test_a_guest_that_is_renamed_stays_itself(self, rig: Rig) -> None:
        """The UUID is who it is; each record has the name of its time."""
        sink = rig.open()
        written = [batch(guest(time_ms=rig.at(at), name=name)) for at, name in enumerate(("old", "new", "new"))]
        rig.write(sink, *written[:2])
        rig.write(sink, *written[1:])
        rig.reported_nothing()
        rig.holds(*written)

    def test_one_uuid_on_two_hosts_is_two_guests(self, rig: Rig) -> None:
        """It migrates, or somebody copied its definition: what two hosts say does not mix."""
        sink = rig.open()
        written = [
            batch(guest(time_ms=rig.at(0), host=host, extra={"cpu.time": value}))
            for host, value in (("kvm1", 5), ("kvm2", 6))
        ]
        rig.write(sink, *written)
        rig.reported_nothing()
        rig.holds(*written)

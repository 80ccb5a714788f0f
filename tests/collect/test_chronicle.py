"""Events from two threads: what the worker hears at once, what ticks show when it could not hear."""

from __future__ import annotations

from answers import domain_xml
from domstat.collect.chronicle import Chronicle
from domstat.collect.inventory import Inventory
from domstat.collect.wire import ALL, Change, Description, Globs, Happened
from domstat.model import Batch, Event
from records import TIME_MS, UUID, agent_record, batch, gap_record, guest_record

STARTED, STOPPED = 2, 5


class Told:
    """A chronicle, and what it offered."""

    def __init__(self, domains: Globs = ALL) -> None:
        self.offered: list[Batch] = []
        self.inventory = Inventory()
        self.chronicle = Chronicle("kvm1", self.inventory, domains, self.offered.append)

    def hear(self, *events: int, missed: bool = False, name: str = "web-1") -> None:
        changes = [Change("lifecycle", UUID, name, 3, (event, 0), "", TIME_MS, 10**15) for event in events]
        self.chronicle.hear(Happened(changes, missed=missed, boot_id="boot"))

    def tick(self, *ids: int) -> None:
        self.chronicle.see(batch(*(guest_record(id=number) for number in ids), agent_record()))

    @property
    def events(self) -> list[Event | None]:
        return [record.event for offered in self.offered for record in offered.records]


def test_every_event_that_is_heard_is_a_batch_of_its_own_with_a_time_of_its_own() -> None:
    told = Told()
    told.hear(STOPPED, STARTED)
    assert [offered.stream for offered in told.offered] == [("kvm1", "events")] * 2
    assert [offered.stamp.time_ms for offered in told.offered] == [TIME_MS, TIME_MS + 1]
    assert told.events == [Event("stopped", "shutdown"), Event("started", "booted")]


def test_the_inventory_hears_of_it_too() -> None:
    told = Told()
    told.inventory.learn(Description(UUID, domain_xml(), None), 3)
    assert told.inventory.get(UUID, 3) is not None
    told.hear(STARTED)
    assert told.inventory.get(UUID, 3) is None


def test_what_was_missed_is_found_out_by_the_next_tick_and_has_its_time() -> None:
    told = Told()
    told.tick(3)
    told.hear(missed=True)
    told.tick(8)
    assert told.events == [Event("stopped", "unseen"), Event("started", "unseen")]
    assert [offered.stamp.time_ms for offered in told.offered] == [TIME_MS, TIME_MS + 1]
    assert [offered.records[0].domain.id for offered in told.offered if offered.records[0].domain] == [3, 8]


def test_what_was_heard_is_not_found_out_as_well() -> None:
    told = Told()
    told.tick(3)
    told.hear(STOPPED)
    told.hear(missed=True)
    told.tick()
    assert told.events == [Event("stopped", "shutdown")]


def test_a_tick_that_broke_off_shows_nothing() -> None:
    told = Told()
    told.tick(3)
    told.hear(missed=True)
    told.chronicle.see(batch(guest_record(id=8)))
    told.chronicle.see(batch(gap_record()))
    told.tick(3)
    assert told.events == []


def test_guests_that_were_not_chosen_have_no_events() -> None:
    told = Told(Globs(exclude=("web-*",)))
    told.hear(STARTED)
    assert told.offered == []

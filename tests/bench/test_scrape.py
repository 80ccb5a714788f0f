"""The bench of scrapes: what it measures is what it says."""

from __future__ import annotations

from domstat_bench import scrape
from domstat_bench.measure import sampled
from records import guest_params
from scraping import domains, samples, values

SAMPLES = len(guest_params()) + 12
"""Of a guest: its parameters and its derived values."""


def test_its_guests_have_what_a_guest_has() -> None:
    keys = [key.partition("[")[0] for key in scrape.guest_values(0)]
    assert sorted(keys) == sorted(key.partition("[")[0] for key in guest_params())


def test_no_two_of_its_guests_have_a_nic_in_common() -> None:
    nics = [{key for key in scrape.guest_values(number) if key.startswith("net.rx")} for number in range(300)]
    assert len(set.union(*nics)) == sum(map(len, nics))


def test_its_guests_go_on_from_tick_to_tick() -> None:
    guests = scrape.Guests(2)
    first, second = guests.tick(), guests.tick()
    assert second.stamp.time_ms - first.stamp.time_ms == scrape.INTERVAL_MS
    assert second.records[0].rates["cpu.time"] == 0.5
    assert len(second.records[0].derived) == 12


def test_the_librarys_way_has_the_very_samples_that_ours_has() -> None:
    from domstat_sinks.prometheus.exposition import Exposition
    from domstat_sinks.prometheus.store import Store

    batch = scrape.Guests(2).tick()
    store = Store(60.0)
    store.add([batch], 0.0, batch.stamp.time_ms)
    ours = samples(b"".join(Exposition().write(store.snapshot(0.0))).decode())
    library = scrape.LibrarysWay()
    library.batch = batch
    theirs = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in library.collect()
        for sample in family.samples
    }
    assert len(theirs) == 2 * SAMPLES
    assert {key: round(value, 6) for key, value in theirs.items()} == {key: round(ours[key], 6) for key in theirs}
    assert domains(ours) == ["web-0", "web-1"]
    assert len(values(ours, "domstat_cpu_time_seconds_total", "domain")) == 2


def test_it_says_whether_what_was_to_be_reached_is() -> None:
    def costs(cost_ms: float) -> scrape.Costs:
        cost = sampled([cost_ms * 1e6])
        return scrape.Costs(scrape.CPU_GUESTS, 1, 1, 1, cost, 1, cost, cost, cost, cost)

    assert "it is 25.0: reached" in str(scrape.table([costs(25.0)]))
    assert "it is 25.5: MISSED" in str(scrape.table([costs(25.5)]))


def test_a_run_with_a_few_guests_measures_everything() -> None:
    measured = scrape.run(3, rounds=2)
    assert measured.samples == 3 * SAMPLES
    assert all(len(cost.values) == 2 for cost in (measured.scrape, measured.rated, measured.again, measured.library))
    assert 0 < measured.packed_bytes < measured.text_bytes

"""One guest: what it is, its last hour, and each of its devices."""

from __future__ import annotations

from domstat.model import Record
from domstat.top.guest import row_of
from domstat.top.guestpage import DEVICES_MAX, guest_lines
from domstat.top.lines import text_of
from domstat.top.measures import CPU
from domstat.top.ring import BINS
from domstat.units import MISSING
from records import guest_record
from top.fleets import guest, stuck


def shown(*records: Record, width: int = 80, cpu: list[float | None] | None = None) -> list[str]:
    hour = cpu or [None] * BINS
    lines = guest_lines(row_of(records), width, lambda measure: hour if measure == CPU else [None] * BINS)
    return text_of(lines).splitlines()


def found(lines: list[str], start: str) -> str:
    return next(line for line in lines if line.startswith(start))


def test_what_a_guest_is_stands_first() -> None:
    assert shown(guest(1))[:3] == [
        "web-1",
        "6a2f41a3-c54c-4a5e-9b5b-000000000001 on kvm1",
        "running · 2 vCPUs · 0.50 CPUs busy · memory 4.0G given · 3.0G resident",
    ]


def test_a_stuck_guest_says_how_old_its_figures_are() -> None:
    assert "STUCK: its process does not answer; instead figures that are 12s old" in shown(stuck(1))
    assert "STUCK: its process does not answer" in shown(stuck(1, age_s=None))


def test_the_last_hour_has_a_line_for_each_measure_with_its_largest() -> None:
    cpu: list[float | None] = [None] * (BINS - 2) + [0.5, 1.0]
    line = found(shown(guest(1), width=160, cpu=cpu), "CPU ")
    assert line.split() == ["CPU", "▅█", "25%", "100%"]
    assert [line.split()[0] for line in shown(guest(1))[5:13]] == [
        "CPU", "memory", "read/s", "write/s", "latency", "rx/s", "tx/s", "steal",
    ]  # fmt: skip


def test_an_hour_is_as_wide_as_the_screen_allows_and_in_whole_minutes_or_half_ones() -> None:
    full: list[float | None] = [1.0] * BINS
    assert [found(shown(guest(1), width=width, cpu=full), "CPU ").count("█") for width in (40, 80, 160)] == [
        16,
        56,
        120,
    ]


def test_each_device_has_a_line() -> None:
    lines = shown(guest(1))
    assert found(lines, "1 ").split() == ["1", "running", "25%", "2.0%", "0%"]
    assert found(lines, "vda").split() == ["vda", "2.0M", "4.0M", "40", "100", "500µs", "1.5ms"]
    assert found(lines, "52:54:00:aa:bb:02").split()[1:] == ["1.0M", "1.0M", "900", "900", "0", "0"]


def test_vcpus_stand_in_the_order_of_their_numbers() -> None:
    extra = {f"vcpu.state[{number}]": 1 for number in range(12)}
    lines = shown(guest_record(extra=extra))
    start = lines.index(found(lines, "vCPU")) + 1
    assert [line.split()[0] for line in lines[start : start + 12]] == [str(number) for number in range(12)]


def test_a_disk_without_requests_has_no_latency() -> None:
    assert found(shown(guest(1, load=0.0)), "vda").split()[-2:] == [MISSING, MISSING]


def test_kinds_of_devices_that_a_guest_lacks_are_left_out() -> None:
    lines = shown(guest_record(without=("net.", "block.")))
    assert not [line for line in lines if line.startswith(("disk", "NIC"))]


def test_parts_of_devices_are_no_devices() -> None:
    lines = shown(guest_record(extra={"block.latency_histogram.read.bin.start[vda/0]": 5}))
    assert not [line for line in lines if line.startswith("vda/0")]


def test_nobody_scrolls_through_thousands_of_devices() -> None:
    extra = {f"vcpu.state[{number}]": 1 for number in range(DEVICES_MAX + 10)}
    assert "and 10 more" in shown(guest_record(extra=extra))


def test_a_state_that_is_new_to_libvirt_is_a_number() -> None:
    assert found(shown(guest_record(extra={"vcpu.state[0]": 9})), "0 ").split()[1:3] == ["state", "9"]


def test_a_device_that_is_called_what_a_terminal_would_obey_does_no_harm() -> None:
    lines = shown(guest_record(extra={"block.capacity[\x1b[2J]": 5}))
    assert found(lines, r"\x1b[2J")

"""Hosts above the guests: a line each, trouble first, and how old figures are."""

from __future__ import annotations

from datetime import UTC

from msgspec.structs import replace

from domstat.top.fleet import HostRow
from domstat.top.hostlines import HOSTS_MAX, host_lines
from domstat.top.lines import Frame, text_of, width_of
from records import TIME_MS
from top.fleets import fleet, guest, stuck

KVM1 = fleet(guest(1), stuck(2)).picture().hosts[0]


def shown(*hosts: HostRow, only: str | None = None, width: int = 80, late_s: float = 0.0) -> list[str]:
    frame = Frame(width=width, height=24, now_ms=TIME_MS + int(late_s * 1000), zone=UTC, source="")
    return text_of(host_lines(hosts, only, frame)).splitlines()


def test_one_host_has_two_lines_on_a_narrow_screen_and_one_on_a_wide_one() -> None:
    assert shown(KVM1) == [
        "kvm1       CPU ██░░░░░░  25% of 16  mem █████░░░ 40G/64G    2 guests 1 stuck",
        "           QEMU 7.2.22 · libvirt 9.0.0 · every 2s · call 12ms",
    ]
    (line,) = shown(KVM1, width=160)
    assert line.endswith("1 stuck  QEMU 7.2.22 · libvirt 9.0.0 · every 2s · call 12ms")


def test_a_line_of_a_large_host_fits_into_80_columns() -> None:
    large = replace(KVM1, name="a-very-long-name", busy=1.0, cpus=512, guests=999, stuck=12, memory_used=15e12)
    assert max(map(width_of, shown(replace(large, memory_total=16e12)))) <= 80


def test_of_several_hosts_each_has_one_line() -> None:
    assert [line.split()[0] for line in shown(KVM1, replace(KVM1, name="kvm2"))] == ["kvm1", "kvm2"]


def test_the_only_one_that_is_looked_at_has_all_its_lines() -> None:
    lines = shown(KVM1, replace(KVM1, name="kvm2"), only="kvm2")
    assert (len(lines), lines[0].split()[0]) == (2, "kvm2")


def test_of_many_hosts_those_in_trouble_and_those_with_stuck_guests_are_not_left_out() -> None:
    hosts = [HostRow(name=f"host-{number:02d}") for number in range(20)]
    hosts[17], hosts[12] = replace(hosts[17], trouble="connection refused"), replace(hosts[12], stuck=1)
    lines = shown(*hosts)
    assert lines[0] == "host-17    connection refused"
    assert [line.split()[0] for line in lines[1:-1]] == ["host-12", "host-00", "host-01"]
    assert lines[-1] == "and 16 more hosts: h goes through them"
    assert len(lines) == HOSTS_MAX


def test_a_host_in_trouble_says_so_instead_of_figures_and_harmlessly() -> None:
    assert shown(replace(KVM1, trouble="end of file\x1b[2J")) == [r"kvm1       end of file\x1b[2J"]


def test_figures_that_are_old_say_how_old_by_the_hosts_own_interval() -> None:
    assert " old · " not in shown(KVM1, late_s=10)[1]
    assert "11s old · QEMU" in shown(KVM1, late_s=11)[1]
    assert " old · " not in shown(replace(KVM1, interval_s=60.0), late_s=180)[1]
    assert "3m 01s old · " in shown(replace(KVM1, interval_s=60.0), late_s=181)[1]


def test_a_short_interval_is_in_milliseconds() -> None:
    assert "every 200ms" in shown(replace(KVM1, interval_s=0.2))[1]


def test_a_host_of_which_nothing_has_come_says_that() -> None:
    assert shown(HostRow(name="kvm1"))[1].split() == ["no", "figures", "yet"]

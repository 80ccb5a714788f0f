"""Which series are meant by globs."""

from __future__ import annotations

import pytest

from domstat.history import Aggregate, Select
from domstat.model import Kind
from domstat_sinks.sqlite.answers.choosing import Choice, Globs, Key, Who, place_of

GUEST = Who(1, "guest", "u1", None)
HOST = Who(1, "host", None, None)


def test_no_glob_means_everything_and_several_mean_any() -> None:
    assert [Globs(()).have(text) for text in ("", "x")] == [True, True]
    globs = Globs(("web-*", "d?"))
    assert [globs.have(text) for text in ("web-1", "db", "dbs", "WEB-1")] == [True, True, False, False]


def test_globs_without_anything_special_are_the_very_texts() -> None:
    plain = Globs(("web-1", "db"))
    assert plain.plain == frozenset({"web-1", "db"})
    assert [plain.have(text) for text in ("web-1", "db", "web-11", "")] == [True, True, False, False]
    assert [Globs(patterns).plain for patterns in ((), ("db", "web-*"), ("d?",), ("[d]b",))] == [None] * 4


@pytest.mark.parametrize(
    ("select", "uuids", "guest", "host"),
    [
        (Select(), None, True, True),
        (Select(kinds=(Kind.HOST,)), None, False, True),
        (Select(), {"u1"}, True, False),
        (Select(), {"u2"}, False, False),
    ],
)
def test_subjects_are_chosen_by_kind_and_by_uuid(
    select: Select, uuids: set[str] | None, guest: bool, host: bool
) -> None:
    choice = Choice(select, uuids)
    assert (choice.wants(GUEST), choice.wants(HOST)) == (guest, host)
    assert choice.wants_everybody is (guest and host)


def test_rates_and_increases_are_of_counters_only() -> None:
    fields = ("cpu.time", "vcpu.current")
    wanted = {
        select: [field for field in fields if Choice(select, None).wants_field(field)]
        for select in (Select(), Select(rate=True), Select(aggregate=Aggregate.INCREASE), Select(fields=("vcpu.*",)))
    }
    assert list(wanted.values()) == [["cpu.time", "vcpu.current"], ["cpu.time"], ["cpu.time"], ["vcpu.current"]]


def test_who_names_a_device_leaves_out_what_has_none() -> None:
    assert [Choice(Select(devices=("v*",)), None).wants_device(device) for device in ("vda", "sda", None)] == [
        True, False, False,
    ]  # fmt: skip
    assert Choice(Select(), None).wants_device(None)


def test_series_come_by_field_and_devices_in_a_natural_order() -> None:
    keys = [Key(GUEST, "vcpu.time", device) for device in ("10", "9", "vda", None)] + [Key(GUEST, "cpu.time", None)]
    assert [(key.field, key.device) for key in sorted(keys, key=lambda key: place_of(key.field, key.device))] == [
        ("cpu.time", None), ("vcpu.time", None), ("vcpu.time", "9"), ("vcpu.time", "10"), ("vcpu.time", "vda"),
    ]  # fmt: skip

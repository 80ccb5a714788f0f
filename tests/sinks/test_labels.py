"""Guests' labels, which travel now and then and are wanted always, in whatever order records come."""

from __future__ import annotations

import pytest

from domstat.model import Record
from domstat_sinks import labels
from domstat_sinks.labels import Labels
from records import guest_record, host_record


def record(at: int, owner: str | None = None, uuid: str = "u", **more: str) -> Record:
    said = more if owner is None else {"owner": owner, **more}
    return guest_record(uuid=uuid, time_ms=at, labels=said or None, params={}, rates={}, derived={})


def test_labels_are_known_until_they_change() -> None:
    known = Labels(["owner"])
    assert known.of(record(10, "a", tier="gold")) == (("owner", "a"),)
    assert known.of(record(20)) == (("owner", "a"),)
    assert known.of(record(30, "b")) == (("owner", "b"),)
    assert known.of(record(40)) == (("owner", "b"),)
    assert known.of(record(40, uuid="other")) == ()


def test_a_record_that_comes_late_has_the_labels_of_its_time() -> None:
    known = Labels(["owner"])
    in_order = [record(10, "a"), record(20), record(30, "b"), record(40)]
    first = [known.of(one) for one in in_order]
    assert [known.of(one) for one in reversed(in_order)] == list(reversed(first))
    fresh_first = Labels(["owner"])
    fresh_first.of(record(30, "b"))
    assert fresh_first.of(record(10, "a")) == (("owner", "a"),)
    assert fresh_first.of(record(20)) == (("owner", "a"),)
    assert fresh_first.of(record(40)) == (("owner", "b"),)


def test_what_is_older_than_anything_known_has_what_was_said_first() -> None:
    known = Labels(["owner"])
    known.of(record(30, "b"))
    assert known.of(record(10)) == (("owner", "b"),)


def test_a_label_that_is_taken_away_is_gone() -> None:
    known = Labels(["owner"])
    known.of(record(10, "a"))
    assert known.of(record(20, tier="gold")) == ()
    assert known.of(record(30)) == ()


def test_what_is_no_guests_has_none() -> None:
    assert Labels(["owner"]).of(host_record()) == ()


def test_only_the_latest_changes_are_remembered() -> None:
    known = Labels(["owner"])
    for at in range(100):
        known.of(record(at, str(at)))
    assert known.of(record(0)) == (("owner", str(100 - labels.CHANGES_MAX)),)


def test_too_many_guests_are_forgotten_and_known_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "GUESTS_MAX", 2)
    known = Labels(["owner"])
    for uuid in ("1", "2", "3"):
        known.of(record(10, "a", uuid=uuid))
    assert known.of(record(20, uuid="1")) == ()
    assert known.of(record(20, uuid="3")) == (("owner", "a"),)

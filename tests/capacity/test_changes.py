"""Changes as people write them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from domstat.capacity import changes
from domstat.capacity.changes import Add, Move, Resize

GIB = 1 << 30


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (changes.add, "5:web-1", Add(5, "web-1")),
        (changes.add, "web-1", Add(1, "web-1")),
        (changes.add, "2:web-1@kvm2", Add(2, "web-1", "kvm2")),
        (changes.add, "2:a:b", Add(2, "a:b")),
        (changes.add, "x@", Add(1, "x@")),
        (changes.resize, "db-1:8vcpu", Resize("db-1", vcpus=8)),
        (changes.resize, "db-1:16GiB", Resize("db-1", memory=16 * GIB)),
        (changes.resize, "db-1:8vCPUs, 16GiB", Resize("db-1", 8, 16 * GIB)),
        (changes.resize, "a:b:1vcpu", Resize("a:b", vcpus=1)),
        (changes.move, "web-1:kvm2", Move("web-1", "kvm2")),
        (changes.move, "a:b:kvm2", Move("a:b", "kvm2")),
    ],
)
def test_changes_are_read(read: Callable[[str], object], text: str, expected: object) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (changes.add, ""),
        (changes.add, "0:web-1"),
        (changes.add, "10001:web-1"),
        (changes.resize, "db-1"),
        (changes.resize, ":8vcpu"),
        (changes.resize, "db-1:"),
        (changes.resize, "db-1:0vcpu"),
        (changes.resize, "db-1:9999vcpu"),
        (changes.resize, "db-1:8vcpu,9vcpu"),
        (changes.resize, "db-1:8GiB,9GiB"),
        (changes.resize, "db-1:lots"),
        (changes.move, "web-1"),
        (changes.move, "web-1:"),
    ],
)
def test_what_is_no_change_is_refused(read: Callable[[str], object], text: str) -> None:
    with pytest.raises(ValueError, match='"'):
        read(text)

"""Which versions there are, and which of them do harm."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from doctor.seen import HERE, HOST, REPORT, examined, host, only, verdicts
from domstat.doctor.finding import Verdict
from domstat.doctor.scene import WriterSeen
from domstat.doctor.versions import has_reset_bug, parsed, versions, wal_reset

ONE = WriterSeen("/var/lib/domstat/history.db", (7,))
TWO = WriterSeen("/var/lib/domstat/history.db", (7, 8))


def test_what_is_installed_is_named_and_so_is_what_the_hosts_have() -> None:
    found = list(versions(HERE, [HOST], REPORT))
    assert verdicts(found) == [Verdict.OK, Verdict.OK]
    assert found[0].found == f"domstat {HERE.domstat}, Python 3.11.2, SQLite 3.46.1, libvirt-python 9.0.0"
    assert found[1].found == "libvirt 9.0.0, QEMU 7.2.22"


def test_an_agent_that_is_older_than_what_is_installed_wants_a_restart() -> None:
    found = list(versions(HERE, [], replace(REPORT, version="0.0.9")))[1]
    assert (found.verdict, found.fix) == (Verdict.WARNING, "systemctl restart domstat")
    assert len(list(versions(HERE, [], None))) == 1


@pytest.mark.parametrize(("libvirt", "lacks"), [("7.1.0", "steal"), ("4.4.9", "NOWAIT")])
def test_a_libvirt_that_lacks_something_is_a_warning(libvirt: str, lacks: str) -> None:
    found = list(versions(HERE, [examined(libvirt=libvirt)], None))[1]
    assert (found.verdict, lacks in found.found) == (Verdict.WARNING, True)


def test_of_another_driver_or_an_unknown_version_nothing_is_missed() -> None:
    for seen in (examined(libvirt="4.0.0", driver="LXC"), examined(libvirt="")):
        assert list(versions(HERE, [seen], None))[1].verdict is Verdict.OK
    assert len(list(versions(HERE, [host(examined=None)], None))) == 1


@pytest.mark.parametrize(
    ("version", "has"),
    [
        ("3.6.23", False), ("3.7.0", True), ("3.40.1", True), ("3.44.5", True), ("3.44.6", False), ("3.45.0", True),
        ("3.50.6", True), ("3.50.7", False), ("3.51.2", True), ("3.51.3", False), ("3.52.0", False),
    ],
)  # fmt: skip
def test_the_bug_is_in_the_releases_that_sqlite_names(version: str, has: bool) -> None:
    assert has_reset_bug(parsed(version)) == has


def test_the_bug_is_trouble_where_two_processes_write_one_file() -> None:
    found = only(wal_reset((3, 40, 1), [ONE, TWO]))
    assert (found.verdict, found.about) == (Verdict.TROUBLE, TWO.path)
    assert "processes 7, 8 write" in found.found
    assert "3.51.3" in found.fix


def test_the_bug_is_no_trouble_with_one_writer_and_two_writers_none_without_it() -> None:
    assert only(wal_reset((3, 40, 1), [ONE])).verdict is Verdict.OK
    assert only(wal_reset((3, 46, 0), [])).found.endswith("no file has two")
    assert only(wal_reset((3, 51, 3), [TWO])).verdict is Verdict.OK

"""Whose files are, and who may use them."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from doctor.seen import CONFIG, HISTORY, JOURNAL, SECRET, STATE, UID, only
from domstat.doctor.access import files, secrets
from domstat.doctor.finding import Finding, Verdict
from domstat.doctor.scene import FileSeen, Role

FOLDER = FileSeen(Role.FOLDER, "/etc/domstat", uid=0, mode=0o755)


def file(seen: FileSeen, **changes: Any) -> Finding:
    return only(files([replace(seen, **changes)], UID))


def secret(**changes: Any) -> Finding:
    return only(secrets([replace(SECRET, **changes)], UID, revealing=False))


@pytest.mark.parametrize("seen", [STATE, CONFIG, FOLDER, JOURNAL, HISTORY])
def test_files_as_they_should_be_are_well(seen: FileSeen) -> None:
    assert file(seen).verdict is Verdict.OK


@pytest.mark.parametrize(
    ("seen", "mode", "may", "fix"),
    [
        (STATE, 0o755, "read", "chmod 0700 /var/lib/domstat"),
        (STATE, 0o701, "enter", "chmod 0700 /var/lib/domstat"),
        (STATE, 0o777, "change", "chmod 0700 /var/lib/domstat"),
        (CONFIG, 0o664, "change", "chmod 0644 /etc/domstat/domstat.toml"),
        (CONFIG, 0o646, "change", "chmod 0644 /etc/domstat/domstat.toml"),
        (FOLDER, 0o777, "change", "chmod 0755 /etc/domstat"),
        (JOURNAL, 0o644, "read", "chmod 0600 /var/lib/domstat/journal.db"),
        (HISTORY, 0o640, "read", "chmod 0600 /var/lib/domstat/history.db"),
    ],
)
def test_what_others_may_do_and_should_not_is_trouble(seen: FileSeen, mode: int, may: str, fix: str) -> None:
    found = file(seen, mode=mode)
    assert found.verdict is Verdict.TROUBLE
    assert found.found == f"others may {may} the {seen.role} (mode {mode:04o})"
    assert found.fix == fix


def test_a_group_that_is_configured_may_read_and_no_more() -> None:
    assert file(STATE, mode=0o750, shared=True).verdict is Verdict.OK
    assert file(HISTORY, mode=0o640, shared=True).verdict is Verdict.OK
    assert file(HISTORY, mode=0o660, shared=True).fix == "chmod 0640 /var/lib/domstat/history.db"
    assert file(JOURNAL, mode=0o640, shared=True).verdict is Verdict.TROUBLE


def test_a_folder_for_everybody_is_well_where_nobody_can_take_anothers_file_away() -> None:
    assert file(FOLDER, mode=0o1777).verdict is Verdict.OK


@pytest.mark.parametrize("seen", [STATE, JOURNAL, HISTORY])
def test_what_the_agent_writes_is_its_own(seen: FileSeen) -> None:
    found = file(seen, uid=0)
    assert found.verdict is Verdict.TROUBLE
    assert found.fix == f"chown {UID} {seen.path}"


def test_a_configuration_is_roots_or_the_agents() -> None:
    assert file(CONFIG, uid=UID).verdict is Verdict.OK
    assert file(CONFIG, uid=1000).verdict is Verdict.TROUBLE


def test_a_state_directory_is_neither_a_link_nor_on_another_machine() -> None:
    assert "symbolic link" in file(STATE, is_link=True).found
    assert "nfs4" in file(STATE, network="nfs4").found
    assert file(CONFIG, network="nfs4", is_link=True).verdict is Verdict.OK


def test_what_is_not_there_yet_is_made_and_what_cannot_be_seen_is_not_judged() -> None:
    assert file(HISTORY, there=False).verdict is Verdict.OK
    assert file(STATE, error="Permission denied").verdict is Verdict.UNKNOWN


def test_a_secret_that_its_owner_alone_may_read_is_well() -> None:
    found = secret()
    assert (found.verdict, found.about) == (Verdict.OK, "influx: /etc/domstat/influxdb.token")
    assert secret(mode=0o400).verdict is Verdict.OK
    assert secret(mode=0o700).verdict is Verdict.OK, "what its owner may do is the owner's business"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_secret_that_others_may_read_is_trouble(mode: int) -> None:
    found = secret(mode=mode)
    assert (found.verdict, found.fix) == (Verdict.TROUBLE, "chmod 0600 /etc/domstat/influxdb.token")


def test_a_secret_that_is_not_there_or_somebody_elses_is_trouble() -> None:
    assert secret(there=False).fix == f"install -m 0600 -o {UID} /dev/stdin /etc/domstat/influxdb.token"
    assert secret(uid=0).fix == f"chown {UID} /etc/domstat/influxdb.token"


def test_secrets_are_not_spoken_of_with_other_files_nor_other_files_with_secrets() -> None:
    assert not list(files([SECRET], UID))
    assert only(secrets([STATE], UID, revealing=False)).found == "no secret is configured"


def test_a_password_in_a_uri_makes_the_configuration_a_secret() -> None:
    found = only(secrets([CONFIG], UID, revealing=True))
    assert (found.verdict, found.fix[:36]) == (Verdict.TROUBLE, "chmod 0600 /etc/domstat/domstat.toml")
    assert not list(secrets([replace(CONFIG, mode=0o600)], UID, revealing=True))

"""Hosts in the configuration: blocks, surveys, labels, and the dangers of a URI."""

from __future__ import annotations

import pytest

from domstat.catalog import GROUPS
from domstat.config import CollectSettings, ConfigError, HostConfig, SurveySettings, parse
from domstat.settings import Duration

NOT_ENCRYPTED = (
    'a connection that is neither encrypted nor, by default, authenticated; use tls or ssh, or set allow = ["tcp"]'
)
NOT_VERIFIED = (
    "a connection to whoever answers, since no certificate is verified; take no_verify away, "
    'or set allow = ["no_verify"]'
)
OWN_STREAM = "which names a stream of domstat's own; choose another name"
A_BLOCK = "[[hosts.collect]]\ngroups = ['state']\n"
GROUPS_TEXT = ", ".join(f'"{group}"' for group in GROUPS)


def host(text: str) -> HostConfig:
    (only,) = parse(f"[[hosts]]\n{text}").hosts
    return only


def wrong(text: str) -> list[str]:
    """Return what is said of a wrong host, without the words that every line begins with."""
    with pytest.raises(ConfigError) as caught:
        parse(f"[[hosts]]\n{text}")
    assert all(line.startswith("configuration: hosts[0].") and "\n" not in line for line in caught.value.lines)
    return [line.removeprefix("configuration: hosts[0].") for line in caught.value.lines]


def test_what_a_block_of_ones_own_says_is_all_kept() -> None:
    block = (
        '[[hosts.collect]]\ngroups = ["state"]\nname = "a"\nprobe = ["perf", "vm"]\nbacking = true\ninternals = true'
    )
    assert host(block).blocks == (
        CollectSettings(("state",), "a", Duration(10), probe=("perf", "vm"), backing=True, internals=True),
    )


def test_pools_and_sleeping_guests_are_surveyed_unless_told_otherwise() -> None:
    assert host("").settings.survey == SurveySettings(enabled=True, interval=Duration(300), refresh=False)
    survey = '[hosts.survey]\nenabled = false\ninterval = "1h"\nrefresh = true'
    assert host(survey).settings.survey == SurveySettings(enabled=False, interval=Duration(3600), refresh=True)


def test_labels_are_those_of_the_host_they_stand_below() -> None:
    labels = '[hosts.labels]\nowner = "title"\n"team.name" = "metadata/{http://x}app/@team"\n'
    first, second = parse(f'[[hosts]]\nname = "a"\n{labels}[[hosts]]\nname = "b"').hosts
    assert first.settings.labels == {"owner": "title", "team.name": "metadata/{http://x}app/@team"}
    assert second.settings.labels == {}


@pytest.mark.parametrize(
    ("uri", "allow"),
    [
        ("qemu+tcp://kvm7/system", ["tcp"]),
        ("qemu+tls://kvm7/system?no_verify=1", ["no_verify"]),
        ("qemu+tcp://kvm7/system?no_verify=1", ["tcp", "no_verify"]),
        ("qemu+tls://kvm7/system?no_verify=0", []),
        ("qemu+ssh://kvm7/system", []),
        ("qemu:///system", ["tcp"]),
    ],
)
def test_a_dangerous_uri_is_taken_if_its_dangers_are_allowed_by_name(uri: str, allow: list[str]) -> None:
    assert host(f'uri = "{uri}"\nallow = {allow}').settings.uri == uri


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("uri = 'qemu+tcp://kvm7/system'", f'uri: found "qemu+tcp://kvm7/system", {NOT_ENCRYPTED}'),
        ("uri = 'qemu+TCP://kvm7/system'\nallow = ['no_verify']",
         f'uri: found "qemu+TCP://kvm7/system", {NOT_ENCRYPTED}'),
        ("uri = 'qemu://kvm7/system?no_verify=1'", f'uri: found "qemu://kvm7/system?no_verify=1", {NOT_VERIFIED}'),
        ("uri = 'qemu+tcp://me:secret@kvm7/system'", f'uri: found "qemu+tcp://me:***@kvm7/system", {NOT_ENCRYPTED}'),
        ("allow = ['tpc']", 'allow[0]: found "tpc", expected one of "tcp", "no_verify"; did you mean "tcp"?'),
        ("allow = 'tcp'", 'allow: found "tcp", expected a list'),
        ("[hosts.survey]\ninterval = '100ms'", 'survey.interval: found "100ms", expected "1s" or more'),
        ("[hosts.survey]\nintervall = '1h'", 'survey.intervall: unknown key; did you mean "interval"?'),
        ("[hosts.survey]\nrefresh = 1", "survey.refresh: found 1, expected true or false"),
        ("survey = false", "survey: found False, expected a table"),
        ("[hosts.labels]\nowner = 5", "labels: found {'owner': 5}, expected text"),
        ("labels = ['owner']", "labels: found ['owner'], expected a table"),
        ("[[hosts.collect]]\ngroups = ['state', 'perf']\nprobe = ['perf']",
         'collect[0].probe: found "perf", which the block "default" of this host asks for'),
        (f"{A_BLOCK}probe = ['perf']\n[[hosts.collect]]\nname = 'b'\ngroups = ['perf']",
         'collect[1].groups: found "perf", which the block "default" of this host asks for'),
        (f"{A_BLOCK}probe = ['prf']",
         f'collect[0].probe[0]: found "prf", expected one of {GROUPS_TEXT}; did you mean "perf"?'),
        ("[[hosts.collect]]\ngroups = []\nprobe = ['perf']",
         f"collect[0].groups: found an empty list, expected some of {', '.join(GROUPS)}"),
        (f"{A_BLOCK}name = 'events'", f'collect[0].name: found "events", {OWN_STREAM}'),
        (f"{A_BLOCK}name = 'survey'", f'collect[0].name: found "survey", {OWN_STREAM}'),
    ],
)  # fmt: skip
def test_a_mistake_in_a_host_is_one_line_with_key_found_and_what_to_do(text: str, line: str) -> None:
    assert wrong(text) == [line]


def test_two_dangers_are_two_lines() -> None:
    assert len(wrong('uri = "qemu+tcp://kvm7/system?no_verify=1"')) == 2


def test_a_label_with_a_bad_xpath_is_refused_with_the_reason() -> None:
    (line,) = wrong('[hosts.labels]\nowner = "count(title)"\nteam = "title"')
    assert line.startswith('labels: found "owner": ')
    assert "count(title)" in line


def test_a_label_with_a_bad_name_is_refused_with_the_reason() -> None:
    (line,) = wrong('[hosts.labels]\n"line\\nbreak" = "title"')
    assert line.startswith('labels: found "line\\nbreak": ')


def test_more_labels_than_a_guest_can_have_are_refused() -> None:
    (line,) = wrong("[hosts.labels]\n" + "\n".join(f'l{i} = "title"' for i in range(65)))
    assert line.startswith("labels: there are 65 rules")


@pytest.mark.parametrize("uri", ["qemu+tcp://me:s3cret@kvm7/system", "qemu+ssh://me:s3cret@[::1/system"])
def test_a_password_is_not_said_when_its_uri_is_refused(uri: str) -> None:
    assert "s3cret" not in "".join(wrong(f'uri = "{uri}"'))

"""The configuration file: what is read of it, and that every mistake is one line that says what to do."""

from __future__ import annotations

import socket
import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from domstat import config as config_module
from domstat.catalog import GROUPS
from domstat.config import ConfigError, Group, find_file, host_name, load, parse
from domstat.settings import Duration

# As it is documented, but for [journal] and `start`.
EXAMPLE = """
[agent]
state_dir = "/var/lib/domstat"      # journal and history; without root $XDG_STATE_HOME/domstat
interval = "10s"
[[hosts]]
uri = "qemu:///system"
name = "kvm1"                       # default: the URI's host, or the local host name
deadline = "4s"                     # default: 0.4 of the interval
domains = { include = ["*"], exclude = ["test-*"] }
fields = { include = ["*"], exclude = [] }
plan = "default"                    # or "light", "full"; expands to collect blocks, which may be written out instead:
[[hosts.collect]]
name = "default"
groups = ["state", "cpu-total", "balloon", "vcpu", "interface", "block"]   # a group belongs to one block
interval = "10s"
[[sinks]]
type = "sqlite"                     # the entry point's name
name = "history"                    # default: the type; the cursor's key
path = "history.db"
"""

SILENT: tuple[Group, ...] = ("perf", "iothread", "memory", "dirtyrate")
CORE: tuple[Group, ...] = ("state", "cpu-total", "balloon", "vcpu", "interface", "block")
TEN = Duration(10)
STATE: tuple[Group, ...] = ("state",)
BLOCK: tuple[Group, ...] = ("block",)


class FileSettings(Struct, frozen=True, forbid_unknown_fields=True):
    path: Annotated[str, Meta(min_length=1)] = "history.db"


class FileSink:
    Settings = FileSettings

    def __init__(self, settings: Any) -> None: ...
    def open(self, context: Any) -> None: ...
    def write(self, batches: Any) -> None: ...
    def close(self) -> None: ...

    @staticmethod
    def claims(settings: FileSettings, state_dir: Path) -> list[Path]:
        return [state_dir / settings.path]


class PlainSettings(Struct, frozen=True, forbid_unknown_fields=True):
    url: str


class PlainSink(FileSink):
    Settings = PlainSettings  # type: ignore[assignment]
    claims = None  # type: ignore[assignment]


@pytest.fixture(autouse=True)
def sinks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install two sinks of our own: this is about the configuration, not about the sinks that ship."""
    module: Any = types.ModuleType("sinks_for_config")
    module.FileSink, module.PlainSink = FileSink, PlainSink
    monkeypatch.setitem(sys.modules, "sinks_for_config", module)
    points = [
        EntryPoint("sqlite", "sinks_for_config:FileSink", "domstat.sinks"),
        EntryPoint("plain", "sinks_for_config:PlainSink", "domstat.sinks"),
        EntryPoint("broken", "no_such_module_anywhere:Sink", "domstat.sinks"),
    ]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points)
    monkeypatch.setattr("domstat.sink.SHIPPED", {})


def wrong(text: str) -> list[str]:
    """Return what is said of a wrong configuration, without the file's name that every line begins with."""
    path = Path("/etc/domstat/domstat.toml")
    with pytest.raises(ConfigError) as caught:
        parse(text, path)
    lines = caught.value.lines
    assert lines
    for line in lines:
        assert line.startswith(f"{path}: ")
        assert "\n" not in line
    return [line.removeprefix(f"{path}: ") for line in lines]


# --- what is read


def test_the_documented_example_loads_with_all_it_says() -> None:
    config = parse(EXAMPLE)
    (host,), (sink,) = config.hosts, config.sinks
    assert config.state_dir == Path("/var/lib/domstat")
    assert config.agent.interval == TEN
    assert (host.name, host.settings.uri, host.settings.plan) == ("kvm1", "qemu:///system", "default")
    assert (host.settings.domains.include, host.settings.domains.exclude) == (("*",), ("test-*",))
    (block,) = host.blocks
    assert (block.name, block.groups, block.interval) == ("default", CORE, TEN)
    assert host.deadline_s(block) == 4
    assert (sink.name, sink.common.type, sink.settings) == ("history", "sqlite", FileSettings("history.db"))


def test_without_any_configuration_the_local_hypervisor_is_watched_and_kept_in_sqlite() -> None:
    config = parse("")
    (host,), (sink,) = config.hosts, config.sinks
    assert (host.name, host.settings.uri) == (socket.gethostname(), "qemu:///system")
    assert [(block.name, block.groups, block.interval) for block in host.blocks] == [("default", CORE, TEN)]
    assert (sink.name, sink.common.type) == ("history", "sqlite")
    assert config.agent.log_level == "info"


@pytest.mark.parametrize(
    ("plan", "blocks"),
    [
        ("default", [("default", CORE, SILENT, 10, False)]),
        (
            "light",
            [
                ("default", ("state", "cpu-total", "vcpu", "interface"), (), 10, False),
                ("slow", ("balloon", "block"), (), 60, False),
            ],
        ),
        ("full", [("default", tuple(GROUPS), (), 10, True)]),
    ],
)
def test_a_plan_expands_to_collect_blocks(plan: str, blocks: list[Any]) -> None:
    (host,) = parse(f'[[hosts]]\nplan = "{plan}"').hosts
    assert [(b.name, b.groups, b.probe, b.interval, b.internals) for b in host.blocks] == blocks


def test_the_slow_half_of_light_is_never_faster_than_the_agent() -> None:
    (host,) = parse('[agent]\ninterval = "5m"\n[[hosts]]\nplan = "light"').hosts
    assert [block.interval for block in host.blocks] == [Duration(300), Duration(300)]


def test_collect_blocks_stand_in_place_of_the_plan_and_default_to_the_agents_interval() -> None:
    (host,) = parse(
        '[agent]\ninterval = "30s"\n[[hosts]]\nplan = "full"\n'
        '[[hosts.collect]]\ngroups = ["state"]\n[[hosts.collect]]\nname = "slow"\ngroups = ["block"]\ninterval = "1h"'
    ).hosts
    assert [(block.name, block.groups, block.interval) for block in host.blocks] == [
        ("default", STATE, Duration(30)),
        ("slow", BLOCK, Duration(3600)),
    ]


@pytest.mark.parametrize(("interval", "deadline"), [("10s", 4), ("1m", 4), ("5s", 2), ("1s", 0.5)])
def test_the_deadline_is_a_share_of_the_interval_within_bounds(interval: str, deadline: float) -> None:
    (host,) = parse(f'[agent]\ninterval = "{interval}"').hosts
    assert host.deadline_s(host.blocks[0]) == pytest.approx(deadline)


@pytest.mark.parametrize(("given", "deadline"), [("500ms", 0.5), ("30s", 30)])
def test_a_deadline_that_is_given_holds(given: str, deadline: float) -> None:
    (host,) = parse(f'[[hosts]]\ndeadline = "{given}"').hosts
    assert host.deadline_s(host.blocks[0]) == deadline


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("qemu+ssh://root@kvm7.example.org/system", "kvm7.example.org"),
        ("qemu+tls://[2001:db8::1]:16514/system", "2001:db8::1"),
        ("qemu:///system", socket.gethostname()),
        ("test:///default", socket.gethostname()),
    ],
)
def test_a_host_is_named_by_its_uri(uri: str, name: str) -> None:
    assert host_name(uri) == name
    assert parse(f'[[hosts]]\nuri = "{uri}"').hosts[0].name == name


def test_a_report_has_no_schedule_unless_one_is_given_in_crons_fields() -> None:
    assert parse("").report.schedule is None
    assert parse('[report]\nschedule = "0 6 * * mon-fri"').report.schedule == "0 6 * * mon-fri"


@pytest.mark.parametrize("text", ["daily", "0 6 * *", "61 6 * * *"])
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(f'[report]\nschedule = "{text}"')
    (line,) = refused.value.lines
    assert line.startswith(f'configuration: report.schedule: found "{text}", expected cron\'s five fields')


def test_a_sink_is_named_by_its_type_unless_it_has_a_name() -> None:
    text = '[[sinks]]\ntype = "plain"\nurl = "x"\n[[sinks]]\ntype = "plain"\nname = "other"\nurl = "y"'
    assert [sink.name for sink in parse(text).sinks] == ["plain", "other"]


def test_two_files_of_one_sink_type_are_fine() -> None:
    text = '[[sinks]]\ntype = "sqlite"\n[[sinks]]\ntype = "sqlite"\nname = "other"\npath = "other.db"'
    assert len(parse(text).sinks) == 2


def test_no_sinks_may_be_configured() -> None:
    assert parse("sinks = []").sinks == ()


@pytest.mark.parametrize(
    ("uid", "state_home", "expected"),
    [
        (0, "/x", Path("/var/lib/domstat")),
        (1000, "/home/me/state", Path("/home/me/state/domstat")),
        (1000, "", Path("/home/me/.local/state/domstat")),
    ],
)
def test_state_is_kept_where_it_belongs(
    monkeypatch: pytest.MonkeyPatch, uid: int, state_home: str, expected: Path
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: uid)
    monkeypatch.setenv("XDG_STATE_HOME", state_home)
    monkeypatch.setenv("HOME", "/home/me")
    assert parse("").state_dir == expected
    assert parse('[agent]\nstate_dir = "~/mine"').state_dir == Path("/home/me/mine")


# --- which file


def test_the_file_given_is_read_else_the_systems_else_the_users_else_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, users = tmp_path / "system.toml", tmp_path / "xdg" / "domstat" / "domstat.toml"
    monkeypatch.setattr(config_module, "SYSTEM_FILE", system)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert find_file(None) is None
    assert load(None).path is None
    users.parent.mkdir(parents=True)
    users.write_text('[agent]\ninterval = "1m"')
    assert find_file(None) == users
    system.write_text('[agent]\ninterval = "2m"')
    assert find_file(None) == system
    assert load(None).agent.interval == Duration(120)
    assert find_file(users) == users
    assert load(users).path == users


def test_a_file_that_cannot_be_read_is_said_to_be(tmp_path: Path) -> None:
    missing, folder, latin = tmp_path / "missing.toml", tmp_path, tmp_path / "latin.toml"
    latin.write_bytes(b"# caf\xe9\n")
    for path, why in ((missing, "No such file"), (folder, "directory"), (latin, "not UTF-8")):
        with pytest.raises(ConfigError) as caught:
            load(path)
        (line,) = caught.value.lines
        assert line.startswith(f"{path}: cannot be read: ")
        assert why in line


# --- what is wrong

GROUPS_TEXT = ", ".join(f'"{group}"' for group in GROUPS)


NO_SQLIT = (
    'sinks[0].type: no sink of type "sqlit" is installed (there are: broken, plain, sqlite); did you mean "sqlite"?'
)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[agnet]", 'agnet: unknown key; did you mean "agent"?'),
        ("agent = 5", "agent: found 5, expected a table"),
        ("[agent]\nintervall = '10s'", 'agent.intervall: unknown key; did you mean "interval"?'),
        ("[agent]\ninterval = 10", f"agent.interval: found 10, expected {Duration.allowed}"),
        ("[agent]\ninterval = '10'", f'agent.interval: found "10", expected {Duration.allowed}'),
        ("[agent]\ninterval = '0s'", f'agent.interval: found "0s", expected {Duration.allowed}, more than nothing'),
        ("[[hosts]]\ndeadline = '1ms'",
         'hosts[0].deadline: found "1ms", expected "500ms" or more: a busy guest would be taken for a stuck one'),
        ("[[hosts]]\nname = ''", 'hosts[0].name: found "", expected a name'),
        ("[[hosts]]\ndomains = { include = [] }",
         "hosts[0].domains.include: found an empty list, expected patterns such as \"*\""),
        ("[agent]\ninterval = '1ms'", 'agent.interval: found "1ms", expected "20ms" or more'),
        ("[agent]\ninterval = '999999d'",
         f'agent.interval: found "999999d", expected {Duration.allowed}, within reason'),
        ("[agent]\nlog_level = 'warn'",
         'agent.log_level: found "warn", expected one of "debug", "info", "warning", "error"; did you mean "warning"?'),
        ("[agent]\nstate_dir = '~nobody-of-that-name/x'",
         'agent.state_dir: found "~nobody-of-that-name/x", which leads nowhere: Could not determine home directory.'),
        ("hosts = []", "hosts: found an empty list; leave it out to watch the local hypervisor"),
        ("[hosts]", "hosts: found {}, but this is a list of tables: write [[hosts]]"),
        ("hosts = 'kvm1'", 'hosts: found "kvm1", expected a list'),
        ("[[hosts]]\nuri = 'kvm1'", 'hosts[0].uri: found "kvm1", expected a URI such as "qemu:///system"'),
        ("[[hosts]]\nuri = ''", 'hosts[0].uri: found "", expected a URI such as "qemu:///system"'),
        ("[[hosts]]\nuri = 'qemu+ssh://[::1/system'",
         'hosts[0].uri: found "qemu+ssh://[::1/system", expected a URI such as "qemu:///system"'),
        ("[[hosts]]\n[[hosts]]\nuri = 'test:///default'",
         f'hosts[1].name: found "{socket.gethostname()}", which another host has; give each its own name'),
        ("[[hosts]]\nplan = 'fast'", 'hosts[0].plan: found "fast", expected one of "default", "light", "full"'),
        ("[[hosts]]\ndeadline = true", f"hosts[0].deadline: found True, expected {Duration.allowed}"),
        ("[[hosts]]\ndomains = ['a']", "hosts[0].domains: found ['a'], expected a table"),
        ("[[hosts]]\ndomains = { include = 'a' }", 'hosts[0].domains.include: found "a", expected a list'),
        ("[[hosts]]\ndomains = { include = [1] }", "hosts[0].domains.include[0]: found 1, expected text"),
        ("[[hosts]]\nfields = { only = ['a'] }", "hosts[0].fields.only: unknown key; known here: include, exclude"),
        ("[[hosts]]\n[[hosts.collect]]", "hosts[0].collect[0].groups: missing, and there is no default"),
        ("[[hosts]]\n[hosts.collect]\ngroups = []",
         "hosts[0].collect: found {'groups': []}, but this is a list of tables: write [[hosts.collect]]"),
        ("[[hosts]]\n[[hosts.collect]]\ngroups = ['state', 'cpu-totl']",
         f'hosts[0].collect[0].groups[1]: found "cpu-totl", expected one of {GROUPS_TEXT}; did you mean "cpu-total"?'),
        ("[[hosts]]\n[[hosts.collect]]\ngroups = []",
         f"hosts[0].collect[0].groups: found an empty list, expected some of {', '.join(GROUPS)}"),
        ("[[hosts]]\n[[hosts.collect]]\ngroups = ['state', 'state']",
         'hosts[0].collect[0].groups: found "state", which the block "default" of this host asks for'),
        ("[[hosts]]\n[[hosts.collect]]\ngroups = ['state']\n[[hosts.collect]]\nname = 'b'\ngroups = ['state']",
         'hosts[0].collect[1].groups: found "state", which the block "default" of this host asks for'),
        ("[[hosts]]\n[[hosts.collect]]\ngroups = ['state']\n[[hosts.collect]]\ngroups = ['block']",
         'hosts[0].collect[1].name: found "default", which another block of this host has'),
        ("[[hosts]]\n[[hosts.collect]]\nname = ''\ngroups = ['state']",
         'hosts[0].collect[0].name: found "", expected text of length >= 1'),
        ("[[hosts]]\n[[hosts.collect]]\nname = 'a/b'\ngroups = ['state']",
         'hosts[0].collect[0].name: found "a/b", expected a name without "/"'),
        ("[[hosts]]\n[[hosts.collect]]\ninterval = '1ms'\ngroups = ['state']",
         'hosts[0].collect[0].interval: found "1ms", expected "20ms" or more'),
        ("[sinks]\ntype = 'sqlite'",
         "sinks: found {'type': 'sqlite'}, but this is a list of tables: write [[sinks]]"),
        ("sinks = ['sqlite']", 'sinks[0]: found "sqlite", expected a table'),
        ("[[sinks]]", "sinks[0].type: missing, and there is no default"),
        ("[[sinks]]\ntype = 5", "sinks[0].type: found 5, expected text"),
        ("[[sinks]]\ntype = 'sqlit'",
         NO_SQLIT),
        ("[[sinks]]\ntype = 'sqlite'\nname = ''", 'sinks[0].name: found "", expected text of length >= 1'),
        ("[[sinks]]\ntype = 'sqlite'\npaht = 'x'", 'sinks[0].paht: unknown key; did you mean "path"?'),
        ("[[sinks]]\ntype = 'sqlite'\nnmae = 'x'", 'sinks[0].nmae: unknown key; did you mean "name"?'),
        ("[[sinks]]\ntype = 'plain'", "sinks[0].url: missing, and there is no default"),
        ("[[sinks]]\ntype = 'sqlite'\n[[sinks]]\ntype = 'sqlite'\npath = 'other.db'",
         'sinks[1].name: found "sqlite", which another sink has; give each its own'),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_file_key_found_and_allowed(text: str, line: str) -> None:
    assert wrong(text) == [line]


def test_a_path_that_is_none_is_said_to_be() -> None:
    (line,) = wrong('[[sinks]]\ntype = "sqlite"\npath = "a\\u0000"')
    assert line.startswith("sinks[0].path: found ")
    assert "which is no path" in line


def test_two_sinks_on_one_file_are_refused_before_either_opens(tmp_path: Path) -> None:
    (line,) = wrong(
        f'[agent]\nstate_dir = "{tmp_path}"\n[[sinks]]\ntype = "sqlite"\n'
        f'[[sinks]]\ntype = "sqlite"\nname = "b"\npath = "{tmp_path}/x/../history.db"'
    )
    assert line.startswith("sinks[1].path: found ")
    assert line.endswith('which the sink "sqlite" writes')


def test_a_sink_that_does_not_load_is_said_to_be_with_its_reason() -> None:
    (line,) = wrong("[[sinks]]\ntype = 'broken'")
    assert line.startswith('sinks[0].type: the sink "broken" (no_such_module_anywhere:Sink) cannot be loaded')


@pytest.mark.parametrize("text", ["[agent", "a = ", "\x00", "agent = {", "a = 1\na = 2", "x = " + "[" * 5000])
def test_what_is_not_toml_is_said_to_be(text: str) -> None:
    (line,) = wrong(text)
    assert line.startswith("is not TOML: ")


def test_all_mistakes_are_said_at_once() -> None:
    assert len(wrong("[agent]\ninterval = 1\nlog_level = 'x'\n[[hosts]]\nplan = 'y'\nnmae = 'z'")) == 4
    assert len(wrong("[[hosts]]\nuri = 'x'\n[[sinks]]\ntype = 'sqlit'\n[[sinks]]\ntype = 'sqlite'\nx = 1")) == 3


@given(st.text(max_size=40))
def test_whatever_the_file_holds_it_loads_or_says_what_is_wrong(text: str) -> None:
    lines: list[str] | None = None
    try:
        parse(text)
    except ConfigError as error:
        lines = error.lines
    assert lines != []

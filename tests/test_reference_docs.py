"""The pages of docs/reference are what the program says of itself, nothing is lacking there, and all links lead on."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import msgspec
import pytest
from typer.main import get_command

import reference_docs
from domstat import line
from domstat.capacity.settings import Capacity
from domstat.catalog import DERIVED, FIELDS
from domstat.cli import app
from domstat.collect import errors, events
from domstat.collect.unseen import UNSEEN
from domstat.config import (
    AgentSettings,
    CollectSettings,
    HostSettings,
    JournalSettings,
    ReportSettings,
    SinkCommon,
    SurveySettings,
)
from domstat.reference import render
from domstat.sink import find_sinks, load_sink
from manpages import commands

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"
CODE = [path for package in ("agent", "sinks") for path in (ROOT / package).rglob("*.py")]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

STRUCTS: dict[str, type[msgspec.Struct]] = {
    "[agent]": AgentSettings,
    "[journal]": JournalSettings,
    "[[hosts]]": HostSettings,
    "[hosts.survey]": SurveySettings,
    "[[hosts.collect]]": CollectSettings,
    "[capacity]": Capacity,
    "[report]": ReportSettings,
}
OF_THEIR_OWN = {"[[hosts]]": {"labels", "survey", "collect"}}
"""Settings that are tables, which have sections of their own."""


def page(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def first_cells(text: str) -> list[str]:
    """Give what stands in the first column of all tables, between backticks."""
    return re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)


def section(text: str, title: str) -> str:
    begin = f"\n## {title}\n"
    assert begin in text, title
    return text.partition(begin)[2].partition("\n## ")[0]


# The pages.


@pytest.mark.parametrize("name", reference_docs.PAGES)
def test_a_page_is_what_the_script_makes(name: str) -> None:
    assert page(name) == reference_docs.PAGES[name](), f"python packaging/reference_docs.py writes {name} anew"


def test_the_script_writes_every_page_and_no_other_is_there(tmp_path: Path) -> None:
    reference_docs.main(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in FOLDER.iterdir()}


@pytest.mark.parametrize("head", STRUCTS)
def test_every_setting_of_the_agents_is_there_once(head: str) -> None:
    names = {field.encode_name for field in msgspec.structs.fields(STRUCTS[head])} - OF_THEIR_OWN.get(head, set())
    assert sorted(first_cells(section(page("settings.md"), f"`{head}`"))) == sorted(names)


@pytest.mark.parametrize("name", find_sinks())
def test_every_setting_of_a_sink_is_there_once(name: str) -> None:
    own = {field.encode_name for field in msgspec.structs.fields(load_sink(name).Settings)}
    assert sorted(first_cells(section(page("settings.md"), f"The sink {name}"))) == sorted(own)
    assert first_cells(section(page("settings.md"), "Every sink")) == list(SinkCommon.__struct_fields__)


def test_no_table_of_the_reference_is_left_out() -> None:
    heads = {head for head in re.findall(r"^(?:# )?(\[+[a-z.]+\]+)$", render(), re.MULTILINE) if head != "[[sinks]]"}
    assert heads == {*STRUCTS, "[hosts.labels]"}
    for head in heads:
        assert section(page("settings.md"), f"`{head}`")


def test_every_default_is_one_that_toml_takes() -> None:
    for table in reference_docs.tables(render()):
        for setting in table.settings:
            assert setting.reason or setting.key == "name", setting.key
            assert tomllib.loads(f"{setting.key} = {setting.value}")


def test_every_field_and_every_derived_value_is_there_with_what_is_known_of_it() -> None:
    rows = {cell: text for text in page("metrics.md").splitlines() for cell in re.findall(r"^\| `([^`]+)`", text)}
    assert set(FIELDS) | set(DERIVED) <= set(rows)
    for name, field in FIELDS.items():
        for what in (str(field.kind), field.since, field.help):
            assert f" {what} |" in rows[name], name
    for name, (unit, text) in DERIVED.items():
        assert f"| {unit} | {text} |" in rows[name]


@pytest.mark.parametrize(
    ("field", "row"),
    [
        ("cpu.time", ["nanoseconds", "`domstat_cpu_time_seconds_total`", "`domstat_cpu` `cpu.time`"]),
        ("host.memory.total", ["KiB", "`domstat_host_memory_total_bytes`", "`domstat_host` `memory.total`"]),
        ("host.version.libvirt", ["text", "`domstat_host_version_libvirt_info`", "`domstat_host` `version.libvirt`"]),
        ("agent.sink.lag.time", ["`domstat_agent_sink_lag_time_seconds`", "`domstat_agent` `sink.lag.time`"]),
        ("pool.age", ["`domstat_pool_age_seconds`", "`domstat_pool` `age`"]),
        ("block.wr.latency", ["`domstat_block_wr_latency_seconds`", "`domstat_block` `block.wr.latency`"]),
        ("net.name", ["a label", "not written"]),
    ],
)
def test_fields_are_called_as_prometheus_and_influxdb_get_them(field: str, row: list[str]) -> None:
    (found,) = re.findall(rf"^\| `{re.escape(field)}` .*", page("metrics.md"), re.MULTILINE)
    for cell in row:
        assert f"| {cell} |" in found


def test_every_type_of_event_and_every_reason_is_there() -> None:
    found = {
        cells[0]: set(cells[1:])
        for cells in (re.findall("`([^`]+)`", row) for row in section(page("events.md"), "Events").splitlines())
        if cells and cells[0] in reference_docs.EVENTS
    }
    expected: dict[str, set[str]] = {}
    pairs = [(type_, reason) for type_, reasons in events._LIFECYCLE.values() for reason in reasons]
    for type_, reason in (events._RENAMED.get(pair, pair) for pair in pairs):
        expected.setdefault(type_, set()).update({reason} if reason else set())
    expected |= {type_: set() for type_ in events._DIRECT.values()}
    for type_ in ("started", "stopped"):
        expected[type_].add(UNSEEN)
    assert found == expected
    assert set(reference_docs.OTHER_EVENTS) == set(events._DIRECT)


def test_every_reason_of_a_gap_is_there() -> None:
    reasons = {error.reason for error in errors.CollectError.__subclasses__()} | {errors.CollectError.reason}
    reasons |= {line.AGENT_STOPPED, line.OVERLOAD, line.SUSPENDED, line.FAILED}
    assert set(first_cells(section(page("events.md"), "Gaps"))) == reasons


def test_every_command_is_there_with_every_option() -> None:
    found = list(commands(get_command(app), "domstat"))
    assert re.findall(r"^## `(.+)`$", page("commands.md"), re.MULTILINE) == [path for path, _ in found]
    for path, command in found:
        text = section(page("commands.md"), f"`{path}`")
        shown = set(first_cells(text)) | set(re.findall(r"`(-[^`]+)`", text))
        for param in command.params:
            is_argument = param.param_type_name == "argument"
            names = {(param.metavar or param.name).upper()} if is_argument else {*param.opts, *param.secondary_opts}
            assert param.hidden or param.name == "help" or names <= {*shown, *(cell.upper() for cell in shown)}, path


# What people wrote, held against the code.


def test_every_warning_and_error_of_the_log_is_in_the_page_for_troubles() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    said = {event for path in CODE for event in logged(path)}
    assert {"host_lost", "guest_stuck", "sink_broken", "journal_not_written"} <= said
    assert {event for event in said if f"`{event}`" not in text} == set()


def test_the_page_for_troubles_names_no_event_that_nobody_logs() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    named = {event for cell in re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE) for event in events_in(cell)}
    assert len(named) > 40
    assert named - {word for path in CODE for word in words(path)} == set()


def events_in(cell: str) -> list[str]:
    return re.findall(r"`([a-z]+_[a-z_]+)`", cell)


def logged(path: Path) -> Iterator[str]:
    """Give the events that a module logs as warnings or errors, or by a function that is one of the two."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name, event = ast.unparse(node.func), node.args[0].value
            is_said = name == "say" or re.search(r"log\.(warning|error|critical|exception)$", name)
            if is_said and isinstance(event, str) and re.fullmatch(r"[a-z]+_[a-z_]+", event):
                yield event


def words(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@lru_cache(maxsize=512)
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_every_metric_that_people_come_to_is_one() -> None:
    """What the page for those who come from elsewhere calls ours: fields, derived values, Prometheus' names."""
    text = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
    prometheus = set(re.findall(r"`(domstat_[a-z_]+)`", page("metrics.md")))
    assert set(re.findall(r"`(domstat_[a-z_]+)`", text)) - prometheus == set()
    ours = {
        cell for row in re.findall(r"^\| .* \| (.*) \|$", text, re.MULTILINE) for cell in re.findall("`([^`]+)`", row)
    }
    fields = {
        name for name in ours if re.fullmatch(r"(state|cpu|vcpu|balloon|memory|block|net|perf|host|pool)\..+", name)
    }
    assert len(fields) > 20
    assert fields - set(FIELDS) - set(DERIVED) == set()


# Links.


def slugs(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def links(path: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_to_a_heading_in_it(path: Path) -> None:
    for target in links(path):
        name, _, anchor = target.partition("#")
        there = path.parent / name if name else path
        assert there.exists(), target
        assert not anchor or anchor in slugs(there), target


def test_every_page_is_reached_from_another() -> None:
    reached = {(path.parent / target.partition("#")[0]).resolve() for path in PAGES for target in links(path)}
    assert {path.name for path in PAGES if path not in reached} - {"README.md", "SECURITY.md"} == set()

"""Guests, hosts and pools that are called what a terminal, a spreadsheet or a browser would obey, in every command."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from cli.test_cli import COMMAND, EXIT_TROUBLE, EXIT_USAGE, domstat, state
from cli.test_history import write
from domstat.model import Batch, Record, Stamp
from records import GIB_IN_KIB, TIME_MS, guest_record, host_record, pool_record, sleeper_record

EVIL = '=x\x1b]0;title\x07\x1b[2J\u202e\x9b31m\r[red]</script><img src="//evil" onerror="x">'
"""Sets the window's title, clears the screen, turns what follows around, both in 7 and in 8 bits; and begins a formula,
markup of rich's, and of a browser's."""

BEGINNING = EVIL.partition("[red]")[0]

HOUR_MS, HOURS, CPUS = 3_600_000, 48, 16
START_MS = TIME_MS // (24 * HOUR_MS) * 24 * HOUR_MS
SECOND_NS = 10**9
UNTIL = datetime.fromtimestamp((START_MS + HOURS * HOUR_MS) / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

HISTORY = (
    ("list",),
    ("list", "--fields"),
    ("info",),
    ("read", "--step", "12h"),
    ("read", "--field", "cpu.time", "--rate", "--step", "12h"),
    ("read", "--guest", EVIL, "--field", "no-such-field"),
    ("sql", "SELECT DISTINCT host, domain, pool, field, device FROM samples"),
    ("sql", f"SELECT '{EVIL.replace(chr(34), '')}' AS \"a\x1b[2J\u202e\""),
    ("sql", "SELECT \x1b]0;x\x07 FROM \u202e"),
    ("plot", "--field", "cpu.time", "--step", "1h"),
    ("plot", "--guest", EVIL, "--field", "no-such-field"),
)
CAPACITY = (
    ("summary",),
    ("runway",),
    ("remaining",),
    ("remaining", "--like", EVIL),
    ("whatif", "--add", f"1:{EVIL}"),
    ("whatif", "--remove", EVIL),
    ("whatif", "--remove", f"{EVIL}-gone"),
    ("forecast", "--field", "cpu.cores", "--step", "1h", "--ahead", "12h"),
    ("top",),
    ("top", "--by", "pool.allocation"),
    ("contention",),
    ("rightsize", "--all"),
    ("reclaim",),
)

SILENT = (("contention",), ("reclaim",), ("info",))
"""Here nobody waits for anything, or has been idle for long enough; and what this says has a test of its own."""


def ticks() -> Iterator[Batch]:
    """Make a tick an hour of a host, a guest that runs, one that is off, and a pool, all of them called that."""
    for hour in range(HOURS + 1):
        time_ms = START_MS + hour * HOUR_MS
        used = hour * 3600 * SECOND_NS
        host = {"host.cpus": CPUS, "host.cpu.user": used, "host.cpu.idle": (CPUS - 1) * used}
        memory = {"host.memory.total": 64 * GIB_IN_KIB, "host.memory.available": 24 * GIB_IN_KIB}
        extra = {"cpu.time": used, "balloon.last-update": time_ms // 1000}
        at: dict[str, Any] = {"time_ms": time_ms, "host": EVIL}
        yield batch(time_ms, "default", host_record(params=host | memory, **at), guest_record(EVIL, extra=extra, **at))
        looked = {**at, "collect": "survey"}
        yield batch(time_ms, "survey", pool_record(EVIL, **looked), sleeper_record(EVIL, **looked))


def batch(time_ms: int, collect: str, *records: Record) -> Batch:
    stamp = Stamp(time_ms, time_ms * 1_000_000, "boot", 0)
    return Batch(host=EVIL, collect=collect, stamp=stamp, records=records)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("evil")
    path = folder / "domstat.toml"
    path.write_text(f'[agent]\nstate_dir = "{folder}"\n[[sinks]]\ntype = "sqlite"\nraw = "forever"\n')
    write(folder, *ticks())
    return str(path)


def asked(group: str, question: tuple[str, ...], config: str) -> tuple[str, ...]:
    until = ("--until", UNTIL) if group == "capacity" else ()
    since = ("--since", "2026-11-22T00:00:00Z") if question[0] == "plot" else ()
    return (group, *question, *until, *since, "--config", config)


def obeyed(text: str) -> set[str]:
    """Return what of a text a terminal could obey."""
    return {letter for letter in text if not letter.isprintable()} - {"\n"}


QUESTIONS = [("history", question) for question in HISTORY] + [("capacity", question) for question in CAPACITY]


@pytest.mark.parametrize("form", ["table", "json"])
@pytest.mark.parametrize(("group", "question"), QUESTIONS)
def test_no_answer_has_anything_that_a_terminal_would_obey(
    config: str, group: str, question: tuple[str, ...], form: str
) -> None:
    more = () if question[0] == "plot" else ("--format", form)
    done = domstat(*asked(group, question, config), *more)
    assert done.returncode in {0, EXIT_TROUBLE, EXIT_USAGE}, done.stderr
    assert obeyed(done.stdout + done.stderr) == set()
    if form == "json" and more and done.returncode == 0 and "--fields" not in question:
        said = json.dumps([json.loads(line) for line in done.stdout.splitlines()])
        assert json.dumps(BEGINNING)[1:-1] in said or question in SILENT, "and to a program the name is what it is"


@pytest.mark.parametrize("form", ["table", "json"])
@pytest.mark.parametrize("question", [question for group, question in QUESTIONS if group == "capacity"])
def test_an_explanation_has_nothing_either(config: str, question: tuple[str, ...], form: str) -> None:
    done = domstat(*asked("capacity", question, config), "--format", form, "--explain")
    assert obeyed(done.stdout + done.stderr) == set()


@pytest.mark.parametrize(("group", "question"), QUESTIONS)
def test_csv_for_a_spreadsheet_has_names_and_no_formulas(config: str, group: str, question: tuple[str, ...]) -> None:
    if question[0] in {"plot", "info"}:
        pytest.skip("there is no CSV of it")
    done = domstat(*asked(group, question, config), "--format", "csv")
    rows = list(csv.reader(io.StringIO(done.stdout, newline="")))
    texts = [cell for row in rows for cell in row if not _is_number(cell)]
    assert [cell for cell in texts if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))] == []
    assert done.returncode or "--fields" in question or question in SILENT or any(EVIL[:2] in cell for cell in texts)


def _is_number(text: str) -> bool:
    with suppress(ValueError):
        return bool(float(text)) or True
    return False


@pytest.mark.parametrize(("form", "shown"), [("csv", "'=x\\x1b"), ("json", "=x\\u001b")])
def test_on_a_terminal_itself_no_form_has_anything_that_it_would_obey(config: str, form: str, shown: str) -> None:
    main, sub = pty.openpty()
    command = [*COMMAND, *asked("history", ("list",), config), "--format", form]
    env = {**os.environ, "COLUMNS": "300", "TERM": "dumb"}
    with subprocess.Popen(command, stdin=sub, stdout=sub, stderr=sub, env=env) as asking:
        os.close(sub)
        said = b""
        with suppress(OSError):  # which is how the end of a terminal is told
            while piece := os.read(main, 65536):
                said += piece
        assert asking.wait(60) == 0
    os.close(main)
    assert obeyed(said.decode().replace("\r", "")) == set()
    assert shown in said.decode()


class Page(HTMLParser):
    """Notes what a browser would make of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_a_report_is_a_page_in_which_names_are_text(config: str, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    done = domstat(*asked("capacity", ("report", "--html", str(path)), config))
    assert done.returncode == 0, done.stderr
    page = Page()
    page.feed(path.read_text())
    assert not [attrs for tag, attrs in page.tags if tag == "img" or any(name.startswith("on") for name in attrs)]
    assert not [attrs for _, attrs in page.tags if "evil" in (attrs.get("src") or attrs.get("href") or "")]
    assert "\u202e" not in path.read_text()
    assert "\x1b" not in path.read_text()


HOST = 'name = "=x\\u001b]0;t\\u0007\\u202e\\u009b31m"'


@pytest.mark.parametrize("command", [("check",), ("check", "--connect"), ("doctor",), ("doctor", "--format", "json")])
def test_what_is_configured_is_shown_and_not_obeyed(tmp_path: Path, command: tuple[str, ...]) -> None:
    path = tmp_path / "domstat.toml"
    path.write_text(state(tmp_path).replace('name = "t"', HOST) + f'[[sinks]]\ntype = "sqlite"\n{HOST}\n')
    done = domstat(*command, "--config", str(path))
    assert obeyed(done.stdout + done.stderr) == set()
    assert "]0;t" in done.stdout


def test_what_is_wrong_with_a_configuration_is_said_and_not_obeyed(tmp_path: Path) -> None:
    path = tmp_path / "\x1b]0;t\x07.toml"
    path.write_text('"\\u001b]0;t\\u0007\\u009b" = 1\n[[sinks]]\ntype = "\\u001b]0;t\\u0007"\n')
    for command in ("check", "run", "status", "doctor", "reload"):
        done = domstat(command, "--config", str(path))
        assert done.returncode in {EXIT_TROUBLE, EXIT_USAGE}
        assert obeyed(done.stdout + done.stderr) == set()


@pytest.mark.parametrize("form", ["table", "json", "influx"])
def test_a_guest_of_libvirts_that_is_called_so_is_shown_and_not_obeyed(tmp_path: Path, form: str) -> None:
    name = "x\u202e\u009b31m\u0085y"  # of what a terminal obeys XML has no more
    xml = f"<domain type='test'><name>{name}</name><memory>1024</memory><os><type>hvm</type></os></domain>"
    (tmp_path / "node.xml").write_text(f"<node>{xml}</node>", encoding="utf-8")
    done = domstat("once", "--uri", f"test://{tmp_path}/node.xml", "--interval", "50ms", "--format", form)
    assert done.returncode == 0, done.stderr
    assert obeyed(done.stdout + done.stderr) == set()
    assert "31m" in done.stdout

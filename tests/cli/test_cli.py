"""The command line as a user meets it, without guests: answers, refusals, exit codes."""

from __future__ import annotations

import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import typer

from cli.forked import forker
from domstat import __version__
from domstat.cli import app, narrowed

EXIT_TROUBLE, EXIT_USAGE = 1, 2
PATIENCE_S = 90.0
COMMAND = [sys.executable, "-m", "domstat.cli"]


def domstat(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; with an environment of its own in a new interpreter, see :mod:`cli.forked`."""
    if env is None:
        return forker().run(arguments)
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **env},
    )


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "domstat.toml"
        path.write_text(text)
        return str(path)

    return write


def state(tmp_path: Path) -> str:
    """Configure an agent with the test driver as its one host, to whose table more may be added."""
    host = 'uri = "test:///default"\nname = "t"\nsurvey = { enabled = false }\n'  # or it would come any five minutes
    return f'[agent]\nstate_dir = "{tmp_path}"\ninterval = "200ms"\n[[hosts]]\n{host}'


def log_of(agent: subprocess.Popen[str]) -> Iterator[str]:
    """Give the names of an agent's log events as they come; end it if it says nothing else for long."""
    assert agent.stderr
    patience = threading.Timer(120, agent.kill)
    patience.start()
    try:
        for line in agent.stderr:
            yield json.loads(line)["event"]
    finally:
        patience.cancel()


def test_it_says_which_version_it_is() -> None:
    done = domstat("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"domstat {__version__}\n", "")


def commands(group: typer.Typer) -> list[tuple[str, ...]]:
    """Return all commands of a group, by the words that name them."""
    found: list[tuple[str, ...]] = [(str(one.name),) for one in group.registered_commands]
    for one in group.registered_groups:
        found += [(str(one.name), *words) for words in commands(one.typer_instance)] if one.typer_instance else []
    return found


def test_only_the_command_that_is_named_is_made_and_it_is_the_same_one() -> None:
    every = commands(app)
    assert len(every) > 30
    for words in every:
        assert commands(narrowed(app, [*words, "--sink", "x"])) == [words]
    assert commands(app) == every, "the others are still there for the next"


@pytest.mark.parametrize("arguments", [(), ("--version",), ("capacty",), ("-h", "run")])
def test_where_no_command_is_named_all_are_there(arguments: tuple[str, ...]) -> None:
    assert narrowed(app, arguments) is app


@pytest.mark.parametrize("then", [(), ("sumary",), ("--help",)])
def test_where_only_its_group_is_named_all_of_the_group_are_there(then: tuple[str, ...]) -> None:
    of_group = [words for words in commands(app) if words[0] == "capacity"]
    assert commands(narrowed(app, ["capacity", *then])) == of_group


def test_check_says_what_would_run(config: Callable[[str], str], tmp_path: Path) -> None:
    done = domstat("check", "--config", config(state(tmp_path) + 'plan = "light"\n[[sinks]]\ntype = "sqlite"\n'))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "ok"
    assert "every 1m, deadline 4s: balloon, block" in done.stdout
    assert "sqlite: path = history.db" in done.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[agent]\nintervall = '10s'", 'agent.intervall: unknown key; did you mean "interval"?'),
        ("[agent]\ninterval = 10", 'agent.interval: found 10, expected a duration such as "500ms"'),
        ("[[hosts]]\nuri = 'no uri'", 'hosts[0].uri: found "no uri", expected a URI such as "qemu:///system"'),
        (
            "[[hosts]]\nplan = 'ligth'",
            'hosts[0].plan: found "ligth", expected one of "default", "light", "full"; did you',
        ),
        ("[[sinks]]\ntype = 'sqlit'", 'sinks[0].type: no sink of type "sqlit" is installed'),
        ("[[sinks]]\ntype = 'stdout'\nformat = 'xml'", 'sinks[0].format: found "xml", expected one of'),
        ("[[sinks]]\ntype='sqlite'\n[[sinks]]\ntype='sqlite'\nname='b'", 'which the sink "sqlite" writes'),
        ("[agent\n", "is not TOML"),
    ],
)
def test_a_wrong_configuration_is_one_line_each_and_exit_code_2(
    config: Callable[[str], str], text: str, said: str
) -> None:
    path = config(text)
    for command in ("check", "run"):
        done = domstat(command, "--config", path)
        assert done.returncode == EXIT_USAGE
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"domstat: {path}: ")
        assert said in line


def test_a_configuration_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    done = domstat("check", "--config", str(tmp_path / "none.toml"))
    assert done.returncode == EXIT_USAGE
    assert "cannot be read: No such file or directory" in done.stderr


def test_config_prints_the_reference_and_the_reference_is_right(config: Callable[[str], str]) -> None:
    printed = domstat("config").stdout
    assert domstat("check", "--config", config(printed)).returncode == 0


def test_a_driver_without_bulk_stats_gives_the_state_alone() -> None:
    done = domstat("once", "--uri", "test:///default", "--interval", "100ms", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    host, guest, agent = map(json.loads, done.stdout.splitlines())
    assert [record["kind"] for record in (host, guest, agent)] == ["host", "guest", "agent"]
    assert guest["params"] == {"state.state": 1, "state.reason": 0}
    assert guest["interval_s"] > 0
    assert agent["interval_s"] >= 0.1, "from call to call; when within a call a guest had its turn is a guess"
    assert host["params"]["host.version.hypervisor"].startswith("TEST")
    assert agent["params"]["agent.guests"] == 1


@pytest.mark.parametrize(
    "uri",
    [
        "qemu+unix:///system?socket=/nonexistent",
        "nodriver:///x",
        "test:///nonexistent.xml",
        "qemu+ssh://nohost.invalid/",
    ],
)
def test_a_host_that_cannot_be_reached_is_one_clear_line(uri: str) -> None:
    done = domstat("once", "--uri", uri, "--interval", "100ms")
    assert (done.returncode, done.stdout) == (EXIT_TROUBLE, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"domstat: {uri}: ")
    assert "Traceback" not in line


@pytest.mark.parametrize(("option", "value"), [("--uri", "no uri"), ("--interval", "soon"), ("--interval", "0s")])
def test_once_refuses_what_makes_no_sense(option: str, value: str) -> None:
    done = domstat("once", option, value)
    assert done.returncode == EXIT_USAGE
    assert done.stderr.startswith(f'domstat: {option}: found "{value}"')


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("qemu+tcp://ann:secret@kvm9/system", "neither encrypted nor"),
        ("qemu://ann:secret@kvm9/system?no_verify=1", "no certificate is verified"),
    ],
)
def test_once_refuses_a_dangerous_uri_and_says_why_without_its_password(uri: str, says: str) -> None:
    done = domstat("once", "--uri", uri)
    assert done.returncode == EXIT_USAGE
    (line,) = done.stderr.splitlines()
    assert line.startswith("domstat: --uri: ")
    assert says in line
    assert "secret" not in line


def test_once_shows_no_password_of_a_host_that_cannot_be_reached() -> None:
    done = domstat("once", "--uri", "qemu+ssh://ann:secret@nohost.invalid/system", "--interval", "100ms")
    assert done.returncode == EXIT_TROUBLE
    assert "secret" not in done.stderr


def test_a_closed_pipe_ends_a_query_quietly(config: Callable[[str], str], tmp_path: Path) -> None:
    path = config(state(tmp_path) + '[[sinks]]\ntype = "sqlite"\n')
    with subprocess.Popen([*COMMAND, "run", "--config", path], stderr=subprocess.PIPE, text=True) as agent:
        next(event for event in log_of(agent) if event == "tick")
        agent.send_signal(signal.SIGTERM)
    query = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT i FROM n, samples"
    command = " ".join([*COMMAND, "history", "sql", "--config", path]) + f' "{query}" | head -1'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=180)
    assert (done.stdout, done.stderr) == ('{"i":1}\n', "")


def test_history_of_nothing_is_said_to_be_nothing(config: Callable[[str], str], tmp_path: Path) -> None:
    done = domstat("history", "sql", "--config", config(state(tmp_path)), "SELECT 1")
    assert done.returncode == EXIT_TROUBLE
    assert "there is no history yet" in done.stderr


def test_history_needs_to_know_which_one_is_meant(config: Callable[[str], str], tmp_path: Path) -> None:
    two = '[[sinks]]\ntype = "sqlite"\n[[sinks]]\ntype = "sqlite"\nname = "b"\npath = "b.db"\n'
    done = domstat("history", "sql", "--config", config(state(tmp_path) + two), "SELECT 1")
    assert done.returncode == EXIT_USAGE
    assert "choose with --sink (there are: sqlite, b)" in done.stderr


def test_run_keeps_a_history_of_the_test_driver(config: Callable[[str], str], tmp_path: Path) -> None:
    path = config(state(tmp_path) + '[[sinks]]\ntype = "sqlite"\n')
    with subprocess.Popen([*COMMAND, "run", "--config", path], stderr=subprocess.PIPE, text=True) as agent:
        events = log_of(agent)
        for _ in range(3):
            next(event for event in events if event == "tick")
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(60) == 0
    query = "SELECT DISTINCT kind, host, domain FROM samples WHERE host = 't' ORDER BY kind"  # no delivery's
    done = domstat("history", "sql", "--config", path, "--format", "csv", query)
    assert done.stdout.splitlines() == ["kind,host,domain", "agent,t,", "guest,t,test", "host,t,"]


def test_a_stop_that_came_before_it_was_listened_for_counts(config: Callable[[str], str], tmp_path: Path) -> None:
    path = config(state(tmp_path) + '[[sinks]]\ntype = "sqlite"\n')
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # as the container's entry point does
    try:
        agent = subprocess.Popen([*COMMAND, "run", "--config", path], stderr=subprocess.PIPE, text=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with agent:
        agent.send_signal(signal.SIGTERM)
        try:
            assert agent.wait(60) == 0
        finally:
            agent.kill()


def test_a_closed_pipe_ends_the_agent_quietly(config: Callable[[str], str], tmp_path: Path) -> None:
    path = config(state(tmp_path) + '[[sinks]]\ntype = "stdout"\nformat = "json"\n')
    with (tmp_path / "log").open("w") as log:
        agent = subprocess.Popen([*COMMAND, "run", "--config", path], stdout=subprocess.PIPE, stderr=log)
        assert agent.stdout
        agent.stdout.readline()
        agent.stdout.close()
        assert agent.wait(60) == 0
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    # A machine too busy for ticks of 200 ms is told so, and that is another matter.
    assert {event["level"] for event in events if event["event"] != "interval_too_short"} <= {"info", "debug"}


def test_on_a_terminal_there_is_a_table_and_a_log_for_people(config: Callable[[str], str], tmp_path: Path) -> None:
    path = config(state(tmp_path) + '[[sinks]]\ntype = "stdout"\n')
    main, sub = pty.openpty()
    agent = subprocess.Popen([*COMMAND, "run", "--config", path], stdin=sub, stdout=sub, stderr=sub)
    os.close(sub)
    shown = b""
    until = time.monotonic() + PATIENCE_S
    while b"running" not in shown and time.monotonic() < until:
        shown += os.read(main, 65536)
    agent.send_signal(signal.SIGINT)
    assert agent.wait(60) == 0
    os.close(main)
    assert b"t " in shown
    assert b'"event"' not in shown


def ticks_in(history: Path) -> int:
    """Count the ticks in a history that an agent may be writing, or is just about to make."""
    try:
        with closing(sqlite3.connect(f"file:{history}?mode=ro", uri=True)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM head").fetchone()
    except sqlite3.OperationalError:
        return 0
    return int(count)


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-"])
def test_a_log_that_cannot_be_written_costs_nothing_else(
    config: Callable[[str], str], tmp_path: Path, redirection: str
) -> None:
    path = config(state(tmp_path) + '[[sinks]]\ntype = "sqlite"\n')
    command = " ".join([*COMMAND, "run", "--config", path, redirection])
    with subprocess.Popen(["bash", "-c", f"exec {command}"]) as agent:
        until = time.monotonic() + PATIENCE_S
        while ticks_in(tmp_path / "history.db") < 3 and agent.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        agent.send_signal(signal.SIGINT)
    assert agent.returncode == 0
    assert ticks_in(tmp_path / "history.db") >= 3


@pytest.mark.parametrize(
    "command", ["once --uri test:///default --interval 50ms --format json >/dev/full", "config >/dev/full"]
)
def test_output_that_cannot_be_written_is_one_line(command: str) -> None:
    done = subprocess.run(
        ["bash", "-c", " ".join(COMMAND) + " " + command], capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == EXIT_TROUBLE
    (line,) = done.stderr.splitlines()
    assert "No space left on device" in line


def test_no_output_at_all_is_no_traceback() -> None:
    command = " ".join(COMMAND) + " once --uri test:///default --interval 50ms >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=180)
    assert "Traceback" not in done.stderr


def test_a_user_without_a_home_has_no_configuration_and_no_traceback() -> None:
    command = ["setpriv", "--reuid=54321", "--clear-groups", "env", "-i", *COMMAND, "check"]
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody without a home")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180, cwd="/")
    assert "Traceback" not in done.stderr


def test_failing_sinks_are_an_exit_code(config: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "history.db").write_text("something else entirely, and worth keeping " * 99)
    done = domstat("run", "--config", config(state(tmp_path) + '[[sinks]]\ntype = "sqlite"\n'))
    assert done.returncode == EXIT_TROUBLE
    assert "sink_stopped" in done.stderr

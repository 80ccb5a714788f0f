"""``domstat doctor``, as a person and a script meet it: a table, JSON lines, exit codes; each thing broken for real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer
from msgspec.structs import replace
from typer.testing import CliRunner

from cli.test_cli import COMMAND, EXIT_TROUBLE, log_of, state
from doctor.seen import REPORT, SINK
from domstat import telemetry
from domstat.cli.doctor import doctor
from domstat.deliver.courier import State
from domstat.doctor.checks import CHECKS
from domstat.doctor.finding import Verdict
from domstat.doctor.look import around, disks, running
from domstat.doctor.scene import ClockSeen
from domstat.status import Report, Server
from heard import Log

STATE_ALONE = "[[hosts.collect]]\ngroups = ['state']\n"
INFLUX = '[[sinks]]\ntype = "influxdb"\nname = "influx"\nurl = "http://127.0.0.1:9"\nbucket = "b"\n'
SQLITE = '[[sinks]]\ntype = "sqlite"\nname = "history"\n'

app = typer.Typer()
app.command()(doctor)


@pytest.fixture(autouse=True)
def healthy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a machine on which nothing is wrong, whatever the one is like that the tests run on."""
    monkeypatch.setattr(telemetry, "configure", lambda _level: None)  # it is the process's, and other tests' too
    monkeypatch.setattr(around, "see_clock", lambda: ClockSeen(True, 0.004))
    monkeypatch.setattr(around, "SQLITE_VERSION", (3, 51, 3))
    monkeypatch.setattr(disks, "_free", lambda _folder: 1 << 40)
    monkeypatch.setattr(running, "UNIT_FOLDERS", ())


class Said:
    """What the command said: its exit code, and what each check found."""

    def __init__(self, code: int, output: str) -> None:
        self.code = code
        self.output = output
        self.findings = [json.loads(line) for line in output.splitlines()]

    def of(self, check: str) -> list[dict[str, str]]:
        return [finding for finding in self.findings if finding["check"] == check]

    def ill(self) -> set[str]:
        """Name the checks that found something."""
        return {finding["check"] for finding in self.findings if finding["verdict"] in {"trouble", "warning"}}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "domstat.toml"
        path.write_text(text)
        path.chmod(0o600)
        return path

    return write


@pytest.fixture
def well(tmp_path: Path) -> str:
    """Configure one host that the test driver makes up, whose state is all that it knows."""
    return state(tmp_path) + STATE_ALONE


def ask(path: Path, form: str = "json") -> tuple[int, str]:
    done = CliRunner().invoke(app, ["--config", str(path), "--format", form])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout


def diagnose(path: Path) -> Said:
    return Said(*ask(path))


@contextmanager
def answering(folder: Path, report: Report) -> Iterator[None]:
    """Have an agent of this process answer with *report*."""
    server = Server(folder / "status.sock", None, lambda: replace(report, pid=os.getpid()), Log())
    server.start()
    try:
        yield
    finally:
        server.stop()


# --- what is shown


def test_where_all_is_well_the_exit_code_is_0_and_every_check_says_so(
    write: Callable[[str], Path], well: str, tmp_path: Path
) -> None:
    path = write(well + SQLITE)
    with answering(tmp_path, REPORT):
        said = diagnose(path)
    assert said.code == 0
    assert said.ill() == set()
    silent = {check.name for check in CHECKS} - {finding["check"] for finding in said.findings}
    assert silent == {"balloon", "schedstats"}, "this host's guests are asked for neither"


def test_a_table_has_a_line_for_each_finding_and_one_for_each_fix(write: Callable[[str], Path], well: str) -> None:
    code, shown = ask(write(well + SQLITE), "table")
    assert code == EXIT_TROUBLE
    lines = shown.splitlines()
    assert lines[0].split()[:2] == ["configuration", "ok"]
    (at,) = (i for i, line in enumerate(lines) if line.startswith("agent "))
    assert lines[at].split(maxsplit=2)[1:] == ["trouble", f"no agent runs: there is no socket at {path_of(lines[at])}"]
    assert lines[at + 1].split()[:3] == ["fix", "systemctl", "start"]
    assert lines[-1] == "there is trouble: see above"


def path_of(line: str) -> str:
    return line.rpartition(" ")[2]


def test_a_table_has_its_lines_whole_however_narrow_the_terminal_is(
    write: Callable[[str], Path], well: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    _, shown = ask(write(well), "table")
    assert "systemctl start domstat, or domstat run; its log says why it ended" in shown


def test_nothing_that_is_found_moves_the_cursor(write: Callable[[str], Path], well: str, tmp_path: Path) -> None:
    evil = "a\x1b[31m\u202eb\x9b[red]"
    path = write(well + SQLITE)
    with answering(tmp_path, replace(REPORT, healthy=False, reasons=(evil,))):
        for form in ("table", "json"):
            _, shown = ask(path, form)
            assert shown.replace("\n", "").isprintable()
            assert "[red]" in shown


# --- each thing broken


def test_a_wrong_configuration_is_named_with_its_key(write: Callable[[str], Path], well: str) -> None:
    said = diagnose(write(well + "\n[journal]\nmax_bites = 1\n"))
    assert (said.code, said.ill()) == (EXIT_TROUBLE, {"configuration"})
    assert 'journal.max_bites: unknown key; did you mean "max_bytes"?' in said.findings[0]["found"]


def test_a_host_that_is_not_there_is_named_and_the_others_are_looked_at(
    write: Callable[[str], Path], well: str
) -> None:
    gone = "[[hosts]]\nuri = 'qemu+unix:///system?socket=/nonexistent'\nname = 'gone'\n"
    libvirt = diagnose(write(well + gone)).of("libvirt")
    assert [(each["about"], each["verdict"]) for each in libvirt] == [("t", "ok"), ("gone", "trouble")]
    assert "No such file or directory" in libvirt[1]["found"]
    assert libvirt[1]["fix"] == "see that libvirt runs there: systemctl status libvirtd virtqemud"


def test_groups_that_the_driver_lacks_are_named(write: Callable[[str], Path], tmp_path: Path) -> None:
    (found,) = diagnose(write(state(tmp_path))).of("groups")
    assert found["found"] == "the driver does not know cpu-total, balloon, vcpu, interface, block"
    assert found["fix"].startswith('[[hosts.collect]] with groups = ["state"')


def test_a_state_directory_and_files_that_others_may_use_are_named(
    write: Callable[[str], Path], well: str, tmp_path: Path
) -> None:
    path = write(well.replace(str(tmp_path), str(tmp_path / "state")) + SQLITE)
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o755)
    for name in ("journal.db", "history.db"):
        (tmp_path / "state" / name).touch()
        (tmp_path / "state" / name).chmod(0o644)
    path.chmod(0o666)
    fixes = {each["fix"] for each in diagnose(path).of("files") if each["verdict"] == "trouble"}
    assert fixes == {
        f"chmod 0700 {tmp_path}/state",
        f"chmod 0600 {tmp_path}/state/journal.db",
        f"chmod 0600 {tmp_path}/state/history.db",
        f"chmod 0644 {path}",
    }
    for fix in fixes:
        subprocess.run(fix, shell=True, check=True)
    assert {each["verdict"] for each in diagnose(path).of("files")} == {"ok"}, "the fixes put it right"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to somebody else")
def test_a_file_of_somebody_elses_is_named(write: Callable[[str], Path], well: str, tmp_path: Path) -> None:
    (tmp_path / "journal.db").touch(0o600)
    os.chown(tmp_path / "journal.db", 4711, -1)
    fixes = {each["fix"] for each in diagnose(write(well)).of("files") if each["verdict"] == "trouble"}
    assert fixes == {f"chown 0 {tmp_path}/journal.db"}


def test_a_token_that_others_may_read_is_named(write: Callable[[str], Path], well: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret")
    token.chmod(0o644)
    path = write(f'{well}{INFLUX}token_file = "{token}"\n')
    (found,) = diagnose(path).of("secrets")
    assert (found["verdict"], found["fix"]) == ("trouble", f"chmod 0600 {token}")
    token.chmod(0o600)
    assert diagnose(path).of("secrets")[0]["verdict"] == "ok"


def test_a_password_in_a_uri_is_no_secret_where_others_may_read_it(write: Callable[[str], Path], well: str) -> None:
    path = write(well + "[[hosts]]\nuri = 'qemu+unix://me:s3cret@/system?socket=/nonexistent'\nname = 'gone'\n")
    path.chmod(0o644)
    said = diagnose(path)
    assert said.of("secrets")[0]["verdict"] == "trouble"
    assert "s3cret" not in said.output


def test_a_server_that_is_gone_is_named_without_an_agent(write: Callable[[str], Path], well: str) -> None:
    (found,) = diagnose(write(well + INFLUX)).of("sinks")
    assert (found["verdict"], found["about"]) == ("trouble", "influx")
    assert found["found"] == "127.0.0.1:9 cannot be connected to: Connection refused"


def test_a_server_that_does_not_let_us_in_is_named_by_the_running_agent(
    write: Callable[[str], Path], well: str, tmp_path: Path
) -> None:
    path = write(well + INFLUX)
    refused = replace(SINK, name="influx", state=State.RETRYING, last_error="the server answered 401: unauthorized")
    with answering(tmp_path, replace(REPORT, sinks=(refused,))):
        said = diagnose(path)
    assert (said.code, said.ill()) == (EXIT_TROUBLE, {"sinks"})
    assert said.of("sinks")[0]["found"] == "it is retrying: the server answered 401: unauthorized"
    assert "token" in said.of("sinks")[0]["fix"]


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        ((around, "see_clock", lambda: ClockSeen(False, 16.0)), "clock"),
        ((disks, "_free", lambda _folder: 1 << 20), "disk"),
    ],
)
def test_what_is_wrong_with_the_machine_is_named(
    write: Callable[[str], Path],
    well: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: tuple[object, str, object],
    check: str,
) -> None:
    monkeypatch.setattr(*broken)
    path = write(well + SQLITE)
    with answering(tmp_path, REPORT):
        assert diagnose(path).ill() == {check}


def test_two_that_write_one_history_by_a_sqlite_with_the_bug_are_named(
    write: Callable[[str], Path], well: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(around, "SQLITE_VERSION", (3, 40, 1))
    path = write(well + SQLITE)
    history = tmp_path / "history.db"
    history.touch(0o600)
    with (
        history.open("r+b"),
        subprocess.Popen(["sh", "-c", f"exec 3<>{history}; echo; read x"], stdin=-1, stdout=-1) as other,
    ):
        assert other.stdout is not None
        other.stdout.readline()
        (found,) = diagnose(path).of("wal-reset")
        other.communicate()
    assert found["verdict"] == "trouble"
    assert {str(os.getpid()), str(other.pid)} <= set(found["found"].replace(",", "").split())
    assert diagnose(path).of("wal-reset")[0]["verdict"] == "ok"


def test_a_unit_whose_watchdog_nobody_tells_anything_is_named(
    write: Callable[[str], Path], well: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "domstat.service").write_text("[Service]\nExecStart=/usr/bin/domstat run\nWatchdogSec=30\n")
    monkeypatch.setattr(running, "UNIT_FOLDERS", (tmp_path,))
    (found,) = diagnose(write(well)).of("watchdog")
    assert (found["verdict"], found["about"]) == ("trouble", str(tmp_path / "domstat.service"))
    assert "Type=notify" in found["fix"]


# --- with an agent


@contextmanager
def running_agent(path: Path, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """Run an agent until it has had a tick, and end it after that."""
    command = [*COMMAND, "run", "--config", str(path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environ}) as agent:
        next(event for event in log_of(agent) if event == "tick")
        yield agent
        agent.send_signal(signal.SIGTERM)


def test_an_agent_that_runs_is_named_and_its_sinks_are_judged_by_it(write: Callable[[str], Path], well: str) -> None:
    path = write(well + SQLITE)
    with running_agent(path) as agent:
        said = diagnose(path)
    assert said.ill() == set()
    assert said.of("agent")[0]["found"].startswith(f"process {agent.pid} has run for ")
    assert said.of("sinks")[0]["verdict"] in {Verdict.OK, Verdict.UNKNOWN}  # the first write may still be on its way
    assert diagnose(path).ill() == {"agent"}, "it has ended"


def test_a_watchdog_that_an_agent_cannot_tell_anything_is_named(write: Callable[[str], Path], well: str) -> None:
    path = write(well + SQLITE)
    with running_agent(path, WATCHDOG_USEC="3000000"):
        said = diagnose(path)
    assert said.ill() == {"watchdog"}
    assert "systemd will kill the agent" in said.of("watchdog")[0]["found"]

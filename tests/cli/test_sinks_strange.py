"""Sinks that somebody else wrote, in an agent that runs: wrong settings, two of a type, and what they should not do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.test_cli import COMMAND, EXIT_USAGE, PATIENCE_S, domstat, state
from strangers import lay

KEEPING = """
class Keeping(Sink):
    def open(self, context):
        self.path = context.state_dir / self.settings.path

    def write(self, batches):
        with self.path.open("a") as file:
            for batch in batches:
                file.writelines(f"{record.time_ms} {record.kind}\\n" for record in batch.records)

"""


class Agent:
    """``domstat run`` as a process, with sinks of strangers."""

    def __init__(self, folder: Path, sinks: str, env: dict[str, str]) -> None:
        self._folder, self.env = folder, env
        self._config = folder / "domstat.toml"
        self._config.write_text(state(folder) + sinks)
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            command = [*COMMAND, "run", "--config", str(self._config)]
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env={**os.environ, **env}
            )

    def lines(self, name: str) -> list[str]:
        """Return the whole lines of a file so far."""
        path = self._folder / name
        return path.read_text().split("\n")[:-1] if path.exists() else []

    def events(self, name: str) -> list[dict[str, Any]]:
        events = (json.loads(line) for line in self.lines("err") if line.startswith("{"))
        return [event for event in events if event["event"] == name]

    def sinks(self) -> dict[str, dict[str, Any]]:
        """Ask the agent how its sinks are."""
        done = domstat("status", "--format", "json", "--config", str(self._config), env=self.env)
        return {sink["name"]: sink for sink in json.loads(done.stdout)["sinks"]}

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        until = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, f"the agent ended: {self.lines('err')}"
            assert time.monotonic() < until, f"no {what}: {self.lines('err')[-20:]}"
            time.sleep(0.02)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    agents: list[Agent] = []

    def start(code: str, sinks: str, **targets: str) -> Agent:
        env = lay(tmp_path / "site", targets or {"keeping": "Keeping"}, KEEPING + code)
        agents.append(Agent(tmp_path, sinks, env))
        return agents[-1]

    yield start
    for agent in agents:
        if agent.process.poll() is None:
            agent.process.kill()
            agent.process.wait()


def test_two_sinks_of_one_type_are_told_apart_by_their_names(run: Callable[..., Agent]) -> None:
    agent = run("", "".join(f'[[sinks]]\ntype = "keeping"\nname = "{name}"\npath = "{name}.txt"\n' for name in "ab"))
    agent.wait_for(lambda: len(agent.lines("a.txt")) > 3 and len(agent.lines("b.txt")) > 3, "records in both")
    assert agent.sinks().keys() == {"a", "b"}
    agent.stop()
    assert agent.lines("a.txt") == agent.lines("b.txt")


WRONG = {
    'ofen = "1s"': 'sinks[0].ofen: unknown key; did you mean "often"?',
    "bacth = 7": 'sinks[0].bacth: unknown key; did you mean "batch"?',
    "often = 7": 'sinks[0].often: found 7, expected a duration such as "500ms"',
    'path = ""': 'sinks[0].path: found "", expected',
    "path = []": "sinks[0].path: found [], expected text",
}


@pytest.mark.parametrize(("setting", "said"), WRONG.items(), ids=WRONG)
def test_wrong_settings_are_answered_as_those_of_a_shipped_sink_are(tmp_path: Path, setting: str, said: str) -> None:
    env = lay(tmp_path / "site", {"theirs": "Sink"})
    path = tmp_path / "domstat.toml"
    path.write_text(f'[[sinks]]\ntype = "theirs"\n{setting}\n')
    for command in ("check", "run"):
        done = domstat(command, "--config", str(path), env=env)
        assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"domstat: {path}: {said}")


def test_settings_that_only_the_sink_can_refuse_are_refused_before_anything_runs(tmp_path: Path) -> None:
    code = "def refuse(self, settings):\n    raise ValueError('x and y together')\n\nSink.__init__ = refuse\n"
    env = lay(tmp_path / "site", {"theirs": "Sink"}, code)
    path = tmp_path / "domstat.toml"
    path.write_text('[[sinks]]\ntype = "theirs"\n')
    done = domstat("check", "--config", str(path), env=env)
    assert done.returncode == EXIT_USAGE
    assert "sinks[0]: the sink refuses its settings: x and y together" in done.stderr


@pytest.mark.parametrize("where", ["open", "write"])
def test_a_sink_that_calls_exit_ends_itself_and_nothing_else(run: Callable[..., Agent], where: str) -> None:
    code = f"class Leaving(Sink):\n    def {where}(self, _):\n        sys.exit(3)\n"
    sinks = '[[sinks]]\ntype = "leaving"\n[[sinks]]\ntype = "keeping"\n'
    agent = run(code, sinks, leaving="Leaving", keeping="Keeping")
    agent.wait_for(lambda: agent.events("sink_stopped"), "sink stopped")
    (event,) = agent.events("sink_stopped")
    assert (event["sink"], event["error"]) == ("leaving", "SystemExit(3)")
    seen = len(agent.lines("x"))
    agent.wait_for(lambda: len(agent.lines("x")) > seen + 3, "records behind it")
    assert agent.sinks()["leaving"]["state"] == "stopped"
    assert agent.stop() == 0


def test_a_sink_may_fork_processes_of_its_own(run: Callable[..., Agent], tmp_path: Path) -> None:
    code = """
class Forking(Keeping):
    def write(self, batches):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        super().write(batches)
"""
    agent = run(code, '[[sinks]]\ntype = "forking"\n', forking="Forking")
    agent.wait_for(lambda: len(agent.lines("x")) > 10, "records")
    assert agent.stop() == 0


def test_a_process_that_a_sink_forked_and_that_comes_back_is_no_agent(
    run: Callable[..., Agent], tmp_path: Path
) -> None:
    code = """
class Forking(Keeping):
    def write(self, batches):
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            super().write(batches)
"""
    agent = run(code, '[[sinks]]\ntype = "forking"\n', forking="Forking")
    agent.wait_for(lambda: len(agent.lines("x")) > 10, "records, though it waits for the end of what it forked")
    assert agent.stop() == 0


def test_what_a_sink_left_running_does_not_keep_the_next_agent_from_starting(
    run: Callable[..., Agent], tmp_path: Path
) -> None:
    code = """
import signal

class Forking(Keeping):
    def open(self, context):
        super().open(context)
        child = os.fork()
        if child == 0:
            signal.pause()
        (self.path.parent / "child").write_text(f"{child}\\n")
"""
    agent = run(code, '[[sinks]]\ntype = "forking"\n', forking="Forking")
    agent.wait_for(lambda: agent.lines("x"), "records")
    assert agent.stop() == 0
    try:
        config = str(tmp_path / "domstat.toml")
        done = domstat("sinks", "forget", "forking", "--yes", "--config", config, env=agent.env)
        assert (done.returncode, done.stderr) == (0, "")
    finally:
        os.kill(int(agent.lines("child")[0]), signal.SIGKILL)


def test_what_a_sink_prints_does_not_come_between_what_is_piped(run: Callable[..., Agent]) -> None:
    code = """
class Printing(Keeping):
    def __init__(self, settings):
        print("made")
        super().__init__(settings)

    def write(self, batches):
        print("written")
        super().write(batches)
"""
    sinks = '[[sinks]]\ntype = "printing"\n[[sinks]]\ntype = "stdout"\nformat = "json"\n'
    agent = run(code, sinks, printing="Printing")
    agent.wait_for(lambda: len(agent.lines("out")) > 10 and "written" in agent.lines("err"), "records and prints")
    assert agent.stop() == 0
    assert {json.loads(line)["v"] for line in agent.lines("out")} == {1}, "records, and nothing between them"
    assert {"made", "written"} <= set(agent.lines("err"))


def test_a_sink_that_calls_exit_when_it_is_made_is_a_line_too(tmp_path: Path) -> None:
    env = lay(tmp_path / "site", {"theirs": "Sink"}, "Sink.__init__ = lambda self, settings: sys.exit(0)\n")
    path = tmp_path / "domstat.toml"
    path.write_text('[[sinks]]\ntype = "theirs"\n')
    done = domstat("check", "--config", str(path), env=env)
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    assert "sinks[0]: the sink refuses its settings: SystemExit(0)" in done.stderr


def test_a_setting_of_a_type_that_no_setting_can_be_is_a_line_too(tmp_path: Path) -> None:
    code = "from pathlib import Path\n\nclass Settings(Struct):\n    path: Path\n\nSink.Settings = Settings\n"
    path = tmp_path / "domstat.toml"
    path.write_text('[[sinks]]\ntype = "theirs"\npath = "x"\n')
    done = domstat("check", "--config", str(path), env=lay(tmp_path / "site", {"theirs": "Sink"}, code))
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    assert 'sinks[0].path: found "x", expected Path, which no setting can be: let it be str' in done.stderr


@pytest.mark.parametrize("path", ["", ".", os.pathsep])
def test_a_sink_of_the_current_directory_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    marker = tmp_path / "it-ran"
    lay(tmp_path, {"planted": "Sink"}, f"open({str(marker)!r}, 'w').close()\n")
    (tmp_path / "domstat.toml").write_text(state(tmp_path) + '[[sinks]]\ntype = "planted"\n')
    monkeypatch.chdir(tmp_path)
    done = domstat("check", "--config", "domstat.toml", env={"PYTHONPATH": path})
    assert done.returncode == EXIT_USAGE
    assert "planted" in done.stderr
    assert not marker.exists()


def test_a_sink_that_everybody_may_change_is_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "it-ran"
    env = lay(tmp_path / "site", {"open": "Sink"}, f"open({str(marker)!r}, 'w').close()\n")
    (tmp_path / "domstat.toml").write_text(state(tmp_path) + '[[sinks]]\ntype = "open"\n')
    assert domstat("check", "--config", str(tmp_path / "domstat.toml"), env=env).returncode == 0
    assert marker.exists()
    marker.unlink()
    (tmp_path / "site").chmod(0o777)
    done = domstat("check", "--config", str(tmp_path / "domstat.toml"), env=env)
    assert done.returncode == EXIT_USAGE
    assert "others could change it: everybody may write" in done.stderr
    assert not marker.exists()

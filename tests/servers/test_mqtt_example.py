"""The example in examples/domstat-mqtt: its own tests pass, domstat finds it, and it stays as short as it says."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import certificates
from domstat.sink import ENTRY_POINT_GROUP, Retry, SinkContext
from domstat_lab.errors import LabError
from domstat_lab.mosquitto import BROKER, Mosquitto, Reader
from domstat_lab.servers import free_port, program
from records import batch

EXAMPLE = Path(__file__).parents[2] / "examples" / "domstat-mqtt"
SOURCE = EXAMPLE / "src" / "domstat_mqtt" / "__init__.py"
LINES_MAX = 60
"""Of code: without imports, docstrings, comments and empty lines."""

TIMEOUT_S = 300
"""For all tests of the example: fifteen seconds on an idle machine."""


@pytest.fixture(autouse=True)
def _mosquitto() -> None:
    try:
        program(BROKER)
    except LabError as error:
        pytest.skip(str(error))


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python, and none of this run's own options."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTEST_ADDOPTS": "", **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_its_own_tests_pass() -> None:
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", cwd=EXAMPLE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Lay the example into a folder as pip would."""
    project: dict[str, Any] = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    site = tmp_path / "site"
    shutil.copytree(SOURCE.parent, site / SOURCE.parent.name, ignore=shutil.ignore_patterns("__pycache__"))
    facts = site / f"domstat_mqtt-{project['version']}.dist-info"
    facts.mkdir()
    points = [f"{name} = {target}" for name, target in project["entry-points"][ENTRY_POINT_GROUP].items()]
    (facts / "entry_points.txt").write_text("\n".join([f"[{ENTRY_POINT_GROUP}]", *points]) + "\n")
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    return site


def test_domstat_finds_it_and_says_what_is_wrong_in_its_settings(installed: Path, tmp_path: Path) -> None:
    def check(table: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "domstat.toml"
        file.write_text(f'agent.state_dir = "{tmp_path}"\n[[sinks]]\ntype = "mqtt"\n{table}\n')
        return run("-m", "domstat.cli", "check", "--config", str(file), cwd=tmp_path, PYTHONPATH=str(installed))

    right = check('url = "mqtts://domstat@broker.example"\nretain = true')
    assert (right.returncode, right.stderr) == (0, "")
    assert "mqtt" in right.stdout
    wrong = check('url = "mqtt://broker"\nretained = true')
    assert wrong.returncode != 0
    assert 'sinks[0].retained: unknown key; did you mean "retain"?' in wrong.stderr


def test_without_its_entry_point_it_is_no_sink(installed: Path, tmp_path: Path) -> None:
    (points,) = installed.glob("*/entry_points.txt")
    points.unlink()
    file = tmp_path / "domstat.toml"
    file.write_text('[[sinks]]\ntype = "mqtt"\nurl = "mqtt://broker"\n')
    done = run("-m", "domstat.cli", "check", "--config", str(file), cwd=tmp_path, PYTHONPATH=str(installed))
    assert 'no sink of type "mqtt" is installed' in done.stderr


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import the example, which is not installed."""
    spec = importlib.util.spec_from_file_location("domstat_mqtt", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    imported = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "domstat_mqtt", imported)
    spec.loader.exec_module(imported)
    return imported


# paho leaves a connection that TLS refuses to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning")
def test_it_publishes_over_tls_to_a_broker_whose_certificate_it_trusts_and_to_no_other(
    module: Any, tmp_path: Path
) -> None:
    file = certificates.make(tmp_path)
    port = free_port()
    secure = f"allow_anonymous true\nlistener {port} 127.0.0.1\ncertfile {file}\nkeyfile {file}"
    context = SinkContext("mqtt", tmp_path, None, lambda _record, _reason: None)
    url = f"mqtts://localhost:{port}"
    with Mosquitto(tmp_path / "broker", conf=secure) as broker, closing(Reader(broker, "domstat/#")) as reader:
        sink = module.MqttSink(module.MqttSettings(url=url, ca_file=str(file)))
        sink.open(context)
        sink.write([batch()])
        sink.close()
        assert len(reader.messages()) == 1
        with pytest.raises(Retry, match=r"cannot be reached: .*CERTIFICATE_VERIFY_FAILED"):
            module.MqttSink(module.MqttSettings(url=url)).open(context)


def test_it_is_as_short_as_it_says() -> None:
    tree = ast.parse(SOURCE.read_text())
    left_out = {
        line
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str))
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines = enumerate(SOURCE.read_text().splitlines(), 1)
    code = [text for number, text in lines if number not in left_out and text.strip() and text.strip()[0] != "#"]
    assert len(code) <= LINES_MAX

"""What may never be, where import-linter cannot see it: in functions, in texts, in the listing."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = (ROOT / "agent" / "domstat", ROOT / "sinks" / "domstat_sinks")
CODE = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
ALL_PYTHON = sorted(
    {*CODE, *(path for folder in ("packaging", "bench", "tests") for path in (ROOT / folder).rglob("*.py"))}
)
TEXTS = sorted(
    path
    for folder in ("agent", "sinks", "config", "packaging", "bench", "tests", "docs")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.suffix not in {".pyc", ".so"} and "__pycache__" not in path.parts
) + [path for path in ROOT.iterdir() if path.is_file()]
LINES_MAX = 450

AGENT = PACKAGES[0]
WORKER = AGENT / "collect" / "worker"

PURE = (
    "model", "catalog", "rates", "derive", "jsonlines", "settings", "text", "units", "uri", "collect/block",
    "collect/definition", "collect/events", "collect/findings", "collect/known", "collect/labels", "collect/naming",
    "collect/quarantine", "collect/sample", "collect/subject", "collect/tally", "collect/times", "collect/unseen",
    "collect/wire",
)  # fmt: skip

ALLOWED = {
    "libvirt": {"agent/domstat/collect/worker/"},
    "sqlite3": {"sinks/domstat_sinks/sqlite/", "agent/domstat/deliver/"},
    "influxdb_client": {"sinks/domstat_sinks/influxdb/client.py"},
    "urllib3": {"sinks/domstat_sinks/sending/transport.py"},
    "isal": {
        "agent/domstat/deliver/",
        "sinks/domstat_sinks/influxdb/client.py",
        "sinks/domstat_sinks/prometheus/",
        "sinks/domstat_sinks/sqlite/",
    },
    "prometheus_client": {"sinks/domstat_sinks/prometheus/"},
    "numpy": {
        "sinks/domstat_sinks/sqlite/",
        "agent/domstat/capacity/",
        "agent/domstat/report/",
        "agent/domstat/cli/capacity/abreast.py",
    },
    "plotly": {"agent/domstat/report/"},
    "pyarrow": {"agent/domstat/cli/history/parquet.py", "sinks/domstat_sinks/parquet/"},
    "fsspec": {"sinks/domstat_sinks/parquet/"},
    "psycopg": {"sinks/domstat_sinks/postgres/"},
    "cramjam": {"sinks/domstat_sinks/remote_write/client.py"},
    "pytest": {"agent/domstat/testing/", "agent/domstat/cli/sinks/"},
    "pcodec": {"sinks/domstat_sinks/sqlite/"},
    "apscheduler": {"agent/domstat/schedule.py", "agent/domstat/crontab.py"},
    "subprocess": {"agent/domstat/collect/process.py", "agent/domstat/reporting.py"},
    "xml": {
        "agent/domstat/collect/definition.py",
        "agent/domstat/collect/labels.py",
        "agent/domstat/collect/worker/surveying.py",
    },
    "structlog": {"agent/domstat/telemetry.py"},
    "typer": {"agent/domstat/cli/"},
    "textual": {"agent/domstat/top/draw.py"},
    "rich": {
        "agent/domstat/cli/",
        "agent/domstat/top/draw.py",
        "sinks/domstat_sinks/stdout.py",
        "sinks/domstat_sinks/table.py",
    },
    "domstat_sinks": {"sinks/domstat_sinks/"},
}
"""Which modules may import what, lazily or not."""

READING = {
    "ID", "UUIDString", "XMLDesc", "close", "connect", "controlInfo", "domainEventDeregisterAny",
    "domainEventRegisterAny", "domainListGetStats",
    "getAllDomainStats", "getCPUStats", "getInfo", "getLibVersion", "getMemoryStats", "getType", "getURI",
    "getVersion", "info", "isAlive", "listAllDomains", "listAllStoragePools", "lookupByUUIDString", "name",
    "numOfDomains", "registerCloseCallback", "setKeepAlive", "state", "storagePoolLookupByName",
    "storageVolLookupByName", "storageVolLookupByPath", "unregisterCloseCallback",
}  # fmt: skip
"""Methods of libvirt's that change neither guest nor host."""

OF_OTHERS = {"path", "update"}
"""Attributes in the worker that are called as a method of libvirt's is, and are none."""

HEAVY = {
    "asyncio", "concurrent", "email", "http", "json", "logging", "pathlib", "random", "ssl", "subprocess", "tempfile",
    "urllib", "xml", "apscheduler", "rich", "structlog", "typer",
}  # fmt: skip
"""What a process that stands beside every agent for years is not to load: half a MiB each, or several."""

RARE = ("abilities", "cost", "files", "surveying", "volumes")
"""Modules of the worker that are loaded when they are asked for."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[str]:
    """Give the top-level names of everything a module imports, wherever in it."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute)):
            function = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if function in {"import_module", "__import__"}:
                yield from (
                    arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
                )


def called(path: Path) -> set[str]:
    """Give the names of all functions a module calls, as they are written."""
    return {ast.unparse(node.func) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)}


@pytest.mark.parametrize("module", sorted(ALLOWED))
def test_a_module_is_imported_only_where_it_may_be_also_lazily(module: str) -> None:
    users = {name_of(path) for path in CODE if module in {name.partition(".")[0] for name in imported(path)}}
    assert {user for user in users if not user.startswith(tuple(ALLOWED[module]))} == set()


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_knows_no_clock_no_file_and_no_logger(module: str) -> None:
    path = AGENT / f"{module}.py"
    impure = {
        "time",
        "os",
        "io",
        "pathlib",
        "socket",
        "subprocess",
        "threading",
        "logging",
        "structlog",
        "random",
    }
    assert set(imported(path)) & impure == set()
    clocks = re.compile(r"(^|\.)(now|utcnow|today|time|time_ns|monotonic|monotonic_ns|perf_counter|clock_gettime)$")
    assert {call for call in called(path) if clocks.search(call) and not call.startswith("self.")} == set()
    assert called(path) & {"open", "print", "input"} == set()


def worker_attributes() -> dict[str, set[str]]:
    """Return what is written after a dot in the worker's modules, and in which of them."""
    found: dict[str, set[str]] = {}
    for path in WORKER.glob("*.py"):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Attribute):
                found.setdefault(node.attr, set()).add(path.name)
    return found


def test_the_worker_calls_nothing_of_libvirts_that_could_change_a_guest_or_a_host() -> None:
    classes = [value for name, value in vars(libvirt).items() if name.startswith("vir") and isinstance(value, type)]
    methods = {name for known in classes for name in dir(known) if not name.startswith("_")}
    assert methods >= {"destroy", "refresh", "setMemoryStatsPeriod", "startDirtyRateCalc"}
    used = worker_attributes()
    assert {name for name in used if name in methods} - READING - OF_OTHERS == {"refresh"}
    assert used["refresh"] == {"surveying.py"}, "which the user has to ask for"


def test_a_connection_that_could_write_is_opened_in_one_place_and_for_whoever_asks_for_it() -> None:
    opening = [
        (path.name, ast.unparse(node))
        for path in sorted(WORKER.glob("*.py"))
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and re.match(r"libvirt\.open", ast.unparse(node.func))
    ]
    assert opening == [("connection.py", "libvirt.open(attempt)"), ("connection.py", "libvirt.openReadOnly(attempt)")]
    assert "libvirt.open(attempt) if writable else libvirt.openReadOnly(attempt)" in ast.unparse(
        tree_of(WORKER / "connection.py")
    )


def test_a_worker_loads_as_little_as_it_can() -> None:
    code = "import sys, domstat.collect.worker.__main__; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    modules = set(loaded.split())
    assert {name.partition(".")[0] for name in modules} & HEAVY == set()
    assert {f"domstat.collect.worker.{name}" for name in RARE} & modules == set()
    assert {name for name in modules if name.startswith("domstat.")} == {
        *(f"domstat.{name}" for name in ("catalog", "clock", "collect", "garbage", "model")),
        *(f"domstat.collect.{name}" for name in ("wire", "worker")),
        *(
            f"domstat.collect.worker.{path.stem}"
            for path in WORKER.glob("*.py")
            if path.stem not in {"__init__", *RARE}
        ),
    }


def test_nobody_imports_the_worker() -> None:
    outside = [path for path in CODE if WORKER not in path.parents]
    assert [name_of(path) for path in outside if any("collect.worker" in name for name in imported(path))] == []


@pytest.mark.parametrize("folder", [".", "agent", "sinks", "packaging", "packaging/demo", "config", "bench", "tests"])
def test_a_top_level_folder_is_no_package(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()


def test_every_folder_of_a_package_is_one() -> None:
    assert [name_of(path.parent) for path in CODE if not (path.parent / "__init__.py").exists()] == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_package_says_it_is_typed(package: Path) -> None:
    assert (package / "py.typed").is_file()


@pytest.mark.parametrize("path", ALL_PYTHON, ids=name_of)
def test_a_module_can_be_read_in_one_sitting(path: Path) -> None:
    limit = LINES_MAX if "tests" not in path.relative_to(ROOT).parts else 2 * LINES_MAX
    assert len(path.read_text(encoding="utf-8").splitlines()) <= limit


@pytest.mark.parametrize("path", ALL_PYTHON, ids=name_of)
def test_a_module_says_what_it_is(path: Path) -> None:
    tree = tree_of(path)
    assert not tree.body or ast.get_docstring(tree)


UNFINISHED = re.compile("TO" r"DO\b|FIX" r"ME\b")
IN_A_CHROOT = {"packaging/demo/bare-debian"}
"""Where the superuser's home is one of its own making."""
SOMEBODYS = re.compile("/(wo" r"rk|ro" r"ot|home/(?!me\b)[a-z]+)/[a-z.]")


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_a_file_is_finished_and_names_nobodys_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8", errors="replace")
    assert UNFINISHED.findall(text) == []
    if name_of(path) not in IN_A_CHROOT:
        assert [match[0] for match in SOMEBODYS.finditer(text)] == []


def test_every_module_of_the_agents_core_has_its_tests() -> None:
    tested = {name_of(path).removeprefix("tests/") for path in (ROOT / "tests").rglob("test_*.py")}
    modules = {path.relative_to(AGENT) for path in CODE if AGENT in path.parents and path.stem != "__init__"}
    met_elsewhere = {
        "history.py",  # a contract, met by the sqlite sink
        "top/feed.py",  # likewise, by both feeds
        "collect/errors.py",  # words
        "collect/definition.py",  # by the inventory, which it is a part of
        "collect/sample.py",  # by the stream
    }
    expected = {
        f"{path.parent}/test_{path.stem.strip('_')}.py".removeprefix("./")
        for path in modules
        if path.as_posix() not in met_elsewhere and path.parts[0] != "cli"  # commands are met as a user meets them
    }
    assert expected - tested == set()


def test_the_settings_of_every_tool_stand_in_one_file() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"].keys() >= {
        "hatch", "pytest", "mypy", "ruff", "importlinter",
    }  # fmt: skip
    strays = {"setup.py", "setup.cfg", "tox.ini", "pytest.ini", "mypy.ini", "ruff.toml", ".flake8", "MANIFEST.in"}
    assert {path.name for path in ROOT.iterdir()} & strays == set()

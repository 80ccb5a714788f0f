"""What may never be, where import-linter cannot see it: in functions, in texts, in the listing."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

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

PURE = ("model", "catalog", "rates", "derive", "jsonlines", "text", "collect/naming")
ALLOWED = {
    "libvirt": {"agent/domstat/collect/worker.py"},
    "sqlite3": {"sinks/domstat_sinks/sqlite/"},
    "numpy": {"sinks/domstat_sinks/sqlite/"},
    "pcodec": {"sinks/domstat_sinks/sqlite/"},
    "apscheduler": {"agent/domstat/schedule.py"},
    "subprocess": {"agent/domstat/collect/hypervisor.py"},
    "structlog": {"agent/domstat/telemetry.py"},
    "typer": {"agent/domstat/cli/"},
    "rich": {"agent/domstat/cli/", "sinks/domstat_sinks/stdout.py", "sinks/domstat_sinks/table.py"},
    "domstat_sinks": {"sinks/domstat_sinks/"},
}
"""Which modules may import what, lazily or not."""


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


def test_libvirt_is_met_in_the_worker() -> None:
    assert [name_of(path) for path in CODE if "libvirt" in set(imported(path))] == ["agent/domstat/collect/worker.py"]


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_knows_no_clock_no_file_and_no_logger(module: str) -> None:
    path = PACKAGES[0] / f"{module}.py"
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


def test_nothing_is_opened_that_could_change_a_guest_or_a_host() -> None:
    worker = PACKAGES[0] / "collect" / "worker.py"
    names = {node.attr for node in ast.walk(tree_of(worker)) if isinstance(node, ast.Attribute)}
    assert "openReadOnly" in names
    assert names & {"open", "openAuth", "create", "destroy", "setMemoryStatsPeriod", "startDirtyRateCalc"} == set()


def test_a_worker_loads_as_little_as_it_can() -> None:
    names = {name.partition(".")[0] for name in imported(PACKAGES[0] / "collect" / "worker.py")}
    assert names & {"asyncio", "json", "logging", "pathlib", "re", "structlog", "subprocess", "typer"} == set()


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
    modules = ["collect/" + name for name in ("naming", "inventory", "stream", "wire", "hypervisor", "worker")]
    modules += ["deliver/courier", *(path.stem for path in PACKAGES[0].glob("*.py"))]
    without = {"__init__", "history", "service"}  # a contract only; met for real in tests/real
    expected = {f"{Path(name).parent}/test_{Path(name).name}.py".removeprefix("./") for name in set(modules) - without}
    assert expected - tested == set()


def test_the_settings_of_every_tool_stand_in_one_file() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"].keys() >= {
        "hatch", "pytest", "mypy", "ruff", "importlinter",
    }  # fmt: skip
    strays = {"setup.py", "setup.cfg", "tox.ini", "pytest.ini", "mypy.ini", "ruff.toml", ".flake8", "MANIFEST.in"}
    assert {path.name for path in ROOT.iterdir()} & strays == set()
